package model

import "fmt"

// Heads says which heads a set of parameters holds beside the encoder.
type Heads struct {
	MLM      bool // cls.predictions.*
	Sequence int  // labels of pooler.* and classifier.*; 0: none
	Token    int  // labels of classifier.* without pooler; 0: none
	Question bool // qa_outputs.*: first and last token of an answer
}

// spanLogits are the logits of a token in question answering: as the first, and as the last one of the answer. HF splits
// its num_labels logits in two, so that it knows no other number.
const spanLogits = 2

// Tensor describes one parameter. Offset counts elements from the start of every arena.
type Tensor struct {
	Name     string // HF state-dict name
	Shape    []int  // row-major
	Offset   int
	Decay    bool // weight decay applies: not to biases, not to LayerNorm
	ZeroGrad bool // its gradient is zero by analysis (softmax ignores what is constant in a row)
	Idle     bool // nothing that is computed reads it: it has no gradient, and training leaves it as it is, decay included

	init initKind
}

// Size returns the number of elements.
func (t Tensor) Size() int {
	n := 1
	for _, d := range t.Shape {
		n *= d
	}
	return n
}

type initKind uint8

const (
	initNormal initKind = iota // N(0, initializer_range)
	initZero
	initOne
	initNormalPad // as initNormal, the row of the pad token zero
)

// arenaAlign is the number of elements of 64 bytes, one cache line and one AVX-512 vector.
const arenaAlign = 16

// Layout returns the tensors of a configuration with the heads asked for, in arena order, without allocating them.
func Layout(cfg *Config, heads Heads) ([]Tensor, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	return layout(cfg, heads), nil
}

// layout lists the tensors in the order of HF's modules, but with query, key and value weights side by side and their
// biases side by side (one product computes all three), and with every tensor whose size is no multiple of 64 bytes
// moved behind all others: safetensors allows no gaps, and this keeps the others aligned.
func layout(c *Config, heads Heads) []Tensor {
	var even, odd []Tensor
	add := func(name string, init initKind, decay bool, shape ...int) *Tensor {
		t := Tensor{Name: name, Shape: shape, Decay: decay, init: init}
		list := &even
		if t.Size()%arenaAlign != 0 {
			list = &odd
		}
		*list = append(*list, t)
		return &(*list)[len(*list)-1]
	}
	weight := func(name string, shape ...int) { add(name+".weight", initNormal, true, shape...) }
	bias := func(name string, n int) *Tensor { return add(name+".bias", initZero, false, n) }
	linear := func(name string, out, in int) { weight(name, out, in); bias(name, out) }
	norm := func(name string, n int) *Tensor {
		add(name+".weight", initOne, false, n)
		return bias(name, n)
	}
	// The softmax of question answering runs over the tokens of a piece and ignores what is added to all of them alike: the
	// bias of its logits, and the last bias of the encoder when no other head reads that.
	answersOnly := heads == Heads{Question: true}

	h, e, i := c.HiddenSize, c.Embedding(), c.IntermediateSize
	c2p, p2c := c.C2P(), c.P2C()

	add("deberta.embeddings.word_embeddings.weight", initNormalPad, true, c.VocabSize, e)
	if c.PositionBiasedInput {
		weight("deberta.embeddings.position_embeddings", c.MaxPositionEmbeddings, e)
	}
	if c.TypeVocabSize > 0 {
		weight("deberta.embeddings.token_type_embeddings", c.TypeVocabSize, e)
	}
	if e != h {
		weight("deberta.embeddings.embed_proj", h, e)
	}
	norm("deberta.embeddings.LayerNorm", h)
	idle := !c2p && !p2c // the position table serves neither term
	if c.RelativeAttention {
		add("deberta.encoder.rel_embeddings.weight", initNormal, true, 2*c.AttentionSpan(), h).Idle = idle
	}
	if c.NormRel() {
		add("deberta.encoder.LayerNorm.weight", initOne, false, h).Idle = idle
		// Through Pk the bias adds Q_i·(Wk β) to every key alike; only Pq makes it depend on the key.
		b := bias("deberta.encoder.LayerNorm", h)
		b.ZeroGrad, b.Idle = c2p && !p2c, idle
	}
	if c.ConvKernelSize > 0 {
		linear3 := "deberta.encoder.conv.conv"
		weight(linear3, h, h/c.ConvGroups, c.ConvKernelSize)
		bias(linear3, h)
		norm("deberta.encoder.conv.LayerNorm", h).ZeroGrad = answersOnly && c.NumHiddenLayers == 1
	}
	for n := range c.NumHiddenLayers {
		layer := fmt.Sprintf("deberta.encoder.layer.%d.", n)
		self := layer + "attention.self."
		weight(self+"query_proj", h, h)
		weight(self+"key_proj", h, h)
		weight(self+"value_proj", h, h)
		bias(self+"query_proj", h)
		bias(self+"key_proj", h).ZeroGrad = !p2c // Q_i·bk is one constant for the row, unless bk also meets Pq
		bias(self+"value_proj", h)
		if !c.ShareAttKey {
			if c2p {
				weight(self+"pos_key_proj", h, h)
			}
			if p2c {
				weight(self+"pos_query_proj", h, h)
			}
			if c2p {
				bias(self+"pos_key_proj", h).ZeroGrad = true
			}
			if p2c {
				bias(self+"pos_query_proj", h)
			}
		}
		linear(layer+"attention.output.dense", h, h)
		norm(layer+"attention.output.LayerNorm", h)
		linear(layer+"intermediate.dense", i, h)
		linear(layer+"output.dense", h, i)
		last := n == c.NumHiddenLayers-1 && !(n == 0 && c.ConvKernelSize > 0) // ConvLayer comes behind layer 0
		norm(layer+"output.LayerNorm", h).ZeroGrad = answersOnly && last
	}
	if heads.MLM {
		linear("cls.predictions.transform.dense", e, h)
		norm("cls.predictions.transform.LayerNorm", e)
		bias("cls.predictions", c.VocabSize)
	}
	if heads.Sequence > 0 {
		linear("pooler.dense", h, h)
		linear("classifier", heads.Sequence, h)
	} else if heads.Token > 0 {
		linear("classifier", heads.Token, h)
	}
	if heads.Question {
		weight("qa_outputs", spanLogits, h)
		bias("qa_outputs", spanLogits).ZeroGrad = true
	}

	all := append(even, odd...)
	at := 0
	for n := range all {
		all[n].Offset = at
		at += all[n].Size()
	}
	return all
}
