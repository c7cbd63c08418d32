package devicetest

import (
	"testing"

	"github.com/secencoder/secencoder/internal/kernel"
)

// normalization is the operands of LayerNorm (res is nil) or AddNorm.
type normalization struct {
	*problem
	kind        kernel.RowKind
	shape, rows int // rows in the shape, rows in use
	w           int
	x, res      *tensor
	gamma, beta *tensor
	drop        kernel.Dropout
	eps         float32
}

// normalizations calls f for problems over all small sizes and tile edges. One row in four is far from 0, and one in
// eleven constant: there the deviations cancel.
func normalizations(s *suite, residual bool, f func(i int, p *normalization)) {
	type size struct{ rows, w int }
	var sizes []size
	for n := range 41 {
		sizes = append(sizes, size{n, 5}, size{3, n + 1})
	}
	for _, w := range []int{47, 48, 63, 64, 65, 127, 128, 129, 255, 256, 257, 300, 768} {
		sizes = append(sizes, size{5, w})
	}
	for _, rows := range []int{63, 64, 65, 128, 130, 300} {
		sizes = append(sizes, size{rows, 24})
	}
	sizes = drawn(s, sizes, func(d *draws) size { return size{d.upTo(0, 200), d.upTo(1, 1100)} })
	for i, z := range sizes {
		kind := kindOf(i)
		p := &normalization{problem: s.newProblem(nameOf("%s, %d rows of %d, case %d", kinds[kind], z.rows, z.w, i)), kind: kind, rows: z.rows, w: z.w, eps: 1e-7}
		if p.flip() {
			p.eps = 1e-5
		}
		p.shape = p.withRows(kind, z.rows)
		p.half = p.half && kind != kernel.RowsAll // those are float32
		p.x = p.activation("x", p.shape*p.w, p.rows*p.w, 1)
		for r := range p.rows {
			row := p.x.f[r*p.w : (r+1)*p.w]
			for c := range row {
				switch {
				case r%11 == 5:
					row[c] = row[0]
				case r%4 == 1:
					row[c] += 10
				}
			}
		}
		p.halve(p.x)
		if residual {
			p.res = p.activation("res", p.shape*p.w, p.rows*p.w, 1)
		}
		p.gamma, p.beta = p.normal("gamma", p.w, p.w, 1), p.normal("beta", p.w, p.w, 1)
		p.drop = p.dropOf()
		f(i, p)
	}
}

// row returns row r of what is normalized, as float64 with magnitudes.
func (p *normalization) row(r int) *normRow {
	row := newNormRow(p.w)
	h := p.view()
	for c := range p.w {
		x := p.x.f[r*p.w+c]
		if p.res == nil {
			row.s[c], row.magnitude[c] = float64(x), 0 // x is exact
			continue
		}
		x = dropped(h, p.drop, p.kind, r, p.w, c, x)
		row.s[c] = float64(x) + float64(p.res.f[r*p.w+c])
		row.magnitude[c] = 2*abs(x) + abs(p.res.f[r*p.w+c]) // a product and a sum
	}
	return row
}

// dropped applies dropout to one element.
func dropped(h kernel.Header, d kernel.Dropout, kind kernel.RowKind, r, w, c int, x float32) float32 {
	if !d.On() {
		return x
	}
	if h.DropoutWord(d.Site, h.DropoutElement(kind, r, w)+uint64(c)) < d.Threshold() {
		return 0
	}
	return x * d.Scale()
}

func layerNormCases(t *testing.T, s *suite) {
	normalizations(s, false, func(i int, p *normalization) {
		out := p.result("out", p.shape*p.w, p.rows*p.w)
		stats := p.maybe(i%3 > 0, p.output("stats", p.shape*2, p.rows*2))
		p.bind = func(k kernel.Kernels, m *memory) func() {
			a := &kernel.LayerNormArgs{
				Header: m.buf(p.header), X: m.buf(p.x), Gamma: m.buf(p.gamma), Beta: m.buf(p.beta), Out: m.buf(out), Stats: m.buf(stats),
				Rows: p.kind, N: p.shape, W: p.w, Eps: p.eps, Drop: p.drop,
			}
			return func() { k.LayerNorm(0, a) }
		}
		p.bounds = func(*memory) { p.forwardBounds(out, stats, float64(p.drop.Scale())) }
		s.run(t, p.problem, i%20 == 19)
	})
}

// forwardBounds sets the bounds of result and statistics; scale is what a kept result is multiplied with.
func (p *normalization) forwardBounds(out, stats *tensor, scale float64) {
	for r := range p.rows {
		row := p.row(r)
		if p.res == nil {
			for c := range row.magnitude {
				row.magnitude[c] = abs(p.x.f[r*p.w+c])
			}
		}
		bound, mean, rstd := row.bound(p.gamma.f, p.beta.f, p.eps)
		for _, b := range bound {
			out.bound = append(out.bound, b*scale*(1+4*unit))
		}
		if stats != nil {
			stats.bound = append(stats.bound, mean, rstd)
		}
	}
}

// withStats adds the statistics that the reference's forward pass leaves to the gradient.
func (p *normalization) withStats(s *suite) *tensor {
	stats := make([]float32, 2*p.shape)
	for i := range stats {
		stats[i] = nan
	}
	out := make([]float32, p.shape*p.w)
	header, x, gamma, beta := kernel.FromI32(p.header.i), kernel.FromF32(p.x.f), kernel.FromF32(p.gamma.f), kernel.FromF32(p.beta.f)
	if p.res == nil {
		s.reference.LayerNorm(0, &kernel.LayerNormArgs{
			Header: header, X: x, Gamma: gamma, Beta: beta, Out: kernel.FromF32(out), Stats: kernel.FromF32(stats),
			Rows: p.kind, N: p.shape, W: p.w, Eps: p.eps,
		})
	} else {
		s.reference.AddNorm(0, &kernel.AddNormArgs{
			Header: header, X: x, Res: kernel.FromF32(p.res.f), Gamma: gamma, Beta: beta, Out: kernel.FromF32(out), Stats: kernel.FromF32(stats),
			Rows: p.kind, N: p.shape, W: p.w, Eps: p.eps, Drop: p.drop,
		})
	}
	t := p.floats("stats", len(stats), 2*p.rows)
	copy(t.f, stats)
	return t
}

