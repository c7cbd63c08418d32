package bench

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/secencoder/secencoder/internal/device"
	"github.com/secencoder/secencoder/internal/kernel"
	"github.com/secencoder/secencoder/internal/rng"
	"github.com/secencoder/secencoder/model"
)

// shape is a linear layer over T rows.
type shape struct{ T, in, out int }

// products are the three products of a linear layer: the forward one, and those of its gradient.
var products = []string{"y", "dx", "dw"}

// GEMM measures the products of linear layers as training runs them, through the kernel table: 2·T·in·out FLOP each,
// packing and bias included. GFLOPS is the work of one pass over all cases at the largest number of threads divided by
// the sum of their median times; ShareOfPeak the same with best tenths, divided by the best tenth of the peak.
func GEMM(ctx context.Context, o Options) (*Result, error) {
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
	r := &Result{What: "gemm", Machine: machine(widest, most), Versions: versions()}

	threads := []int{most}
	for n := most / 2; n > 0; n /= 2 {
		threads = append(threads, n)
	}
	slices.Sort(threads)
	limit := o.duration() / time.Duration(len(threads)*len(shapes))
	var work, medians, bests float64
	var top times
	for _, n := range threads {
		list, peaks, err := gemmCases(ctx, device.Options{Threads: n, Kernels: widest.Family()}, shapes, limit, o.Seed)
		if err != nil {
			return nil, err
		}
		r.Slices = append(r.Slices, list...)
		if n != most {
			continue
		}
		top = peaks
		for i, one := range list {
			w := shapes[i/len(products)].flop()
			work, medians, bests = work+w, medians+w/one.Median, bests+w/one.Best
		}
	}
	r.GFLOPS = work / medians
	if len(top) > 0 {
		r.Machine.PeakGFLOPS = top.at(0.9)
		share := work / bests / r.Machine.PeakGFLOPS
		r.ShareOfPeak = &share
	}
	r.PeakBytes = peakBytes()
	return r, nil
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

// gemmCases measures all shapes on a device of its own, for limit each; the peak is that of all its slices.
func gemmCases(ctx context.Context, o device.Options, shapes []shape, limit time.Duration, seed uint64) (list []Slice, peaks times, err error) {
	dev, err := device.Open(o)
	if err != nil {
		return nil, nil, err
	}
	defer func() { err = errors.Join(err, dev.Close()) }()
	for _, s := range shapes {
		l, p, err := gemmCase(ctx, dev, s, limit, seed)
		if err != nil {
			return nil, nil, err
		}
		list, peaks = append(list, l...), append(peaks, p...)
	}
	if len(peaks) > 0 {
		top := peaks.at(0.9)
		for i := range list {
			share := list[i].Best / top
			list[i].ShareOfPeak = &share
		}
	}
	return list, peaks, nil
}

// gemmCase measures the three products of one layer, with slices of the peak between them.
func gemmCase(ctx context.Context, dev *device.Device, s shape, limit time.Duration, seed uint64) ([]Slice, times, error) {
	header := make([]int32, kernel.HeaderWords(s.T))
	pack := kernel.Pack{Offsets: []int32{0, int32(s.T)}, Scale: 1}
	pack.Fill(header, s.T)
	stream := rng.NewStream(seed, rng.Probe, 0, 0, 0)
	fill := func(n int) kernel.Buf {
		x := make([]float32, n)
		for i := range x {
			x[i] = float32(stream.Float64() - 0.5)
		}
		return kernel.FromF32(x)
	}
	h := kernel.FromI32(header)
	x, w, b, y := fill(s.T*s.in), fill(s.in*s.out), fill(s.out), fill(s.T*s.out)
	forward := kernel.LinearArgs{Header: h, X: x, W: w, B: b, Y: fill(s.T * s.out), Rows: kernel.RowsTokens, N: s.T, In: s.in, Out: s.out}
	dx := kernel.LinearGradArgs{Header: h, X: x, W: w, DY: y, DX: fill(s.T * s.in), Rows: kernel.RowsTokens, N: s.T, In: s.in, Out: s.out}
	dw := dx
	dx.Work, dw.Work = fill(dev.Kernels().WorkBytes(&dx)/4), fill(dev.Kernels().WorkBytes(&dw)/4)
	dw.DX, dw.DW = kernel.Buf{}, fill(s.in*s.out)
	k := dev.Kernels()
	run := []func(){
		func() { k.Linear(0, &forward) },
		func() { k.LinearGrad(0, &dx) },
		func() { k.LinearGrad(0, &dw) },
	}
	seconds := make([]timed, len(run))
	var peaks times
	for _, f := range run {
		f() // takes scratch memory
	}
	for from := time.Now(); len(seconds[0].times) < 3 || time.Since(from) < limit; {
		if err := ctx.Err(); err != nil {
			return nil, nil, err
		}
		peaks = append(peaks, peak(dev.Family(), dev.Threads())...)
		for i, f := range run {
			if err := seconds[i].run(func() error { f(); return k.Sync(0) }); err != nil {
				return nil, nil, err
			}
		}
	}
	var list []Slice
	for i := range seconds {
		list = append(list, seconds[i].slice(fmt.Sprintf("%s %dx%dx%d", products[i], s.T, s.in, s.out), "gflops", dev.Threads(), s.flop()))
	}
	return list, peaks, nil
}
