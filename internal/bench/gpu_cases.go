package bench

import (
	"fmt"
	"unsafe"

	"github.com/secencoder/secencoder/internal/bf16"
	"github.com/secencoder/secencoder/internal/cuda"
	"github.com/secencoder/secencoder/internal/cuda/kernels"
	"github.com/secencoder/secencoder/internal/device/gpu"
	"github.com/secencoder/secencoder/internal/kernel"
	"github.com/secencoder/secencoder/internal/rng"
)

// alloc takes device memory until the end of the measurement.
func (b *gpuBench) alloc(bytes int) (cuda.Ptr, error) {
	p, err := b.dev.Alloc(b.stream, bytes)
	if err == nil {
		b.owned = append(b.owned, p)
	}
	return p, err
}

// upload takes device memory for bytes and copies them there.
func (b *gpuBench) upload(data []byte) (cuda.Ptr, error) {
	p, err := b.alloc(len(data))
	if err == nil {
		err = b.stream.CopyToDevice(p, data)
	}
	return p, err
}

// words uploads int32s as an operand.
func (b *gpuBench) words(list []int32) (kernel.Buf, error) {
	p, err := b.upload(unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(list))), 4*len(list)))
	return gpu.Operand(p, 4*len(list), kernel.I32), err
}

// random uploads n random values in [−0.5, 0.5): products of zeros would draw less power than those of an encoder. A
// period of 2^20 values is enough for that.
func (b *gpuBench) random(dtype cuda.Type, n int) (cuda.Ptr, error) {
	size := 4
	if dtype == cuda.BF16 {
		size = 2
	}
	if b.noise[dtype] == nil {
		b.noise[dtype] = noise(b.o.Seed, dtype, min(1<<20, int(b.o.Bytes)/size))
	}
	data := b.noise[dtype]
	p, err := b.alloc(n * size)
	for at := 0; at < n*size && err == nil; at += len(data) {
		err = b.stream.CopyToDevice(p+cuda.Ptr(at), data[:min(len(data), n*size-at)])
	}
	return p, err
}

// noise returns n random values.
func noise(seed uint64, dtype cuda.Type, n int) []byte {
	stream := rng.NewStream(seed, rng.Probe, 0, 0, 0)
	if dtype == cuda.BF16 {
		list := make([]bf16.BF16, n)
		for i := range list {
			list[i] = bf16.FromFloat32(float32(stream.Float64() - 0.5))
		}
		return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(list))), 2*n)
	}
	list := make([]float32, n)
	for i := range list {
		list[i] = float32(stream.Float64() - 0.5)
	}
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(list))), 4*n)
}

// openPeaks makes what everything is held against.
func (b *gpuBench) openPeaks() error {
	half := int(b.o.Bytes) / 2
	from, err := b.random(cuda.F32, half/4)
	if err != nil {
		return err
	}
	to, err := b.alloc(half)
	if err != nil {
		return err
	}
	host, err := b.dev.NewHost(half)
	if err != nil {
		return err
	}
	b.hosts = append(b.hosts, host)
	copies := func(name string, bytes int, call func() error) {
		b.peaks[name] = &gpuCase{name: name, unit: "mb_per_second", work: 1e-6 * float64(bytes), call: call}
	}
	copies(PeakDeviceCopy, 2*half, func() error { return b.stream.Copy(to, from, half) })
	copies(PeakToDevice, half, func() error { return b.stream.CopyToDevice(to, host.Bytes()) })
	copies(PeakToHost, half, func() error { return b.stream.CopyToHost(host.Bytes(), from) })

	// Square matrices that fill the same memory, those of float32 of half the side, which take about as long.
	side := 16
	for next := side * 2; 4*next*next <= int(b.o.Bytes) && next <= 8192; next *= 2 {
		side = next
	}
	for name, x := range map[string]struct {
		of   cuda.Type
		side int
	}{PeakHalfProduct: {cuda.BF16, side}, PeakFloatProduct: {cuda.F32, max(16, side/2)}} {
		p, err := b.product(cuda.Product{M: x.side, N: x.side, K: x.side, TransB: true, In: x.of, Out: x.of, Alpha: 1})
		if err != nil {
			return err
		}
		b.peaks[name] = b.productCase(name, p, "")
	}
	return nil
}

