// Package model is the DeBERTa-v2 encoder: its configuration, presets, parameters and folders, its graph and heads, and
// Encoder, which turns text into vectors. It computes what HuggingFace's modeling_deberta_v2 (transformers 5.23.0)
// computes, and reads and writes HuggingFace's files; parity tests hold both.
//
// Begin with Load and Encoder.Embed to use a trained model, with Preset and NewParams to make a new one, and with
// Compile to run a step. Folders are read and written by ReadFolder and WriteFolder.
//
// Axis letters: T tokens of a plan, H hidden, A heads, D head size, I intermediate, E embedding size, V vocabulary,
// K attention span (the position table has 2K rows), L layers.
//
// It does not train (package train) and does not score (package eval).
package model

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/secencoder/secencoder/internal/kernel"
)

// Config is HuggingFace's DebertaV2Config: the same names, defaults and conventions, with what HF reads by getattr
// declared. Fields hold what the file said; the methods resolve conventions (-1, absent). Make one with DefaultConfig,
// Preset or ParseConfig, and call Validate after changing it by hand. It is a value: copy it with Clone.
//
// Source: configuration_deberta_v2.py and modeling_deberta_v2.py, transformers 5.23.0.
type Config struct {
	VocabSize                 int
	HiddenSize                int
	NumHiddenLayers           int
	NumAttentionHeads         int
	IntermediateSize          int
	HiddenAct                 string
	HiddenDropoutProb         float64
	AttentionProbsDropoutProb float64
	MaxPositionEmbeddings     int
	TypeVocabSize             int
	InitializerRange          float64
	LayerNormEps              float64
	RelativeAttention         bool
	MaxRelativePositions      int // < 1: MaxPositionEmbeddings
	PadTokenID                int // -1: none (null in the file)
	PositionBiasedInput       bool
	PosAttType                []string // lower case; "p2c", "c2p", "p2p" (ignored)
	PoolerDropout             float64
	PoolerHiddenAct           string
	PoolerHiddenSize          int // 0: HiddenSize
	Legacy                    bool
	TieWordEmbeddings         bool

	EmbeddingSize     int // 0: HiddenSize
	AttentionHeadSize int // 0: HiddenSize / NumAttentionHeads
	PositionBuckets   int // < 1: linear clamp
	ShareAttKey       bool
	NormRelEbd        string // "none", "layer_norm", parts joined by "|"
	ConvKernelSize    int    // 0: no convolution
	ConvGroups        int
	ConvAct           string
	ClsDropout        float64 // < 0: HiddenDropoutProb
	NumLabels         int
	ProblemType       string

	// Architectures is what the file names as its class, for instance "DebertaV2ForMaskedLM".
	Architectures []string
	// SecEncoder is the provenance object of files that this tool wrote, as it stands in the file; nil elsewhere.
	SecEncoder json.RawMessage
}

// DefaultConfig returns DebertaV2Config() of transformers 5.23.0.
func DefaultConfig() *Config {
	return &Config{
		VocabSize: 128100, HiddenSize: 1536, NumHiddenLayers: 24, NumAttentionHeads: 24, IntermediateSize: 6144,
		HiddenAct: "gelu", HiddenDropoutProb: 0.1, AttentionProbsDropoutProb: 0.1, MaxPositionEmbeddings: 512,
		InitializerRange: 0.02, LayerNormEps: 1e-7, MaxRelativePositions: -1, PositionBiasedInput: true,
		PoolerHiddenAct: "gelu", Legacy: true, TieWordEmbeddings: true,
		PositionBuckets: -1, NormRelEbd: "none", ConvGroups: 1, ConvAct: "tanh", ClsDropout: -1, NumLabels: 2,
	}
}

// Clone returns a deep copy.
func (c *Config) Clone() *Config {
	d := *c
	d.PosAttType = slices.Clone(c.PosAttType)
	d.Architectures = slices.Clone(c.Architectures)
	d.SecEncoder = slices.Clone(c.SecEncoder)
	return &d
}

// Embedding returns E, the width of the word embedding: embedding_size, or hidden_size when that is absent.
func (c *Config) Embedding() int {
	if c.EmbeddingSize > 0 {
		return c.EmbeddingSize
	}
	return c.HiddenSize
}

// HeadSize returns D = hidden_size / num_attention_heads.
func (c *Config) HeadSize() int { return c.HiddenSize / c.NumAttentionHeads }

// MaxRelative returns M, the range of the log buckets: max_relative_positions, or max_position_embeddings when that is
// below 1.
func (c *Config) MaxRelative() int {
	if c.MaxRelativePositions < 1 {
		return c.MaxPositionEmbeddings
	}
	return c.MaxRelativePositions
}

// AttentionSpan returns K (HF pos_ebd_size): position_buckets when positive, else MaxRelative. The position table has
// 2K rows.
func (c *Config) AttentionSpan() int {
	return kernel.Span(c.PositionBuckets, c.MaxRelative())
}

// C2P reports whether content attends to position: relative_attention is on and pos_att_type has "c2p".
func (c *Config) C2P() bool { return c.RelativeAttention && slices.Contains(c.PosAttType, "c2p") }

// P2C reports whether position attends to content: relative_attention is on and pos_att_type has "p2c".
func (c *Config) P2C() bool { return c.RelativeAttention && slices.Contains(c.PosAttType, "p2c") }

// NormRel reports whether the position table passes a LayerNorm (norm_rel_ebd has "layer_norm").
func (c *Config) NormRel() bool {
	for part := range strings.SplitSeq(c.NormRelEbd, "|") {
		if strings.ToLower(strings.TrimSpace(part)) == "layer_norm" {
			return true
		}
	}
	return false
}

