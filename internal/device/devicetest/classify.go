package devicetest

import (
	"math"
	"testing"

	"github.com/secencoder/secencoder/internal/kernel"
)

// classification is the operands of one classification loss.
type classification struct {
	*problem
	row            kernel.RowKind
	shape, rows, c int
	kind           kernel.LossKind
	logits, labels *tensor
	counted        int // what the mean divides by
}

// classifications calls f over row kinds, loss kinds and numbers of classes, with rows left out among the labels.
func classifications(f func(i int, p *classification)) {
	i := 0
	for _, rows := range []int{0, 1, 2, 3, 7, 16, 33, 64, 65, 130} {
		for _, c := range []int{1, 2, 3, 8, 17, 40} {
			for kind := kernel.CrossEntropy; kind <= kernel.MeanSquare; kind++ {
				row := kindOf(i)
				p := &classification{
					problem: newProblem(nameOf("%s, %d rows of %d classes, loss %d", kinds[row], rows, c, kind)),
					row:     row, rows: rows, c: c, kind: kind,
				}
				p.shape = p.withRows(row, rows)
				p.logits = p.normal("logits", p.shape*c, rows*c, 2)
				if kind == kernel.CrossEntropy {
					labels := make([]int32, p.shape)
					for r := range labels {
						labels[r] = 1 << 30 // unused rows would fault
						if r < rows {
							labels[r] = int32(p.random.Intn(c+2) - 2)
						}
						if i%7 == 6 {
							labels[r] = min(labels[r], -100)
						}
						if r < rows && labels[r] >= 0 {
							p.counted++
						}
					}
					p.labels = p.ints("labels", labels)
				} else {
					p.labels = p.normal("labels", p.shape*c, rows*c, 1)
					p.counted = rows
					if kind == kernel.MeanSquare {
						p.counted *= c
					}
				}
				f(i, p)
				i++
			}
		}
	}
}

// each calls f for every row that counts, with its logits.
func (p *classification) each(f func(r int, logits []float64)) {
	for r := range p.rows {
		logits := make([]float64, p.c)
		for c := range logits {
			logits[c] = float64(p.logits.f[r*p.c+c])
		}
		if p.kind == kernel.CrossEntropy && p.labels.i[r] < 0 {
			continue
		}
		f(r, logits)
	}
}

func classifyLossCases(t *testing.T, s *suite) {
	classifications(func(i int, p *classification) {
		loss := p.output("loss", 1, 1)
		p.bind = func(k kernel.Kernels, m *memory) func() {
			a := &kernel.ClassifyLossArgs{
				Header: m.buf(p.header), Logits: m.buf(p.logits), Labels: m.buf(p.labels), Loss: m.buf(loss),
				Rows: p.row, N: p.shape, C: p.c, Kind: p.kind,
			}
			return func() { k.ClassifyLoss(0, a) }
		}
		p.bounds = func(*memory) {
			var size, off float64 // Σ |terms|, Σ errors of terms
			p.each(func(r int, logits []float64) {
				_, l := softmax(logits)
				e := lseError(p.c, 0, l, logits)
				for c, v := range logits {
					switch p.kind {
					case kernel.CrossEntropy:
						if c == int(p.labels.i[r]) {
							size += math.Abs(l) + math.Abs(v)
							off += e
						}
					case kernel.SoftCrossEntropy:
						y := abs(p.labels.f[r*p.c+c])
						size += y * (math.Abs(l) + math.Abs(v))
						off += y * e
					case kernel.MeanSquare:
						d := math.Abs(v) + abs(p.labels.f[r*p.c+c])
						size += d * d
					}
				}
			})
			loss.bound = []float64{(gamma(p.c+16)*size + off) / float64(max(1, p.counted))}
		}
		s.run(t, p.problem, i%40 == 39)
	})
}

func classifyLossGradCases(t *testing.T, s *suite) {
	classifications(func(i int, p *classification) {
		dLoss := p.normal("dLoss", 1, 1, 1)
		dLogits := p.output("dLogits", p.shape*p.c, p.rows*p.c)
		p.bind = func(k kernel.Kernels, m *memory) func() {
			a := &kernel.ClassifyLossGradArgs{
				Header: m.buf(p.header), Logits: m.buf(p.logits), Labels: m.buf(p.labels), DLoss: m.buf(dLoss), DLogits: m.buf(dLogits),
				Rows: p.row, N: p.shape, C: p.c, Kind: p.kind,
			}
			return func() { k.ClassifyLossGrad(0, a) }
		}
		p.bounds = func(*memory) {
			dLogits.bound = make([]float64, dLogits.used)
			g := abs(dLoss.f[0]) / float64(max(1, p.counted))
			p.each(func(r int, logits []float64) {
				probabilities, l := softmax(logits)
				relative := lseError(p.c, 0, l, logits) + functionError
				var total float64
				if p.kind == kernel.SoftCrossEntropy {
					for _, y := range p.labels.f[r*p.c : (r+1)*p.c] {
						total += abs(y)
					}
				}
				for c, probability := range probabilities {
					at := r*p.c + c
					switch p.kind {
					case kernel.CrossEntropy:
						dLogits.bound[at] = g * (probability*relative + 4*unit*(1+probability))
					case kernel.SoftCrossEntropy:
						dLogits.bound[at] = g * ((probability*(relative+gamma(p.c+8)))*total + 4*unit*abs(p.labels.f[at]))
					case kernel.MeanSquare:
						dLogits.bound[at] = g * 8 * unit * (abs(p.logits.f[at]) + abs(p.labels.f[at]))
					}
				}
			})
		}
		s.run(t, p.problem, i%40 == 39)
	})
}
