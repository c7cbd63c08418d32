package model

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/secencoder/secencoder/internal/exec"
	"github.com/secencoder/secencoder/internal/kernel"
	"github.com/secencoder/secencoder/internal/units"
)

// Pooling is checked against its words, on the hidden states of ModeHidden.
func TestPooling(t *testing.T) {
	c := planConfig(nil)
	d := openDevice(t, "", 2)
	p := strongParams(t, c, Heads{})
	b := randomBatch(c, 3, 7, 2, 11)
	states := compilePlan(t, d, p, CompileOptions{Tokens: 24, Mode: ModeHidden})
	runPlan(t, states, b, false)
	last := states.Hidden(c.NumHiddenLayers)
	if len(last) != 20*c.HiddenSize || states.Hidden(c.NumHiddenLayers+1) != nil || states.Hidden(-1) != nil || states.Pooled() != nil {
		t.Errorf("%d values of the last state", len(last))
	}
	for _, pool := range []Pool{PoolMean, PoolContent, PoolFirst} {
		pl := compilePlan(t, d, p, CompileOptions{Tokens: 24, Mode: ModeEmbed, Pool: pool})
		runPlan(t, pl, b, false)
		got := pl.Pooled()
		if len(got) != 3*c.HiddenSize {
			t.Fatalf("%d values", len(got))
		}
		for i := range 3 {
			from, to := int(b.Offsets[i]), int(b.Offsets[i+1])
			switch pool {
			case PoolContent:
				from, to = from+1, to-1
			case PoolFirst:
				to = from + 1
			}
			for k := range c.HiddenSize {
				var want float64
				for n := from; n < to; n++ {
					want += float64(last[n*c.HiddenSize+k]) / float64(to-from)
				}
				// One float32 rounding of a mean of up to 11 values of magnitude 3, summed in float32 at worst.
				if diff := math.Abs(float64(got[i*c.HiddenSize+k]) - want); !(diff <= 0x1p-20) {
					t.Fatalf("pool %d: piece %d, dimension %d: %v, want %v", pool, i, k, got[i*c.HiddenSize+k], want)
				}
			}
		}
	}
}

// What the layout calls idle is what no gradient reaches.
func TestIdleTensorsAreThoseWithoutGradient(t *testing.T) {
	configs := map[string]func(*Config){
		"no terms":     func(c *Config) { c.PosAttType = nil },
		"c2p":          func(c *Config) { c.PosAttType = []string{"c2p"} },
		"p2c":          func(c *Config) { c.PosAttType = []string{"p2c"} },
		"not relative": func(c *Config) { c.RelativeAttention = false },
	}
	maps.Copy(configs, planConfigs)
	for name, change := range configs {
		c := planConfig(change)
		o := CompileOptions{Tokens: 8, Mode: ModeTrain}
		if err := o.check(c); err != nil {
			t.Fatal(err)
		}
		g, _, _, err := build(c, o)
		if err != nil {
			t.Fatal(err)
		}
		for _, gradient := range g.Gradients() {
			tensor, ok := g.tensors[gradient.Leaf.Node.Name()]
			if !ok {
				continue // several tensors fused, which always have a gradient
			}
			if none := len(gradient.Terms) == 0; none != (tensor.Idle || tensor.ZeroGrad) {
				t.Errorf("%s: %s: without gradient is %v, idle %v, zero by analysis %v", name, tensor.Name, none, tensor.Idle, tensor.ZeroGrad)
			}
		}
	}
}

// Logits and nll come from different kernels: the rows must tell the same story.
func TestLogitsAgreeWithNLL(t *testing.T) {
	c := planConfig(planConfigs["absolute positions, types, projection"])
	d := openDevice(t, "", 2)
	p := strongParams(t, c, Heads{MLM: true})
	b := randomBatch(c, 3, 9, 11)
	eval := compilePlan(t, d, p, CompileOptions{Tokens: 20, Mode: ModeEval})
	logits := compilePlan(t, d, p, CompileOptions{Tokens: 20, Mode: ModeLogits, MaskedCap: len(b.Masked)})
	runPlan(t, eval, b, false)
	unlabelled := *b
	unlabelled.Labels = nil
	runPlan(t, logits, &unlabelled, false)
	if got, want := len(logits.Logits()), len(b.Masked)*c.VocabSize; got != want {
		t.Fatalf("%d logits, want %d", got, want)
	}
	for m, label := range b.Labels {
		row := logits.Logits()[m*c.VocabSize : (m+1)*c.VocabSize]
		var sum float64
		for _, v := range row {
			sum += math.Exp(float64(v))
		}
		want := math.Log(sum) - float64(row[label])
		if got := float64(eval.NLL()[m]); math.Abs(got-want) > 0x1p-18*(1+want) {
			t.Errorf("masked position %d: nll %v, from logits %v", m, got, want)
		}
		hit := float32(0)
		if slices.Index(row, slices.Max(row)) == int(label) {
			hit = 1
		}
		if eval.Hit()[m] != hit {
			t.Errorf("masked position %d: hit %v, want %v", m, eval.Hit()[m], hit)
		}
	}
	b.Masked, b.Labels = append(b.Masked, 19), append(b.Labels, 1)
	if err := logits.Run(t.Context(), b, false); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("logits for at most %d", len(b.Masked)-1)) {
		t.Errorf("one position too many: %v", err)
	}
}

