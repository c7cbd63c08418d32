package ref

import (
	"math"
	"testing"

	"github.com/secencoder/secencoder/internal/kernel"
)

// The loss of question answering written from HF's DebertaV2ForQuestionAnswering, each piece a sequence of its own, and
// its gradient against differences. The columns leave out different numbers of pieces.
func TestSpanLossGradient(t *testing.T) {
	p, s := newPack(5), newSource(11)
	n, pieces := p.tokens(), len(p.Offsets)-1
	logits, loss, dLogits := s.normal(2*n, 1.5), f32(1), f32(2*n)
	spans := []int32{0, 2, 5, -1, 0, 0, 1, 2} // pieces of 3, 6, 1 and 2 tokens; -1 and the last 2 are outside of theirs
	logits64 := lift(logits)
	const g = -0.75
	forward := func() float64 {
		var total float64
		for column := range 2 {
			var sum, count float64
			for piece := range pieces {
				first, end := int(p.Offsets[piece]), int(p.Offsets[piece+1])
				label := first + int(spans[2*piece+column])
				if label < first || label >= end {
					continue
				}
				var z float64
				for tok := first; tok < end; tok++ {
					z += math.Exp(logits64[2*tok+column])
				}
				sum += math.Log(z) - logits64[2*label+column]
				count++
			}
			total += sum / count
		}
		return g * total / 2
	}
	k := New()
	k.SpanLoss(0, &kernel.SpanLossArgs{Header: p.header(), Logits: buf(logits), Labels: kernel.FromI32(spans), Loss: buf(loss), T: p.T})
	checkValues(t, "loss", loss, []float64{forward() / g})
	k.SpanLossGrad(0, &kernel.SpanLossGradArgs{
		Header: p.header(), Logits: buf(logits), Labels: kernel.FromI32(spans), DLoss: buf([]float32{g}), DLogits: buf(dLogits), T: p.T,
	})
	checkGrad(t, "dLogits", dLogits, logits64, forward)

	for i := range spans {
		spans[i] = -1
	}
	k.SpanLoss(0, &kernel.SpanLossArgs{Header: p.header(), Logits: buf(logits), Labels: kernel.FromI32(spans), Loss: buf(loss), T: p.T})
	k.SpanLossGrad(0, &kernel.SpanLossGradArgs{
		Header: p.header(), Logits: buf(logits), Labels: kernel.FromI32(spans), DLoss: buf([]float32{g}), DLogits: buf(dLogits), T: p.T,
	})
	for i, d := range append(dLogits, loss[0]) {
		if d != 0 {
			t.Errorf("without labels result %d is %v, want 0", i, d)
		}
	}
}
