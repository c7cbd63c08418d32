package gpu

import (
	"fmt"

	"github.com/secencoder/secencoder/internal/cuda"
	"github.com/secencoder/secencoder/internal/cuda/kernels"
	"github.com/secencoder/secencoder/internal/kernel"
)

// A linear layer is a product of cublasLt with a kernel before it and one behind it, each left out where it has nothing to
// do:
//
//	before   dropout(x), rounded where the product is one of BF16 and x is not
//	product  all N rows of the shape, because the host does not know how many are in use
//	behind   bias, activation and the one rounding of the result, from the float32 sums
//
// The product writes float32 where anything follows: cublasLt's own bias is BF16 where its result is, and its GELU is the
// tanh form, so neither gives our results. That costs one write and one read of 4 bytes an element. A bias alone is
// cublasLt's, but for the products that its documentation does not promise that to (addsBias).
//
// The functions of activations are CUDA's float32 ones (erff, expf, tanhf, log1pf), within the 16 roundings that the suite
// allows; the reference has float64.
//
// The gradient of the weights sums over rows. Rows that are not in use hold anything, NaN among it, so that both factors
// are copied into memory that was cleared before, unless all rows are in use.

// align rounds bytes up to what keeps products on their fast path.
func align(bytes int) int { return (bytes + 255) &^ 255 }

// carve hands out parts of one stretch of memory.
type carve struct{ at cuda.Ptr }

func (v *carve) take(bytes int) cuda.Ptr {
	p := v.at
	v.at += cuda.Ptr(align(bytes))
	return p
}

// arithmetic returns the type of the factors of a layer's products.
func arithmetic(half bool) kernel.DType {
	if half {
		return kernel.BF16
	}
	return kernel.F32
}

// ltType returns what cublasLt calls a type.
func ltType(d kernel.DType) cuda.Type {
	if d == kernel.BF16 {
		return cuda.BF16
	}
	return cuda.F32
}

// addsBias reports whether a product of n rows and out columns may have cublasLt add its float32 bias. Epilogues have
// vector loads, which fault, and take the device with them, where an address is not a multiple of their 16 bytes; and
// products of one row or column may be handed to kernels of matrix times vector, which have no epilogue.
func addsBias(bias cuda.Ptr, n, out int) bool { return bias%16 == 0 && n > 1 && out > 1 }

// rounds reports whether x has to be copied before it is a factor.
func rounds(x, factor kernel.DType, drop kernel.Dropout) bool { return drop.On() || x != factor }

// Linear is a product, with dropout(x) before it and bias and activation behind it.
func (t *Table) Linear(on kernel.Stream, a *kernel.LinearArgs) {
	c := t.begin(on)
	defer c.end()
	if a.N == 0 || c.failed() {
		return
	}
	h, tokens := header(a.Header)
	of := arithmetic(a.X.DType == kernel.BF16 || a.Y.DType == kernel.BF16)
	to := a.Y.DType
	x, w := want(a.X, a.X.DType, a.N*a.In), cuda.Ptr(0)
	y, pre, bias := want(a.Y, to, a.N*a.Out), may(a.Pre, to, a.N*a.Out), may(a.B, kernel.F32, a.Out)

	copies := rounds(a.X.DType, of, a.Drop)
	weights := of == kernel.BF16 && a.Packed.Absent()
	// The product is the result.
	plain := a.Act == kernel.Linear && pre == 0 && (bias == 0 || to == kernel.F32 && addsBias(bias, a.N, a.Out))
	var copyBytes, weightBytes, sumBytes int
	if copies {
		copyBytes = a.N * a.In * of.Size()
	}
	if weights {
		weightBytes = 2 * a.Out * a.In
	}
	if !plain && to == kernel.BF16 {
		sumBytes = 4 * a.N * a.Out
	}
	v := carve{c.scratch(align(copyBytes) + align(weightBytes) + align(sumBytes))}
	if copies {
		from := x
		x = v.take(copyBytes)
		c.drop(a.Drop, h, from, 0, x, a.X.DType, of, tokens, a.Rows, a.N, a.In)
	}
	w = c.weight(a.W, a.Packed, of, a.Out, a.In, &v)

	z := y
	if sumBytes > 0 {
		z = v.take(sumBytes)
	}
	p := &t.product
	*p = cuda.Product{M: a.N, N: a.Out, K: a.In, TransB: true, A: x, B: w, C: z, LDA: a.In, LDB: a.In, LDC: a.Out, In: ltType(of), Out: cuda.F32, Alpha: 1}
	if plain {
		p.Out = ltType(to)
		if bias != 0 {
			p.Epilogue, p.Bias = cuda.EpilogueBias, bias
		}
	}
	c.multiply()
	if plain || c.failed() {
		return
	}
	l := c.pack(biasActF32.between(kernel.F32, to)).Ptr(h).Ptr(z).Ptr(bias).Ptr(y).Ptr(pre)
	c.run(shape(l, tokens, a.Rows, a.N, a.Out).I32(int32(a.Act)), kernels.Tiles(a.N, a.Out, t.cores))
}

