package model

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/secencoder/secencoder/internal/device"
)

// planConfig is a small model in the published setting.
func planConfig(change func(c *Config)) *Config {
	c := DefaultConfig()
	c.VocabSize, c.HiddenSize, c.NumHiddenLayers, c.NumAttentionHeads, c.IntermediateSize = 23, 16, 2, 2, 24
	c.RelativeAttention, c.PositionBuckets, c.MaxRelativePositions, c.MaxPositionEmbeddings = true, 4, 9, 64
	c.PosAttType, c.ShareAttKey, c.NormRelEbd, c.PositionBiasedInput = []string{"p2c", "c2p"}, true, "layer_norm", false
	c.HiddenDropoutProb, c.AttentionProbsDropoutProb, c.PoolerDropout = 0.1, 0.1, 0.2
	if change != nil {
		change(c)
	}
	return c
}

// planConfigs turn every switch that changes the arithmetic.
var planConfigs = map[string]func(c *Config){
	"published": nil,
	"convolution": func(c *Config) {
		c.ConvKernelSize, c.ConvGroups, c.ConvAct = 3, 2, "gelu"
	},
	"separate keys": func(c *Config) { c.ShareAttKey, c.NormRelEbd = false, "none" },
	"c2p shared linear buckets": func(c *Config) {
		c.PosAttType, c.PositionBuckets, c.MaxRelativePositions = []string{"c2p"}, -1, 6
	},
	"c2p separate": func(c *Config) { c.PosAttType, c.ShareAttKey = []string{"c2p"}, false },
	"p2c separate": func(c *Config) {
		c.PosAttType, c.ShareAttKey, c.ConvKernelSize = []string{"p2c"}, false, 5
	},
	"p2c shared": func(c *Config) { c.PosAttType = []string{"p2c"} },
	"no term":    func(c *Config) { c.PosAttType = nil },
	"absolute positions, types, projection": func(c *Config) {
		c.PositionBiasedInput, c.TypeVocabSize, c.EmbeddingSize, c.HiddenAct = true, 2, 12, "silu"
	},
	"no relative attention": func(c *Config) {
		c.RelativeAttention, c.HiddenAct, c.LayerNormEps = false, "gelu_new", 1e-5
	},
}

func openDevice(t testing.TB, kernels string, threads int) *device.Device {
	t.Helper()
	d, err := device.Open(device.Options{Kernels: kernels, Threads: threads})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

// strongParams have values of the size of trained ones: initial ones hide mistakes, with biases of 0 and scores near 0.
func strongParams(t testing.TB, c *Config, h Heads) *Params {
	t.Helper()
	p, err := NewParams(c, h)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := p.AllocateGrads(); err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(3, 4))
	for _, x := range p.Tensors() {
		mean, std := 0.0, 0.3
		if x.init == initOne {
			mean, std = 1, 0.1
		}
		for i, w := 0, p.Weight(x.Name); i < len(w); i++ {
			w[i] = float32(mean + std*r.NormFloat64())
		}
	}
	return p
}

func compilePlan(t testing.TB, d *device.Device, p *Params, o CompileOptions) *Plan {
	t.Helper()
	o.Poison = true
	pl, err := Compile(d, p.Config(), p, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := pl.Close(); err != nil {
			t.Error(err)
		}
	})
	return pl
}

func runPlan(t testing.TB, pl *Plan, b *Batch, accumulate bool) {
	t.Helper()
	if err := pl.Run(t.Context(), b, accumulate); err != nil {
		t.Fatal(err)
	}
}

// randomBatch has pieces of the given lengths; about a third of the tokens are masked.
func randomBatch(c *Config, seed uint64, lengths ...int) *Batch {
	r := rand.New(rand.NewPCG(seed, 1))
	b := &Batch{Offsets: []int32{0}, Seed: 77, Step: 5, Ordinal: 2}
	for _, n := range lengths {
		for i := range n {
			if i > 0 && r.IntN(3) == 0 {
				b.Masked = append(b.Masked, int32(len(b.IDs)))
				b.Labels = append(b.Labels, r.Int32N(int32(c.VocabSize)))
			}
			b.IDs = append(b.IDs, 1+r.Int32N(int32(c.VocabSize-1)))
			if c.TypeVocabSize > 0 {
				b.TypeIDs = append(b.TypeIDs, r.Int32N(int32(c.TypeVocabSize)))
			}
		}
		b.Offsets = append(b.Offsets, int32(len(b.IDs)))
	}
	b.Scale = 1 / float32(max(1, len(b.Masked)))
	return b
}

