package devicetest

import (
	"math"
	"slices"
	"testing"

	"github.com/secencoder/secencoder/internal/kernel"
)

// convolution is the operands of one convolution layer.
type convolution struct {
	*problem
	h, groups, ks    int
	act              kernel.Activation
	drop             kernel.Dropout
	e, v, w, b       *tensor
	gamma, betaShift *tensor
	weights          []float32 // as products read them
}

// convolutions calls f over packs, widths, groups and kernel sizes up to more than the length of a piece.
func convolutions(s *suite, f func(i int, p *convolution)) {
	shapes := []struct{ h, groups, ks int }{{4, 1, 3}, {6, 2, 5}, {1, 1, 1}, {16, 1, 3}, {17, 1, 3}, {24, 8, 3}, {8, 8, 7}, {40, 1, 3}, {64, 2, 5}}
	acts := []kernel.Activation{kernel.Tanh, kernel.Gelu, kernel.Linear, kernel.Relu}
	i := 0
	for _, lengths := range packs {
		for n := range 4 {
			z := shapes[(i+n*2)%len(shapes)]
			p := &convolution{
				problem: s.newProblem(nameOf("pieces %v, width %d, %d groups, kernel %d, %v, case %d", lengths, z.h, z.groups, z.ks, acts[n], i)),
				h:       z.h, groups: z.groups, ks: z.ks, act: acts[n],
			}
			p.withPack(lengths, 1)
			weights := z.h * (z.h / z.groups) * z.ks
			p.e, p.v = p.activation("e", p.tokens*p.h, p.used()*p.h, 1), p.activation("v", p.tokens*p.h, p.used()*p.h, 1)
			p.w, p.b = p.normal("w", weights, weights, 0.5), p.normal("b", p.h, p.h, 0.5)
			p.weights = p.factors(p.w.f)
			p.gamma, p.betaShift = p.normal("gamma", p.h, p.h, 1), p.normal("beta", p.h, p.h, 1)
			p.drop = p.dropOf()
			f(i, p)
			i++
		}
	}
}

// each calls f for every product of the convolution: output channel o of token n, input element, weight.
func (p *convolution) each(f func(n, o, input, weight int)) {
	h := p.view()
	per := p.h / p.groups
	for n := range p.used() {
		first, end := int(h.Offsets[h.Piece[n]]), int(h.Offsets[h.Piece[n]+1])
		for o := range p.h {
			for c := range per {
				for t := range p.ks {
					if m := n + t - p.ks/2; m >= first && m < end {
						f(n, o, m*p.h+o/per*per+c, (o*per+c)*p.ks+t)
					}
				}
			}
		}
	}
}

// row returns v + act(dropout(pre)) of token n, where pre is off by delta.
func (p *convolution) row(pre, delta []float64, n int) *normRow {
	row := newNormRow(p.h)
	h := p.view()
	for c := range p.h {
		kept := float64(dropped(h, p.drop, kernel.RowsTokens, n, p.h, c, 1))
		x := pre[n*p.h+c] * kept
		y := p.act.Value(x)
		row.s[c] = float64(p.v.f[n*p.h+c]) + y
		row.magnitude[c] = abs(p.v.f[n*p.h+c]) + abs(float32(y))
		row.delta[c] = slopeLimit*(delta[n*p.h+c]*kept+unit*abs(float32(x))) + activationError(p.act, x) + 2*unit*abs(float32(y))
	}
	return row
}

func convNormCases(t *testing.T, s *suite) {
	convolutions(s, func(i int, p *convolution) {
		n := p.used() * p.h
		pre := p.result("pre", p.tokens*p.h, n)
		out := p.result("out", p.tokens*p.h, n)
		stats := p.maybe(i%3 > 0, p.output("stats", 2*p.tokens, 2*p.used()))
		p.bind = func(k kernel.Kernels, m *memory) func() {
			a := &kernel.ConvNormArgs{
				Header: m.buf(p.header), E: m.buf(p.e), V: m.buf(p.v), W: m.buf(p.w), B: m.buf(p.b), Gamma: m.buf(p.gamma), Beta: m.buf(p.betaShift),
				Pre: m.buf(pre), Out: m.buf(out), Stats: m.buf(stats),
				T: p.tokens, H: p.h, Groups: p.groups, KS: p.ks, Act: p.act, Eps: 1e-7, Drop: p.drop,
			}
			a.Work = m.work(k.WorkBytes(a))
			return func() { k.ConvNorm(0, a) }
		}
		p.bounds = func(*memory) {
			value, delta := make([]float64, n), make([]float64, n)
			for i := range value {
				value[i] = float64(p.b.f[i%p.h])
				delta[i] = abs(p.b.f[i%p.h])
			}
			p.each(func(n, o, input, weight int) {
				value[n*p.h+o] += float64(p.e.f[input]) * float64(p.weights[weight])
				delta[n*p.h+o] += abs(p.e.f[input]) * abs(p.weights[weight])
			})
			for i := range delta {
				delta[i] *= gamma(p.h/p.groups*p.ks + 4)
			}
			pre.bound = slices.Clone(delta)
			for i, v := range value {
				delta[i] += p.inner() * math.Abs(v) // the sum may be taken from pre as it is stored
			}
			for n := range p.used() {
				bound, mean, rstd := p.row(value, delta, n).bound(p.gamma.f, p.betaShift.f, 1e-7)
				out.bound = append(out.bound, bound...)
				if stats != nil {
					stats.bound = append(stats.bound, mean, rstd)
				}
			}
		}
		s.run(t, p.problem, i%20 == 19)
	})
}

