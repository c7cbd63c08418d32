package batch

import "fmt"

// MaxContext is the longest framed piece: dropout's counter holds 65,536 positions of a piece.
const MaxContext = 65536

// PieceCount returns into how many pieces a document of length tokens is cut when a framed piece has at most context
// tokens: consecutive runs of context−2, the last one shorter. No tokens, no piece.
func PieceCount(length, context int) int { return (length + context - 3) / (context - 2) }

// pieceSpan returns the tokens [start, end) of a document that piece index holds.
func pieceSpan(length, context, index int) (start, end int) {
	start = index * (context - 2)
	return start, min(length, start+context-2)
}

// cutter reads documents and puts framed, masked pieces into micro-batches. It remembers the last document read, so
// that the pieces of a long one cost one read.
type cutter struct {
	docs    Documents
	v       *Vocabulary
	masker  *Masker
	context int

	tokens   []uint32 // of the document `document`, reused
	document int      // −1: none
	source   int
	record   uint32
}

func newCutter(docs Documents, v *Vocabulary, seed uint64, context int, o MaskOptions) (*cutter, error) {
	if context < 3 || context > MaxContext {
		return nil, fmt.Errorf("context of %d tokens is outside 3 … %d", context, MaxContext)
	}
	if n := docs.Documents(); n < 1 || n >= maxDocuments {
		return nil, fmt.Errorf("%d documents: want 1 … %d", n, maxDocuments-1)
	}
	masker, err := NewMasker(v, seed, o)
	if err != nil {
		return nil, err
	}
	return &cutter{docs: docs, v: v, masker: masker, context: context, document: -1}, nil
}

// framed returns the length of piece index of a document of length tokens, [CLS] and [SEP] included.
func (c *cutter) framed(length, index int) int {
	start, end := pieceSpan(length, c.context, index)
	return end - start + 2
}

// read makes document the current one and returns its tokens, checked against the index and the vocabulary.
func (c *cutter) read(document int) error {
	if c.document == document {
		return nil
	}
	c.document = -1
	tokens, meta, err := c.docs.Document(document, c.tokens[:0])
	if err != nil {
		return fmt.Errorf("document %d: %w", document, err)
	}
	c.tokens = tokens
	if want := c.docs.Length(document); len(tokens) != want {
		return fmt.Errorf("document %d: %d tokens were read, the index says %d", document, len(tokens), want)
	}
	for i, id := range tokens {
		if uint64(id) >= uint64(len(c.v.class)) {
			return fmt.Errorf("document %d: token %d: id %d is outside the vocabulary of %d", document, i, id, len(c.v.class))
		}
	}
	c.document, c.source, c.record = document, meta.Source, meta.Record
	return nil
}

// put appends a piece, framed and masked, to m, which must have the room.
func (c *cutter) put(m *Micro, at Place) error {
	if err := c.read(at.Document); err != nil {
		return err
	}
	start, end := pieceSpan(len(c.tokens), c.context, at.Piece)
	base := int(m.Offsets[len(m.Offsets)-1])
	ids := m.IDs[base : base+end-start+2]
	ids[0] = int32(c.v.special.CLS)
	for i, id := range c.tokens[start:end] {
		ids[i+1] = int32(id)
	}
	ids[len(ids)-1] = int32(c.v.special.SEP)
	m.MaskedPositions, m.Labels = c.masker.Mask(at, ids, int32(base), m.MaskedPositions, m.Labels)
	m.Offsets = append(m.Offsets, int32(base+len(ids)))
	m.MaskedOffsets = append(m.MaskedOffsets, int32(len(m.Labels)))
	m.Pieces = append(m.Pieces, PieceRef{Document: at.Document, Index: at.Piece, Start: start, Source: c.source, Record: c.record})
	return nil
}

// close fills the tail of m with padding.
func (c *cutter) close(m *Micro) {
	tail := m.IDs[m.Tokens():]
	for i := range tail {
		tail[i] = int32(c.v.special.PAD)
	}
}

// Piece is one framed piece by itself, as `data inspect` shows it.
type Piece struct {
	PieceRef
	IDs             []int32 // corrupted, [CLS] … [SEP]
	MaskedPositions []int32 // ascending places in IDs
	Labels          []int32 // original ids at MaskedPositions
}

// Inspect returns one piece of docs as an epoch's training step would hold it. The piece's slices are its own.
func Inspect(docs Documents, v *Vocabulary, seed uint64, context int, o MaskOptions, at Place) (*Piece, error) {
	c, err := newCutter(docs, v, seed, context, o)
	if err != nil {
		return nil, err
	}
	if at.Document < 0 || at.Document >= docs.Documents() {
		return nil, fmt.Errorf("document %d is outside 0 … %d", at.Document, docs.Documents()-1)
	}
	if n := PieceCount(docs.Length(at.Document), context); at.Piece < 0 || at.Piece >= n {
		return nil, fmt.Errorf("document %d: piece %d is outside its %d pieces", at.Document, at.Piece, n)
	}
	m := newMicro(c.framed(docs.Length(at.Document), at.Piece))
	if err := c.put(m, at); err != nil {
		return nil, err
	}
	return &Piece{PieceRef: m.Pieces[0], IDs: m.IDs, MaskedPositions: m.MaskedPositions, Labels: m.Labels}, nil
}
