package model

import (
	"fmt"
	"math"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/secencoder/secencoder/internal/exec"
)

// spanLoss is the loss of question answering from its logits, in float64.
func spanLoss(logits []float32, b *Batch) float64 {
	var loss float64
	for column := range 2 {
		var sum float64
		counted := 0
		for i := range b.Pieces() {
			lo, hi, label := b.Offsets[i], b.Offsets[i+1], b.Spans[2*i+column]
			if label < 0 || label >= hi-lo {
				continue
			}
			var z float64
			for t := lo; t < hi; t++ {
				z += math.Exp(float64(logits[2*t+int32(column)]))
			}
			sum += math.Log(z) - float64(logits[2*(lo+label)+int32(column)])
			counted++
		}
		loss += sum / float64(max(1, counted)) / 2
	}
	return loss
}

// The loss against its formula on the logits, every parameter's gradient against differences along it, and the
// gradients that the layout calls zero against differences along a random direction; with and without recomputation.
// Bounds as in TestWholeModelGradients.
func TestQuestion(t *testing.T) {
	configs := map[string]func(*Config){
		"one layer and convolution": func(c *Config) { c.NumHiddenLayers, c.ConvKernelSize = 1, 3 },
	}
	for _, name := range []string{"published", "convolution", "p2c separate"} {
		configs[name] = planConfigs[name]
	}
	for name, change := range configs {
		t.Run(name, func(t *testing.T) {
			c := planConfig(change)
			d := openDevice(t, "ref", 1)
			p := strongParams(t, c, Heads{Question: true})
			b := randomBatch(c, 3, 7, 2, 6)
			b.Spans = []int32{2, 5, -1, 1, 0, 6}
			train := compilePlan(t, d, p, CompileOptions{Tokens: 17, Mode: ModeQuestion, Train: true})
			eval := compilePlan(t, d, p, CompileOptions{Tokens: 17, Mode: ModeQuestion, Loss: true})
			runPlan(t, train, b, false)
			runPlan(t, eval, b, false)
			if train.Loss() != eval.Loss() || len(eval.Logits()) != 2*15 || !sameBits(train.Logits(), eval.Logits()) {
				t.Fatalf("loss %v and %v, %d logits", train.Loss(), eval.Loss(), len(eval.Logits()))
			}
			if want := spanLoss(eval.Logits(), b); math.Abs(float64(train.Loss())-want) > 0x1p-20*(1+want) {
				t.Errorf("loss %v, want %v", train.Loss(), want)
			}
			zero := 0
			r := rand.New(rand.NewPCG(5, 5))
			for _, x := range p.Tensors() {
				g, w := p.Grad(x.Name), p.Weight(x.Name)
				var norm float64
				for _, v := range g {
					norm += float64(v) * float64(v)
				}
				norm = math.Sqrt(norm)
				if x.Idle {
					continue
				}
				if x.ZeroGrad != (norm == 0) {
					t.Errorf("%s: gradient of norm %v, zero by analysis %v", x.Name, norm, x.ZeroGrad)
				}
				dir := make([]float64, len(g))
				for i := range dir {
					dir[i] = float64(g[i]) / norm
				}
				if norm == 0 {
					zero++
					for i := range dir {
						dir[i] = r.NormFloat64() / math.Sqrt(float64(len(dir)))
					}
				}
				old := slices.Clone(w)
				at := func(s float64) float64 {
					for i := range w {
						w[i] = float32(float64(old[i]) + s*dir[i])
					}
					runPlan(t, eval, b, false)
					copy(w, old)
					return spanLoss(eval.Logits(), b)
				}
				const h = 0x1p-7
				if got := (8*(at(h)-at(-h)) - (at(2*h) - at(-2*h))) / (12 * h); !(math.Abs(got-norm) <= 0x1p-8*norm+0x1p-12) {
					t.Errorf("%s: derivative along the gradient %v, difference %v", x.Name, norm, got)
				}
			}
			if zero < 2 {
				t.Errorf("%d gradients are zero by analysis, want at least the two last biases", zero)
			}
			want := gradients(p)
			again := compilePlan(t, d, p, CompileOptions{Tokens: 17, Mode: ModeQuestion, Train: true, Recompute: exec.Layer})
			runPlan(t, again, b, false)
			for name, g := range gradients(p) {
				if !sameBits(g, want[name]) {
					t.Errorf("%s differs when layers are recomputed", name)
				}
			}
		})
	}
}

// Without an answer in any piece loss and gradients are 0, and labels of another number than the pieces are refused.
func TestQuestionsWithoutAnswer(t *testing.T) {
	c := planConfig(nil)
	p := strongParams(t, c, Heads{Question: true})
	pl := compilePlan(t, openDevice(t, "", 1), p, CompileOptions{Tokens: 12, Mode: ModeQuestion, Train: true})
	b := randomBatch(c, 1, 5, 7)
	b.Spans = []int32{4, 4, 0, 6}
	runPlan(t, pl, b, false)
	if !(pl.Loss() > 0) {
		t.Errorf("loss %v of two answers", pl.Loss())
	}
	b.Spans = []int32{-1, 5, -100, 7}
	runPlan(t, pl, b, false)
	if pl.Loss() != 0 {
		t.Errorf("loss %v", pl.Loss())
	}
	for name, g := range gradients(p) {
		for _, v := range g {
			if v != 0 {
				t.Fatalf("d %s is %v", name, v)
			}
		}
	}
	b.Spans = b.Spans[:3]
	if err := pl.Run(t.Context(), b, false); err == nil || !strings.Contains(err.Error(), "3 ends of spans, want 4 for 2 pieces") {
		t.Errorf("three ends: %v", err)
	}
	logits := compilePlan(t, openDevice(t, "", 1), p, CompileOptions{Tokens: 12, Mode: ModeQuestion})
	b.Spans = nil
	runPlan(t, logits, b, false)
	if logits.Loss() != 0 || !sameBits(logits.Logits(), pl.Logits()) {
		t.Error("logits without a loss differ")
	}
}

// A question-answering folder of HF's, written by us and read again: head, class and weights.
func TestQuestionFolder(t *testing.T) {
	f, err := ReadFolder(hfFolder("question"), ReadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	out := filepath.Join(t.TempDir(), "ours")
	if err := WriteFolder(out, WriteOptions{Params: f.Params, Tokenizer: f.Tokenizer, Provenance: Provenance{Slot0Trained: true}}); err != nil {
		t.Fatal(err)
	}
	again, err := ReadFolder(out, ReadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if got := fmt.Sprint(again.Config.Architectures); got != "[DebertaV2ForQuestionAnswering]" || again.Config.NumLabels != 2 {
		t.Errorf("architectures %v, %d labels", got, again.Config.NumLabels)
	}
	if again.Params.Heads() != (Heads{Question: true}) || !slices.Equal(again.Params.Weights(), f.Params.Weights()) {
		t.Errorf("heads %+v, or other weights", again.Params.Heads())
	}
}