// gradBounds sets the bounds of the gradients; dS is the gradient of the sum, scaled ones come out of dropout.
func (p *normalization) gradBounds(dOut, stats, dS, dScaled, dGamma, dBeta *tensor, beta [2]float32) {
	sumGamma, sumBeta := newSumBound(p.w), newSumBound(p.w)
	h := p.view()
	for r := range p.rows {
		dy := make([]float64, p.w)
		for c := range dy {
			d := dOut.f[r*p.w+c]
			if p.res == nil {
				d = dropped(h, p.drop, p.kind, r, p.w, c, d)
			}
			dy[c] = float64(d)
		}
		bound := p.row(r).gradBound(dy, p.gamma.f, float64(stats.f[2*r]), float64(stats.f[2*r+1]), sumGamma, sumBeta)
		for _, b := range bound {
			if dS != nil {
				dS.bound = append(dS.bound, b)
			}
			if dScaled != nil {
				dScaled.bound = append(dScaled.bound, b*float64(p.drop.Scale()))
			}
		}
	}
	sumGamma.set(dGamma, p.rows, beta[0])
	sumBeta.set(dBeta, p.rows, beta[1])
}

func layerNormGradCases(t *testing.T, s *suite) {
	normalizations(s, false, func(i int, p *normalization) {
		stats := p.withStats(s)
		beta := [2]float32{p.betaOf(), p.betaOf()}
		dOut := p.activation("dOut", p.shape*p.w, p.rows*p.w, 1)
		dX := p.maybe(i%5 > 0, p.result("dX", p.shape*p.w, p.rows*p.w))
		dGamma := p.maybe(i%7 > 0, p.accumulated("dGamma", p.w, beta[0]))
		dBeta := p.maybe(i%11 > 0, p.accumulated("dBeta", p.w, beta[1]))
		p.bind = func(k kernel.Kernels, m *memory) func() {
			a := &kernel.LayerNormGradArgs{
				Header: m.buf(p.header), X: m.buf(p.x), Stats: m.buf(stats), Gamma: m.buf(p.gamma), DOut: m.buf(dOut),
				DX: m.buf(dX), DGamma: m.buf(dGamma), DBeta: m.buf(dBeta), Beta: beta, Rows: p.kind, N: p.shape, W: p.w, Drop: p.drop,
			}
			return func() { k.LayerNormGrad(0, a) }
		}
		p.bounds = func(*memory) { p.gradBounds(dOut, stats, dX, nil, dGamma, dBeta, beta) }
		s.run(t, p.problem, i%20 == 19)
	})
}

func addNormCases(t *testing.T, s *suite) {
	normalizations(s, true, func(i int, p *normalization) {
		out := p.result("out", p.shape*p.w, p.rows*p.w)
		stats := p.maybe(i%3 > 0, p.output("stats", p.shape*2, p.rows*2))
		p.bind = func(k kernel.Kernels, m *memory) func() {
			a := &kernel.AddNormArgs{
				Header: m.buf(p.header), X: m.buf(p.x), Res: m.buf(p.res), Gamma: m.buf(p.gamma), Beta: m.buf(p.beta),
				Out: m.buf(out), Stats: m.buf(stats), Rows: p.kind, N: p.shape, W: p.w, Eps: p.eps, Drop: p.drop,
			}
			return func() { k.AddNorm(0, a) }
		}
		p.bounds = func(*memory) { p.forwardBounds(out, stats, 1) }
		s.run(t, p.problem, i%20 == 19)
	})
}

func addNormGradCases(t *testing.T, s *suite) {
	normalizations(s, true, func(i int, p *normalization) {
		stats := p.withStats(s)
		beta := [2]float32{p.betaOf(), p.betaOf()}
		dOut := p.activation("dOut", p.shape*p.w, p.rows*p.w, 1)
		dX := p.maybe(i%5 > 0, p.result("dX", p.shape*p.w, p.rows*p.w))
		dRes := p.maybe(i%6 > 0, p.result("dRes", p.shape*p.w, p.rows*p.w))
		dGamma := p.maybe(i%7 > 0, p.accumulated("dGamma", p.w, beta[0]))
		dBeta := p.maybe(i%11 > 0, p.accumulated("dBeta", p.w, beta[1]))
		p.bind = func(k kernel.Kernels, m *memory) func() {
			a := &kernel.AddNormGradArgs{
				Header: m.buf(p.header), X: m.buf(p.x), Res: m.buf(p.res), Stats: m.buf(stats), Gamma: m.buf(p.gamma), DOut: m.buf(dOut),
				DX: m.buf(dX), DRes: m.buf(dRes), DGamma: m.buf(dGamma), DBeta: m.buf(dBeta),
				Beta: beta, Rows: p.kind, N: p.shape, W: p.w, Drop: p.drop,
			}
			return func() { k.AddNormGrad(0, a) }
		}
		p.bounds = func(*memory) { p.gradBounds(dOut, stats, dRes, dX, dGamma, dBeta, beta) }
		s.run(t, p.problem, i%20 == 19)
	})
}
