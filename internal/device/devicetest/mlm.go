package devicetest

import (
	"math"
	"slices"
	"testing"

	"github.com/secencoder/secencoder/internal/kernel"
)

// maskedLM is the operands of one masked-LM loss.
type maskedLM struct {
	*problem
	rows, e, v    int
	z, word, bias *tensor
	words         []float32 // as products read them
}

// maskedLMs calls f for all small sizes along each axis and tile edges.
func maskedLMs(s *suite, f func(i int, p *maskedLM)) {
	type size struct{ rows, e, v int }
	var sizes []size
	for n := range 41 {
		sizes = append(sizes, size{n, 6, 11}, size{4, n + 1, 13}, size{5, 7, n + 1})
	}
	for _, n := range []int{47, 48, 63, 64, 65, 127, 128, 129, 139, 140, 141, 255, 256, 257, 281, 300} {
		sizes = append(sizes, size{n, 9, 21}, size{3, n, 17}, size{6, 8, n})
	}
	sizes = append(sizes, size{5, 20, 1000}, size{70, 16, 1025}, size{3, 64, 5000})
	for i, z := range sizes {
		p := &maskedLM{problem: s.newProblem(nameOf("%d masked rows, width %d, vocabulary %d", z.rows, z.e, z.v)), rows: z.rows, e: z.e, v: z.v}
		p.withMasked(z.rows, z.v)
		p.z = p.activation("z", p.tokens*p.e, p.rows*p.e, 1)
		p.word, p.bias = p.normal("word", p.v*p.e, p.v*p.e, 1), p.normal("bias", p.v, p.v, 1)
		p.words = p.factors(p.word.f)
		f(i, p)
	}
}

// logits returns the logits of a masked row, and the largest error of one of them.
func (p *maskedLM) logits(m int) (logits []float64, worst float64) {
	logits = make([]float64, p.v)
	for v := range logits {
		sum, magnitude := products(p.z.f[m*p.e:(m+1)*p.e], p.words[v*p.e:(v+1)*p.e])
		logits[v] = sum + float64(p.bias.f[v])
		worst = max(worst, gamma(p.e+4)*(magnitude+abs(p.bias.f[v])))
	}
	return logits, worst
}

// softmax returns the probabilities and the log of the sum of exponentials.
func softmax(x []float64) (probabilities []float64, lse float64) {
	highest := slices.Max(x)
	for _, v := range x {
		lse += math.Exp(v - highest)
	}
	lse = highest + math.Log(lse)
	for _, v := range x {
		probabilities = append(probabilities, math.Exp(v-lse))
	}
	return probabilities, lse
}

// lseError bounds the error of a log of a sum of n exponentials of numbers that are off by worst: the sum's relative
// error, the logarithm's, and the rounding of the parts it is put together from.
func lseError(n int, worst, lse float64, x []float64) float64 {
	return worst + gamma(n+8) + functionError + 8*unit*(math.Abs(lse)+math.Abs(slices.Max(x)))
}

func mlmLossCases(t *testing.T, s *suite) {
	maskedLMs(s, func(i int, p *maskedLM) {
		loss := p.output("loss", 1, 1)
		nll, hit, lse := p.output("nll", p.tokens, p.rows), p.output("hit", p.tokens, p.rows), p.output("lse", p.tokens, p.rows)
		p.bind = func(k kernel.Kernels, m *memory) func() {
			a := &kernel.MLMLossArgs{
				Header: m.buf(p.header), Z: m.buf(p.z), Word: m.buf(p.word), Bias: m.buf(p.bias),
				Loss: m.buf(loss), NLL: m.buf(nll), Hit: m.buf(hit), LSE: m.buf(lse), T: p.tokens, E: p.e, V: p.v,
			}
			a.Work = m.work(k.WorkBytes(a))
			return func() { k.MLMLoss(0, a) }
		}
		p.bounds = func(*memory) {
			var total, size float64
			for m := range p.rows {
				logits, worst := p.logits(m)
				_, l := softmax(logits)
				label := logits[p.pack.Labels[m]]
				off := lseError(p.v, worst, l, logits)
				lse.bound = append(lse.bound, off)
				off += worst + 2*unit*math.Abs(label)
				nll.bound = append(nll.bound, off)
				total += off
				size += l - label
				logits[p.pack.Labels[m]] = math.Inf(-1)
				either := 0.0
				if math.Abs(slices.Max(logits)-label) <= 2*worst {
					either = 1 // the label and another are closer than their errors: both answers are right
				}
				hit.bound = append(hit.bound, either)
			}
			loss.bound = []float64{float64(p.pack.Scale) * (total + 4*unit*size)}
		}
		s.run(t, p.problem, i%40 == 39)
	})
	for _, v := range []int{1, 2, 15, 16, 17, 33, 64, 200} {
		s.run(t, s.ties(v), false)
	}
}

