package devicetest

import (
	"testing"

	"github.com/secencoder/secencoder/internal/kernel"
)

// linear is the operands of one linear layer.
type linear struct {
	*problem
	kind        kernel.RowKind
	shape, rows int
	in, out     int
	act         kernel.Activation
	x, w        *tensor
	weights     []float32 // as products read them
	drop        kernel.Dropout
}

// linears calls f for all small sizes along each axis, for tile edges, and for every activation.
func linears(s *suite, f func(i int, p *linear)) {
	type size struct {
		rows, in, out int
		act           kernel.Activation
	}
	var sizes []size
	for n := range 41 {
		sizes = append(sizes, size{n, 7, 5, 0}, size{3, n + 1, 9, 0}, size{5, 6, n + 1, 0}, size{n, n + 1, n + 1, 0})
	}
	for _, n := range []int{47, 48, 49, 63, 64, 65, 127, 128, 129, 139, 140, 141, 255, 256, 257, 281, 300} {
		sizes = append(sizes, size{n, 20, 18, 0}, size{17, n, 19, 0}, size{9, 33, n, 0})
	}
	sizes = append(sizes, size{129, 257, 65, 0}, size{65, 513, 130, 0}, size{300, 65, 33, kernel.Gelu})
	for act := kernel.Linear; act <= kernel.Sigmoid; act++ {
		for _, n := range []int{1, 8, 15, 16, 17, 40} {
			sizes = append(sizes, size{n, 12, n, act})
		}
	}
	sizes = drawn(s, sizes, func(d *draws) size {
		return size{d.upTo(0, 130), d.upTo(1, 150), d.upTo(1, 130), kernel.Activation(d.Intn(int(kernel.Sigmoid) + 1))}
	})
	for i, z := range sizes {
		kind := kindOf(i)
		p := &linear{
			problem: s.newProblem(nameOf("%s, [%d, %d]·[%d, %d]ᵀ, %v, case %d", kinds[kind], z.rows, z.in, z.out, z.in, z.act, i)),
			kind:    kind, rows: z.rows, in: z.in, out: z.out, act: z.act,
		}
		p.shape = p.withRows(kind, z.rows)
		p.x = p.normal("x", p.shape*p.in, p.rows*p.in, 1)
		if kind != kernel.RowsAll { // whose values are float32
			p.halve(p.x)
		}
		p.w = p.normal("w", p.out*p.in, p.out*p.in, 1)
		p.weights = p.factors(p.w.f)
		p.drop = p.dropOf()
		f(i, p)
	}
}

// input returns row r of dropout(x), as products read it.
func (p *linear) input(r int) []float32 {
	row := make([]float32, p.in)
	h := p.view()
	for c := range row {
		row[c] = p.factor(dropped(h, p.drop, p.kind, r, p.in, c, p.x.f[r*p.in+c]))
	}
	return row
}

func linearCases(t *testing.T, s *suite) {
	linears(s, func(i int, p *linear) {
		b := p.maybe(i%3 > 0, p.normal("b", p.out, p.out, 1))
		// Where x is float32, the type of y is what tells the arithmetic. A head's logits are float32.
		y := p.result("y", p.shape*p.out, p.rows*p.out)
		y.keep = p.half && p.kind == kernel.RowsAll
		if p.half && p.kind == kernel.RowsMasked && i%8 == 2 {
			y.dtype = kernel.F32
		}
		pre := p.maybe(p.act != kernel.Linear && p.flip(), p.output("pre", p.shape*p.out, p.rows*p.out))
		if pre != nil {
			pre.dtype = y.dtype
		}
		p.bind = func(k kernel.Kernels, m *memory) func() {
			a := &kernel.LinearArgs{
				Header: m.buf(p.header), X: m.buf(p.x), W: m.buf(p.w), B: m.buf(b), Y: m.buf(y), Pre: m.buf(pre),
				Rows: p.kind, N: p.shape, In: p.in, Out: p.out, Act: p.act, Drop: p.drop,
			}
			return func() { k.Linear(0, a) }
		}
		p.bounds = func(*memory) {
			for r := range p.rows {
				x := p.input(r)
				for o := range p.out {
					var sum, magnitude float64
					for c, v := range x {
						sum += float64(v) * float64(p.weights[o*p.in+c])
						magnitude += abs(v) * abs(p.weights[o*p.in+c])
					}
					if b != nil {
						sum += float64(b.f[o])
						magnitude += abs(b.f[o])
					}
					z := gamma(p.terms(p.in)+4) * magnitude
					if pre != nil {
						pre.bound = append(pre.bound, z)
					}
					y.bound = append(y.bound, slopeLimit*z+activationError(p.act, sum)+unit*z)
				}
			}
		}
		s.run(t, p.problem, i%40 == 39)
	})
}

