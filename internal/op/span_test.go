package op

import (
	"strings"
	"testing"

	"github.com/secencoder/secencoder/internal/kernel"
	G "gorgonia.org/gorgonia"
)

func TestSpanLossGradients(t *testing.T) {
	b := newBench(t)
	x := b.param("x", 0, testT, 4)
	logits := b.Linear(x, Dense{W: b.param("w", 0, 2, 4), B: b.param("b", 0, 2), Rows: kernel.RowsTokens})
	labels := b.Input("labels", kernel.I32, testT/2, 2)
	// Pieces of 6, 2 and 6 tokens: the second has no last token, the third no first one.
	b.ints[labels] = make([]int32, testT/2*2)
	copy(b.ints[labels], []int32{1, 4, 1, 2, -1, 5})
	loss := b.SpanLoss(logits, labels)
	if b.Err() != nil {
		t.Fatal(b.Err())
	}
	// The float32 loss, of about 1.5, moves by 2^-25, which h = 2^-6 lifts to 2^-19: below the tolerance.
	b.checkGradients(loss, func() float64 {
		return float64(b.eval(loss, map[*G.Node]G.Value{}).Data().(float32))
	})
	if n := len(b.Gradients()); n != 3 {
		t.Errorf("%d parameters with gradients, want 3", n)
	}
	// A constant added to all logits of a column changes nothing.
	for _, gr := range b.Gradients() {
		if gr.Leaf.Name != "b" {
			continue
		}
		for i, d := range b.gradientOf(gr.Leaf.Node) {
			if d > 0x1p-22 || d < -0x1p-22 {
				t.Errorf("d b[%d] is %v, want 0 up to rounding", i, d)
			}
		}
	}
}

// A bias whose gradient is zero by analysis is left out; the gradients beside it stay.
func TestBiasWithoutGradient(t *testing.T) {
	b := newBench(t)
	d := Dense{W: b.param("w", 0, 2, 4), B: b.param("b", 0, 2), Rows: kernel.RowsTokens, BiasHasNoGradient: true}
	labels := b.Input("labels", kernel.I32, testT/2, 2)
	b.ints[labels] = make([]int32, testT/2*2)
	loss := b.SpanLoss(b.Linear(b.param("x", 0, testT, 4), d), labels)
	b.checkGradients(loss, func() float64 {
		return float64(b.eval(loss, map[*G.Node]G.Value{}).Data().(float32))
	})
	for _, gr := range b.Gradients() {
		if (gr.Sum == nil) != (gr.Leaf.Name == "b") {
			t.Errorf("%s: gradient %v", gr.Leaf.Name, gr.Sum)
		}
	}
}

func TestSpanLossShapes(t *testing.T) {
	for want, shapes := range map[string][2][]int{
		"span_loss: logits has shape [17 3], want [17 2]": {{testT, 3}, {testT / 2, 2}},
		"span_loss: logits has shape [8 2], want [17 2]":  {{testT / 2, 2}, {testT / 2, 2}},
		"span_loss: labels has shape [17 2], want [8 2]":  {{testT, 2}, {testT, 2}},
	} {
		b := newBench(t)
		if n := b.SpanLoss(b.Param("logits", shapes[0]...), b.Input("labels", kernel.I32, shapes[1]...)); n != nil || b.Err() == nil ||
			!strings.Contains(b.Err().Error(), want) {
			t.Errorf("%v: error %v, want %q", n, b.Err(), want)
		}
	}
}
