package model

import (
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/secencoder/secencoder/internal/alloctest"
	"github.com/secencoder/secencoder/internal/exec"
)

// Packed pieces give what each piece gives alone: with the reference every row is computed by itself, so bit for bit; the
// fast families keep the order of sums within a row too, but are allowed 2^-18 at the states' magnitude of about 3.
func TestPackingEqualsSeparateRuns(t *testing.T) {
	for name, change := range planConfigs {
		for _, kernels := range []string{"ref", ""} {
			c := planConfig(change)
			d := openDevice(t, kernels, 2)
			p := strongParams(t, c, Heads{})
			whole := randomBatch(c, 2, 9, 4, 2, 12)
			packed := compilePlan(t, d, p, CompileOptions{Tokens: 31, Mode: ModeHidden})
			alone := compilePlan(t, d, p, CompileOptions{Tokens: 12, Mode: ModeHidden})
			runPlan(t, packed, whole, false)
			for i := range whole.Pieces() {
				piece := whole.slice(i, i+1)
				runPlan(t, alone, piece, false)
				for l := range c.NumHiddenLayers + 1 {
					got := packed.Hidden(l)[int(whole.Offsets[i])*c.HiddenSize : int(whole.Offsets[i+1])*c.HiddenSize]
					want := alone.Hidden(l)
					for k := range want {
						diff := math.Abs(float64(got[k]) - float64(want[k]))
						if diff > 0x1p-18 || kernels == "ref" && diff != 0 || diff != diff {
							t.Fatalf("%s, %q: piece %d, hidden state %d differs by %v", name, kernels, i, l, diff)
						}
					}
				}
			}
		}
	}
}

// closeGradients compares two sets of gradients by tensor: they may differ by bound·largest entry + 2^-26.
func closeGradients(t *testing.T, what string, got, want map[string][]float32, bound float64) {
	t.Helper()
	for name, w := range want {
		var largest float64
		for _, v := range w {
			largest = max(largest, math.Abs(float64(v)))
		}
		for i := range w {
			if d := math.Abs(float64(got[name][i]) - float64(w[i])); !(d <= bound*largest+0x1p-26) {
				t.Fatalf("%s: d %s[%d] = %v, want %v, largest %v", what, name, i, got[name][i], w[i], largest)
			}
		}
	}
}

func gradients(p *Params) map[string][]float32 {
	g := map[string][]float32{}
	for _, x := range p.Tensors() {
		g[x.Name] = slices.Clone(p.Grad(x.Name))
	}
	return g
}

// The order of the pieces changes nothing but the order of sums over tokens, whose rounding, float64 inside a kernel
// and float32 at its end, stays below 2^-20 of a tensor's largest gradient.
func TestOrderOfPiecesDoesNotMatter(t *testing.T) {
	for name, change := range planConfigs {
		c := planConfig(change)
		p := strongParams(t, c, Heads{MLM: true})
		pl := compilePlan(t, openDevice(t, "ref", 1), p, CompileOptions{Tokens: 30, Mode: ModeTrain})
		b := randomBatch(c, 4, 7, 12, 3, 5)
		runPlan(t, pl, b, false)
		loss, want := pl.Loss(), gradients(p)
		shuffled := join(b.slice(2, 3), b.slice(0, 1), b.slice(3, 4), b.slice(1, 2))
		shuffled.Ordinal = b.Ordinal
		runPlan(t, pl, shuffled, false)
		if d := math.Abs(float64(pl.Loss() - loss)); d > 0x1p-21 {
			t.Errorf("%s: loss changes by %v", name, d)
		}
		closeGradients(t, name, gradients(p), want, 0x1p-18)
	}
}

// Rows behind the batch hold NaN (poison) or what an earlier batch left, and a longer plan has more of them: no bit may
// change.
func TestTailRowsAreIgnored(t *testing.T) {
	c := planConfig(planConfigs["convolution"])
	d := openDevice(t, "ref", 1)
	p := strongParams(t, c, Heads{MLM: true})
	b := randomBatch(c, 5, 7, 9)
	var want map[string][]float32
	for tokens, full := range map[int][]int{16: {16}, 17: {15, 2}, 40: {16, 16, 8}} {
		pl := compilePlan(t, d, p, CompileOptions{Tokens: tokens, MaxPiece: 16, Mode: ModeTrain, Dropout: true})
		runPlan(t, pl, randomBatch(c, 6, full...), false)
		runPlan(t, pl, b, false)
		got := gradients(p)
		if want == nil {
			want = got
		}
		for name := range want {
			if !sameBits(got[name], want[name]) {
				t.Errorf("%d tokens: %s differs", tokens, name)
			}
		}
	}
}

