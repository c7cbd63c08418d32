// Package foreign reads tokenizer.json files of the kinds that package tokenizer refuses with tokenizer.ErrUnsupported: WordPiece,
// Unigram and others, through github.com/sugarme/tokenizer v0.3.0. It is for looking at other people's models and for a second
// opinion in tests.
//
// It is an adapter, not an oracle: against HuggingFace that library gives other ids for some accents, white space and unknown
// characters (23 of 28 hard strings agree for WordPiece, 18 of 28 for Unigram), encodes about 0.1 MB/s, and panics on some inputs and
// files; here a panic becomes an error. Its byte-level BPE merges runs of one letter wrongly, so for that kind use package tokenizer.
// Never train a model on what comes from here without checking ids against HuggingFace's.
package foreign

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"sync"

	sugarme "github.com/sugarme/tokenizer"
	"github.com/sugarme/tokenizer/pretrained"
)

// maxFileBytes bounds what Load reads.
const maxFileBytes = 256 << 20

// Tokenizer is a tokenizer.json run by the foreign library. It may be used from several goroutines, which take turns: the library
// does not say what it promises.
type Tokenizer struct {
	mu   sync.Mutex
	tok  *sugarme.Tokenizer
	kind string
	size int
}

// Load reads the tokenizer.json at path.
func Load(path string) (*Tokenizer, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFileBytes+1))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if len(data) > maxFileBytes {
		return nil, fmt.Errorf("%s: over %d MiB, too large for a tokenizer", path, maxFileBytes>>20)
	}
	t, err := Parse(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return t, nil
}

// Parse reads the bytes of a tokenizer.json, which it does not keep. What the library cannot build, by error or by panic, is an error.
func Parse(data []byte) (t *Tokenizer, err error) {
	var file struct {
		Model struct {
			Type string `json:"type"`
		} `json:"model"`
	}
	if err := json.Unmarshal(data, &file); err != nil {
		return nil, err
	}
	if file.Model.Type == "" {
		return nil, fmt.Errorf("model.type: missing")
	}
	defer recoverAs(&err, "reading")
	tok, err := pretrained.FromReader(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	return &Tokenizer{tok: tok, kind: file.Model.Type, size: tok.GetVocabSize(true)}, nil
}

// Kind returns the model's type as in the file: WordPiece, Unigram, BPE, WordLevel.
func (t *Tokenizer) Kind() string { return t.kind }

// VocabSize returns the number of tokens, added ones included.
func (t *Tokenizer) VocabSize() int { return t.size }

// Encode returns the ids of text. With special the file's post-processor frames it. A panic of the library is an error that quotes
// the beginning of text.
func (t *Tokenizer) Encode(text string, special bool) (ids []uint32, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	defer recoverAs(&err, "encoding %.40q", text)
	enc, err := t.tok.EncodeSingle(text, special)
	if err != nil {
		return nil, err
	}
	ids = make([]uint32, len(enc.Ids))
	for i, id := range enc.Ids {
		ids[i] = uint32(id)
	}
	return ids, nil
}

// Token returns a token as the file has it, and whether the id has one.
func (t *Tokenizer) Token(id uint32) (string, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.tok.IdToToken(int(id))
}

// Decode returns the text of ids, special tokens left out. These kinds are lossy: it need not be the text that was encoded.
func (t *Tokenizer) Decode(ids []uint32) (text string, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	defer recoverAs(&err, "decoding %d ids", len(ids))
	list := make([]int, len(ids))
	for i, id := range ids {
		list[i] = int(id)
	}
	return t.tok.Decode(list, true), nil
}

// recoverAs turns a panic of the library into an error; what it says is that of the library.
func recoverAs(err *error, doing string, args ...any) {
	if p := recover(); p != nil {
		*err = fmt.Errorf("%s: github.com/sugarme/tokenizer panics: %v", fmt.Sprintf(doing, args...), p)
	}
}
