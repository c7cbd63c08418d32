package batch

import (
	"fmt"
	"math"
	"slices"

	"github.com/secencoder/secencoder/internal/rng"
	"github.com/secencoder/secencoder/tokenizer"
)

// MaskSet says which tokens may be masked. Special tokens never are.
type MaskSet uint8

const (
	Content MaskSet = iota // content tokens only: the delimiter-excluding objective of SecEncoder, section 3.3.1
	All                    // content tokens and delimiters: plain masked LM
)

// String returns "content" or "all".
func (s MaskSet) String() string {
	if s == All {
		return "all"
	}
	return "content"
}

// ParseMaskSet reads what String writes.
func ParseMaskSet(s string) (MaskSet, error) {
	switch s {
	case "content":
		return Content, nil
	case "all":
		return All, nil
	}
	return 0, fmt.Errorf("mask set %q is neither content nor all", s)
}

// RateBase says of which tokens MaskOptions.Rate is a share.
type RateBase uint8

const (
	RateOfSet   RateBase = iota // of the piece's tokens that may be masked
	RateOfPiece                 // of all tokens of the framed piece, drawn from those that may be masked, as in microsoft/DeBERTa
)

// RandomFrom says where a random replacement comes from.
type RandomFrom uint8

const (
	RandomFromSet        RandomFrom = iota // the vocabulary's tokens of the mask set: no delimiter as noise under Content
	RandomFromVocabulary                   // all V ids, specials included, as HuggingFace's DataCollatorForLanguageModeling does
)

// Draw says how many tokens of a piece are masked.
type Draw uint8

const (
	Exact     Draw = iota // exactly max(1, round(Rate · base)), at most all that may be masked
	Bernoulli             // each token for itself with probability Rate, as HuggingFace's collator does; may be none
)

// MaskOptions chooses the masked-LM corruption. The zero value is the default: 15 % of the content tokens, of which
// 80 % become [MASK], 10 % a random content token and 10 % stay.
type MaskOptions struct {
	Rate                   float64 // share of tokens masked, in (0, 1]; 0 means 0.15
	Set                    MaskSet
	MaskShare, RandomShare float64 // of the masked ones: become [MASK], become random; the rest stay. Both 0 means 0.8 and 0.1
	RateBase               RateBase
	RandomFrom             RandomFrom
	Draw                   Draw
	MaxNgram               int // longest run of neighbours masked together, lengths n with weight 1/n; 0 and 1 mean single tokens
}

// maxNgram bounds MaskOptions.MaxNgram; published models use 3.
const maxNgram = 64

// resolve fills in defaults and checks ranges.
func (o MaskOptions) resolve() (MaskOptions, error) {
	if o.Rate == 0 {
		o.Rate = 0.15
	}
	if o.MaskShare == 0 && o.RandomShare == 0 {
		o.MaskShare, o.RandomShare = 0.8, 0.1
	}
	if o.MaxNgram == 0 {
		o.MaxNgram = 1
	}
	switch {
	case !(o.Rate > 0 && o.Rate <= 1):
		return o, fmt.Errorf("mask rate %v is outside (0, 1]", o.Rate)
	case !(o.MaskShare >= 0 && o.RandomShare >= 0 && o.MaskShare+o.RandomShare <= 1+0x1p-40):
		// 0.9 + 0.1 and its kin may exceed 1 by a few units in the last place (2^-53); 2^-40 is far above that.
		return o, fmt.Errorf("mask share %v and random share %v are not two parts of 1", o.MaskShare, o.RandomShare)
	case o.MaxNgram < 1 || o.MaxNgram > maxNgram:
		return o, fmt.Errorf("longest masked run %d is outside 1 … %d", o.MaxNgram, maxNgram)
	case o.MaxNgram > 1 && o.Draw == Bernoulli:
		return o, fmt.Errorf("masked runs of up to %d need an exact count, not independent draws", o.MaxNgram)
	}
	return o, nil
}

// Place names a piece for the random generator: its masks follow from the seed and from this.
type Place struct {
	Epoch    uint32
	Document int
	Piece    int
}

// A piece's draws are counted from Document·2^24 upwards (the element of the generator's counter) with the piece as
// site and the epoch as step, so pieces never share a draw: a piece of 65,536 tokens needs far fewer than 2^24 blocks.
const (
	blockBits    = 24
	maxPieces    = 1 << 24 // pieces of one document: the width of the generator's site
	maxDocuments = 1 << 40 // documents of one set: 64 bits less blockBits
)

// Masker masks pieces. It has scratch memory: one goroutine at a time.
type Masker struct {
	v    *Vocabulary
	o    MaskOptions
	seed uint64

	candidates []int32 // places that may be masked; a permutation in the making while drawing
	blocked    []bool  // by place in the piece: may not be masked (again); used by drawRuns
}

