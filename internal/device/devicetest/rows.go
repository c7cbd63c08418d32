package devicetest

import (
	"testing"

	"github.com/secencoder/secencoder/internal/kernel"
)

// rowSize is a pack and the width of its rows.
type rowSize struct {
	lengths []int
	w       int
}

func (d *draws) rowSize() rowSize { return rowSize{d.lengths(), d.upTo(1, 200)} }

// rowCases calls f for packs and widths.
func rowCases(s *suite, f func(i int, p *problem, w int)) {
	var sizes []rowSize
	for _, lengths := range packs {
		for _, w := range []int{1, 3, 16, 17, 40, 64}[len(sizes)%2:] {
			sizes = append(sizes, rowSize{lengths, w})
		}
	}
	for i, z := range drawn(s, sizes, (*draws).rowSize) {
		p := s.newProblem(nameOf("pieces %v, width %d, case %d", z.lengths, z.w, i))
		p.withPack(z.lengths, 1)
		f(i, p, z.w)
	}
}

func gatherCases(t *testing.T, s *suite) {
	rowCases(s, func(i int, p *problem, w int) {
		x := p.activation("x", p.tokens*w, p.used()*w, 1)
		out := p.result("out", p.tokens*w, len(p.pack.Masked)*w)
		p.bind = func(k kernel.Kernels, m *memory) func() {
			a := &kernel.GatherArgs{Header: m.buf(p.header), X: m.buf(x), Out: m.buf(out), T: p.tokens, W: w}
			return func() { k.Gather(0, a) }
		}
		s.run(t, p, i%20 == 19)
	})
}

func gatherGradCases(t *testing.T, s *suite) {
	rowCases(s, func(i int, p *problem, w int) {
		dOut := p.activation("dOut", p.tokens*w, len(p.pack.Masked)*w, 1)
		dX := p.result("dX", p.tokens*w, p.used()*w)
		p.bind = func(k kernel.Kernels, m *memory) func() {
			a := &kernel.GatherGradArgs{Header: m.buf(p.header), DOut: m.buf(dOut), DX: m.buf(dX), T: p.tokens, W: w}
			return func() { k.GatherGrad(0, a) }
		}
		s.run(t, p, i%20 == 19)
	})
}

// pooledTokens returns the tokens of a piece that its pooled row is made of.
func (p *problem) pooledTokens(piece int, first, inner bool) (from, to int) {
	from, to = int(p.pack.Offsets[piece]), int(p.pack.Offsets[piece+1])
	if first {
		return from, from + 1
	}
	if inner {
		return from + 1, to - 1
	}
	return from, to
}

func poolCases(t *testing.T, s *suite) {
	rowCases(s, func(i int, p *problem, w int) {
		first, inner := i%3 == 0, i%3 == 1
		pieces := len(p.pack.Offsets) - 1
		x := p.activation("x", p.tokens*w, p.used()*w, 1)
		out := p.output("out", p.tokens/2*w, pieces*w)
		p.bind = func(k kernel.Kernels, m *memory) func() {
			a := &kernel.PoolArgs{Header: m.buf(p.header), X: m.buf(x), Out: m.buf(out), T: p.tokens, W: w, First: first, Inner: inner}
			return func() { k.Pool(0, a) }
		}
		p.bounds = func(*memory) {
			for piece := range pieces {
				from, to := p.pooledTokens(piece, first, inner)
				for c := range w {
					var sum float64
					for tok := from; tok < to; tok++ {
						sum += abs(x.f[tok*w+c]) / float64(to-from)
					}
					if first {
						sum = 0 // a copy
					}
					out.bound = append(out.bound, gamma(max(0, to-from)+4)*sum)
				}
			}
		}
		s.run(t, p, i%20 == 19)
	})
}

func poolGradCases(t *testing.T, s *suite) {
	rowCases(s, func(i int, p *problem, w int) {
		first, inner := i%3 == 0, i%3 == 1
		pieces := len(p.pack.Offsets) - 1
		dOut := p.normal("dOut", p.tokens/2*w, pieces*w, 1)
		dX := p.result("dX", p.tokens*w, p.used()*w)
		p.bind = func(k kernel.Kernels, m *memory) func() {
			a := &kernel.PoolGradArgs{Header: m.buf(p.header), DOut: m.buf(dOut), DX: m.buf(dX), T: p.tokens, W: w, First: first, Inner: inner}
			return func() { k.PoolGrad(0, a) }
		}
		p.bounds = func(*memory) {
			dX.bound = make([]float64, dX.used)
			for piece := range pieces {
				from, to := p.pooledTokens(piece, first, inner)
				for tok := from; tok < to; tok++ {
					for c := range w {
						dX.bound[tok*w+c] = 3 * unit * abs(dOut.f[piece*w+c]) / float64(to-from) // 1/n and a product
					}
				}
			}
		}
		s.run(t, p, i%20 == 19)
	})
}
