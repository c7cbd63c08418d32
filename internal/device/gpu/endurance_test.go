package gpu

import (
	"errors"
	"math"
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"unsafe"

	"github.com/secencoder/secencoder/internal/cuda"
	"github.com/secencoder/secencoder/internal/cuda/kernels/shim"
	"github.com/secencoder/secencoder/internal/cuda/standin"
	"github.com/secencoder/secencoder/internal/kernel"
)

// memory is device memory of a test.
type memory struct {
	t      testing.TB
	device *cuda.Device
	stream *cuda.Stream
	on     kernel.Stream // its name
}

func (m *machine) memory(t testing.TB) *memory {
	t.Helper()
	stream, err := m.device.NewStream()
	if err != nil {
		t.Fatal(err)
	}
	on := m.table.Stream(stream)
	t.Cleanup(func() {
		m.table.Release(on)
		if err := stream.Close(); err != nil {
			t.Error(err)
		}
	})
	return &memory{t, m.device, stream, on}
}

// new returns an operand that is given back at the end of the test, float32 throughout.
func (m *memory) new(values []float32) kernel.Buf {
	m.t.Helper()
	b := m.room(kernel.F32, len(values))
	if err := m.stream.CopyToDevice(address(b), bytesOf(values)); err != nil {
		m.t.Fatal(err)
	}
	return b
}

// room returns an operand whose content is not set.
func (m *memory) room(dtype kernel.DType, n int) kernel.Buf {
	m.t.Helper()
	p, err := m.device.Alloc(m.stream, n*dtype.Size())
	if err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(func() {
		if err := m.device.Free(m.stream, p); err != nil {
			m.t.Error(err)
		}
	})
	return Operand(p, n*dtype.Size(), dtype)
}

// read returns what a float32 operand holds.
func (m *memory) read(b kernel.Buf) []float32 {
	m.t.Helper()
	values := make([]float32, b.Len())
	if err := m.stream.CopyToHost(bytesOf(values), address(b)); err != nil {
		m.t.Fatal(err)
	}
	return values
}

func bytesOf(x []float32) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(x))), 4*len(x))
}

func filled(n int, value float32) []float32 {
	x := make([]float32, n)
	for i := range x {
		x[i] = value
	}
	return x
}

// resident returns the memory of this process, in bytes; 0 where the system does not say.
func resident() int {
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(text))
	pages, _ := strconv.Atoi(fields[1])
	return pages * os.Getpagesize()
}