// NewMasker returns a masker for the options, or an error that names the value out of range.
func NewMasker(v *Vocabulary, seed uint64, o MaskOptions) (*Masker, error) {
	o, err := o.resolve()
	if err != nil {
		return nil, err
	}
	return &Masker{v: v, o: o, seed: seed}, nil
}

// Mask corrupts a framed piece, ids [n] with [CLS] and [SEP], in place, and appends the masked places (offset by base,
// ascending) to positions and the original ids to labels. All ids must be below the vocabulary's size.
// Sets: design of the delimiter-excluding loss, SecEncoder section 3.3.1; 80/10/10: BERT section 3.1.
func (m *Masker) Mask(at Place, ids []int32, base int32, positions, labels []int32) ([]int32, []int32) {
	m.candidates = m.candidates[:0]
	for i, id := range ids {
		c := m.v.class[id]
		if c == tokenizer.ClassContent || c == tokenizer.ClassDelimiter && m.o.Set == All {
			m.candidates = append(m.candidates, int32(i))
		}
	}
	if len(m.candidates) == 0 {
		return positions, labels
	}
	site, start := uint32(at.Piece), uint64(at.Document)<<blockBits
	choice := rng.NewStream(m.seed, rng.MaskChoice, site, at.Epoch, start)
	first := len(positions)
	switch {
	case m.o.Draw == Bernoulli:
		for _, c := range m.candidates {
			if choice.Float64() < m.o.Rate {
				positions = append(positions, c)
			}
		}
	case m.o.MaxNgram > 1:
		positions = m.drawRuns(&choice, m.count(len(ids)), len(ids), positions)
	default:
		positions = m.drawSingles(&choice, m.count(len(ids)), positions)
	}
	masked := positions[first:]
	slices.Sort(masked)

	replacements := m.v.content
	if m.o.Set == All {
		replacements = m.v.ordinary
	}
	kind := rng.NewStream(m.seed, rng.MaskKind, site, at.Epoch, start)
	random := rng.NewStream(m.seed, rng.MaskToken, site, at.Epoch, start)
	for j, p := range masked {
		labels = append(labels, ids[p])
		switch u := kind.Float64(); {
		case u < m.o.MaskShare:
			ids[p] = int32(m.v.special.MASK)
		case u < m.o.MaskShare+m.o.RandomShare:
			if m.o.RandomFrom == RandomFromVocabulary {
				ids[p] = int32(random.Intn(len(m.v.class)))
			} else {
				ids[p] = replacements[random.Intn(len(replacements))]
			}
		}
		masked[j] = p + base
	}
	return positions, labels
}

// count returns how many of the candidates of a framed piece of n tokens are masked, at least 1.
func (m *Masker) count(n int) int {
	base := len(m.candidates)
	if m.o.RateBase == RateOfPiece {
		base = n
	}
	return min(max(1, int(math.Round(m.o.Rate*float64(base)))), len(m.candidates))
}

// drawSingles appends k candidates, each subset of that size equally likely: the first k steps of a Fisher-Yates shuffle.
func (m *Masker) drawSingles(s *rng.Stream, k int, positions []int32) []int32 {
	c := m.candidates
	for j := range k {
		r := j + s.Intn(len(c)-j)
		c[j], c[r] = c[r], c[j]
		positions = append(positions, c[j])
	}
	return positions
}

// drawRuns appends k places of a piece of n tokens in runs of neighbours: a start among the candidates in shuffled order,
// a length of 1 … MaxNgram with weight 1/length, cut where a neighbour may not be masked, already is, or k is reached.
func (m *Masker) drawRuns(s *rng.Stream, k, n int, positions []int32) []int32 {
	var total float64
	for l := 1; l <= m.o.MaxNgram; l++ {
		total += 1 / float64(l)
	}
	if len(m.blocked) < n {
		m.blocked = make([]bool, n)
	}
	blocked := m.blocked[:n] // at first all but the candidates
	for i := range blocked {
		blocked[i] = true
	}
	c := m.candidates
	for _, p := range c {
		blocked[p] = false
	}
	for j := 0; k > 0; j++ {
		r := j + s.Intn(len(c)-j)
		c[j], c[r] = c[r], c[j]
		if blocked[c[j]] {
			continue
		}
		length, u := 1, s.Float64()*total
		for u -= 1; u >= 0 && length < m.o.MaxNgram; u -= 1 / float64(length) {
			length++
		}
		for p := int(c[j]); length > 0 && k > 0 && p < n && !blocked[p]; p++ {
			blocked[p] = true
			positions = append(positions, int32(p))
			length--
			k--
		}
	}
	return positions
}
