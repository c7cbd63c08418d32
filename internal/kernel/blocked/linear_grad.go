package blocked

import "github.com/secencoder/secencoder/internal/kernel"

// dzRows is the chunk of rows whose column sums are one float32 partial.
const dzRows = 64

// dzCall is the pass that makes dZ = dY∘act'(pre) and the column sums of dZ, row chunk by row chunk.
type dzCall struct {
	act     kernel.Activation
	dy, pre []float32
	dz      []float32 // nil: dY is dZ
	sums    bool
	n, w    int
	db      []float32
	beta    float32
}

// LinearGrad is one pass over dY (dZ and its column sums) and two products: dX = dZ·W, dW = dZᵀ·dropout(x). The sum over
// rows in dW runs in blocks of 256 rows, in order.
func (k *Kernels) LinearGrad(_ kernel.Stream, a *kernel.LinearGradArgs) {
	k.begin(a.Header)
	defer k.end()
	n := k.h.Count(a.Rows, a.N)
	dz := a.DY.F32()
	c := &k.call.dz
	*c = dzCall{act: a.Act, dy: dz, sums: !a.DB.Absent(), n: n, w: a.Out, db: a.DB.F32(), beta: a.Beta[1]}
	if a.Act != kernel.Linear {
		c.pre, c.dz = a.Pre.F32(), a.Work.F32()[:n*a.Out]
		dz = c.dz
	}
	k.dzPass()
	if a.Drop.On() {
		k.call.drop = k.dropOf(a.Drop, a.Rows, a.In)
	}
	if !a.DX.Absent() {
		k.call.linG = a
		k.g = gemm{
			f: &k.p.Single,
			m: n, n: a.In, k: a.Out,
			a: matrix{data: single(dz), ld: a.Out}, b: matrix{data: single(a.W.F32()), ld: a.In},
			c: a.DX.F32(), ldc: a.In,
		}
		if a.Drop.On() {
			k.g.after = (*Kernels).dropDX
		}
		k.product()
	}
	if !a.DW.Absent() {
		k.g = gemm{
			f: &k.p.Single,
			m: a.Out, n: a.In, k: n,
			a: matrix{data: single(dz), ld: a.Out, trans: true}, b: matrix{data: single(a.X.F32()), ld: a.In},
			c: a.DW.F32(), ldc: a.In, beta: a.Beta[0],
		}
		if a.Drop.On() {
			k.g.dropB = &k.call.drop
		}
		k.product()
	}
}

func (k *Kernels) dropDX(i0, i1, j0, j1 int) {
	a := k.call.linG
	dx := a.DX.F32()
	for i := i0; i < i1; i++ {
		row := dx[i*a.In+j0 : i*a.In+j1]
		k.dropRow(&k.call.drop, row, row, i, j0)
	}
}

// dzPass runs the pass of k.call.dz.
func (k *Kernels) dzPass() {
	c := &k.call.dz
	if c.dz == nil && !c.sums {
		return
	}
	chunks := parts(c.n, dzRows)
	if c.sums {
		grow(&k.s.partial, chunks*c.w)
	}
	k.run(chunks, (*Kernels).dzPart)
	if c.sums {
		k.foldPartials(c.db, k.s.partial, chunks, c.w, c.w, c.beta)
	}
}

func (k *Kernels) dzPart(part, _ int) {
	c := &k.call.dz
	i0, i1 := span(part, dzRows, c.n)
	var sums []float32
	if c.sums {
		sums = k.s.partial[part*c.w:][:c.w]
		clear(sums)
	}
	for i := i0; i < i1; i++ {
		row := c.dy[i*c.w:][:c.w]
		if c.dz != nil {
			dz := c.dz[i*c.w:][:c.w]
			k.p.ActGrad(c.act, dz, row, c.pre[i*c.w:][:c.w])
			row = dz
		}
		if sums != nil {
			k.p.Add(sums, sums, row)
		}
	}
}

// foldPartials sets dst[j] = beta·dst[j] + Σ partial[i·stride + j] over n partials in order, in float64.
func (k *Kernels) foldPartials(dst, partial []float32, n, stride, width int, beta float32) {
	for j := range width {
		s := 0.0
		for i := range n {
			s += float64(partial[i*stride+j])
		}
		if beta != 0 {
			s += float64(beta) * float64(dst[j])
		}
		dst[j] = float32(s)
	}
}
