package devicetest

import (
	"math"
	"testing"

	"github.com/secencoder/secencoder/internal/kernel"
)

// spanProblem is the operands of one question-answering loss.
type spanProblem struct {
	*problem
	logits, labels *tensor
	counted        [2]int // pieces that each column's mean divides by
}

// spanProblems calls f over packs, each with labels inside their pieces, around their edges, and everywhere outside.
func spanProblems(f func(i int, p *spanProblem)) {
	for i := range 4 * len(packs) {
		lengths := packs[i/4]
		p := &spanProblem{problem: newProblem(nameOf("answers in pieces %v, %d", lengths, i%4))}
		p.withPack(lengths, 1)
		p.logits = p.normal("logits", 2*p.tokens, 2*p.used(), 3)
		labels := make([]int32, p.tokens/2*2)
		for piece, n := range lengths {
			for column := range 2 {
				label := p.random.Intn(n)
				switch {
				case i%4 == 1: // the last place, and one behind it
					label = n - 1 + p.random.Intn(2)
				case i%4 == 2 && p.flip():
					label = []int{-1, -100, n, n + 1, math.MaxInt32, math.MinInt32}[p.random.Intn(6)]
				case i%4 == 3: // a mean over no piece
					label = []int{-1, n}[column]
				}
				labels[2*piece+column] = int32(label)
				if label >= 0 && label < n {
					p.counted[column]++
				}
			}
		}
		p.labels = p.ints("labels", labels)
		f(i, p)
	}
}

// each calls f for every column of a piece that counts: its first token, its logits and the label's place.
func (p *spanProblem) each(f func(first, column int, logits []float64, label int)) {
	for piece := range len(p.pack.Offsets) - 1 {
		first, n := int(p.pack.Offsets[piece]), int(p.pack.Offsets[piece+1]-p.pack.Offsets[piece])
		for column := range 2 {
			label := int(p.labels.i[2*piece+column])
			if label < 0 || label >= n {
				continue
			}
			logits := make([]float64, n)
			for i := range logits {
				logits[i] = float64(p.logits.f[2*(first+i)+column])
			}
			f(first, column, logits, label)
		}
	}
}

func spanLossCases(t *testing.T, s *suite) {
	spanProblems(func(i int, p *spanProblem) {
		loss := p.output("loss", 1, 1)
		p.bind = func(k kernel.Kernels, m *memory) func() {
			a := &kernel.SpanLossArgs{Header: m.buf(p.header), Logits: m.buf(p.logits), Labels: m.buf(p.labels), Loss: m.buf(loss), T: p.tokens}
			return func() { k.SpanLoss(0, a) }
		}
		p.bounds = func(*memory) {
			var bound float64
			p.each(func(_, column int, logits []float64, label int) {
				_, l := softmax(logits)
				size := math.Abs(l) + math.Abs(logits[label])
				// A term, then a sum of as many as there are pieces, the two means, and their mean.
				off := lseError(len(logits), 0, l, logits) + gamma(p.counted[column]+8)*size
				bound += off / float64(2*p.counted[column])
			})
			loss.bound = []float64{bound}
		}
		s.run(t, p.problem, i%10 == 8)
	})
}

func spanLossGradCases(t *testing.T, s *suite) {
	spanProblems(func(i int, p *spanProblem) {
		dLoss := p.normal("dLoss", 1, 1, 1)
		dLogits := p.output("dLogits", 2*p.tokens, 2*p.used())
		p.bind = func(k kernel.Kernels, m *memory) func() {
			a := &kernel.SpanLossGradArgs{
				Header: m.buf(p.header), Logits: m.buf(p.logits), Labels: m.buf(p.labels), DLoss: m.buf(dLoss), DLogits: m.buf(dLogits), T: p.tokens,
			}
			return func() { k.SpanLossGrad(0, a) }
		}
		p.bounds = func(*memory) {
			dLogits.bound = make([]float64, dLogits.used) // 0 where a column is left out
			p.each(func(first, column int, logits []float64, _ int) {
				g := abs(dLoss.f[0]) / float64(2*p.counted[column])
				probabilities, l := softmax(logits)
				relative := lseError(len(logits), 0, l, logits) + functionError
				for i, probability := range probabilities {
					dLogits.bound[2*(first+i)+column] = g * (probability*relative + 4*unit*(1+probability))
				}
			})
		}
		s.run(t, p.problem, i%10 == 8)
	})
}