// The classification losses against their formulas on the logits, and their gradients against differences along them.
func TestClassification(t *testing.T) {
	for _, tc := range []struct {
		name   string
		mode   Mode
		labels int
		soft   bool
		kind   string
	}{
		{"sequence", ModeSequence, 3, false, ""},
		{"sequence soft", ModeSequence, 3, true, ""},
		{"sequence regression", ModeSequence, 1, false, ""},
		{"sequence regression of two", ModeSequence, 2, false, "regression"},
		{"token", ModeToken, 3, false, "single_label_classification"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := planConfig(func(c *Config) { c.NumLabels, c.ProblemType, c.PoolerHiddenAct = tc.labels, tc.kind, "tanh" })
			heads := Heads{Sequence: tc.labels}
			if tc.mode == ModeToken {
				heads = Heads{Token: tc.labels}
			}
			d := openDevice(t, "ref", 1)
			p := strongParams(t, c, heads)
			b := randomBatch(c, 3, 7, 2, 6)
			o := CompileOptions{Tokens: 17, Mode: tc.mode, Train: true, SoftLabels: tc.soft}
			train := compilePlan(t, d, p, o)
			o.Train, o.Loss = false, true
			eval := compilePlan(t, d, p, o)
			r := rand.New(rand.NewPCG(5, 5))
			rows := train.rows(b)
			for range rows {
				b.ClassLabels = append(b.ClassLabels, r.Int32N(int32(tc.labels)))
			}
			b.ClassLabels[1] = -100
			for range rows * tc.labels {
				b.SoftLabels = append(b.SoftLabels, r.Float32())
			}
			runPlan(t, train, b, false)
			runPlan(t, eval, b, false)
			if train.Loss() != eval.Loss() || len(eval.Logits()) != rows*tc.labels || !sameBits(train.Logits(), eval.Logits()) {
				t.Fatalf("loss %v and %v, %d logits", train.Loss(), eval.Loss(), len(eval.Logits()))
			}
			want := classLoss(eval.Logits(), b, rows, tc.labels, train.kind)
			if math.Abs(float64(train.Loss())-want) > 0x1p-20*(1+want) {
				t.Errorf("loss %v, want %v", train.Loss(), want)
			}
			for _, name := range []string{"classifier.weight", "classifier.bias", "deberta.encoder.layer.0.attention.self.value_proj.weight"} {
				g, w := p.Grad(name), p.Weight(name)
				var norm float64
				for _, v := range g {
					norm += float64(v) * float64(v)
				}
				norm = math.Sqrt(norm)
				old := slices.Clone(w)
				at := func(s float64) float64 {
					for i := range w {
						w[i] = float32(float64(old[i]) + s*float64(g[i])/norm)
					}
					runPlan(t, eval, b, false)
					copy(w, old)
					return classLoss(eval.Logits(), b, rows, tc.labels, train.kind)
				}
				const h = 0x1p-7 // as in TestWholeModelGradients
				if got := (8*(at(h)-at(-h)) - (at(2*h) - at(-2*h))) / (12 * h); math.Abs(got-norm) > 0x1p-8*norm+0x1p-12 {
					t.Errorf("%s: derivative along the gradient %v, difference %v", name, norm, got)
				}
			}
		})
	}
}

func classLoss(logits []float32, b *Batch, rows, labels int, kind kernel.LossKind) float64 {
	var sum float64
	counted := 0
	for r := range rows {
		row := logits[r*labels : (r+1)*labels]
		var z float64
		for _, v := range row {
			z += math.Exp(float64(v))
		}
		switch {
		case kind == kernel.MeanSquare:
			counted += labels
			for k, v := range row {
				sum += math.Pow(float64(v)-float64(b.SoftLabels[r*labels+k]), 2)
			}
		case kind == kernel.SoftCrossEntropy:
			counted++
			for k, v := range row {
				sum += float64(b.SoftLabels[r*labels+k]) * (math.Log(z) - float64(v))
			}
		case b.ClassLabels[r] >= 0:
			counted++
			sum += math.Log(z) - float64(row[b.ClassLabels[r]])
		}
	}
	return sum / float64(max(1, counted))
}

