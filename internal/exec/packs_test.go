package exec

import (
	"maps"
	"slices"
	"testing"

	"github.com/secencoder/secencoder/internal/kernel"
)

// Packed weights change no bit and are made once for all programs.
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
		if got := run1(first); !sameBits(got, want) {
			t.Errorf("%v: packed weights give other bits", dtype)
		}
		taken := packs.Bytes()
		if taken == 0 || taken != first.PackBytes() {
			t.Errorf("%v: %d bytes taken, %d promised", dtype, taken, first.PackBytes())
		}
		second := e.compile(t, Options{Device: dev, Keep: e.hidden, Packs: packs})
		if got := run1(second); !sameBits(got, want) || packs.Bytes() != taken {
			t.Errorf("%v: a second program took %d bytes more", dtype, packs.Bytes()-taken)
		}
		if err := packs.Close(); err != nil || packs.Bytes() != 0 {
			t.Errorf("%v: Close: %v, %d bytes stay", dtype, err, packs.Bytes())
		}
	}
}

// Gradients have the same bits with packed weights, after updates too, where Refresh was called; without it they do not.
func TestPackedWeightsFollowUpdates(t *testing.T) {
	for _, dtype := range []kernel.DType{kernel.F32, kernel.BF16} {
		for _, policy := range Policies {
			dev := open(t, "portable", 2)
			packs := NewPacks(dev)
			var got [2][]float32 // without, with
			for i, o := range []Options{{Device: dev, Recompute: policy}, {Device: dev, Recompute: policy, Packs: packs}} {
				e := newEncoderOf(t, dtype, 0.1, true)
				p := e.compile(t, o)
				for update := range 3 {
					e.fill(t, p, testPack(5))
					run(t, p)
					for _, name := range slices.Sorted(maps.Keys(e.grads)) {
						got[i] = append(got[i], e.grads[name]...)
						for j, g := range e.grads[name] {
							e.values[name][j] -= 0.1 * g
						}
					}
					if i == 1 && update == 0 {
						if packs.Bytes() == 0 || packs.Bytes() != p.PackBytes() {
							t.Errorf("%v, %v: %d bytes taken, %d promised", dtype, policy, packs.Bytes(), p.PackBytes())
						}
					}
					if i == 1 && update < 1 { // the last update is not followed
						if err := packs.Refresh(); err != nil {
							t.Fatal(err)
						}
					}
				}
			}
			third := len(got[0]) / 3
			if !sameBits(got[1][:2*third], got[0][:2*third]) {
				t.Errorf("%v, %v: packed weights give other gradients", dtype, policy)
			}
			if sameBits(got[1][2*third:], got[0][2*third:]) {
				t.Errorf("%v, %v: weights that were not packed again had no effect: nothing was packed", dtype, policy)
			}
			if err := packs.Close(); err != nil {
				t.Error(err)
			}
		}
	}
}