// slice returns pieces [from, to) of a batch as a batch, with the ordinal that they have in the whole.
func (b *Batch) slice(from, to int) *Batch {
	lo, hi := b.Offsets[from], b.Offsets[to]
	s := *b
	s.IDs, s.Ordinal, s.Offsets, s.Masked, s.Labels = b.IDs[lo:hi], b.Ordinal+uint32(from), nil, nil, nil
	if b.TypeIDs != nil {
		s.TypeIDs = b.TypeIDs[lo:hi]
	}
	for _, o := range b.Offsets[from : to+1] {
		s.Offsets = append(s.Offsets, o-lo)
	}
	for i, m := range b.Masked {
		if m >= lo && m < hi {
			s.Masked, s.Labels = append(s.Masked, m-lo), append(s.Labels, b.Labels[i])
		}
	}
	return &s
}

// join puts batches one behind the other.
func join(parts ...*Batch) *Batch {
	b := *parts[0]
	b.IDs, b.TypeIDs, b.Offsets, b.Masked, b.Labels = nil, nil, []int32{0}, nil, nil
	for _, p := range parts {
		at := int32(len(b.IDs))
		for i, m := range p.Masked {
			b.Masked, b.Labels = append(b.Masked, at+m), append(b.Labels, p.Labels[i])
		}
		b.IDs, b.TypeIDs = append(b.IDs, p.IDs...), append(b.TypeIDs, p.TypeIDs...)
		for _, o := range p.Offsets[1:] {
			b.Offsets = append(b.Offsets, at+o)
		}
	}
	return &b
}

// meanNLL is the loss in float64: the plan's float32 is too coarse for finite differences.
func meanNLL(pl *Plan) float64 {
	var sum float64
	for _, v := range pl.NLL() {
		sum += float64(v)
	}
	return sum / float64(len(pl.NLL()))
}

// Each tensor's gradient along itself and along a random direction, against the fourth-order difference of the whole
// model's loss along that direction of length 1, with steps of h = 2^-7. The forward pass in float32 moves the loss by
// about 2^-22, which h lifts to 2^-15 in the difference; what the fifth derivative of attention and LayerNorm leaves was
// at most 2^-10 of the gradient's norm in these models. The bounds, 2^-12 and 2^-8 of the norm, are four times that and
// more; a wrong slot, sign or bias shows at 2^-5 and above.
func TestWholeModelGradients(t *testing.T) {
	for name, change := range planConfigs {
		t.Run(name, func(t *testing.T) {
			c := planConfig(change)
			d := openDevice(t, "ref", 1)
			p := strongParams(t, c, Heads{MLM: true})
			b := randomBatch(c, 9, 11, 3, 8)
			train := compilePlan(t, d, p, CompileOptions{Tokens: 25, Mode: ModeTrain})
			eval := compilePlan(t, d, p, CompileOptions{Tokens: 25, Mode: ModeEval})
			runPlan(t, train, b, false)
			runPlan(t, eval, b, false)
			if train.Loss() != eval.Loss() || math.Abs(float64(train.Loss())-meanNLL(eval)) > 0x1p-20*4 {
				t.Errorf("loss %v in training, %v in evaluation, mean nll %v", train.Loss(), eval.Loss(), meanNLL(eval))
			}
			r := rand.New(rand.NewPCG(1, 1))
			for _, x := range p.Tensors() {
				g, w := p.Grad(x.Name), p.Weight(x.Name)
				var norm float64
				for _, v := range g {
					norm += float64(v) * float64(v)
				}
				norm = math.Sqrt(norm)
				if x.ZeroGrad != (norm == 0) && !unreached(c, x.Name) {
					t.Errorf("%s: gradient of norm %v, zero by analysis %v", x.Name, norm, x.ZeroGrad)
				}
				for which := range 2 {
					dir := make([]float64, len(g))
					var length, want float64
					for i := range dir {
						if dir[i] = r.NormFloat64(); which == 0 && norm > 0 {
							dir[i] = float64(g[i])
						}
						length += dir[i] * dir[i]
					}
					length = math.Sqrt(length)
					for i := range dir {
						dir[i] /= length
						want += dir[i] * float64(g[i])
					}
					got := alongDirection(t, eval, b, w, dir)
					if diff := math.Abs(got - want); !(diff <= 0x1p-8*norm+0x1p-12) {
						t.Errorf("%s: derivative %v, want %v (norm %v, direction %d)", x.Name, want, got, norm, which)
					}
				}
			}
		})
	}
}

// unreached names what a configuration holds and does not use.
func unreached(c *Config, name string) bool {
	positions := name == "deberta.encoder.rel_embeddings.weight" || name == "deberta.encoder.LayerNorm.weight" || name == "deberta.encoder.LayerNorm.bias"
	return positions && !c.C2P() && !c.P2C()
}

func alongDirection(t *testing.T, eval *Plan, b *Batch, w []float32, dir []float64) float64 {
	old := slices.Clone(w)
	defer copy(w, old)
	h := 0x1p-7
	at := func(s float64) float64 {
		for i := range w {
			w[i] = float32(float64(old[i]) + s*dir[i])
		}
		runPlan(t, eval, b, false)
		return meanNLL(eval)
	}
	return (8*(at(h)-at(-h)) - (at(2*h) - at(-2*h))) / (12 * h)
}