func TestSharedPositionsGiveTheSameBits(t *testing.T) {
	for name, change := range planConfigs {
		c := planConfig(change)
		d := openDevice(t, "", 2)
		p := strongParams(t, c, Heads{})
		ps, err := ProjectPositions(d, c, p, kernel.F32)
		if err != nil {
			t.Fatal(err)
		}
		if (ps != nil) != (c.C2P() || c.P2C()) {
			t.Fatalf("%s: tables %v", name, ps)
		}
		b := randomBatch(c, 3, 12, 7)
		var want []float32
		for _, positions := range []*Positions{nil, ps} {
			pl := compilePlan(t, d, p, CompileOptions{Tokens: 20, Mode: ModeEmbed, Positions: positions})
			runPlan(t, pl, b, false)
			if want == nil {
				want = slices.Clone(pl.Pooled())
			} else if !sameBits(pl.Pooled(), want) {
				t.Errorf("%s: shared tables change the result", name)
			}
		}
		if ps == nil {
			continue
		}
		if ps.Bytes() < int64(4*c.NumHiddenLayers*positionRows(c)*c.HiddenSize) {
			t.Errorf("%s: %d bytes", name, ps.Bytes())
		}
		other := planConfig(change)
		other.NumHiddenLayers = 3
		if _, err := Compile(d, other, strongParams(t, other, Heads{}), CompileOptions{Tokens: 8, Mode: ModeEmbed, Positions: ps}); err == nil ||
			!strings.Contains(err.Error(), "another configuration") {
			t.Errorf("%s: tables of another model: %v", name, err)
		}
		if err := ps.Close(); err != nil {
			t.Error(err)
		}
	}
}

// Activations of BF16 take half the bytes, under every policy; what does not halve (statistics, inputs, the float32 sums of
// attention's gradient in its workspace) is less than a fifth of a plan of base.
func TestHalfTakesHalfTheMemory(t *testing.T) {
	c, _, err := Preset("base", 29_952)
	if err != nil {
		t.Fatal(err)
	}
	for _, policy := range exec.Policies {
		var bytes [2]int64
		for i, dtype := range []kernel.DType{kernel.F32, kernel.BF16} {
			o := CompileOptions{Tokens: 8192, Mode: ModeTrain, Dropout: true, Recompute: policy, DType: dtype}
			if bytes[i], _, err = PlanBytes(c, o); err != nil {
				t.Fatal(err)
			}
		}
		if share := float64(bytes[1]) / float64(bytes[0]); share > 0.6 {
			t.Errorf("%v: %d bytes in bf16, %d in f32: a share of %.3f", policy, bytes[1], bytes[0], share)
		}
	}
	if _, _, err := PlanBytes(c, CompileOptions{Tokens: 64, Mode: ModeTrain, DType: kernel.I16}); err == nil || !strings.Contains(err.Error(), "want f32 or bf16") {
		t.Errorf("activations of int16: %v", err)
	}
}

func TestMemoryOptions(t *testing.T) {
	c := planConfig(nil)
	d := openDevice(t, "", 2)
	p := strongParams(t, c, Heads{MLM: true})
	o := CompileOptions{Tokens: 64, Mode: ModeTrain, Device: d}
	bytes := map[string]int64{}
	for _, m := range []string{"none", "cheap", "layer", "auto", "1GiB"} {
		o.Memory = m
		n, _, err := PlanBytes(c, o)
		if err != nil {
			t.Fatal(err)
		}
		pl, err := Compile(d, c, p, o)
		if err != nil {
			t.Fatal(err)
		}
		if bytes[m] = pl.Bytes(); n != pl.Bytes() {
			t.Errorf("%s: %d bytes promised, %d planned", m, n, pl.Bytes())
		}
		if err := pl.Close(); err != nil {
			t.Error(err)
		}
	}
	if bytes["auto"] != bytes["none"] || bytes["1GiB"] != bytes["none"] {
		t.Errorf("with plenty of memory auto and 1GiB plan %d and %d bytes, none %d", bytes["auto"], bytes["1GiB"], bytes["none"])
	}
	for want, limit := range map[exec.Policy]int64{exec.None: bytes["none"], exec.Cheap: bytes["none"] - 1, exec.Layer: bytes["cheap"] - 1} {
		o.Memory = fmt.Sprint(limit+p.Bytes(), "B")
		pl, err := Compile(d, c, p, o)
		if err != nil {
			t.Fatal(err)
		}
		if pl.Policy() != want {
			t.Errorf("limit %s: policy %v, want %v", o.Memory, pl.Policy(), want)
		}
		if err := pl.Close(); err != nil {
			t.Error(err)
		}
	}
	o.Memory = fmt.Sprint(bytes["layer"]+p.Bytes()-1, "B")
	if _, err := Compile(d, c, p, o); !errors.Is(err, exec.ErrDoesNotFit) || !strings.Contains(err.Error(), units.Count(bytes["layer"]+p.Bytes())) {
		t.Errorf("a limit below every policy: %v", err)
	}
	o.Memory = "much"
	if _, err := Compile(d, c, p, o); err == nil || !strings.Contains(err.Error(), `memory is "much"`) {
		t.Errorf("memory much: %v", err)
	}
}

