package gpu

import (
	"github.com/secencoder/secencoder/internal/cuda"
	"github.com/secencoder/secencoder/internal/cuda/kernels"
	"github.com/secencoder/secencoder/internal/kernel"
)

// LayerNorm is one kernel: a row is read once. Its statistics are float32, where the reference has float64, because a GPU
// has a fraction of its speed in float64; the mean comes first and the variance about it, so that the suite's bounds, made
// for that, hold.
func (t *Table) LayerNorm(on kernel.Stream, a *kernel.LayerNormArgs) {
	c := t.begin(on)
	defer c.end()
	if a.N == 0 || c.failed() {
		return
	}
	h, tokens := header(a.Header)
	of, n := a.X.DType, a.N*a.W
	l := c.pack(layerNormF32.of(of)).Ptr(h).Ptr(want(a.X, of, n)).Ptr(want(a.Gamma, kernel.F32, a.W)).Ptr(want(a.Beta, kernel.F32, a.W)).
		Ptr(want(a.Out, of, n)).Ptr(may(a.Stats, kernel.F32, 2*a.N))
	c.run(dropout(shape(l, tokens, a.Rows, a.N, a.W).F32(a.Eps), a.Drop), kernels.Teams(a.N, a.W, t.cores))
}

// AddNorm is one kernel.
func (t *Table) AddNorm(on kernel.Stream, a *kernel.AddNormArgs) {
	c := t.begin(on)
	defer c.end()
	if a.N == 0 || c.failed() {
		return
	}
	h, tokens := header(a.Header)
	of, n := a.X.DType, a.N*a.W
	l := c.pack(addNormF32.of(of)).Ptr(h).Ptr(want(a.X, of, n)).Ptr(want(a.Res, of, n)).Ptr(want(a.Gamma, kernel.F32, a.W)).
		Ptr(want(a.Beta, kernel.F32, a.W)).Ptr(want(a.Out, of, n)).Ptr(may(a.Stats, kernel.F32, 2*a.N))
	c.run(dropout(shape(l, tokens, a.Rows, a.N, a.W).F32(a.Eps), a.Drop), kernels.Teams(a.N, a.W, t.cores))
}

// LayerNormGrad is one kernel over rows, and one that adds up the partial sums of dγ and dβ.
func (t *Table) LayerNormGrad(on kernel.Stream, a *kernel.LayerNormGradArgs) {
	c := t.begin(on)
	defer c.end()
	h, tokens := header(a.Header)
	of, n := a.X.DType, a.N*a.W
	rows, partial := c.partials(a.N, a.W, a.DGamma, a.DBeta)
	if a.N > 0 && (!a.DX.Absent() || partial != 0) && !c.failed() {
		l := c.pack(layerNormGradF32.of(of)).Ptr(h).Ptr(want(a.X, of, n)).Ptr(want(a.Stats, kernel.F32, 2*a.N)).
			Ptr(want(a.Gamma, kernel.F32, a.W)).Ptr(want(a.DOut, of, n)).Ptr(may(a.DX, of, n)).Ptr(partial)
		l = shape(l, tokens, a.Rows, a.N, a.W).I32(int32(rows))
		c.run(dropout(l, a.Drop), kernels.TeamChunks(a.N, a.W))
	}
	c.fold(h, tokens, a.Rows, a.N, a.W, partial, rows, a.DGamma, a.DBeta, a.Beta)
}

// AddNormGrad is LayerNormGrad with two gradients a row.
func (t *Table) AddNormGrad(on kernel.Stream, a *kernel.AddNormGradArgs) {
	c := t.begin(on)
	defer c.end()
	h, tokens := header(a.Header)
	of, n := a.X.DType, a.N*a.W
	rows, partial := c.partials(a.N, a.W, a.DGamma, a.DBeta)
	if a.N > 0 && (!a.DX.Absent() || !a.DRes.Absent() || partial != 0) && !c.failed() {
		l := c.pack(addNormGradF32.of(of)).Ptr(h).Ptr(want(a.X, of, n)).Ptr(want(a.Res, of, n)).Ptr(want(a.Stats, kernel.F32, 2*a.N)).
			Ptr(want(a.Gamma, kernel.F32, a.W)).Ptr(want(a.DOut, of, n)).Ptr(may(a.DX, of, n)).Ptr(may(a.DRes, of, n)).Ptr(partial)
		l = shape(l, tokens, a.Rows, a.N, a.W).I32(int32(rows))
		c.run(dropout(l, a.Drop), kernels.TeamChunks(a.N, a.W))
	}
	c.fold(h, tokens, a.Rows, a.N, a.W, partial, rows, a.DGamma, a.DBeta, a.Beta)
}

// partials returns scratch memory for the partial sums of dγ and dβ, 0 when neither is wanted, and the rows of one.
func (c call) partials(n, width int, dGamma, dBeta kernel.Buf) (rows int, partial cuda.Ptr) {
	rows, chunks := kernels.NormChunks(n, width)
	if dGamma.Absent() && dBeta.Absent() {
		return rows, 0
	}
	return rows, c.scratch(max(1, chunks) * 2 * width * 4)
}

// fold adds up the partial sums of two gradients.
func (c call) fold(h cuda.Ptr, tokens int, kind kernel.RowKind, n, width int, partial cuda.Ptr, rows int, first, second kernel.Buf, beta [2]float32) {
	if partial == 0 || c.failed() {
		return
	}
	l := c.pack(foldRows).Ptr(h).Ptr(partial).Ptr(may(first, kernel.F32, width)).Ptr(may(second, kernel.F32, width))
	l = shape(l, tokens, kind, n, width).I32(2).I32(int32(rows)).F32(beta[0]).F32(beta[1])
	c.run(l, kernels.Fold(width, 2))
}
