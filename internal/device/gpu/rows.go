package gpu

import (
	"github.com/secencoder/secencoder/internal/cuda/kernels"
	"github.com/secencoder/secencoder/internal/kernel"
)

// Gather copies the masked rows together.
func (t *Table) Gather(on kernel.Stream, a *kernel.GatherArgs) {
	t.rows(on, gatherF32, a.Header, a.X, a.Out, a.T, a.W)
}

// GatherGrad clears the rows in use and copies the masked ones back.
func (t *Table) GatherGrad(on kernel.Stream, a *kernel.GatherGradArgs) {
	t.rows(on, gatherGradF32, a.Header, a.DOut, a.DX, a.T, a.W)
}

func (t *Table) rows(on kernel.Stream, e entry, head, from, to kernel.Buf, n, width int) {
	c := t.begin(on)
	defer c.end()
	if n == 0 || c.failed() {
		return
	}
	h, tokens := header(head)
	of := from.DType
	l := c.pack(e.of(of)).Ptr(h).Ptr(want(from, of, n*width)).Ptr(want(to, of, n*width)).I32(int32(tokens)).I32(int32(width))
	c.run(l, kernels.Tiles(n, width, t.cores))
}

// Pool is one kernel.
func (t *Table) Pool(on kernel.Stream, a *kernel.PoolArgs) {
	c := t.begin(on)
	defer c.end()
	if a.T < 2 || c.failed() { // no piece fits
		return
	}
	h, tokens := header(a.Header)
	of := a.X.DType
	l := c.pack(poolF32.of(of)).Ptr(h).Ptr(want(a.X, of, a.T*a.W)).Ptr(want(a.Out, kernel.F32, a.T/2*a.W)).
		I32(int32(tokens)).I32(int32(a.W)).I32(number(a.First)).I32(number(a.Inner))
	c.run(l, kernels.Pools(a.T, a.W, t.cores))
}

// PoolGrad is one kernel.
func (t *Table) PoolGrad(on kernel.Stream, a *kernel.PoolGradArgs) {
	c := t.begin(on)
	defer c.end()
	if a.T < 2 || c.failed() {
		return
	}
	h, tokens := header(a.Header)
	of := a.DX.DType
	l := c.pack(poolGradF32.of(of)).Ptr(h).Ptr(want(a.DOut, kernel.F32, a.T/2*a.W)).Ptr(want(a.DX, of, a.T*a.W)).
		I32(int32(tokens)).I32(int32(a.W)).I32(number(a.First)).I32(number(a.Inner))
	c.run(l, kernels.Tiles(a.T, a.W, t.cores))
}
