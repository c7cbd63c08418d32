package model

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/secencoder/secencoder/internal/device"
	"github.com/secencoder/secencoder/internal/kernel"
)

// deviation is how far values are from those of a golden, and how large these are, as root mean squares.
type deviation struct{ rms, size float64 }

func (g *golden) deviation(t *testing.T, key, name string, got []float32) deviation {
	t.Helper()
	var d deviation
	var n float64
	add := func(got float32, want float64) {
		off := math.Abs(float64(got) - want)
		d.rms += off * off
		d.size += want * want
		n++
	}
	switch {
	case g.has(key):
		for i, w := range g.f32(t, key) {
			add(got[i], float64(w))
		}
	default:
		want := g.f32(t, key+"@s")
		for i, at := range sampleIndices(name, len(got)) {
			add(got[at], float64(want[i]))
		}
	}
	d.rms, d.size = math.Sqrt(d.rms/n), math.Sqrt(d.size/n)
	return d
}

// halfRMS is the root mean square of one rounding to BF16, relative: the error is even over half a step to either side,
// 2^-8/√3 of the power of two below the value, and values lie evenly between powers of two on a logarithmic scale, which
// gives 0.74 of that: 1.7e-3. Roundings are independent, so that their squares add up.
const halfRMS = 0x1p-9

// What BF16 activations do to hidden states, logits, loss and gradients, against HuggingFace in float64. The embedding
// output has been rounded twice, as a sum and as a result, its word from a table that is not. Each layer adds what is
// left of its roundings behind its two LayerNorms, which keep the size at 1: four roundings hold it (measured: two and a
// half), and the head's three are counted like a layer's. A wrong slot, sign, scale or bias gives 1e-2 and more.
//
// Gradients have twice the way and are judged as vectors, a tensor each: their difference is at most 2^-5 of them
// (measured: 2.0e-2). Where the activation has a corner, relu's at 0, a pre-activation that changes sign changes its
// gradient by all of it, and the share that does, some 4e-3, has 6e-2 as its root: 2^-3
// (measured: 7.6e-2).
func TestParityHalf(t *testing.T) {
	for _, name := range []string{"P1", "P2", "P3", "P4", "P4s", "P5", "P5s", "P6", "P7", "P10"} {
		g := openGolden(t, name)
		overFamilies(t, name, func(t *testing.T, dev *device.Device) {
			p := counterParams(t, g, Heads{MLM: true})
			b := goldenBatch(t, g)
			n, h, layers := len(b.IDs), g.cfg.HiddenSize, g.cfg.NumHiddenLayers
			plan := compile(t, dev, p, CompileOptions{Tokens: n + spare, Mode: ModeHidden, DType: kernel.BF16})
			run(t, plan, b)
			var hidden deviation
			for i := range layers + 1 {
				key := fmt.Sprint("hidden.", i)
				hidden = g.deviation(t, key, key, plan.Hidden(i)[:n*h])
				within(t, key, hidden.rms/hidden.size, halfRMS*math.Sqrt(float64(4*(i+1))))
			}
			plan = compile(t, dev, p, CompileOptions{Tokens: n + spare, Mode: ModeLogits, MaskedCap: n, DType: kernel.BF16})
			run(t, plan, everyRow(b))
			logits := g.deviation(t, "logits", "logits", plan.Logits()[:n*g.cfg.VocabSize])
			within(t, "logits", logits.rms/logits.size, halfRMS*math.Sqrt(float64(4*(layers+3))))
			if err := p.AllocateGrads(); err != nil {
				t.Fatal(err)
			}
			plan = compile(t, dev, p, CompileOptions{Tokens: n + spare, Mode: ModeTrain, MaxPiece: n, DType: kernel.BF16})
			run(t, plan, b)
			p.ZeroAnalyticGrads()
			loss := math.Abs(float64(plan.Loss()) - g.f64(t, "loss")[0])
			within(t, "loss", loss, 0x1p-8)
			bound := 0x1p-5
			if g.cfg.HiddenAct == "relu" {
				bound = 0x1p-3
			}
			worst := 0.0
			for _, x := range p.Tensors() {
				key := "grad." + x.Name
				if !g.has(key) && !g.has(key+"@s") {
					continue
				}
				if d := g.deviation(t, key, x.Name, p.Grad(x.Name)); d.size > 1e-10 {
					within(t, key, d.rms/d.size, bound)
					worst = max(worst, d.rms/d.size)
				}
			}
			t.Logf("share of the size: hidden states %.1e, logits %.1e, gradients %.1e; loss off by %.1e", hidden.rms/hidden.size, logits.rms/logits.size, worst, loss)
		})
	}
}

