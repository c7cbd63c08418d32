package blocked

import "github.com/secencoder/secencoder/internal/kernel"

// format returns the format of products in the arithmetic of float32 or of BF16.
func (k *Kernels) format(half bool) *Format {
	if half {
		return &k.p.Half
	}
	return &k.p.Single
}

// Linear is one product: y[rows, Out] = act(dropout(x)[rows, In]·W[Out, In]ᵀ + b). The bias starts the accumulators, the
// activation and the conversion run over each block of the result while it is in the L2 cache, dropout runs while x is
// packed.
func (k *Kernels) Linear(_ kernel.Stream, a *kernel.LinearArgs) {
	k.begin(a.Header)
	defer k.end()
	k.call.lin = a
	half := a.X.DType == kernel.BF16 || a.Y.DType == kernel.BF16
	k.g = gemm{
		f: k.format(half), m: k.h.Count(a.Rows, a.N), n: a.Out, k: a.In,
		a: matrix{data: valuesOf(a.X), ld: a.In}, b: matrix{data: single(a.W.F32()), ld: a.In, trans: true},
		packed: a.Packed.F32(), ldc: a.Out,
	}
	if !a.B.Absent() {
		k.g.bias = a.B.F32()
	}
	if a.Drop.On() {
		k.call.drop = k.dropOf(a.Drop, a.Rows, a.In)
		k.g.dropA = &k.call.drop
	}
	switch {
	case a.Y.DType == kernel.BF16:
		k.g.done = (*Kernels).linearOut
	case !a.Pre.Absent():
		k.g.c, k.g.done = a.Pre.F32(), (*Kernels).activate
	default:
		k.g.c = a.Y.F32()
		if a.Act != kernel.Linear {
			k.g.done = (*Kernels).activate
		}
	}
	k.product()
}

// activate applies the activation to a block of the result that stands where it belongs.
func (k *Kernels) activate(_ int, c []float32, ld, i0, i1, j0, j1 int) {
	a := k.call.lin
	y := a.Y.F32()
	for i := i0; i < i1; i++ {
		k.p.Act(a.Act, y[i*a.Out+j0:i*a.Out+j1], c[(i-i0)*ld:][:j1-j0])
	}
}

// linearOut applies the activation to a block of sums and stores both rounded.
func (k *Kernels) linearOut(_ int, c []float32, ld, i0, i1, j0, j1 int) {
	a := k.call.lin
	y, pre := a.Y.BF16(), a.Pre.BF16()
	for i := i0; i < i1; i++ {
		row, at := c[(i-i0)*ld:][:j1-j0], i*a.Out
		if pre != nil {
			k.p.Narrow(pre[at+j0:at+j1], row)
		}
		if a.Act != kernel.Linear {
			k.p.Act(a.Act, row, row)
		}
		k.p.Narrow(y[at+j0:at+j1], row)
	}
}

// PackedBytes returns the size of a weight as PackWeight leaves it.
func (k *Kernels) PackedBytes(out, in int, x kernel.DType, transposed bool) int {
	n, terms := out, in
	if transposed {
		n, terms = in, out
	}
	return 4 * k.format(x == kernel.BF16).Len(upTo(n, 16), terms)
}

// PackWeight packs W as the B of Linear, or of dX.
func (k *Kernels) PackWeight(_ kernel.Stream, a *kernel.PackWeightArgs) {
	k.begin(kernel.Buf{})
	defer k.end()
	g := &k.g
	*g = gemm{f: k.format(a.X == kernel.BF16), n: a.Out, k: a.In, b: matrix{data: single(a.W.F32()), ld: a.In, trans: true}, packed: a.Packed.F32()}
	if a.Transposed {
		g.n, g.k, g.b.trans = a.In, a.Out, false
	}
	g.j1, g.width = g.n, upTo(g.n, 16)
	g.panelGroups = parts(g.width/16, packPanels)
	k.run(g.panelGroups*parts(g.k, g.f.Depth), (*Kernels).packPart)
	*g = gemm{}
}