// launches makes that many launches and wants memory to stay as it is: that of the device, of the process, of Go.
func (m *machine) manyLaunches(t *testing.T, n int) {
	mem := m.memory(t)
	a, b := mem.new(filled(1000, 0)), mem.new(filled(1000, 1))
	gamma, beta := mem.new(filled(100, 1)), mem.new(filled(100, 0))
	norm := &kernel.LayerNormArgs{X: b, Gamma: gamma, Beta: beta, Out: mem.room(kernel.F32, 1000), N: 10, W: 100, Eps: 1e-7}
	add := &kernel.AddArgs{A: a, B: b, Out: a, N: 1000}
	run := func(n int) {
		for i := range n / 2 {
			m.table.Add(mem.on, add)
			m.table.LayerNorm(mem.on, norm)
			if i%1000 == 999 {
				if err := m.table.Sync(mem.on); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := m.table.Sync(mem.on); err != nil {
			t.Fatal(err)
		}
	}
	const warm = 2000
	run(warm)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	used, size := m.device.Memory(), resident()
	free, _ := m.free(t)
	run(n)
	runtime.ReadMemStats(&after)
	// The runtime's own goroutines allocate now and then; a launch that did would make millions of objects.
	if made := after.Mallocs - before.Mallocs; made > uint64(n/1000+200) && !raceDetector {
		t.Errorf("%d launches made %d objects in Go's heap", n, made)
	}
	if now := m.device.Memory(); now != used {
		t.Errorf("device memory was %+v before %d launches and is %+v", used, n, now)
	}
	// The driver takes memory for its own queues in steps of 2 MB, and the process's comes and goes with Go's heap. What a
	// launch would keep of either, 16 bytes on the device or 32 in the process, is beyond that in a million launches.
	const deviceNoise, processNoise = 16 << 20, 32 << 20
	now, _ := m.free(t)
	grown := resident() - size
	t.Logf("%d launches: the device's free memory fell by %d bytes, the process grew by %d", n, free-now, grown)
	if free-now > deviceNoise {
		t.Errorf("the driver had %d bytes free before %d launches and has %d", free, n, now)
	}
	if grown > processNoise {
		t.Errorf("the process grew by %d bytes in %d launches", grown, n)
	}
	want := float32((warm + n) / 2)
	for _, v := range mem.read(a) {
		if v != want {
			t.Fatalf("%d additions of 1 gave %v", int(want), v)
		}
	}
}

func TestStandinManyLaunches(t *testing.T) { onStandin(t).manyLaunches(t, 10_000) }
func TestCUDAMillionLaunches(t *testing.T) {
	onGPU(t).manyLaunches(t, count(t, "SECENCODER_CUDA_LAUNCHES", 1_000_000))
}

// outOfMemory asks for more memory than there is, in the table and below it, and wants both to go on afterwards. The limit
// is so many times scarce.
func (m *machine) outOfMemory(t *testing.T, times int) {
	mem := m.memory(t)
	const in, out = 2, 4096
	rows := times * 512
	x, y := mem.room(kernel.BF16, rows*in), mem.room(kernel.BF16, rows*out)
	w, b := mem.new(filled(out*in, 1)), mem.new(filled(out, 1))
	if err := mem.stream.Fill(address(x), 0, x.Bytes); err != nil {
		t.Fatal(err)
	}
	if err := mem.stream.Synchronize(); err != nil {
		t.Fatal(err)
	}
	large := &kernel.LinearArgs{X: x, W: w, B: b, Y: y, N: rows, In: in, Out: out} // its float32 sums are 8 MB, times times
	small := *large
	small.N = 2
	for range 2 {
		m.table.Linear(mem.on, large)
		m.table.Linear(mem.on, &small) // is not run after a failure
		if err := m.table.Sync(mem.on); !errors.Is(err, cuda.ErrOutOfMemory) {
			t.Fatalf("a layer whose scratch memory is beyond the limit: %v, want one of %v", err, cuda.ErrOutOfMemory)
		}
		m.table.Linear(mem.on, &small)
		if err := m.table.Sync(mem.on); err != nil {
			t.Fatalf("a small layer after memory ran out: %v", err)
		}
	}
	half := make([]byte, 2*small.N*out)
	if err := mem.stream.CopyToHost(half, address(y)); err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(half); i += 2 {
		if half[i] != 0x80 || half[i+1] != 0x3f {
			t.Fatalf("element %d of a layer of ones is %02x%02x, want 3f80", i/2, half[i+1], half[i])
		}
	}
	// Below the table: more than the device has.
	if _, err := m.device.Alloc(mem.stream, 1<<50); !errors.Is(err, cuda.ErrOutOfMemory) {
		t.Errorf("2^50 bytes: %v", err)
	}
}

// The limit leaves room for the operands (about 4.3 MB) and for the pool's own blocks, not for the scratch memory. Eight times
// that also has room for what cublasLt may want for the product of the small layer.
const scarce = 9 << 20

// workspace is what cublasLt may want of the pool for a product, 32 MB, and what of that the pool may round up to.
const workspace = 36 << 20

func TestStandinOutOfMemory(t *testing.T) { onStandinWith(t, scarce).outOfMemory(t, 1) }
func TestCUDAOutOfMemory(t *testing.T)    { onGPUWith(t, 8*scarce).outOfMemory(t, 8) }

// TestStandinOutOfMemoryWorkspace is the same where products want all that they may have.
func TestStandinOutOfMemoryWorkspace(t *testing.T) {
	m := onStandinWith(t, 8*scarce)
	m.standin.Set(standin.Workspace, 32<<20)
	m.outOfMemory(t, 8)
}

// deviceFull asks the driver itself for more than there is, without a limit of ours: in one piece, and when all but some
// of the device's memory is taken, by a layer whose scratch memory is more than what is left at most: less than left, and
// what is set aside for a small layer and its product's workspace.
func (m *machine) deviceFull(t *testing.T, left, workspace int) {
	mem := m.memory(t)
	const in, out = 2, 4096
	rows := 2 * (left + workspace) / (4 * out)
	x, y := mem.room(kernel.BF16, rows*in), mem.room(kernel.BF16, rows*out)
	w, b := mem.new(filled(out*in, 1)), mem.new(filled(out, 1))
	large := &kernel.LinearArgs{X: x, W: w, B: b, Y: y, N: rows, In: in, Out: out}
	small := *large
	small.N = 2
	run := func(a *kernel.LinearArgs) error {
		t.Helper()
		if err := cuda.Join(mem.stream.Fill(address(x), 0, x.Bytes), mem.stream.Fill(address(y), 0, y.Bytes)); err != nil {
			t.Fatal(err)
		}
		m.table.Linear(mem.on, a)
		if err := m.table.Sync(mem.on); err != nil {
			return err
		}
		half := make([]byte, 2*a.N*out)
		if err := mem.stream.CopyToHost(half, address(y)); err != nil {
			t.Fatal(err)
		}
		for i := 0; i < len(half); i += 2 {
			if half[i] != 0x80 || half[i+1] != 0x3f {
				t.Fatalf("element %d of a layer of ones is %02x%02x, want 3f80", i/2, half[i+1], half[i])
			}
		}
		return nil
	}
	works := func(when string, a *kernel.LinearArgs) {
		t.Helper()
		if err := run(a); err != nil {
			t.Fatalf("a layer of %d rows %s: %v", a.N, when, err)
		}
	}
	refused := func(what string, err error) {
		t.Helper()
		var said *cuda.Error
		if !errors.Is(err, cuda.ErrOutOfMemory) || !errors.As(err, &said) || said.Call != "cuMemAlloc_v2" {
			t.Fatalf("%s: %v, want the driver's %v", what, err, cuda.ErrOutOfMemory)
		}
		for _, want := range []string{"of device memory are needed", "are free", "no limit is set"} {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %q does not say %q", what, err, want)
			}
		}
	}
	works("at first", large) // also loads what its product needs, which takes memory of the device
	works("at first", &small)
	_, total := m.free(t)
	_, err := m.device.Alloc(mem.stream, int(2*total))
	refused("twice the device's memory", err)
	works("after that", large)

	if err := m.device.Trim(); err != nil { // the scratch memory of the layers so far
		t.Fatal(err)
	}
	reserve, err := m.device.Alloc(mem.stream, left/4+workspace) // for the small layer
	if err != nil {
		t.Fatal(err)
	}
	var blocks []cuda.Ptr
	drop := func() {
		for _, p := range blocks {
			if err := m.device.Free(mem.stream, p); err != nil {
				t.Error(err)
			}
		}
		blocks = nil
	}
	defer drop()
	for size := int(total) / 8; size >= left; {
		p, err := m.device.Alloc(mem.stream, size)
		if err == nil {
			blocks = append(blocks, p)
			continue
		}
		refused("a block more", err)
		size /= 2
	}
	if err := cuda.Join(m.device.Free(mem.stream, reserve), m.device.Trim()); err != nil {
		t.Fatal(err)
	}
	free, _ := m.free(t)
	t.Logf("%d blocks fill all but %d bytes of the device", len(blocks), free)
	for range 2 {
		refused("a layer on a full device", run(large))
		works("on a full device", &small)
	}
	drop()
	works("when there is memory again", large)
}

func TestStandinDeviceFull(t *testing.T) {
	library := standin.Build(t)
	shim.Build(t, library.Path())
	library.Set(standin.Memory, 48<<20)
	(&machine{standin: library}).load(t, library.Path(), 0).deviceFull(t, 2<<20, 0)
}

// TestStandinDeviceFullWorkspace is the same where products want all that they may have.
func TestStandinDeviceFullWorkspace(t *testing.T) {
	library := standin.Build(t)
	shim.Build(t, library.Path())
	library.Set(standin.Memory, 512<<20)
	library.Set(standin.Workspace, 32<<20)
	(&machine{standin: library}).load(t, library.Path(), 0).deviceFull(t, 8<<20, workspace)
}

func TestCUDADeviceFull(t *testing.T) {
	m := onGPU(t)
	_, total := m.free(t)
	m.deviceFull(t, int(min(total>>11, 64<<20)), workspace) // little of a small device
}

// graph captures a few calls, changes their operand and replays them: the graph must do what the calls do.
func (m *machine) graph(t *testing.T) {
	mem := m.memory(t)
	const rows, in, out = 40, 24, 56
	x, w, b := mem.room(kernel.F32, rows*in), mem.new(filled(in*out, 0.5)), mem.new(filled(out, 1))
	y, z := mem.room(kernel.F32, rows*out), mem.room(kernel.F32, rows*out)
	gamma, beta := mem.new(filled(out, 1)), mem.new(filled(out, 2))
	layer := &kernel.LinearArgs{X: x, W: w, B: b, Y: y, N: rows, In: in, Out: out, Act: kernel.Gelu}
	norm := &kernel.LayerNormArgs{X: y, Gamma: gamma, Beta: beta, Out: z, N: rows, W: out, Eps: 1e-7}
	calls := func() error {
		m.table.Linear(mem.on, layer)
		m.table.LayerNorm(mem.on, norm)
		return nil
	}
	set := func(values []float32) {
		if err := mem.stream.CopyToDevice(address(x), bytesOf(values)); err != nil {
			t.Fatal(err)
		}
	}
	values := filled(rows*in, 0)
	set(values)
	calls() // what a capture must not do for the first time: workspaces, the choice of a product
	if err := m.table.Sync(mem.on); err != nil {
		t.Fatal(err)
	}
	graph, err := mem.stream.Capture(calls)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := graph.Close(); err != nil {
			t.Error(err)
		}
	}()
	if n, err := graph.Nodes(); err != nil || n < 3 {
		t.Errorf("the graph has %d nodes (%v), want a product, an activation and a norm at least", n, err)
	}
	for round := range 3 {
		for i := range values {
			values[i] = float32(math.Sin(float64(i * (round + 1))))
		}
		set(values)
		if err := graph.Launch(mem.stream); err != nil {
			t.Fatal(err)
		}
		replayed := mem.read(z)
		calls()
		if err := m.table.Sync(mem.on); err != nil {
			t.Fatal(err)
		}
		for i, v := range mem.read(z) {
			if math.Float32bits(v) != math.Float32bits(replayed[i]) {
				t.Fatalf("round %d: element %d is %v from the calls, %v from the graph", round, i, v, replayed[i])
			}
		}
	}
}

