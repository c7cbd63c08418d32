package kernel

import "math"

// Pack is what one step header says: the pieces of one micro-batch and the masked positions in it.
type Pack struct {
	Offsets []int32 // [pieces+1] first token of each piece, then the end of the last one; starts at 0
	Masked  []int32 // token index of each masked position, ascending
	Labels  []int32 // its label
	Step    uint32
	Seed    uint64
	Ordinal uint32  // ordinal in the step of the first piece
	Scale   float32 // 1 / masked tokens of the whole step
}

// Fill writes the header of p into words, whose length must be HeaderWords(T). It keeps nothing of p and allocates
// nothing. It panics, an internal error, when p does not fit in T tokens.
func (p *Pack) Fill(words []int32, T int) {
	if len(words) != HeaderWords(T) {
		panic("internal error: header has a wrong length")
	}
	pieces, tokens := len(p.Offsets)-1, int32(0)
	if pieces < 0 {
		pieces = 0
	} else {
		tokens = p.Offsets[pieces]
	}
	if pieces > T/2 || int(tokens) > T || len(p.Masked) > T || len(p.Masked) != len(p.Labels) {
		panic("internal error: a pack does not fit its plan")
	}
	h := ViewHeader(words, T)
	clear(words)
	words[HeadTokens] = tokens
	words[HeadPieces] = int32(pieces)
	words[HeadMasked] = int32(len(p.Masked))
	words[HeadStep] = int32(p.Step)
	words[HeadSeedLow] = int32(uint32(p.Seed))
	words[HeadSeedHigh] = int32(uint32(p.Seed >> 32))
	words[HeadOrdinal] = int32(p.Ordinal)
	words[HeadScale] = int32(math.Float32bits(p.Scale))
	copy(h.Offsets, p.Offsets)
	copy(h.Masked, p.Masked)
	copy(h.Labels, p.Labels)
	for i := range pieces {
		for t := p.Offsets[i]; t < p.Offsets[i+1]; t++ {
			h.Piece[t] = int32(i)
			h.Place[t] = t - p.Offsets[i]
		}
	}
}
