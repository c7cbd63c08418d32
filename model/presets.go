package model

import (
	"fmt"
	"strings"
)

// DefaultVocabSize is the vocabulary of the presets and of the tokenizer trainer: 64·468, as in the SecEncoder paper.
const DefaultVocabSize = 29952

// TrainingDefaults are a preset's starting points for pretraining. They are not part of the model.
type TrainingDefaults struct {
	LearningRate  float64 // peak, reached after the warm-up
	TokensPerStep int     // framed tokens of one optimizer step, all micro-batches together
	Context       int     // longest piece in tokens, [CLS] and [SEP] included
}

type preset struct {
	name                                string
	layers, hidden, heads, intermediate int
	conv                                int
	learningRate                        float64
	tokensPerStep, context              int
}

// presets follow the sizes of the SecEncoder paper from base on; the three smaller ones are for one machine.
var presets = []preset{
	{"tiny", 2, 128, 2, 512, 0, 1e-3, 512, 128},
	{"mini", 4, 256, 4, 1024, 0, 1e-3, 2048, 512},
	{"small", 6, 384, 6, 1536, 0, 7e-4, 8192, 512},
	{"base", 12, 768, 12, 3072, 0, 5e-4, 8192, 512},
	{"large", 24, 1024, 16, 4096, 0, 3e-4, 8192, 512},
	{"xlarge", 24, 1536, 24, 6144, 3, 2e-4, 8192, 512},
	{"xxlarge", 36, 1536, 24, 6144, 3, 1e-4, 8192, 512},
}

// PresetNames returns the names in ascending size.
func PresetNames() []string {
	names := make([]string, len(presets))
	for i, p := range presets {
		names[i] = p.name
	}
	return names
}

// Preset returns the configuration of a named size for a vocabulary of vocabSize tokens (the tokenizer's real size),
// with its training defaults. All presets declare 48,000 positions and the published bucket map of range 512: the first
// is what the model may be asked for, the second is what every short-input result depends on. An unknown name is an
// error that lists the known ones.
func Preset(name string, vocabSize int) (*Config, TrainingDefaults, error) {
	for _, p := range presets {
		if p.name != name {
			continue
		}
		c := DefaultConfig()
		c.VocabSize = vocabSize
		c.NumHiddenLayers, c.HiddenSize, c.NumAttentionHeads, c.IntermediateSize = p.layers, p.hidden, p.heads, p.intermediate
		c.HiddenDropoutProb, c.AttentionProbsDropoutProb = 0.1, 0
		c.MaxPositionEmbeddings, c.MaxRelativePositions = 48000, 512
		c.RelativeAttention, c.PositionBuckets, c.ShareAttKey = true, 256, true
		c.PosAttType, c.NormRelEbd = []string{"p2c", "c2p"}, "layer_norm"
		c.PositionBiasedInput, c.TypeVocabSize = false, 0
		if p.conv > 0 {
			c.ConvKernelSize, c.ConvAct = p.conv, "gelu"
		}
		return c, TrainingDefaults{LearningRate: p.learningRate, TokensPerStep: p.tokensPerStep, Context: p.context}, c.Validate()
	}
	return nil, TrainingDefaults{}, fmt.Errorf("unknown size %q, want one of %s", name, strings.Join(PresetNames(), ", "))
}
