package gpu

import (
	"math"
	"testing"

	"github.com/secencoder/secencoder/internal/cuda"
	"github.com/secencoder/secencoder/internal/device"
	"github.com/secencoder/secencoder/internal/kernel"
	"github.com/secencoder/secencoder/internal/kernel/ref"
	"github.com/secencoder/secencoder/internal/rng"
)

// widened returns an operand as float32.
func widened(b kernel.Buf) []float32 {
	if b.DType == kernel.F32 {
		return b.F32()
	}
	wide := make([]float32, b.Len())
	for i, v := range b.BF16() {
		wide[i] = v.Float32()
	}
	return wide
}

// agree runs the program on the table and on the processor's best family. What one kernel leaves is another one's operand, so
// differences grow on the way: as a root mean square by no more than 2^-17 of a value in float32 (128 roundings of 2^-24),
// and 2^-6 in BF16 (eight of 2^-9, what a rounding is on average). The worst element may be off by sixteen times as much of
// the largest. Problems of a model's sizes are too large for the suite; what this finds are rows, columns and grids that went
// wrong there.
func (m *machine) agree(t *testing.T, z sizes) {
	cpu, err := device.Open(device.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := cpu.Close(); err != nil {
			t.Error(err)
		}
	}()
	s := stage(t, m.device, m.table, 1)
	for _, half := range []bool{false, true} {
		got, want := newProgram(half, z), newProgram(half, z)
		if _, err := got.run(s); err != nil {
			t.Fatal(err)
		}
		if _, err := want.run(cpu.Kernels()); err != nil {
			t.Fatal(err)
		}
		limit := 0x1p-17
		if half {
			limit = 0x1p-6
		}
		for i, b := range want.made {
			var size, off, worst, largest float64
			g := widened(got.made[i])
			for j, w := range widened(b) {
				d := math.Abs(float64(g[j]) - float64(w))
				size += float64(w) * float64(w)
				off += d * d
				largest, worst = max(largest, math.Abs(float64(w))), max(worst, d)
			}
			share := math.Sqrt(off / size)
			t.Logf("half %v, value %d: root mean square off by %.2g, largest by %.2g of %.2g", half, i, share, worst, largest)
			if !(share <= limit) || !(worst <= 16*limit*largest) {
				t.Errorf("half %v, value %d of the program is off by %.3g of its size, limit %.3g; the worst element by %.3g, the largest is %.3g", half, i, share, limit, worst, largest)
			}
		}
		if share := math.Abs(got.sum-want.sum) / want.sum; !(share <= limit) {
			t.Errorf("half %v: the sum of squares is %v, on the processor %v", half, got.sum, want.sum)
		}
	}
}

func TestStandinAgrees(t *testing.T) { onStandin(t).agree(t, small(12)) }
func TestCUDAAgrees(t *testing.T)    { onGPU(t).agree(t, base) }

// arenas: AdamW, sums and squares over as many elements as a large arena has, beyond 2^31 bytes.
func (m *machine) arenas(t *testing.T, n int) {
	if free := m.device.Info().Free; free < int64(20*n) {
		t.Skipf("four arenas of %d elements do not fit into the %d bytes that are free", n, free)
	}
	mem := m.memory(t)
	random := rng.NewStream(5, rng.Probe, 6, 0, 0)
	part := make([]float32, 1<<10)
	for i := range part {
		part[i] = float32(random.Norm())
	}
	room := func() kernel.Buf { return mem.room(kernel.F32, n) }
	w, g, moment, square := room(), room(), room(), room()
	fill := func(b kernel.Buf, values []float32) { // the part again and again, by doubling
		if err := mem.stream.CopyToDevice(address(b), bytesOf(values)); err != nil {
			t.Fatal(err)
		}
		for have := 4 * len(values); have < b.Bytes; have *= 2 {
			if err := mem.stream.Copy(address(b)+cuda.Ptr(have), address(b), min(have, b.Bytes-have)); err != nil {
				t.Fatal(err)
			}
		}
	}
	zeros := make([]float32, len(part))
	fill(w, part)
	fill(g, part)
	fill(moment, zeros)
	fill(square, zeros)
	scalars := kernel.AdamWArgs{LR: 1e-3, Beta1: 0.9, Beta2: 0.98, Eps: 1e-6, Decay: 0.01, Clip: 0.5, Step: 1}
	update := scalars
	update.W, update.G, update.M, update.V, update.N = w, g, moment, square, n
	m.table.AdamW(mem.on, &update)
	m.table.Add(mem.on, &kernel.AddArgs{A: w, B: g, Out: g, N: n})
	sum := m.table.SumSquares(mem.on, &kernel.SumSquaresArgs{G: g, N: n})
	if err := m.table.Sync(mem.on); err != nil {
		t.Fatal(err)
	}

	weights, gradients := append([]float32(nil), part...), append([]float32(nil), part...)
	host := scalars
	host.W, host.G, host.M, host.V = kernel.FromF32(weights), kernel.FromF32(gradients), kernel.FromF32(zeros), kernel.FromF32(make([]float32, len(part)))
	host.N = len(part)
	cpu := ref.New()
	cpu.AdamW(0, &host)
	cpu.Add(0, &kernel.AddArgs{A: host.W, B: host.G, Out: host.G, N: len(part)})
	want := 0.0
	for _, v := range gradients {
		want += float64(v) * float64(v) * float64(n/len(part))
	}
	if math.Abs(sum-want) > 0x1p-30*want {
		t.Errorf("the sum of %d squares is %v, want %v", n, sum, want)
	}
	for _, at := range []int{0, n / 2, n - len(part)} { // n and half of it are multiples of the part
		tail := kernel.Buf{Ptr: Operand(address(w)+cuda.Ptr(4*at), 0, kernel.F32).Ptr, Bytes: 4 * len(part), DType: kernel.F32}
		for i, v := range mem.read(tail) {
			if math.Float32bits(v) != math.Float32bits(weights[i]) {
				t.Fatalf("weight %d of %d is %v after AdamW, want %v", at+i, n, v, weights[i])
			}
		}
	}
}

func TestStandinArenas(t *testing.T) { onStandin(t).arenas(t, 1<<16) }
func TestCUDAArenas(t *testing.T)    { onGPU(t).arenas(t, 600<<20) }