func TestStandinGraph(t *testing.T) { onStandin(t).graph(t) }
func TestCUDAGraph(t *testing.T)    { onGPU(t).graph(t) }

// What is not built is named by Sync, once, and does not keep the rest from working.
func (m *machine) notBuilt(t *testing.T) {
	mem := m.memory(t)
	a := mem.new(filled(10, 1))
	add := &kernel.AddArgs{A: a, B: a, Out: a, N: 10}
	m.table.Attention(0, new(kernel.AttentionArgs))
	m.table.MLMLoss(0, new(kernel.MLMLossArgs))
	m.table.Add(0, add)
	err := m.table.Sync(0)
	if !errors.Is(err, ErrNotBuilt) || !strings.HasPrefix(err.Error(), "Attention is not built for CUDA") {
		t.Errorf("Sync after Attention returns %v", err)
	}
	if err := m.table.Sync(0); err != nil {
		t.Errorf("the second Sync returns %v", err)
	}
	m.table.Add(0, add)
	if err := m.table.Sync(0); err != nil {
		t.Error(err)
	}
	if got := mem.read(a)[0]; got != 2 {
		t.Errorf("1 + 1 after a failed call is %v: the addition behind the failure ran, or the last did not", got)
	}
	if m.table.Has("Attention") || !m.table.Has("Add") {
		t.Error("Has does not tell what is built")
	}
}

func TestStandinNotBuilt(t *testing.T) { onStandin(t).notBuilt(t) }
func TestCUDANotBuilt(t *testing.T)    { onGPU(t).notBuilt(t) }
