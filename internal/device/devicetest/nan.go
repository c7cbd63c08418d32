package devicetest

import (
	"math"
	"testing"

	"github.com/secencoder/secencoder/internal/kernel"
)

// nanCases: a NaN or an infinity that comes in reaches every result that depends on it, and no other; a training step
// finds it in the loss or in Σ g².
func nanCases(t *testing.T, s *suite) {
	inf := float32(math.Inf(1))
	for _, bad := range []float32{nan, inf} {
		for act := kernel.Linear; act <= kernel.Sigmoid; act++ {
			s.run(t, s.badRow(act, bad), false)
		}
		k := s.families[2]
		g := make([]float32, 10_000)
		g[9000] = bad
		if sum := k.SumSquares(0, &kernel.SumSquaresArgs{G: kernel.FromF32(g), N: len(g)}); !math.IsNaN(sum) && !math.IsInf(sum, 1) {
			t.Errorf("Σ g² is %v with an element %v", sum, bad)
		}
	}
	s.run(t, s.denormals(), false)
}

// nanLossCases: the same of the masked-LM loss.
func nanLossCases(t *testing.T, s *suite) { s.run(t, s.badLoss(), false) }

// badRow is a linear layer with one bad element in row 2.
func (s *suite) badRow(act kernel.Activation, bad float32) *problem {
	p := s.newProblem(nameOf("%v in a row, %v", bad, act))
	const rows, in, out = 20, 18, 17
	p.withPack([]int{rows}, 1)
	l := &linear{problem: p, kind: kernel.RowsTokens, shape: p.tokens, rows: rows, in: in, out: out, act: act}
	l.x, l.w = p.activation("x", p.tokens*in, rows*in, 1), p.normal("w", out*in, out*in, 1)
	l.x.f[2*in+5] = bad
	y, weights := p.result("y", p.tokens*out, rows*out), p.factors(l.w.f)
	p.bind = func(k kernel.Kernels, m *memory) func() {
		a := &kernel.LinearArgs{Header: m.buf(p.header), X: m.buf(l.x), W: m.buf(l.w), Y: m.buf(y), Rows: l.kind, N: p.tokens, In: in, Out: out, Act: act}
		return func() { k.Linear(0, a) }
	}
	p.bounds = func(want *memory) {
		for r := range rows {
			for o := range out {
				sum, magnitude := products(l.x.f[r*in:(r+1)*in], weights[o*in:(o+1)*in])
				z := gamma(p.terms(in)+4) * magnitude
				y.bound = append(y.bound, slopeLimit*z+activationError(act, sum))
				if r == 2 && bad == bad && want.f32(y)[r*out+o] != want.f32(y)[r*out+o] {
					y.bound[r*out+o] = math.Inf(1)
				}
			}
		}
	}
	return p
}

// badLoss has a NaN in one masked row: that row's loss and the whole loss are NaN.
func (s *suite) badLoss() *problem {
	p := s.newProblem("NaN in a masked row")
	const rows, e, v = 6, 5, 40
	p.withMasked(rows, v)
	l := &maskedLM{problem: p, rows: rows, e: e, v: v}
	l.z, l.word, l.bias = p.activation("z", p.tokens*e, rows*e, 1), p.normal("word", v*e, v*e, 1), p.normal("bias", v, v, 1)
	l.z.f[3*e+1], l.words = nan, p.factors(l.word.f)
	loss, nll := p.output("loss", 1, 1), p.output("nll", p.tokens, rows)
	hit, lse := p.output("hit", p.tokens, rows), p.output("lse", p.tokens, rows)
	p.bind = func(k kernel.Kernels, m *memory) func() {
		a := &kernel.MLMLossArgs{
			Header: m.buf(p.header), Z: m.buf(l.z), Word: m.buf(l.word), Bias: m.buf(l.bias), Loss: m.buf(loss), NLL: m.buf(nll),
			Hit: m.buf(hit), LSE: m.buf(lse), T: p.tokens, E: e, V: v,
		}
		a.Work = m.work(k.WorkBytes(a))
		return func() { k.MLMLoss(0, a) }
	}
	p.bounds = func(*memory) {
		for m := range rows {
			logits, worst := l.logits(m)
			_, sum := softmax(logits)
			off := 2*worst + lseError(v, 0, sum, logits) + 4*unit*math.Abs(logits[p.pack.Labels[m]])
			nll.bound, lse.bound = append(nll.bound, off), append(lse.bound, off)
			hit.bound = append(hit.bound, 1) // what wins beside a NaN is not fixed; other rows are covered above
		}
	}
	return p
}

// denormals are numbers like others: a row of them keeps its sum.
func (s *suite) denormals() *problem {
	p := s.newProblem("denormals")
	const n = 100
	a, b := p.floats("a", n, n), p.floats("b", n, n)
	for i := range n {
		a.f[i] = math.Float32frombits(uint32(1 + i*7))
		b.f[i] = math.Float32frombits(uint32(3 + i*i))
	}
	for _, t := range []*tensor{a, b} {
		if p.half {
			for i, v := range t.f {
				t.f[i] = math.Float32frombits(math.Float32bits(v) << 16)
			}
		}
		p.halve(t)
	}
	out := p.result("out", n, n)
	p.bind = func(k kernel.Kernels, m *memory) func() {
		args := &kernel.AddArgs{A: m.buf(a), B: m.buf(b), Out: m.buf(out), N: n}
		return func() { k.Add(0, args) }
	}
	return p
}
