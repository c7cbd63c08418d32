package tokenizer

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"sync"
)

// ErrUnsupported marks a tokenizer.json that is well formed but of a kind that this package does not run: another model than
// byte-level BPE, an unknown regular expression, a normalizer. tokenizer/foreign may be able to.
var ErrUnsupported = errors.New("not a byte-level BPE tokenizer of a supported kind")

// NoToken stands in Special for a token that the tokenizer does not have. It is never an id.
const NoToken = ^uint32(0)

// DefaultVocabSize is the vocabulary size of the SecEncoder paper, rounded to a multiple of 64: 29,952 = 64 · 468.
const DefaultVocabSize = 29952

// Special holds the ids of the tokens with a meaning of their own; NoToken where there is none. In tokenizers that Train makes all
// are there, as 0 to 4.
type Special struct {
	PAD, CLS, SEP, UNK, MASK uint32
}

// Missing returns the names of the tokens that are not there, in the order of the fields; nil when all are.
func (s Special) Missing() []string {
	var names []string
	for i, id := range [...]uint32{s.PAD, s.CLS, s.SEP, s.UNK, s.MASK} {
		if id == NoToken {
			names = append(names, specialNames[i])
		}
	}
	return names
}

// specialNames are the names that Train gives, in the order of their ids.
var specialNames = [...]string{"[PAD]", "[CLS]", "[SEP]", "[UNK]", "[MASK]"}

// foreignNames are the other spellings in use (RoBERTa's).
var foreignNames = [...]string{"<pad>", "<s>", "</s>", "<unk>", "<mask>"}

// Tokenizer is a trained vocabulary with its rules. It never changes after it was made, so it may be used from any number of
// goroutines; what encodes is its Encoder.
type Tokenizer struct {
	spec
	raw     []byte   // all tokens' bytes, one after the other
	ends    []uint32 // [V] where each ends in raw
	strings []string // [V] as in the file; "" where an id has no token
	special []bool   // [V]
	names   Special
	byteID  [256]uint32
	spaceID [256]uint32 // id of a space and this byte as one token, NoToken where there is none
	table   mergeTable
	pipe    pipeline
	direct  *Scanner          // the scanner, when the pipeline is nothing but one
	exact   matcher           // added tokens found in the text as it is
	folded  matcher           // added tokens found in what exact leaves (normalized: true)
	visible bool              // there are added tokens that are not special, which Append finds too
	whole   map[string]uint32 // with ignore_merges: pieces that are tokens

	seedOnce  sync.Once
	seedCache []shortEntry

	hashOnce sync.Once
	hash     [32]byte
}

// VocabSize returns the number of ids, V: the largest id and one more, added tokens and holes included.
func (t *Tokenizer) VocabSize() int { return len(t.strings) }

// Special returns the ids of the special tokens by meaning: found by name ([PAD] or <pad>, …); [CLS] and [SEP] also by the file's
// post-processor.
func (t *Tokenizer) Special() Special { return t.names }

// IsSpecial reports whether id is a special token. Ids outside the vocabulary are not.
func (t *Tokenizer) IsSpecial(id uint32) bool {
	return int64(id) < int64(len(t.special)) && t.special[id]
}

// TokenBytes returns the bytes of a token; for a special or added token its name; nil for an id without token. The result shares
// the tokenizer's memory and must not be written to.
func (t *Tokenizer) TokenBytes(id uint32) []byte {
	if int64(id) >= int64(len(t.ends)) {
		return nil
	}
	start := uint32(0)
	if id > 0 {
		start = t.ends[id-1]
	}
	end := t.ends[id]
	if start == end {
		return nil
	}
	return t.raw[start:end:end]
}

// Token returns a token as tokenizer.json and HuggingFace write it, with Ġ for a leading space; "" for an id without token.
func (t *Tokenizer) Token(id uint32) string {
	if int64(id) >= int64(len(t.strings)) {
		return ""
	}
	return t.strings[id]
}

// Holes returns the number of ids below VocabSize that have no token. A file of ours has none.
func (t *Tokenizer) Holes() int {
	n := 0
	for _, s := range t.strings {
		if s == "" {
			n++
		}
	}
	return n
}

// Scanner returns the rules by which text is cut; nil when a foreign file's pre-tokenizers are not exactly one Scanner.
func (t *Tokenizer) Scanner() *Scanner { return t.direct }

// Fingerprint returns the SHA-256 of JSON, which is also that of the file that Save writes: the name of this tokenizer in data,
// checkpoint and run folders.
func (t *Tokenizer) Fingerprint() [32]byte {
	t.hashOnce.Do(func() { t.hash = sha256.Sum256(t.JSON()) })
	return t.hash
}

// AppendDecode appends the bytes of ids to dst. Special tokens are left out, as are ids without token (CheckIDs finds those). For the
// ids that Encoder.Append gave it returns the text, whatever bytes it was made of, if the pre-tokenizers keep all bytes, as ours do.
func (t *Tokenizer) AppendDecode(dst []byte, ids []uint32) []byte {
	for _, id := range ids {
		if !t.IsSpecial(id) {
			dst = append(dst, t.TokenBytes(id)...)
		}
	}
	return dst
}

// CheckIDs returns an error naming the first of ids that is not below VocabSize.
func (t *Tokenizer) CheckIDs(ids []uint32) error {
	for i, id := range ids {
		if int64(id) >= int64(len(t.strings)) {
			return fmt.Errorf("id %d at place %d, want less than the vocabulary size %d", id, i, len(t.strings))
		}
	}
	return nil
}
