package gpu

import (
	"encoding/binary"
	"math"

	"github.com/secencoder/secencoder/internal/cuda"
	"github.com/secencoder/secencoder/internal/cuda/kernels"
	"github.com/secencoder/secencoder/internal/kernel"
)

// Convert is one kernel.
func (t *Table) Convert(on kernel.Stream, a *kernel.ConvertArgs) {
	c := t.begin(on)
	defer c.end()
	if a.N == 0 || c.failed() {
		return
	}
	e, from, to := convert, kernel.F32, kernel.BF16
	if a.Out.DType == kernel.F32 {
		e, from, to = widen, kernel.BF16, kernel.F32
	}
	c.run(c.pack(e).Ptr(want(a.X, from, a.N)).Ptr(want(a.Out, to, a.N)).I64(int64(a.N)), kernels.Elements(a.N, t.cores))
}

// Add is one kernel.
func (t *Table) Add(on kernel.Stream, a *kernel.AddArgs) {
	c := t.begin(on)
	defer c.end()
	if a.N == 0 || c.failed() {
		return
	}
	of := a.Out.DType
	l := c.pack(addF32.of(of)).Ptr(want(a.A, of, a.N)).Ptr(want(a.B, of, a.N)).Ptr(want(a.Out, of, a.N)).I64(int64(a.N))
	c.run(l, kernels.Elements(a.N, t.cores))
}

// AdamW is one kernel. Its scalars are computed here, in float64, and are part of the launch.
func (t *Table) AdamW(on kernel.Stream, a *kernel.AdamWArgs) {
	c := t.begin(on)
	defer c.end()
	if a.N == 0 || c.failed() {
		return
	}
	l := c.pack(adamW).Ptr(want(a.W, kernel.F32, a.N)).Ptr(want(a.G, kernel.F32, a.N)).Ptr(want(a.M, kernel.F32, a.N)).
		Ptr(want(a.V, kernel.F32, a.N)).I64(int64(a.N))
	for _, s := range kernels.AdamWScalars(a.LR, a.Beta1, a.Beta2, a.Eps, a.Decay, a.Clip, a.Step) {
		l.F32(s)
	}
	c.run(l, kernels.Elements(a.N, t.cores))
}

// SumSquares waits for its result, NaN where it failed. It cannot be captured into a graph.
func (t *Table) SumSquares(on kernel.Stream, a *kernel.SumSquaresArgs) float64 {
	c := t.begin(on)
	defer c.end()
	count := kernels.SumPartials(a.N)
	partial := c.scratch(8 * (count + 1))
	if c.failed() {
		return math.NaN()
	}
	sum := partial + cuda.Ptr(8*count)
	if count > 0 {
		c.run(c.pack(sumSquares).Ptr(want(a.G, kernel.F32, a.N)).Ptr(partial).I64(int64(a.N)), kernels.SumBlocks(a.N, t.cores))
	}
	c.run(c.pack(sumTree).Ptr(partial).Ptr(sum).I64(int64(count)), kernels.SumTree())
	if !c.failed() {
		c.check(c.stream.CopyToHost(t.sum.Bytes(), sum))
	}
	if !c.failed() {
		c.check(c.stream.Synchronize())
	}
	if c.failed() {
		return math.NaN()
	}
	return math.Float64frombits(binary.LittleEndian.Uint64(t.sum.Bytes()))
}