// P12: HuggingFace under bfloat16 autocast, which keeps residuals and norms in float32 where ours rounds them, is the
// measure of what BF16 costs: ours may cost twice that.
func TestParityHalfBesideAutocast(t *testing.T) {
	g := openGolden(t, "P12")
	overFamilies(t, "P12", func(t *testing.T, dev *device.Device) {
		p := counterParams(t, g, Heads{MLM: true})
		b := everyRow(goldenBatch(t, g))
		n := len(b.IDs)
		var logits [2][]float32
		for i, dtype := range []kernel.DType{kernel.F32, kernel.BF16} {
			plan := compile(t, dev, p, CompileOptions{Tokens: n + spare, Mode: ModeLogits, MaskedCap: n, MaxPiece: n, DType: dtype})
			run(t, plan, b)
			logits[i] = slices.Clone(plan.Logits())
		}
		var squares float64
		for i, x := range logits[0] {
			squares += math.Pow(float64(x)-float64(logits[1][i]), 2)
		}
		rms, autocast := math.Sqrt(squares/float64(len(logits[0]))), g.f64(t, "rms")[0]
		within(t, "logits", rms, 2*autocast)
		t.Logf("logits: rms %.2e, autocast %.2e", rms, autocast)
	})
}

// P8 and P8qa: the heads whose logits are float32 behind BF16 hidden states, and those behind pooled vectors, which are
// float32 throughout. Sums over so few tokens leave gradients of heads twice the share of the model's.
func TestParityHalfHeads(t *testing.T) {
	for _, tc := range []struct {
		golden, kind string
		mode         Mode
		labels       int
	}{{"P8", "sequence", ModeSequence, 3}, {"P8", "token", ModeToken, 5}, {"P8qa", "ragged", ModeQuestion, 2}} {
		g := openGolden(t, tc.golden)
		overFamilies(t, tc.kind, func(t *testing.T, dev *device.Device) {
			h := *g
			h.cfg = g.cfg.Clone()
			var b *Batch
			heads := Heads{Question: true}
			if tc.mode == ModeQuestion {
				b = &Batch{IDs: g.i32(t, tc.kind+".ids"), Offsets: g.i32(t, tc.kind+".offsets"), Spans: g.i32(t, tc.kind+".spans")}
			} else {
				h.cfg.NumLabels = tc.labels
				heads = Heads{Sequence: tc.labels}
				if tc.mode == ModeToken {
					heads = Heads{Token: tc.labels}
				}
				b = goldenBatch(t, g)
				b.Masked, b.Labels, b.ClassLabels = nil, nil, g.i32(t, tc.kind+".labels")
			}
			p := counterParams(t, &h, heads)
			if err := p.AllocateGrads(); err != nil {
				t.Fatal(err)
			}
			plan := compile(t, dev, p, CompileOptions{Tokens: len(b.IDs) + spare, Mode: tc.mode, Train: true, DType: kernel.BF16})
			run(t, plan, b)
			p.ZeroAnalyticGrads()
			logits := h.deviation(t, tc.kind+".logits", "", plan.Logits())
			within(t, "logits", logits.rms/logits.size, halfRMS*math.Sqrt(float64(4*(h.cfg.NumHiddenLayers+3))))
			within(t, "loss", math.Abs(float64(plan.Loss())-g.f64(t, tc.kind+".loss")[0]), 0x1p-8)
			worst := 0.0
			for _, x := range p.Tensors() {
				key := tc.kind + ".grad." + x.Name
				if !g.has(key) && !g.has(key+"@s") {
					continue
				}
				if d := g.deviation(t, key, x.Name, p.Grad(x.Name)); d.size > 1e-10 {
					within(t, key, d.rms/d.size, 0x1p-4)
					worst = max(worst, d.rms/d.size)
				}
			}
			t.Logf("share of the size: logits %.1e, gradients %.1e", logits.rms/logits.size, worst)
		})
	}
}
