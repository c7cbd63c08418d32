package blocked

import (
	"math"

	"github.com/secencoder/secencoder/internal/kernel"
)

// The loss of question answering reads and writes two numbers a token: 2·T exponentials and 16·T bytes, a thousandth of
// one layer's work, so it stays on one core and in float64.

// spans calls f for every piece whose label of a column is one of its places, with the tokens of the piece and the
// labelled one, and returns how many there were.
func (k *Kernels) spans(labels []int32, column int, f func(lo, hi, label int)) int {
	n := 0
	for p := range k.h.Pieces() {
		lo, hi := int(k.h.Offsets[p]), int(k.h.Offsets[p+1])
		if label := int(labels[2*p+column]); label >= 0 && label < hi-lo {
			n++
			f(lo, hi, lo+label)
		}
	}
	return n
}

// columnLSE returns log Σ exp over tokens lo … hi−1 of a column of [T, 2].
func columnLSE(logits []float32, column, lo, hi int) float64 {
	m := math.Inf(-1)
	for t := lo; t < hi; t++ {
		m = max(m, float64(logits[2*t+column]))
	}
	s := 0.0
	for t := lo; t < hi; t++ {
		s += math.Exp(float64(logits[2*t+column]) - m)
	}
	return m + math.Log(s)
}

// SpanLoss: the mean over both columns of the cross entropy over the tokens of each piece.
func (k *Kernels) SpanLoss(_ kernel.Stream, a *kernel.SpanLossArgs) {
	k.begin(a.Header)
	defer k.end()
	logits, labels := a.Logits.F32(), a.Labels.I32()
	loss := 0.0
	for column := range 2 {
		total := 0.0
		n := k.spans(labels, column, func(lo, hi, label int) {
			total += columnLSE(logits, column, lo, hi) - float64(logits[2*label+column])
		})
		if n > 0 {
			loss += total / float64(2*n)
		}
	}
	a.Loss.F32()[0] = float32(loss)
}

// SpanLossGrad: dLogits, every row in use written.
func (k *Kernels) SpanLossGrad(_ kernel.Stream, a *kernel.SpanLossGradArgs) {
	k.begin(a.Header)
	defer k.end()
	logits, labels, d := a.Logits.F32(), a.Labels.I32(), a.DLogits.F32()
	clear(d[:2*k.h.Tokens()])
	for column := range 2 {
		n := k.spans(labels, column, func(int, int, int) {})
		g := float64(a.DLoss.F32()[0]) / float64(max(1, 2*n))
		k.spans(labels, column, func(lo, hi, label int) {
			lse := columnLSE(logits, column, lo, hi)
			for t := lo; t < hi; t++ {
				v := math.Exp(float64(logits[2*t+column]) - lse)
				if t == label {
					v--
				}
				d[2*t+column] = float32(g * v)
			}
		})
	}
}
