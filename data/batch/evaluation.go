package batch

import (
	"fmt"
	"io"

	"github.com/secencoder/secencoder/internal/rng"
)

// EvaluationOptions says what part of a set an evaluation sees, and how.
type EvaluationOptions struct {
	Context int    // most tokens of a framed piece
	T       int    // tokens of a micro-batch, at least Context
	Seed    uint64 // of sample and masks
	Mask    MaskOptions
	// Pieces and Tokens ([CLS] and [SEP] included) limit the evaluation to a sample of documents in an order that the
	// seed fixes; the sample ends before the piece that would exceed either, but holds at least one. Both 0: the whole
	// set in its own order.
	Pieces int
	Tokens int64
}

// Sample is the sample that design and paper use during training: 2,000 pieces or 100,000 tokens, whichever comes first.
func (o EvaluationOptions) Sample() EvaluationOptions {
	o.Pieces, o.Tokens = 2000, 100_000
	return o
}

// Evaluation walks a set, or a fixed sample of it, once, with masks that follow from (seed, document, piece): training's
// masks of epoch 0. Its micro-batches tell each piece's document and source, for intervals and tables by source.
// It is used by one goroutine at a time.
type Evaluation struct {
	c     *cutter
	o     EvaluationOptions
	order permutation
	micro *Micro

	position uint64
	piece    int
	counts   Counts
}

// NewEvaluation returns an evaluation at its start.
func NewEvaluation(docs Documents, v *Vocabulary, o EvaluationOptions) (*Evaluation, error) {
	c, err := newCutter(docs, v, o.Seed, o.Context, o.Mask)
	if err != nil {
		return nil, err
	}
	if err := checkT(o.T, o.Context); err != nil {
		return nil, err
	}
	if o.Pieces < 0 || o.Tokens < 0 {
		return nil, fmt.Errorf("sample of %d pieces and %d tokens: want 0 (all) or more", o.Pieces, o.Tokens)
	}
	return &Evaluation{c: c, o: o, order: newPermutation(o.Seed, rng.Sample, docs.Documents()), micro: newMicro(o.T)}, nil
}

// Next returns the next micro-batch, which holds until the next call, and io.EOF after the last one. Micro.Ordinal counts
// pieces from the start of the evaluation. After another error only Reset makes sense.
func (e *Evaluation) Next() (*Micro, error) {
	m := e.micro
	m.reset(int(e.counts.Pieces))
	for e.position < e.order.n {
		d := e.document()
		n := e.c.docs.Length(d)
		pieces := PieceCount(n, e.o.Context)
		if pieces > maxPieces {
			return nil, fmt.Errorf("document %d: %d tokens make more than %d pieces of %d", d, n, maxPieces, e.o.Context)
		}
		if e.piece == pieces {
			if n == 0 {
				e.counts.EmptyDocuments++
			}
			e.position++
			e.piece = 0
			continue
		}
		size := e.c.framed(n, e.piece)
		if e.full(m, size) {
			e.position = e.order.n
			break
		}
		if m.Tokens()+size > m.T {
			break
		}
		if err := e.c.put(m, Place{Document: d, Piece: e.piece}); err != nil {
			return nil, err
		}
		e.piece++
	}
	if len(m.Pieces) == 0 {
		return nil, io.EOF
	}
	e.c.close(m)
	e.counts.add(m)
	return m, nil
}

// full tells whether a piece of size tokens would exceed the sample; m holds what counts do not yet.
func (e *Evaluation) full(m *Micro, size int) bool {
	pieces := e.counts.Pieces + int64(len(m.Pieces))
	tokens := e.counts.Tokens + int64(m.Tokens())
	return pieces > 0 &&
		(e.o.Pieces > 0 && pieces >= int64(e.o.Pieces) || e.o.Tokens > 0 && tokens+int64(size) > e.o.Tokens)
}

func (e *Evaluation) document() int {
	if e.o.Pieces == 0 && e.o.Tokens == 0 {
		return int(e.position)
	}
	return e.order.at(0, e.position)
}

// Reset goes back to the start; the counts begin anew.
func (e *Evaluation) Reset() {
	e.position, e.piece, e.counts = 0, 0, Counts{}
}

// Counts returns what was handed out since the start.
func (e *Evaluation) Counts() Counts { return e.counts }