// product gives a product its matrices.
func (b *gpuBench) product(p cuda.Product) (*cuda.Product, error) {
	var err error
	if p.A, err = b.random(p.In, p.M*p.K); err != nil {
		return nil, err
	}
	if p.B, err = b.random(p.In, p.K*p.N); err != nil {
		return nil, err
	}
	size := 4
	if p.Out == cuda.BF16 {
		size = 2
	}
	p.C, err = b.alloc(p.M * p.N * size)
	return &p, err
}

func (b *gpuBench) productCase(name string, p *cuda.Product, peak string) *gpuCase {
	return &gpuCase{
		name: name, unit: "gflops", work: 2e-9 * float64(p.M) * float64(p.N) * float64(p.K), peak: peak,
		call: func() error { return b.lt.Multiply(b.stream, p) },
	}
}

// openProducts makes the three products of each linear layer of the encoder: of the forward pass, and of the gradients
// of its input and its weights, which are float32 in either arithmetic.
func (b *gpuBench) openProducts() error {
	for _, x := range []struct {
		of   cuda.Type
		peak string
	}{{cuda.BF16, PeakHalfProduct}, {cuda.F32, PeakFloatProduct}} {
		for _, s := range []shape{{b.T, b.E, 3 * b.E}, {b.T, b.E, b.E}, {b.T, b.E, b.I}, {b.T, b.I, b.E}} {
			for i, p := range []cuda.Product{
				{M: s.T, N: s.out, K: s.in, TransB: true, Out: x.of},
				{M: s.T, N: s.in, K: s.out, Out: x.of},
				{M: s.out, N: s.in, K: s.T, TransA: true, Out: cuda.F32},
			} {
				p.In, p.Alpha = x.of, 1
				full, err := b.product(p)
				if err != nil {
					return err
				}
				b.cases = append(b.cases, b.productCase(fmt.Sprintf("%s %dx%dx%d %v", products[i], s.T, s.in, s.out, x.of), full, x.peak))
			}
		}
	}
	return nil
}

// converting returns a kernel that converts n elements, in the next of so many stretches of memory with each call.
func (b *gpuBench) converting(l *gpuStart, x cuda.Ptr, n, stretches int) func() error {
	g, at := kernels.Elements(n, b.dev.Info().Multiprocessors), 0
	return func() error {
		from := x + cuda.Ptr(6*n*at)
		at = (at + 1) % stretches
		l.Reset().Ptr(from).Ptr(from + cuda.Ptr(4*n)).I64(int64(n))
		return b.run(l, g)
	}
}

// openLaunches makes what the cost of launches and graphs is measured with.
func (b *gpuBench) openLaunches() error {
	small := 1024
	least := 10e-6 // seconds of a kernel
	x, err := b.alloc(int(b.o.Bytes))
	if err != nil {
		return err
	}
	l, err := b.start("convert_f32_bf16")
	if err != nil {
		return err
	}
	convert := func(n, stretches int) func() error { return b.converting(l, x, n, stretches) }
	most := int(b.o.Bytes) / 6
	small = min(small, most)
	b.launch.direct = convert(small, 1)
	add := kernel.AddArgs{A: gpu.Operand(x, 4*small/4, kernel.F32), N: small / 4}
	add.B, add.Out = add.A, add.A
	b.launch.table = func() error { b.table.Add(b.on, &add); return nil }

	// The smallest kernel that takes twice what is asked for, so that its own time is that long for certain.
	n := small
	for ; 2*n <= most; n *= 2 {
		c := &gpuCase{name: "convert", call: convert(n, most/n), repeat: 20}
		if err := b.slice(c); err != nil {
			return err
		}
		if err := b.slice(c); err != nil {
			return err
		}
		if c.times[1] >= 2*least {
			break
		}
	}
	b.launch.kernel, b.launch.elements = convert(n, most/n), n
	capture := func(call func() error) (*cuda.Graph, error) {
		g, err := b.stream.Capture(func() error {
			for range graphNodes {
				if err := call(); err != nil {
					return err
				}
			}
			return nil
		})
		if err == nil {
			b.graphs = append(b.graphs, g)
		}
		return g, err
	}
	if b.launch.graph, err = capture(b.launch.kernel); err != nil {
		return err
	}
	b.launch.small, err = capture(convert(small, 1))
	return err
}