// multiply puts the product on the stream.
func (c call) multiply() {
	if !c.failed() {
		c.check(c.t.lt.Multiply(c.stream, &c.t.product))
	}
}

// drop writes dropout(x) + add, rounded once; add may be 0.
func (c call) drop(d kernel.Dropout, h, x, add, out cuda.Ptr, from, to kernel.DType, tokens int, rows kernel.RowKind, n, width int) {
	if c.failed() {
		return
	}
	l := shape(c.pack(dropoutF32.between(from, to)).Ptr(h).Ptr(x).Ptr(add).Ptr(out), tokens, rows, n, width)
	c.run(dropout(l, d), kernels.Tiles(n, width, c.t.cores))
}

// weight returns the weights as the factor of a product: as they are, as they were packed, or rounded into memory of v.
func (c call) weight(w, packed kernel.Buf, of kernel.DType, out, in int, v *carve) cuda.Ptr {
	switch {
	case of == kernel.F32:
		return want(w, kernel.F32, out*in)
	case !packed.Absent():
		return want(packed, kernel.F32, (out*in+1)/2)
	}
	p := v.take(2 * out * in)
	c.round(w, p, out*in)
	return p
}

// round writes a float32 operand as BF16.
func (c call) round(from kernel.Buf, to cuda.Ptr, n int) {
	if !c.failed() {
		c.run(c.pack(convert).Ptr(want(from, kernel.F32, n)).Ptr(to).I64(int64(n)), kernels.Elements(n, c.t.cores))
	}
}

// PackedBytes returns the size of a weight rounded to BF16, whose order stays as it is: cublasLt reads it either way round.
// Products of float32 read the weight itself.
func (t *Table) PackedBytes(out, in int, x kernel.DType, transposed bool) int {
	if x != kernel.BF16 {
		return 0
	}
	return (2*out*in + 3) &^ 3
}

// PackWeight rounds a weight to BF16.
func (t *Table) PackWeight(on kernel.Stream, a *kernel.PackWeightArgs) {
	c := t.begin(on)
	defer c.end()
	if a.X == kernel.BF16 {
		c.round(a.W, want(a.Packed, kernel.F32, (a.Out*a.In+1)/2), a.Out*a.In)
	}
}

// gradWork is how LinearGrad parts its workspace.
type gradWork struct {
	dZ      int // [N, Out] factors
	partial int // partial sums of dB
	weight  int // [Out, In] rounded
	shared  int // dZ·W in float32 while dX is made, then dropout(x), both [N, In]
}

func gradWorkOf(a *kernel.LinearGradArgs) gradWork {
	of := a.X.DType
	w := gradWork{
		dZ:      align(a.N * a.Out * of.Size()),
		partial: align(4 * a.Out * max(1, kernels.Chunks(a.N, kernels.SumRows))),
		shared:  align(4 * a.N * a.In),
	}
	if of == kernel.BF16 {
		w.weight = align(2 * a.Out * a.In)
	}
	return w
}

func (w gradWork) bytes() int { return w.dZ + w.partial + w.weight + w.shared }

// WorkBytes returns the workspace of LinearGrad; the other kernels that are built take theirs from the device.
func (t *Table) WorkBytes(args any) int {
	if a, ok := args.(*kernel.LinearGradArgs); ok {
		return gradWorkOf(a).bytes()
	}
	return 0
}

// LinearGrad is dY∘act'(pre), then a product for dX and one for dW.
func (t *Table) LinearGrad(on kernel.Stream, a *kernel.LinearGradArgs) {
	c := t.begin(on)
	defer c.end()
	work := gradWorkOf(a)
	if a.Work.Bytes < work.bytes() {
		panic(fmt.Sprintf("internal error: LinearGrad got a workspace of %d bytes, want %d", a.Work.Bytes, work.bytes()))
	}
	v := carve{address(a.Work)}
	g := linearGrad{call: c, a: a, of: a.X.DType, dZ: v.take(work.dZ), partial: v.take(work.partial), shared: v.take(work.shared), rest: v}
	g.header, g.tokens = header(a.Header)
	if c.failed() {
		return
	}
	if a.N == 0 {
		g.nothing()
		return
	}
	g.slope()
	if !a.DX.Absent() {
		g.input()
	}
	if !a.DW.Absent() {
		g.weights()
	}
}