func convNormGradCases(t *testing.T, s *suite) {
	convolutions(s, func(i int, p *convolution) {
		n := p.used() * p.h
		forward := make([]float32, p.tokens*p.h)
		pre, stats := p.floats("pre", p.tokens*p.h, n), p.floats("stats", 2*p.tokens, 2*p.used())
		s.reference.ConvNorm(0, &kernel.ConvNormArgs{
			Header: kernel.FromI32(p.header.i), E: kernel.FromF32(p.e.f), V: kernel.FromF32(p.v.f), W: kernel.FromF32(p.w.f), B: kernel.FromF32(p.b.f),
			Gamma: kernel.FromF32(p.gamma.f), Beta: kernel.FromF32(p.betaShift.f), Pre: kernel.FromF32(pre.f), Out: kernel.FromF32(forward), Stats: kernel.FromF32(stats.f),
			T: p.tokens, H: p.h, Groups: p.groups, KS: p.ks, Act: p.act, Eps: 1e-7, Drop: p.drop,
		})
		p.halve(pre)
		beta := [4]float32{p.betaOf(), p.betaOf(), p.betaOf(), p.betaOf()}
		dOut := p.activation("dOut", p.tokens*p.h, n, 1)
		dE := p.maybe(i%5 > 0, p.result("dE", p.tokens*p.h, n))
		dV := p.maybe(i%7 > 0, p.result("dV", p.tokens*p.h, n))
		dW, dB := p.accumulated("dW", len(p.w.f), beta[0]), p.accumulated("dB", p.h, beta[1])
		dGamma, dBeta := p.accumulated("dGamma", p.h, beta[2]), p.accumulated("dBeta", p.h, beta[3])
		p.bind = func(k kernel.Kernels, m *memory) func() {
			a := &kernel.ConvNormGradArgs{
				Header: m.buf(p.header), E: m.buf(p.e), V: m.buf(p.v), W: m.buf(p.w), Pre: m.buf(pre), Stats: m.buf(stats), Gamma: m.buf(p.gamma),
				DOut: m.buf(dOut), DE: m.buf(dE), DV: m.buf(dV), DW: m.buf(dW), DB: m.buf(dB), DGamma: m.buf(dGamma), DBeta: m.buf(dBeta),
				Beta: beta, T: p.tokens, H: p.h, Groups: p.groups, KS: p.ks, Act: p.act, Drop: p.drop,
			}
			a.Work = m.work(k.WorkBytes(a))
			return func() { k.ConvNormGrad(0, a) }
		}
		p.bounds = func(want *memory) {
			value, exact := make([]float64, n), make([]float64, n)
			for i := range value {
				value[i] = float64(pre.f[i])
			}
			h := p.view()
			sumGamma, sumBeta, sumE := newSumBound(p.h), newSumBound(p.h), newSumBound(n)
			sumW, sumB := newSumBound(len(p.w.f)), newSumBound(p.h)
			size, off := make([]float64, n), make([]float64, n) // of the gradient of the convolution
			for r := range p.used() {
				dy := make([]float64, p.h)
				for c := range dy {
					dy[c] = float64(dOut.f[r*p.h+c])
				}
				row := p.row(value, exact, r)
				mean, rstd := float64(stats.f[2*r]), float64(stats.f[2*r+1])
				bound := row.gradBound(dy, p.gamma.f, mean, rstd, sumGamma, sumBeta)
				if dV != nil {
					dV.bound = append(dV.bound, bound...)
				}
				ds := normGrad(row.s, dy, p.gamma.f, mean, rstd)
				for c, b := range bound {
					kept := float64(dropped(h, p.drop, kernel.RowsTokens, r, p.h, c, 1))
					size[r*p.h+c] = slopeLimit * kept * (ds[c] + b)
					off[r*p.h+c] = kept*(slopeLimit*b+(slopeError(p.act)+4*unit+2*unit*abs(float32(value[r*p.h+c]*kept)))*ds[c]) + p.inner()*size[r*p.h+c]
					sumB.add(c, size[r*p.h+c], off[r*p.h+c])
				}
			}
			p.each(func(n, o, input, weight int) {
				at := n*p.h + o
				sumE.add(input, size[at]*abs(p.weights[weight]), off[at]*abs(p.weights[weight]))
				sumW.add(weight, size[at]*abs(p.e.f[input]), off[at]*abs(p.e.f[input]))
			})
			sumE.set(dE, p.h/p.groups*p.ks, 0)
			sumW.set(dW, p.used(), beta[0])
			sumB.set(dB, p.used(), beta[1])
			sumGamma.set(dGamma, p.used(), beta[2])
			sumBeta.set(dBeta, p.used(), beta[3])
		}
		s.run(t, p.problem, i%20 == 19)
	})
}

// normGrad returns the absolute gradient of a normalized row.
func normGrad(s, dy []float64, gammas []float32, mean, rstd float64) []float64 {
	w := float64(len(s))
	var meanG, meanDot float64
	for c := range s {
		g := dy[c] * float64(gammas[c])
		meanG += g / w
		meanDot += g * (s[c] - mean) * rstd / w
	}
	ds := make([]float64, len(s))
	for c := range s {
		ds[c] = abs(float32(rstd * (dy[c]*float64(gammas[c]) - meanG - (s[c]-mean)*rstd*meanDot)))
	}
	return ds
}
