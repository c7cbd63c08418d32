package kernel

import (
	"math"

	"github.com/secencoder/secencoder/internal/rng"
)

// MaxPiece is the largest number of tokens of one piece: dropout counters give a place 16 bits.
const MaxPiece = 1 << 16

// On reports whether anything is dropped.
func (d Dropout) On() bool { return d.P > 0 }

// Threshold returns floor(P·2^32): a word below it drops. P is below 1.
func (d Dropout) Threshold() uint32 { return uint32(math.Floor(float64(d.P) * 0x1p32)) }

// HalfThreshold returns round(65,536·P): a half-word below it drops (attention probabilities).
func (d Dropout) HalfThreshold() uint32 { return uint32(math.Round(float64(d.P) * 65_536)) }

// Scale returns 1/(1−P) rounded to float32: what a kept value is multiplied with.
func (d Dropout) Scale() float32 { return float32(1 / (1 - float64(d.P))) }

// DropoutElement returns the element of column 0 in row of a value of the given width: column c is c further on.
// See Dropout for the rule.
func (h Header) DropoutElement(k RowKind, row, width int) uint64 {
	at := uint64(row)
	switch k {
	case RowsTokens:
		at = h.token(row)
	case RowsMasked:
		at = h.token(int(h.Masked[row]))
	case RowsPieces:
		at = uint64(h.Ordinal()) + uint64(row)
	}
	return at * uint64(width)
}

// token numbers a token by its piece in the step and its place in the piece.
func (h Header) token(t int) uint64 {
	return (uint64(h.Ordinal())+uint64(h.Piece[t]))*MaxPiece + uint64(h.Place[t])
}

// DropoutWord returns the random word of an element.
func (h Header) DropoutWord(site uint32, element uint64) uint32 {
	return rng.Block(h.Seed(), rng.Dropout, site, h.Step(), element/4)[element%4]
}

// AttentionCall returns the call index of the probabilities of keys 0 … 7 of a query: keys 8n … 8n+7 are n further on.
func (h Header) AttentionCall(piece, heads, head, query int) uint64 {
	return (((uint64(h.Ordinal())+uint64(piece))*uint64(heads)+uint64(head))*MaxPiece + uint64(query)) * (MaxPiece / 8)
}

// AttentionHalf returns the random half-word of a key, given the four words of its call: half-word key mod 8, the low
// half of a word first.
func AttentionHalf(words [4]uint32, key int) uint32 {
	return words[key%8/2] >> (16 * (key & 1)) & 0xffff
}