// Nothing in a plan grows with the square of the piece: four times the tokens take at most four times the memory.
func TestMemoryIsLinearInThePiece(t *testing.T) {
	c := planConfig(nil)
	for _, mode := range []Mode{ModeTrain, ModeEmbed} {
		o := CompileOptions{Tokens: 12_000, Mode: mode, Device: openDevice(t, "", 2)}
		short, _, err := PlanBytes(c, o)
		if err != nil {
			t.Fatal(err)
		}
		o.Tokens = 48_000
		long, _, err := PlanBytes(c, o)
		if err != nil {
			t.Fatal(err)
		}
		if long > 4*short {
			t.Errorf("mode %v: %d bytes for 12,000 tokens, %d for 48,000", mode, short, long)
		}
	}
}

func TestCompileRefuses(t *testing.T) {
	c := planConfig(nil)
	d := openDevice(t, "ref", 1)
	p := strongParams(t, c, Heads{MLM: true})
	bare, err := NewParams(c, Heads{MLM: true})
	if err != nil {
		t.Fatal(err)
	}
	defer bare.Close()
	wide := planConfig(func(c *Config) { c.IntermediateSize++ })
	for _, tc := range []struct {
		want string
		cfg  *Config
		p    *Params
		o    CompileOptions
	}{
		{"plan: 1 tokens", c, p, CompileOptions{Tokens: 1}},
		{"pieces of up to 9 tokens, want 1 to 8", c, p, CompileOptions{Tokens: 8, MaxPiece: 9}},
		{"pieces of up to 65537 tokens, want 1 to 65536", c, p, CompileOptions{Tokens: 70_000, MaxPiece: 65_537}},
		{"logits of up to 9 positions", c, p, CompileOptions{Tokens: 8, Mode: ModeLogits, MaskedCap: 9}},
		{"unknown mode 8", c, p, CompileOptions{Tokens: 8, Mode: 8}},
		{"dropout in mode eval", c, p, CompileOptions{Tokens: 8, Mode: ModeEval, Dropout: true}},
		{"shared position tables have no gradient", c, p, CompileOptions{Tokens: 8, Positions: &Positions{}}},
		{"mode sequence: the parameters do not hold pooler.dense.weight", c, p, CompileOptions{Tokens: 8, Mode: ModeSequence}},
		{"mode question: the parameters do not hold qa_outputs.weight", c, p, CompileOptions{Tokens: 8, Mode: ModeQuestion}},
		{"intermediate.dense.weight has shape [24 16], want [25 16]", wide, p, CompileOptions{Tokens: 8}},
		{"gradients, which are not allocated", c, bare, CompileOptions{Tokens: 8}},
		{"config: hidden_size", &Config{VocabSize: 3}, p, CompileOptions{Tokens: 8}},
	} {
		pl, err := Compile(d, tc.cfg, tc.p, tc.o)
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("error %v, want %q", err, tc.want)
		}
		if err == nil {
			pl.Close()
		}
	}
	many := planConfig(func(c *Config) { c.ProblemType, c.NumLabels = "multi_label_classification", 2 })
	if _, err := Compile(d, many, strongParams(t, many, Heads{Sequence: 2}), CompileOptions{Tokens: 8, Mode: ModeSequence, Loss: true}); err == nil ||
		!strings.Contains(err.Error(), "has no loss here") {
		t.Errorf("multi-label: %v", err)
	}
}