// Sigma returns the divisor of the attention scores, sqrt(D·(1 + [c2p] + [p2c])) rounded as HF rounds it (float32). It
// counts pos_att_type even when relative_attention is off, as HF does.
func (c *Config) Sigma() float32 {
	f := 1
	for _, t := range []string{"c2p", "p2c"} {
		if slices.Contains(c.PosAttType, t) {
			f++
		}
	}
	return float32(math.Sqrt(float64(c.HeadSize() * f)))
}

// ClassifierDropout returns cls_dropout, or hidden_dropout_prob when that is absent.
func (c *Config) ClassifierDropout() float64 {
	if c.ClsDropout < 0 {
		return c.HiddenDropoutProb
	}
	return c.ClsDropout
}

// Bounds of what a configuration may ask for. They keep sizes far from overflow, so that a hostile file is refused with
// a sentence; the parameters it asks for are checked against memory or the file's size before anything is allocated.
const (
	maxDimension  = 1 << 20 // hidden, intermediate, embedding size
	maxVocabulary = 1 << 26
	maxPositions  = 1 << 26
	maxLayers     = 1 << 10
	maxLabels     = 1 << 16
	maxParameters = 1 << 42
)

// Validate returns an error that names the first field whose value cannot run, with the value.
func (c *Config) Validate() error {
	bad := func(format string, args ...any) error { return fmt.Errorf("config: "+format, args...) }
	for _, f := range []struct {
		key      string
		v        int
		min, max int
	}{
		{"vocab_size", c.VocabSize, 1, maxVocabulary},
		{"hidden_size", c.HiddenSize, 1, maxDimension},
		{"num_hidden_layers", c.NumHiddenLayers, 1, maxLayers},
		{"num_attention_heads", c.NumAttentionHeads, 1, maxDimension},
		{"intermediate_size", c.IntermediateSize, 1, maxDimension},
		{"max_position_embeddings", c.MaxPositionEmbeddings, 1, maxPositions},
		{"max_relative_positions", c.MaxRelativePositions, -maxPositions, maxPositions},
		{"position_buckets", c.PositionBuckets, -maxPositions, maxPositions},
		{"type_vocab_size", c.TypeVocabSize, 0, maxDimension},
		{"embedding_size", c.EmbeddingSize, 0, maxDimension},
		{"conv_kernel_size", c.ConvKernelSize, 0, 1 << 10},
		{"num_labels", c.NumLabels, 1, maxLabels},
	} {
		if f.v < f.min || f.v > f.max {
			return bad("%s is %d, want %d to %d", f.key, f.v, f.min, f.max)
		}
	}
	if c.HiddenSize%c.NumAttentionHeads != 0 {
		return bad("hidden_size %d is not a multiple of num_attention_heads %d", c.HiddenSize, c.NumAttentionHeads)
	}
	if c.AttentionHeadSize != 0 && c.AttentionHeadSize != c.HeadSize() {
		return bad("attention_head_size is %d, want hidden_size / num_attention_heads = %d", c.AttentionHeadSize, c.HeadSize())
	}
	if c.PoolerHiddenSize != 0 && c.PoolerHiddenSize != c.HiddenSize {
		return bad("pooler_hidden_size is %d, want hidden_size %d", c.PoolerHiddenSize, c.HiddenSize)
	}
	if c.PadTokenID < -1 || c.PadTokenID >= c.VocabSize {
		return bad("pad_token_id is %d, want an id below vocab_size %d", c.PadTokenID, c.VocabSize)
	}
	for _, f := range []struct{ key, v string }{
		{"hidden_act", c.HiddenAct}, {"conv_act", c.ConvAct}, {"pooler_hidden_act", c.PoolerHiddenAct},
	} {
		if _, err := kernel.ParseActivation(f.v); err != nil {
			return bad("%s: %w", f.key, err)
		}
	}
	for _, f := range []struct {
		key      string
		v        float64
		min, max float64 // max excluded
	}{
		{"hidden_dropout_prob", c.HiddenDropoutProb, 0, 1},
		{"attention_probs_dropout_prob", c.AttentionProbsDropoutProb, 0, 1},
		{"pooler_dropout", c.PoolerDropout, 0, 1},
		{"initializer_range", c.InitializerRange, 0, 100},
		{"layer_norm_eps", c.LayerNormEps, 0, 1},
		{"cls_dropout", c.ClsDropout, -1, 1},
	} {
		if !(f.v >= f.min && f.v < f.max) {
			return bad("%s is %v, want at least %v and below %v", f.key, f.v, f.min, f.max)
		}
	}
	for _, t := range c.PosAttType {
		if t != "c2p" && t != "p2c" && t != "p2p" {
			return bad("pos_att_type has %q, want c2p, p2c or p2p", t)
		}
	}
	if c.ConvKernelSize > 0 {
		if c.ConvKernelSize%2 == 0 {
			return bad("conv_kernel_size is %d, want an odd number (an even one changes the number of tokens)", c.ConvKernelSize)
		}
		if c.ConvGroups < 1 || c.HiddenSize%c.ConvGroups != 0 {
			return bad("conv_groups is %d, want a divisor of hidden_size %d", c.ConvGroups, c.HiddenSize)
		}
	}
	if c.RelativeAttention {
		if err := kernel.CheckSlots(c.PositionBuckets, c.MaxRelative(), maxPositions); err != nil {
			return bad("%w", err)
		}
	}
	for _, lay := range layout(c, Heads{MLM: true}) {
		if int64(lay.Offset)+int64(lay.Size()) > maxParameters {
			return bad("the sizes give more than %d parameters", int64(maxParameters))
		}
	}
	return nil
}
