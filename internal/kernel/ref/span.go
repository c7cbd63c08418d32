package ref

import (
	"math"

	"github.com/secencoder/secencoder/internal/kernel"
)

// answer returns the first token of a piece and column side of its logits when the label is one of its places, else nil.
func (k *table) answer(h kernel.Header, logits, labels kernel.Buf, piece, side int) (first int, column []float64, label int) {
	first = int(h.Offsets[piece])
	n := int(h.Offsets[piece+1]) - first
	label = int(labels.I32()[2*piece+side])
	if label < 0 || label >= n {
		return first, nil, label
	}
	column = k.floats(0, n)
	for i := range column {
		column[i] = float64(logits.F32()[2*(first+i)+side])
	}
	return first, column, label
}

// SpanLoss: the mean over both columns of the mean of −log softmax at the label, softmax over the tokens of a piece.
func (k *table) SpanLoss(_ kernel.Stream, a *kernel.SpanLossArgs) {
	k.lock()
	defer k.unlock()
	h := view(a.Header)
	var loss float64
	for side := range 2 {
		var sum float64
		counted := 0
		for p := range h.Pieces() {
			if _, column, label := k.answer(h, a.Logits, a.Labels, p, side); column != nil {
				counted++
				sum += logSumExp(column) - column[label]
			}
		}
		loss += sum / float64(max(1, counted)) / 2
	}
	a.Loss.F32()[0] = float32(loss)
}

// SpanLossGrad: dLoss·(softmax − onehot)/(2·counted), 0 in the columns of pieces that are left out.
func (k *table) SpanLossGrad(_ kernel.Stream, a *kernel.SpanLossGradArgs) {
	k.lock()
	defer k.unlock()
	h := view(a.Header)
	d := a.DLogits.F32()
	clear(d[:2*h.Tokens()])
	for side := range 2 {
		counted := 0
		for p := range h.Pieces() {
			if _, column, _ := k.answer(h, a.Logits, a.Labels, p, side); column != nil {
				counted++
			}
		}
		for p := range h.Pieces() {
			first, column, label := k.answer(h, a.Logits, a.Labels, p, side)
			l := logSumExp(column)
			for i, x := range column {
				v := math.Exp(x - l)
				if i == label {
					v--
				}
				d[2*(first+i)+side] = float32(float64(a.DLoss.F32()[0]) * v / float64(2*counted))
			}
		}
	}
}