func TestBatchesAreChecked(t *testing.T) {
	c := planConfig(planConfigs["absolute positions, types, projection"])
	c.MaxPositionEmbeddings = 10
	d := openDevice(t, "ref", 1)
	p := strongParams(t, c, Heads{MLM: true})
	pl := compilePlan(t, d, p, CompileOptions{Tokens: 20, MaxPiece: 12, Mode: ModeTrain})
	good := randomBatch(c, 1, 6, 8)
	runPlan(t, pl, good, false)
	before := gradients(p)
	for want, change := range map[string]func(b *Batch){
		"0 tokens, the plan holds 1 to 20":             func(b *Batch) { b.IDs = nil },
		"21 tokens":                                    func(b *Batch) { b.IDs = make([]int32, 21) },
		"0 pieces":                                     func(b *Batch) { b.Offsets = nil },
		"offsets run from 0 to 13, want 0 to 14":       func(b *Batch) { b.Offsets = []int32{0, 6, 13} },
		"offsets run from 1":                           func(b *Batch) { b.Offsets = []int32{1, 6, 14} },
		"piece 1 has -2 tokens":                        func(b *Batch) { b.Offsets = []int32{0, 6, 4, 14} },
		"piece 0 has 13 tokens, the plan is for":       func(b *Batch) { b.Offsets = []int32{0, 13, 14} },
		"piece 0 has 11 tokens, the model's absolute":  func(b *Batch) { b.Offsets = []int32{0, 11, 14} },
		"id 3 is 23, want 0 to 22":                     func(b *Batch) { b.IDs[3] = 23 },
		"id 3 is -1":                                   func(b *Batch) { b.IDs[3] = -1 },
		"13 token type ids for 14 tokens":              func(b *Batch) { b.TypeIDs = b.TypeIDs[1:] },
		"token type id 0 is 2, want 0 to 1":            func(b *Batch) { b.TypeIDs[0] = 2 },
		"position id 13 is 10, want 0 to 9":            func(b *Batch) { b.PositionIDs = make([]int32, 14); b.PositionIDs[13] = 10 },
		"masked position 1 is token 2, want ascending": func(b *Batch) { b.Masked, b.Labels = []int32{2, 2}, []int32{1, 1} },
		"masked position 0 is token 14":                func(b *Batch) { b.Masked, b.Labels = []int32{14}, []int32{1} },
		"1 labels for 2 masked positions":              func(b *Batch) { b.Masked, b.Labels = []int32{2, 3}, []int32{1} },
		"masked positions have no labels":              func(b *Batch) { b.Labels = nil },
		"label 0 is 23":                                func(b *Batch) { b.Masked, b.Labels = []int32{2}, []int32{23} },
		"11 pieces, the plan holds 1 to 10":            func(b *Batch) { b.Offsets = make([]int32, 12) },
	} {
		b := *good
		b.IDs, b.TypeIDs, b.Labels = slices.Clone(b.IDs), slices.Clone(b.TypeIDs), slices.Clone(b.Labels)
		change(&b)
		if err := pl.Run(t.Context(), &b, true); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
	}
	for name, g := range gradients(p) {
		if !sameBits(g, before[name]) {
			t.Errorf("a refused batch changed the gradient of %s", name)
		}
	}
	plain := planConfig(nil)
	plain.NumLabels = 2
	for want, change := range map[string]func(b *Batch){
		"type_vocab_size is 0":             func(b *Batch) { b.TypeIDs = make([]int32, 4) },
		"position_biased_input is off":     func(b *Batch) { b.PositionIDs = make([]int32, 4) },
		"1 class labels for 2 rows":        func(b *Batch) { b.ClassLabels = []int32{1} },
		"class label 1 is 2, want below 2": func(b *Batch) { b.ClassLabels = []int32{1, 2} },
	} {
		pl := compilePlan(t, d, strongParams(t, plain, Heads{Sequence: 2}), CompileOptions{Tokens: 8, Mode: ModeSequence, Loss: true})
		b := &Batch{IDs: []int32{1, 2, 3, 4}, Offsets: []int32{0, 2, 4}, ClassLabels: []int32{0, 1}}
		runPlan(t, pl, b, false)
		change(b)
		if err := pl.Run(t.Context(), b, false); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
	}
}

// A batch without masked tokens has loss 0 and gradients 0.
func TestNothingMasked(t *testing.T) {
	c := planConfig(nil)
	p := strongParams(t, c, Heads{MLM: true})
	pl := compilePlan(t, openDevice(t, "", 1), p, CompileOptions{Tokens: 12, Mode: ModeTrain})
	b := randomBatch(c, 1, 12)
	b.Masked, b.Labels = nil, nil
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
}