// ties is a problem whose logits are small whole numbers, exact in every order, with equal best ones: the lowest id of
// them is the answer.
func (s *suite) ties(v int) *problem {
	p := s.newProblem(nameOf("ties in a vocabulary of %d", v))
	const e, rows = 3, 40
	p.withMasked(rows, v)
	z, word, bias := p.floats("z", p.tokens*e, rows*e), p.floats("word", v*e, v*e), p.floats("bias", v, v)
	for _, t := range []*tensor{z, word, bias} {
		for i := range t.f[:t.used] {
			t.f[i] = float32(p.random.Intn(3) - 1)
		}
	}
	p.halve(z)
	loss, hit := p.output("loss", 1, 1), p.output("hit", p.tokens, rows)
	nll, lse := p.output("nll", p.tokens, rows), p.output("lse", p.tokens, rows)
	p.bind = func(k kernel.Kernels, m *memory) func() {
		a := &kernel.MLMLossArgs{
			Header: m.buf(p.header), Z: m.buf(z), Word: m.buf(word), Bias: m.buf(bias), Loss: m.buf(loss), Hit: m.buf(hit),
			NLL: m.buf(nll), LSE: m.buf(lse), T: p.tokens, E: e, V: v,
		}
		a.Work = m.work(k.WorkBytes(a))
		return func() { k.MLMLoss(0, a) }
	}
	p.bounds = func(*memory) {
		// nll is at most 8 + log V; its error as in lseError with exact logits.
		off := gamma(v+8) + functionError + 16*unit*(8+math.Log(float64(v)))
		loss.bound = []float64{rows * float64(p.pack.Scale) * off}
		nll.bound, lse.bound = slices.Repeat([]float64{off}, rows), slices.Repeat([]float64{off}, rows)
	}
	return p
}

func mlmLossGradCases(t *testing.T, s *suite) {
	maskedLMs(s, func(i int, p *maskedLM) {
		lse := p.floats("lse", p.tokens, p.rows)
		for m := range p.rows {
			logits, _ := p.logits(m)
			_, l := softmax(logits)
			lse.f[m] = float32(l)
		}
		dLoss := p.normal("dLoss", 1, 1, 1)
		beta := [2]float32{p.betaOf(), p.betaOf()}
		dZ := p.maybe(i%5 > 0, p.result("dZ", p.tokens*p.e, p.rows*p.e))
		dWord := p.maybe(i%7 > 0, p.accumulated("dWord", p.v*p.e, beta[0]))
		dBias := p.maybe(i%11 > 0, p.accumulated("dBias", p.v, beta[1]))
		p.bind = func(k kernel.Kernels, m *memory) func() {
			a := &kernel.MLMLossGradArgs{
				Header: m.buf(p.header), Z: m.buf(p.z), Word: m.buf(p.word), Bias: m.buf(p.bias), LSE: m.buf(lse), DLoss: m.buf(dLoss),
				DZ: m.buf(dZ), DWord: m.buf(dWord), DBias: m.buf(dBias), Beta: beta, T: p.tokens, E: p.e, V: p.v,
			}
			a.Work = m.work(k.WorkBytes(a))
			return func() { k.MLMLossGrad(0, a) }
		}
		p.bounds = func(*memory) {
			g := abs(dLoss.f[0]) * float64(p.pack.Scale)
			sumZ, sumWord, sumBias := newSumBound(p.rows*p.e), newSumBound(p.v*p.e), newSumBound(p.v)
			for m := range p.rows {
				logits, worst := p.logits(m)
				probabilities, l := softmax(logits)
				relative := worst + functionError + 4*unit*(math.Abs(l)+math.Abs(slices.Max(logits)))
				for v, probability := range probabilities {
					size, off := g*probability, g*probability*relative
					if v == int(p.pack.Labels[m]) {
						size += g
						off += 4 * unit * g
					}
					off += p.inner() * size
					sumBias.add(v, size, off)
					for c := range p.e {
						w, z := abs(p.words[v*p.e+c]), abs(p.z.f[m*p.e+c])
						sumZ.add(m*p.e+c, size*w, off*w)
						sumWord.add(v*p.e+c, size*z, off*z)
					}
				}
			}
			sumZ.set(dZ, p.v, 0)
			sumWord.set(dWord, p.rows, beta[0])
			sumBias.set(dBias, p.rows, beta[1])
		}
		s.run(t, p.problem, i%40 == 39)
	})
}
