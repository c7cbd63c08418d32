package bench

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/secencoder/secencoder/internal/device"
	"github.com/secencoder/secencoder/internal/kernel"
	"github.com/secencoder/secencoder/model"
)

// shape is a linear layer over T rows.
type shape struct{ T, in, out int }

// products are the three products of a linear layer: the forward one, and those of its gradient.
var products = []string{"y", "dx", "dw"}

// GEMM measures the products of linear layers through the kernel table: 2·T·in·out FLOP each, bias and packing of
// activations included, weights packed ahead. With DType BF16 x, y and their gradients are BF16, weights and their gradients float32.
// GFLOPS is the work of one pass over all cases at the largest number of threads divided by the sum of their median
// times; the shares are sums of the same kind.
func GEMM(ctx context.Context, o Options) (_ *Result, err error) {
	shapes, err := gemmShapes(o)
	if err != nil {
		return nil, err
	}
	widest, err := device.Open(device.Options{Threads: o.Threads, Kernels: o.Kernels})
	if err != nil {
		return nil, err
	}
	defer widest.Close()
	most := widest.Threads()
	r := &Result{What: "gemm", Machine: machine(widest, most), Versions: versions(), Settings: map[string]any{"dtype": o.DType.String()}}

	threads := []int{most}
	for n := most / 2; n > 0; n /= 2 {
		threads = append(threads, n)
	}
	slices.Sort(threads)
	g := &gemm{o: o, p: newProbes(widest.Family()), begun: o.begin(), limit: o.duration() / time.Duration(len(threads)*len(shapes))}
	defer func() { err = errors.Join(err, g.p.close()) }()
	var list []Slice
	for _, n := range threads {
		if list, err = g.cases(ctx, device.Options{Threads: n, Kernels: widest.Family()}, shapes); err != nil {
			return nil, err
		}
		r.Slices = append(r.Slices, list...)
	}
	var work, medians, bests, equal float64 // GFLOP, seconds, seconds, GFLOP that the loop could have done
	for i, one := range list {
		w := shapes[i/len(products)].flop()
		work, medians, bests = work+w, medians+one.Seconds, bests+one.BestSeconds
		if one.MedianShare != nil {
			equal += w / *one.MedianShare
		}
	}
	r.GFLOPS = work / medians
	g.p.fill(r, o.DType, most)
	if equal > 0 {
		share, median := work/bests/r.Machine.PeakGFLOPS, work/equal
		r.ShareOfPeak, r.MedianShare = &share, &median
	}
	return r, nil
}

// gemm is a measurement in progress.
type gemm struct {
	o     Options
	p     *probes
	begun time.Time
	limit time.Duration // of one layer on one number of threads
}

// flop returns the work of one product in GFLOP.
func (s shape) flop() float64 { return 2e-9 * float64(s.T) * float64(s.in) * float64(s.out) }

// gemmShapes returns the linear layers of the presets asked for.
func gemmShapes(o Options) ([]shape, error) {
	names := []string{"tiny", "mini", "base"}
	if o.Size != "" {
		names = []string{o.Size}
	}
	var list []shape
	for _, name := range names {
		c, d, err := model.Preset(name, model.DefaultVocabSize)
		if err != nil {
			return nil, err
		}
		T := o.Tokens
		if T == 0 {
			T = max(d.TokensPerStep, o.Context)
			if name == "base" && o.Size == "" {
				T = 512 // short slices
			}
		}
		list = append(list, shape{T, c.HiddenSize, 3 * c.HiddenSize}, shape{T, c.HiddenSize, c.IntermediateSize}, shape{T, c.IntermediateSize, c.HiddenSize})
	}
	return list, nil
}

// cases measures all shapes on a device of its own.
func (g *gemm) cases(ctx context.Context, o device.Options, shapes []shape) (list []Slice, err error) {
	dev, err := device.Open(o)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, dev.Close()) }()
	measured := make([][]timed, len(shapes))
	for i, s := range shapes {
		if measured[i], err = g.layer(ctx, dev, s); err != nil {
			return nil, err
		}
	}
	best := g.p.best(g.p.bound(g.o.DType, dev.Threads()))
	for i, s := range shapes {
		for j := range measured[i] {
			t := &measured[i][j]
			one := t.slice(fmt.Sprintf("%s %dx%dx%d", products[j], s.T, s.in, s.out), "gflops", dev.Threads(), s.flop())
			t.shares(&one, best, s.flop())
			list = append(list, one)
		}
	}
	return list, nil
}

// layer measures the three products of one layer, with slices of the peaks between them.
func (g *gemm) layer(ctx context.Context, dev *device.Device, s shape) (_ []timed, err error) {
	k, m, dt := dev.Kernels(), newMaker(g.o.Seed), g.o.DType
	T, in, out, size := int64(s.T), int64(s.in), int64(s.out), int64(dt.Size())
	if err := fits(2*T*(in+out)*size + 8*in*out + 4*int64(kernel.HeaderWords(s.T))); err != nil { // x, y, their gradients; w and dW
		return nil, err
	}
	defer func() { err = errors.Join(err, m.close()) }()
	var x, w, b, y, dY, dX, dW kernel.Buf
	err = errors.Join(
		m.fill(dt, s.T*s.in, &x, &dX), m.fill(dt, s.T*s.out, &y, &dY), m.fill(kernel.F32, s.in*s.out, &w, &dW), m.fill(kernel.F32, s.out, &b))
	if err != nil {
		return nil, err
	}
	h := header(s.T, s.T)
	forward := kernel.LinearArgs{Header: h, X: x, W: w, B: b, Y: y, Rows: kernel.RowsTokens, N: s.T, In: s.in, Out: s.out}
	dx := kernel.LinearGradArgs{Header: h, X: x, W: w, DY: dY, DX: dX, Rows: kernel.RowsTokens, N: s.T, In: s.in, Out: s.out}
	dw := dx
	dw.DX, dw.DW = kernel.Buf{}, dW
	err = errors.Join(m.work(&dx.Work, k.WorkBytes(&dx)), m.work(&dw.Work, k.WorkBytes(&dw)),
		m.work(&forward.Packed, k.PackedBytes(s.out, s.in, dt, false)), m.work(&dx.Packed, k.PackedBytes(s.out, s.in, dt, true)))
	if err != nil {
		return nil, err
	}
	pack := kernel.PackWeightArgs{W: w, Packed: forward.Packed, In: s.in, Out: s.out, X: dt}
	k.PackWeight(0, &pack)
	pack.Packed, pack.Transposed = dx.Packed, true
	k.PackWeight(0, &pack)
	run := []func(){
		func() { k.Linear(0, &forward) },
		func() { k.LinearGrad(0, &dx) },
		func() { k.LinearGrad(0, &dw) },
	}
	seconds := make([]timed, len(run))
	for _, f := range run {
		f() // takes scratch memory
	}
	if err := g.p.streams(0, dev.Threads()); err != nil {
		return nil, err
	}
	for from := time.Now(); len(seconds[0].times) < leastRuns || time.Since(from) < g.limit; {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		g.o.more(g.begun, leastRuns)
		for i, f := range run {
			rate := g.p.arithmetic(dt, dev.Threads())
			if err := seconds[i].run(rate, func() error { f(); return k.Sync(0) }); err != nil {
				return nil, err
			}
		}
	}
	return seconds, nil
}