// linearGrad is one call of LinearGrad.
type linearGrad struct {
	call
	a                   *kernel.LinearGradArgs
	of                  kernel.DType // of the factors
	header              cuda.Ptr
	tokens              int
	dZ, partial, shared cuda.Ptr // of the workspace; dZ is dY itself where it can be
	rest                carve
}

// nothing makes the gradients of a value without rows.
func (g *linearGrad) nothing() {
	for i, d := range []kernel.Buf{g.a.DW, g.a.DB} {
		if !d.Absent() {
			g.scale(d, g.a.Beta[i])
		}
	}
}

// slope makes dZ, and dB on the way.
func (g *linearGrad) slope() {
	a, from := g.a, g.a.DY.DType
	dY, dZ, partial := want(a.DY, from, a.N*a.Out), g.dZ, g.partial
	cleared := !a.DW.Absent() && a.Rows != kernel.RowsAll
	if a.Act == kernel.Linear && from == g.of && !cleared || a.DX.Absent() && a.DW.Absent() {
		dZ, g.dZ = 0, dY
	}
	if a.DB.Absent() {
		partial = 0
	}
	if dZ == 0 && partial == 0 {
		return
	}
	if dZ != 0 && cleared {
		g.clear(dZ, a.N*a.Out*g.of.Size())
	}
	var pre cuda.Ptr
	if a.Act != kernel.Linear {
		pre = want(a.Pre, from, a.N*a.Out)
	}
	to := g.of
	if dZ == 0 {
		to = from
	}
	if g.failed() {
		return
	}
	l := g.pack(actGradF32.between(from, to)).Ptr(g.header).Ptr(dY).Ptr(pre).Ptr(dZ).Ptr(partial)
	g.run(shape(l, g.tokens, a.Rows, a.N, a.Out).I32(int32(a.Act)), kernels.TileChunks(a.N, a.Out))
	if partial != 0 {
		l = g.pack(foldRows).Ptr(g.header).Ptr(partial).Ptr(want(a.DB, kernel.F32, a.Out)).Ptr(0)
		l = shape(l, g.tokens, a.Rows, a.N, a.Out).I32(1).I32(kernels.SumRows).F32(a.Beta[1]).F32(0)
		g.run(l, kernels.Fold(a.Out, 1))
	}
}

// input makes dX = dropout'(dZ·W) + DXAdd.
func (g *linearGrad) input() {
	a, to := g.a, g.a.DX.DType
	dX, add := want(a.DX, to, a.N*a.In), may(a.DXAdd, to, a.N*a.In)
	plain := !a.Drop.On() && add == 0
	z := dX
	if !plain && (to == kernel.BF16 || add == dX) {
		z = g.shared
	}
	out := cuda.F32
	if plain {
		out = ltType(to)
	}
	w := g.weight(a.W, a.Packed, g.of, a.Out, a.In, &g.rest)
	g.t.product = cuda.Product{M: a.N, N: a.In, K: a.Out, A: g.dZ, B: w, C: z, LDA: a.Out, LDB: a.In, LDC: a.In, In: ltType(g.of), Out: out, Alpha: 1}
	g.multiply()
	if !plain {
		g.drop(a.Drop, g.header, z, add, dX, kernel.F32, to, g.tokens, a.Rows, a.N, a.In)
	}
}

// weights makes dW = beta·dW + dZᵀ·dropout(x).
func (g *linearGrad) weights() {
	a := g.a
	x := want(a.X, g.of, a.N*a.In)
	if a.Drop.On() || a.Rows != kernel.RowsAll {
		from := x
		x = g.shared
		if a.Rows != kernel.RowsAll {
			g.clear(x, a.N*a.In*g.of.Size())
		}
		g.drop(a.Drop, g.header, from, 0, x, g.of, g.of, g.tokens, a.Rows, a.N, a.In)
	}
	g.t.product = cuda.Product{
		M: a.Out, N: a.In, K: a.N, TransA: true, A: g.dZ, B: x, C: want(a.DW, kernel.F32, a.Out*a.In),
		LDA: a.Out, LDB: a.In, LDC: a.In, In: ltType(g.of), Out: cuda.F32, Alpha: 1, Beta: a.Beta[0],
	}
	g.multiply()
}