func linearGradCases(t *testing.T, s *suite) {
	linears(s, func(i int, p *linear) { s.linearGrad(t, i, p, false) })
}

// linearGradAddCases has an addend of dX, every third time dX itself.
func linearGradAddCases(t *testing.T, s *suite) {
	for _, half := range []bool{false, true} {
		linears(s.in(half), func(i int, p *linear) { s.linearGrad(t, i, p, true) })
	}
}

// linearGrad runs one gradient. With BF16, that of a value of all rows is float32 throughout, and that of a head's logits
// comes as float32.
func (s *suite) linearGrad(t *testing.T, i int, p *linear, add bool) {
	if p.kind == kernel.RowsAll {
		p.half, p.weights = false, p.w.f
	}
	of := p.activation
	if p.kind == kernel.RowsMasked && i%8 == 2 {
		of = p.normal
	}
	var pre *tensor
	if p.act != kernel.Linear {
		pre = of("pre", p.shape*p.out, p.rows*p.out, 2)
	}
	dY := of("dY", p.shape*p.out, p.rows*p.out, 1)
	beta := [2]float32{p.betaOf(), p.betaOf()}
	dX := p.maybe(i%5 > 0, p.result("dX", p.shape*p.in, p.rows*p.in))
	var dXAdd *tensor
	switch {
	case add && dX != nil && i%3 == 0:
		p.maybe(false, dX)
		dX = p.activation("dX", p.shape*p.in, p.rows*p.in, 1)
		dX.out, dXAdd = true, dX
	case add:
		dXAdd = p.activation("dXAdd", p.shape*p.in, p.rows*p.in, 1)
	}
	dW := p.maybe(i%7 > 0, p.accumulated("dW", p.out*p.in, beta[0]))
	dB := p.maybe(i%3 > 0, p.accumulated("dB", p.out, beta[1]))
	p.bind = func(k kernel.Kernels, m *memory) func() {
		a := &kernel.LinearGradArgs{
			Header: m.buf(p.header), X: m.buf(p.x), W: m.buf(p.w), Pre: m.buf(pre), DY: m.buf(dY),
			DX: m.buf(dX), DW: m.buf(dW), DB: m.buf(dB), DXAdd: m.buf(dXAdd), Beta: beta,
			Rows: p.kind, N: p.shape, In: p.in, Out: p.out, Act: p.act, Drop: p.drop,
		}
		a.Work = m.work(k.WorkBytes(a))
		return func() { k.LinearGrad(0, a) }
	}
	p.bounds = func(*memory) { p.gradBounds(dY, dX, dXAdd, dW, dB, beta) }
	s.run(t, p.problem, i%40 == 39)
}

// gradBounds: |dZ| is at most slopeLimit·|dY|, and off by slopeError·|dY| and a rounding; then come two matrix products
// and a sum. With BF16 dZ may be rounded, unless it is what came in.
func (p *linear) gradBounds(dY, dX, dXAdd, dW, dB *tensor, beta [2]float32) {
	sumX, sumW, sumB := newSumBound(p.rows*p.in), newSumBound(p.out*p.in), newSumBound(p.out)
	limit, off := slopeLimit, slopeError(p.act)
	if p.act == kernel.Linear {
		limit = 1
	}
	if p.act != kernel.Linear || dY.dtype != kernel.BF16 {
		off += p.inner() * limit
	}
	h := p.view()
	for r := range p.rows {
		x := p.input(r)
		for o := range p.out {
			d := abs(dY.f[r*p.out+o])
			sumB.add(o, limit*d, off*d)
			for c, v := range x {
				w := abs(p.weights[o*p.in+c]) * float64(dropped(h, p.drop, p.kind, r, p.in, c, 1))
				sumX.add(r*p.in+c, limit*d*w, off*d*w)
				sumW.add(o*p.in+c, limit*d*abs(v), off*d*abs(v))
			}
		}
	}
	if dXAdd != nil {
		for i, v := range dXAdd.f[:dXAdd.used] {
			sumX.add(i, abs(v), 0)
		}
	}
	sumX.set(dX, p.terms(p.out), 0)
	sumW.set(dW, p.terms(p.rows), beta[0])
	sumB.set(dB, p.rows, beta[1])
}
