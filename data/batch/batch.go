// Package batch makes what one training or evaluation step sees: documents are cut into pieces, pieces are framed as
// [CLS] … [SEP] and packed side by side into micro-batches of T tokens, and tokens are masked for the masked-LM
// objective.
//
// Begin with NewVocabulary and NewLoader; Prefetch draws one step ahead of the trainer. NewEvaluation walks a set once
// with fixed masks. A Masker alone shows any piece with its mask.
//
// Everything follows from the seed: the order of documents is a Feistel permutation per epoch, packing is next-fit in
// that order, and the masks of a piece follow from (seed, epoch, document, piece) and from nothing else, so neither T,
// the number of micro-batches, nor a restart changes them. The state of a loader is three numbers.
//
// Documents without tokens give no piece (they have nothing to predict and nothing to attend to); they are counted in
// Counts.EmptyDocuments. Every other document is seen whole, once an epoch, however long it is.
//
// The package does not read files (data/shard does), and it does not know models: positions start anew and attention is
// block-diagonal at Micro.Offsets, which the model has to honour.
package batch

import "github.com/secencoder/secencoder/data/shard"

// Meta says where a document comes from: its source and the number of its record.
type Meta = shard.Meta

// Documents is a set of log records as bare token ids, in a fixed order. *shard.Set is one. Implementations are used by
// one goroutine at a time per loader, but several loaders may share one.
type Documents interface {
	// Documents returns the number of documents.
	Documents() int
	// Length returns the number of tokens of document i, 0 ≤ i < Documents(), without reading them.
	Length(i int) int
	// Document returns the tokens of document i, written into dst[:0] where its capacity allows.
	Document(i int, dst []uint32) (tokens []uint32, meta Meta, err error)
}

// PieceRef names one piece of a micro-batch by its place in the set of documents.
type PieceRef struct {
	Document int    // number of the document in its set
	Index    int    // number of the piece in the document, from 0
	Start    int    // offset of the piece's first token in the document's tokens
	Source   int    // source of the document, an index into the set's list of sources
	Record   uint32 // number of the record in its source
}

// Micro is one micro-batch: pieces side by side in T places. The slices are reused by whoever made the Micro, so a
// reader that wants to keep them copies them. Index types are int32 because the executor's step header is.
type Micro struct {
	T               int
	IDs             []int32 // [T]; corrupted input; places after the last piece hold [PAD]
	Offsets         []int32 // [pieces+1]; piece p occupies IDs[Offsets[p]:Offsets[p+1]], [CLS] and [SEP] included
	MaskedPositions []int32 // [masked]; ascending places in IDs that are to be predicted
	Labels          []int32 // [masked]; the original ids at MaskedPositions
	MaskedOffsets   []int32 // [pieces+1]; piece p owns MaskedPositions[MaskedOffsets[p]:MaskedOffsets[p+1]]
	Ordinal         uint32  // number, in the step, of the first piece (dropout counts pieces across micro-batches)
	Pieces          []PieceRef
}

// Tokens returns the number of places that hold a piece, [CLS] and [SEP] included, padding not.
func (m *Micro) Tokens() int { return int(m.Offsets[len(m.Offsets)-1]) }

// newMicro returns an empty micro-batch with room for anything that fits T, so that filling it never allocates.
func newMicro(t int) *Micro {
	return &Micro{
		T:               t,
		IDs:             make([]int32, t),
		Offsets:         make([]int32, 1, t/3+2),
		MaskedPositions: make([]int32, 0, t),
		Labels:          make([]int32, 0, t),
		MaskedOffsets:   make([]int32, 1, t/3+2),
		Pieces:          make([]PieceRef, 0, t/3+1),
	}
}

// reset empties the micro-batch; ordinal is the number of pieces that the step already has.
func (m *Micro) reset(ordinal int) {
	m.Offsets = m.Offsets[:1]
	m.MaskedOffsets = m.MaskedOffsets[:1]
	m.MaskedPositions = m.MaskedPositions[:0]
	m.Labels = m.Labels[:0]
	m.Pieces = m.Pieces[:0]
	m.Ordinal = uint32(ordinal)
}

// Counts says what a loader or an evaluation has handed out since it was made. It is no part of the state.
type Counts struct {
	Micros         int64
	Pieces         int64
	Tokens         int64 // [CLS] and [SEP] included, padding not
	Padding        int64 // empty places at the ends of micro-batches
	Masked         int64
	EmptyDocuments int64 // documents passed over because they have no token
}

func (c *Counts) add(m *Micro) {
	c.Micros++
	c.Pieces += int64(len(m.Pieces))
	c.Tokens += int64(m.Tokens())
	c.Padding += int64(m.T - m.Tokens())
	c.Masked += int64(len(m.Labels))
}
