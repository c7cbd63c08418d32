package exec

import (
	"slices"
	"testing"

	"github.com/secencoder/secencoder/internal/kernel"
)

// Packed weights change no bit, are made once for all programs, and stand where gradients are refused.
func TestPackedWeights(t *testing.T) {
	for _, dtype := range []kernel.DType{kernel.F32, kernel.BF16} {
		e := newEncoderOf(t, dtype, 0, false)
		dev := open(t, "portable", 2)
		packs := NewPacks(dev)
		run1 := func(p *Program) []float32 {
			e.fill(t, p, testPack(5))
			run(t, p)
			return slices.Clone(value(t, p, e.hidden[testLayers])[:16*testH]) // of the tokens in use
		}
		want := run1(e.compile(t, Options{Device: dev, Keep: e.hidden}))
		first := e.compile(t, Options{Device: dev, Keep: e.hidden, Packs: packs})
		if packs.Bytes() != 0 {
			t.Errorf("%v: %d bytes taken before the first run", dtype, packs.Bytes())
		}
		if got := run1(first); !slices.Equal(got, want) {
			t.Errorf("%v: packed weights give other bits", dtype)
		}
		taken := packs.Bytes()
		if taken == 0 || taken != first.PackBytes() {
			t.Errorf("%v: %d bytes taken, %d promised", dtype, taken, first.PackBytes())
		}
		second := e.compile(t, Options{Device: dev, Keep: e.hidden, Packs: packs})
		if got := run1(second); !slices.Equal(got, want) || packs.Bytes() != taken {
			t.Errorf("%v: a second program took %d bytes more", dtype, packs.Bytes()-taken)
		}
		if err := packs.Close(); err != nil || packs.Bytes() != 0 {
			t.Errorf("%v: Close: %v, %d bytes stay", dtype, err, packs.Bytes())
		}
		d := newEncoderOf(t, dtype, 0, true)
		if _, err := Compile(d.Graph, Options{Device: dev, Packs: packs}); err == nil {
			t.Errorf("%v: weights that change were packed", dtype)
		}
	}
}
