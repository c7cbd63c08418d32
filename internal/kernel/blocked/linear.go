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
		packed: a.Packed.F32(),
	}
	if !a.B.Absent() {
		k.g.bias = a.B.F32()
	}
	if a.Drop.On() {
		k.call.drop = k.dropOf(a.Drop, a.Rows, a.In)
		k.g.dropA = &k.call.drop
	}
	k.g.done = (*Kernels).linearOut
	if a.Y.DType == kernel.F32 && deep(a.In) {
		k.g.c, k.g.ldc = a.Y.F32(), a.Out
		if !a.Pre.Absent() {
			k.g.c = a.Pre.F32()
		}
	}
	k.product()
}

// deep reports whether float32 results of that many terms add up where they belong. B is then packed in several goes that
// stay in the caches, which is worth more than results that do not leave them: one core makes 208 GFLOP/s of 512×3,072×768
// so, else 199. With fewer terms it is the other way round: 203, else 196, of 512×768×3,072, whose rows of results lie
// 12 KiB apart and share places in the L1 cache.
func deep(terms int) bool { return terms > 1024 }

// linearOut stores a block of sums and applies the activation to it.
func (k *Kernels) linearOut(_ int, c []float32, ld, i0, i1, j0, j1 int) {
	a, width := k.call.lin, j1-j0
	y, pre := valuesOf(a.Y), valuesOf(a.Pre)
	placed := k.g.c != nil // in pre, or in y when that is absent
	keeps := !pre.absent()
	for i := i0; i < i1; i++ {
		row, at := c[(i-i0)*ld:][:width], i*a.Out+j0
		if keeps && !placed {
			k.store(&pre, at, row)
		}
		switch {
		case a.Act == kernel.Linear && placed && !keeps:
		case a.Act == kernel.Linear:
			k.store(&y, at, row)
		case y.BF16 == nil:
			k.p.Act(a.Act, y.F32[at:][:width], row)
		case a.Act == kernel.Gelu && k.p.Rows.Gelu != nil && width%16 == 0:
			k.p.Rows.Gelu(y.BF16[at:][:width], row)
		default:
			k.p.Act(a.Act, row, row)
			k.store(&y, at, row)
		}
	}
}

// store puts x into elements of v, rounded where those are BF16.
func (k *Kernels) store(v *Values, at int, x []float32) {
	if v.BF16 != nil {
		k.p.Narrow(v.BF16[at:][:len(x)], x)
	} else {
		copy(v.F32[at:][:len(x)], x)
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