// Two micro-batches with the scale of the step give the loss and the gradients of one big batch, with dropout: its
// counters follow the piece's ordinal in the step. The gradients differ by the rounding of the first micro-batch's sums
// to float32, and of deep sums in other order: 2^-18 of a tensor's largest.
func TestMicroBatchesAddUp(t *testing.T) {
	for _, kernels := range []string{"ref", ""} {
		c := planConfig(planConfigs["convolution"])
		p := strongParams(t, c, Heads{MLM: true})
		pl := compilePlan(t, openDevice(t, kernels, 2), p, CompileOptions{Tokens: 40, Mode: ModeTrain, Dropout: true})
		b := randomBatch(c, 8, 11, 6, 9, 12)
		runPlan(t, pl, b, false)
		loss, want := pl.Loss(), gradients(p)
		runPlan(t, pl, b.slice(0, 1), false)
		sum := pl.Loss()
		runPlan(t, pl, b.slice(1, 3), true)
		sum += pl.Loss()
		runPlan(t, pl, b.slice(3, 4), true)
		sum += pl.Loss()
		if d := math.Abs(float64(sum - loss)); d > 0x1p-20 {
			t.Errorf("losses add up to %v, want %v", sum, loss)
		}
		closeGradients(t, "micro-batches", gradients(p), want, 0x1p-18)

		wrong := *b.slice(1, 3)
		wrong.Ordinal = 0
		runPlan(t, pl, b.slice(1, 3), false)
		right := gradients(p)
		runPlan(t, pl, &wrong, false)
		if slices.Equal(gradients(p)["cls.predictions.bias"], right["cls.predictions.bias"]) {
			t.Error("the ordinal does not reach the dropout")
		}
	}
}

// Recomputation, threads and a second run give the same bits.
func TestSameBits(t *testing.T) {
	for _, change := range []string{"convolution", "separate keys", "absolute positions, types, projection"} {
		c := planConfig(planConfigs[change])
		b := randomBatch(c, 8, 20, 6, 33, 2, 17)
		var want map[string][]float32
		var last int64
		for _, v := range []struct {
			threads int
			memory  string
		}{{1, "none"}, {2, "none"}, {7, "none"}, {2, "cheap"}, {2, "layer"}} {
			p := strongParams(t, c, Heads{MLM: true})
			pl := compilePlan(t, openDevice(t, "", v.threads), p, CompileOptions{Tokens: 80, Mode: ModeTrain, Dropout: true, Memory: v.memory})
			for range 2 {
				runPlan(t, pl, b, false)
				got := gradients(p)
				got["loss"] = []float32{pl.Loss()}
				if want == nil {
					want = got
				}
				for name := range want {
					if !sameBits(got[name], want[name]) {
						t.Fatalf("%s: %d threads, %s: %s differs", change, v.threads, v.memory, name)
					}
				}
			}
			if pl.Policy().String() != v.memory || v.memory != "none" && pl.Bytes() >= last {
				t.Errorf("%s: policy %v takes %d bytes, the one before %d", change, pl.Policy(), pl.Bytes(), last)
			}
			last = pl.Bytes()
		}
	}
}

// With the reference no step after the first allocates. The fast families keep scratch for each worker, which grows when
// a worker first meets a size, in whichever step that is: there it must come to rest.
func TestStepsAllocateNothing(t *testing.T) {
	c := planConfig(planConfigs["absolute positions, types, projection"])
	p := strongParams(t, c, Heads{MLM: true})
	for _, kernels := range []string{"ref", ""} {
		d := openDevice(t, kernels, 2)
		for _, o := range []CompileOptions{
			{Tokens: 32, Mode: ModeTrain, Dropout: true, Memory: "layer"}, {Tokens: 32, Mode: ModeEval}, {Tokens: 32, Mode: ModeEmbed},
		} {
			pl, err := Compile(d, c, p, o)
			if err != nil {
				t.Fatal(err)
			}
			batches := []*Batch{randomBatch(c, 1, 20, 9), randomBatch(c, 2, 30)}
			if n := alloctest.Fewest(func() {
				for i := range 100 {
					if err := pl.Run(t.Context(), batches[i%2], i%4 != 0); err != nil {
						t.Fatal(err)
					}
					_, _, _ = pl.Loss(), pl.NLL(), pl.Pooled()
				}
			}); n > 0 {
				t.Errorf("%q, mode %v: 100 steps allocate %d times", kernels, o.Mode, n)
			}
			if err := pl.Close(); err != nil {
				t.Error(err)
			}
		}
	}
}

func TestPlanPrintsItself(t *testing.T) {
	c := planConfig(nil)
	p := strongParams(t, c, Heads{MLM: true})
	pl := compilePlan(t, openDevice(t, "ref", 1), p, CompileOptions{Tokens: 16, Mode: ModeTrain, Recompute: exec.Layer})
	var s strings.Builder
	if err := pl.Print(&s); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"attention#", "again", "d deberta.encoder.layer.1.attention.self.qkv.weight", "(recomputation layer)"} {
		if !strings.Contains(s.String(), want) {
			t.Errorf("no %q in\n%s", want, s.String())
		}
	}
}

// sameBits tells −0 from 0.
func sameBits(a, b []float32) bool {
	return slices.EqualFunc(a, b, func(x, y float32) bool { return math.Float32bits(x) == math.Float32bits(y) })
}
