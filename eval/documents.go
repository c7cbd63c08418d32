package eval

import (
	"fmt"
	"iter"

	"github.com/secencoder/secencoder/data/batch"
	"github.com/secencoder/secencoder/tokenizer"
)

// recoder turns documents of one tokenizer into documents of another: decoded, encoded again.
type recoder struct {
	from *tokenizer.Tokenizer
	to   *tokenizer.Encoder
	text []byte
}

func newRecoder(from, to *tokenizer.Tokenizer) *recoder {
	return &recoder{from: from, to: to.NewEncoder()}
}

// append appends the document's tokens under the other tokenizer to dst.
func (r *recoder) append(dst, document []uint32) []uint32 {
	r.text = r.from.AppendDecode(r.text[:0], document)
	return r.to.Append(dst, r.text)
}

// recoded is a set whose documents were encoded again. It holds them in memory, 4 bytes a token, because lengths must be
// known in advance.
type recoded struct {
	tokens []uint32
	ends   []int
	metas  []batch.Meta
}

// recode encodes every document of a set again.
func recode(docs batch.Documents, r *recoder) (*recoded, error) {
	out := &recoded{}
	var document []uint32
	for i := range docs.Documents() {
		var meta batch.Meta
		var err error
		if document, meta, err = docs.Document(i, document); err != nil {
			return nil, fmt.Errorf("document %d: %w", i, err)
		}
		out.tokens = r.append(out.tokens, document)
		out.ends = append(out.ends, len(out.tokens))
		out.metas = append(out.metas, meta)
	}
	return out, nil
}

// Documents implements batch.Documents.
func (d *recoded) Documents() int { return len(d.ends) }

func (d *recoded) span(i int) (start, end int) {
	if i > 0 {
		start = d.ends[i-1]
	}
	return start, d.ends[i]
}

// Length implements batch.Documents.
func (d *recoded) Length(i int) int {
	start, end := d.span(i)
	return end - start
}

// Document implements batch.Documents.
func (d *recoded) Document(i int, dst []uint32) ([]uint32, batch.Meta, error) {
	start, end := d.span(i)
	return append(dst[:0], d.tokens[start:end]...), d.metas[i], nil
}

// every yields every stride-th document of a set, encoded again when r is not nil. The slice is reused.
func every(docs batch.Documents, stride int, r *recoder) iter.Seq2[[]uint32, error] {
	return func(yield func([]uint32, error) bool) {
		var document, again []uint32
		for i := 0; i < docs.Documents(); i += stride {
			var err error
			if document, _, err = docs.Document(i, document); err != nil {
				yield(nil, fmt.Errorf("document %d: %w", i, err))
				return
			}
			tokens := document
			if r != nil {
				again = r.append(again[:0], document)
				tokens = again
			}
			if !yield(tokens, nil) {
				return
			}
		}
	}
}
