package tokenizer

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
)

// parseModel reads the field model.
func parseModel(raw json.RawMessage) (*spec, error) {
	if isNull(raw) {
		return nil, fmt.Errorf("model: missing")
	}
	var m struct {
		Type                    *string         `json:"type"`
		Dropout                 *float64        `json:"dropout"`
		UnkToken                *string         `json:"unk_token"`
		ContinuingSubwordPrefix *string         `json:"continuing_subword_prefix"`
		EndOfWordSuffix         *string         `json:"end_of_word_suffix"`
		FuseUnk                 bool            `json:"fuse_unk"`
		ByteFallback            bool            `json:"byte_fallback"`
		IgnoreMerges            bool            `json:"ignore_merges"`
		Vocab                   json.RawMessage `json:"vocab"`
		Merges                  []mergeJSON     `json:"merges"`
	}
	var kind struct {
		Type *string `json:"type"`
	}
	if err := json.Unmarshal(raw, &kind); err != nil {
		return nil, fmt.Errorf("model: %w", err)
	}
	if kind.Type != nil && *kind.Type != "BPE" {
		return nil, fmt.Errorf("model.type: %q, want \"BPE\": %w", *kind.Type, ErrUnsupported)
	}
	if err := json.Unmarshal(raw, &m); err != nil {
		return nil, fmt.Errorf("model: %w", err)
	}
	switch {
	case m.Dropout != nil && *m.Dropout != 0:
		return nil, fmt.Errorf("model.dropout: %g, want none, because ids would be random: %w", *m.Dropout, ErrUnsupported)
	case m.ContinuingSubwordPrefix != nil && *m.ContinuingSubwordPrefix != "":
		return nil, fmt.Errorf("model.continuing_subword_prefix: %q, want none: %w", *m.ContinuingSubwordPrefix, ErrUnsupported)
	case m.EndOfWordSuffix != nil && *m.EndOfWordSuffix != "":
		return nil, fmt.Errorf("model.end_of_word_suffix: %q, want none: %w", *m.EndOfWordSuffix, ErrUnsupported)
	}
	vocab, ids, err := parseVocab(m.Vocab)
	if err != nil {
		return nil, err
	}
	sp := &spec{vocab: vocab, unk: m.UnkToken, fuseUnk: m.FuseUnk, byteFallback: m.ByteFallback, ignoreMerges: m.IgnoreMerges}
	sp.merges = make([]merge, len(m.Merges))
	for i, pair := range m.Merges {
		for k, token := range [...]string{pair[0], pair[1], pair[0] + pair[1]} {
			id, ok := ids[token]
			if !ok {
				return nil, fmt.Errorf("model.merges[%d]: %q + %q: token %q is not in the vocabulary", i, pair[0], pair[1], token)
			}
			*[...]*uint32{&sp.merges[i].left, &sp.merges[i].right, &sp.merges[i].result}[k] = id
		}
	}
	return sp, nil
}

// mergeJSON is a merge in either form: ["a","b"] or "a b".
type mergeJSON [2]string

// UnmarshalJSON implements json.Unmarshaler.
func (m *mergeJSON) UnmarshalJSON(data []byte) error {
	if len(data) > 0 && data[0] == '"' {
		var s string
		if err := json.Unmarshal(data, &s); err != nil {
			return err
		}
		var err error
		m[0], m[1], err = splitMerge(s)
		return err
	}
	var list []string
	if err := json.Unmarshal(data, &list); err != nil {
		return err
	}
	if len(list) != 2 {
		return fmt.Errorf("merge of %d tokens, want 2", len(list))
	}
	*m = mergeJSON(list)
	return nil
}

// parseVocab reads the vocabulary token by token, because a Go map would hide a token that stands there twice.
func parseVocab(raw json.RawMessage) ([]vocabEntry, map[string]uint32, error) {
	if isNull(raw) {
		return nil, nil, fmt.Errorf("model.vocab: missing")
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return nil, nil, fmt.Errorf("model.vocab: want an object from token to id: %w", ErrUnsupported)
	}
	var vocab []vocabEntry
	ids := make(map[string]uint32)
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return nil, nil, fmt.Errorf("model.vocab: %w", err)
		}
		token := key.(string) // a key of an object always is
		value, err := d.Token()
		if err != nil {
			return nil, nil, fmt.Errorf("model.vocab: %w", err)
		}
		number, ok := value.(json.Number)
		if !ok {
			return nil, nil, fmt.Errorf("model.vocab: %q: id %v is not a number", token, value)
		}
		id, err := number.Int64()
		if err != nil || id < 0 || id >= math.MaxUint32 {
			return nil, nil, fmt.Errorf("model.vocab: %q: id %s is not a whole number from 0 to %d", token, number, uint32(math.MaxUint32-1))
		}
		if first, ok := ids[token]; ok {
			return nil, nil, fmt.Errorf("model.vocab: token %q stands there twice, with ids %d and %d", token, first, id)
		}
		ids[token] = uint32(id)
		vocab = append(vocab, vocabEntry{token, uint32(id)})
	}
	return vocab, ids, nil
}
