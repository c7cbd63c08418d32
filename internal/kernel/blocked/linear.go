package blocked

import "github.com/secencoder/secencoder/internal/kernel"

// Linear is one product: y[rows, Out] = act(dropout(x)[rows, In]·W[Out, In]ᵀ + b). The bias starts the accumulators, the
// activation runs over each block of the result while it is in the L2 cache, dropout runs while x is packed.
func (k *Kernels) Linear(_ kernel.Stream, a *kernel.LinearArgs) {
	k.begin(a.Header)
	defer k.end()
	k.call.lin = a
	c := a.Y
	if !a.Pre.Absent() {
		c = a.Pre
	}
	k.g = gemm{
		f: &k.p.Single,
		m: k.h.Count(a.Rows, a.N), n: a.Out, k: a.In,
		a: matrix{data: single(a.X.F32()), ld: a.In}, b: matrix{data: single(a.W.F32()), ld: a.In, trans: true},
		c: c.F32(), ldc: a.Out,
	}
	if !a.B.Absent() {
		k.g.bias = a.B.F32()
	}
	if a.Drop.On() {
		k.call.drop = k.dropOf(a.Drop, a.Rows, a.In)
		k.g.dropA = &k.call.drop
	}
	if a.Act != kernel.Linear || !a.Pre.Absent() {
		k.g.after = (*Kernels).activate
	}
	k.product()
}

// activate applies the activation to a block of the result.
func (k *Kernels) activate(i0, i1, j0, j1 int) {
	a := k.call.lin
	y, pre := a.Y.F32(), a.Y.F32()
	if !a.Pre.Absent() {
		pre = a.Pre.F32()
	}
	for i := i0; i < i1; i++ {
		at := i * a.Out
		k.p.Act(a.Act, y[at+j0:at+j1], pre[at+j0:at+j1])
	}
}
