package kernel

import "math"

// The step header is the one int32 input that tells every kernel what a fixed plan of T tokens holds this time. Plans
// never have the number of pieces or of masked positions in a shape: kernels read them here (host memory on the CPU,
// device memory elsewhere).
//
// Words, for a plan of T tokens:
//
//	0  tokens      n ≤ T, framed tokens in the pack; rows n … T−1 of every [T, ·] value are undefined
//	1  pieces      ≤ T/2
//	2  masked      ≤ T
//	3  step        optimizer step, for dropout counters
//	4,5 seed       low, high word
//	6  ordinal     ordinal in the step of the first piece of this micro-batch
//	7  scale       float32 bits: 1 / masked tokens of the whole step
//	8 … 15         reserved, zero
//	16 …           offsets[T/2+1]: first token of each piece, then the end of the last one
//	               piece[T]: piece of each token;  place[T]: its position in the piece
//	               masked[T]: token index of each masked position, ascending;  labels[T]: its label
const (
	HeadTokens = iota
	HeadPieces
	HeadMasked
	HeadStep
	HeadSeedLow
	HeadSeedHigh
	HeadOrdinal
	HeadScale
	headFixed = 16
)

// HeaderWords returns the length in int32 words of the header of a plan of T tokens.
func HeaderWords(T int) int { return headFixed + T/2 + 1 + 4*T }

// Header is a view of a step header; it aliases the words it was made from.
type Header struct {
	Words   []int32
	Offsets []int32 // [T/2+1]
	Piece   []int32 // [T]
	Place   []int32 // [T]
	Masked  []int32 // [T]
	Labels  []int32 // [T]
}

// ViewHeader lays the parts over words, whose length must be HeaderWords(T) for some even or odd T.
func ViewHeader(words []int32, T int) Header {
	h := Header{Words: words}
	at := headFixed
	cut := func(n int) []int32 { s := words[at : at+n : at+n]; at += n; return s }
	h.Offsets, h.Piece, h.Place, h.Masked, h.Labels = cut(T/2+1), cut(T), cut(T), cut(T), cut(T)
	return h
}

// TokensOfHeader returns the T for which HeaderWords(T) == words. It panics when there is none: an internal error.
func TokensOfHeader(words int) int {
	for T := max(0, (words-headFixed-2)*2/9-2); HeaderWords(T) <= words; T++ {
		if HeaderWords(T) == words {
			return T
		}
	}
	panic("internal error: no plan has a header of this length")
}

func (h Header) Tokens() int     { return int(h.Words[HeadTokens]) }
func (h Header) Pieces() int     { return int(h.Words[HeadPieces]) }
func (h Header) MaskedRows() int { return int(h.Words[HeadMasked]) }
func (h Header) Step() uint32    { return uint32(h.Words[HeadStep]) }
func (h Header) Ordinal() uint32 { return uint32(h.Words[HeadOrdinal]) }
func (h Header) Scale() float32  { return math.Float32frombits(uint32(h.Words[HeadScale])) }
func (h Header) Seed() uint64 {
	return uint64(uint32(h.Words[HeadSeedLow])) | uint64(uint32(h.Words[HeadSeedHigh]))<<32
}

// RowKind says how many rows of a value are in use in this step.
type RowKind uint8

const (
	RowsAll    RowKind = iota // every row of the shape (weights, the position table)
	RowsTokens                // header word tokens
	RowsMasked                // header word masked
	RowsPieces                // header word pieces
)

// Count returns the rows in use of a value that has n rows in its shape.
func (h Header) Count(k RowKind, n int) int {
	switch k {
	case RowsTokens:
		return h.Tokens()
	case RowsMasked:
		return h.MaskedRows()
	case RowsPieces:
		return h.Pieces()
	}
	return n
}
