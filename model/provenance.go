package model

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/secencoder/secencoder/tokenizer"
)

// Provenance says where a model's weights come from. It stands in config.json as the object "secencoder" (HF keeps and
// passes on unknown keys) and in the manifest's extra; when a folder is loaded both must agree. Fields that do not apply
// are left out of the file.
type Provenance struct {
	Tool string `json:"tool,omitempty"` // program and version that wrote the folder
	// Slot0Trained is false when no piece of the training was longer than the range of the bucket map: slot 0 of the
	// position table then holds what initialisation left, and inference and export read row 1 for it.
	Slot0Trained bool `json:"slot0_trained"`
	// Tokenizer is the fingerprint of the tokenizer that the model was trained with, in hexadecimal.
	Tokenizer string `json:"tokenizer,omitempty"`

	Size         string  `json:"size,omitempty"`    // preset
	Steps        int64   `json:"steps,omitempty"`   // optimizer steps
	Tokens       int64   `json:"tokens,omitempty"`  // framed tokens seen
	Context      int     `json:"context,omitempty"` // longest piece in training, tokens
	Seed         uint64  `json:"seed,omitempty"`
	Mask         string  `json:"mask,omitempty"`       // content or all
	MaskRate     float64 `json:"mask_rate,omitempty"`  // of the maskable tokens
	Delimiters   string  `json:"delimiters,omitempty"` // the set, as DelimiterSet.String writes it
	Data         string  `json:"data,omitempty"`       // manifest hash of the data folder
	ImportedFrom string  `json:"imported_from,omitempty"`

	// Evaluation is what the training measured last, for the model card; its form is the writer's.
	Evaluation json.RawMessage `json:"evaluation,omitempty"`
}

// ProvenanceOf reads the provenance of a configuration; ok is false when the file was not written by this tool. A
// malformed object is an error.
func ProvenanceOf(c *Config) (p Provenance, ok bool, err error) {
	if c.SecEncoder == nil {
		return Provenance{Slot0Trained: true}, false, nil
	}
	if err := json.Unmarshal(c.SecEncoder, &p); err != nil {
		return p, false, fmt.Errorf("config: secencoder: %w", err)
	}
	return p, true, nil
}

func fingerprint(t *tokenizer.Tokenizer) string {
	f := t.Fingerprint()
	return hex.EncodeToString(f[:])
}

// checkTokenizer returns an error when t cannot be the tokenizer of a model with configuration c. A folder of ours names
// the tokenizer's fingerprint. Elsewhere the sizes must fit: HF pads the embedding of some models beyond the vocabulary.
func checkTokenizer(c *Config, p Provenance, ours bool, t *tokenizer.Tokenizer) error {
	if got := fingerprint(t); ours && p.Tokenizer != "" && got != p.Tokenizer {
		return fmt.Errorf("the tokenizer does not belong to the model: fingerprint %s, the model was trained with %s", got[:16], p.Tokenizer[:min(16, len(p.Tokenizer))])
	}
	switch v := t.VocabSize(); {
	case v > c.VocabSize:
		return fmt.Errorf("the tokenizer does not belong to the model: %d tokens, vocab_size is %d", v, c.VocabSize)
	case ours && p.Tokenizer == "" && v < c.VocabSize:
		return fmt.Errorf("the tokenizer does not belong to the model: %d tokens, vocab_size is %d", v, c.VocabSize)
	}
	s := t.Special()
	if s.PAD != tokenizer.NoToken && c.PadTokenID >= 0 && int(s.PAD) != c.PadTokenID {
		return fmt.Errorf("the tokenizer does not belong to the model: its padding token is %d, pad_token_id is %d", s.PAD, c.PadTokenID)
	}
	if s.CLS == tokenizer.NoToken || s.SEP == tokenizer.NoToken {
		return fmt.Errorf("the tokenizer has no %s: pieces cannot be framed", strings.Join(s.Missing(), ", "))
	}
	return nil
}
