package batch

import (
	"errors"
	"fmt"
	"testing"

	"github.com/secencoder/secencoder/data/shard"
	"github.com/secencoder/secencoder/internal/rng"
	"github.com/secencoder/secencoder/tokenizer"
)

var _ Documents = (*shard.Set)(nil)

// memory is a set of documents in memory. Document broken fails, document lying has one token fewer than promised.
type memory struct {
	docs          [][]uint32
	broken, lying int
}

var errBroken = errors.New("block checksum differs")

func (m *memory) Documents() int   { return len(m.docs) }
func (m *memory) Length(i int) int { return len(m.docs[i]) }
func (m *memory) Document(i int, dst []uint32) ([]uint32, Meta, error) {
	if i == m.broken {
		return append(dst[:0], 9, 9, 9), Meta{}, errBroken
	}
	tokens := append(dst[:0], m.docs[i]...)
	if i == m.lying {
		tokens = tokens[1:]
	}
	return tokens, Meta{Source: i % 3, Record: uint32(i * 10)}, nil
}

const (
	testV     = 200
	delimiter = 20 // ids 5 … 19 are delimiters
)

func testVocabulary(t testing.TB) *Vocabulary {
	t.Helper()
	classes := make([]tokenizer.Class, testV)
	for id := range classes {
		switch {
		case id < 5:
			classes[id] = tokenizer.ClassSpecial
		case id < delimiter:
			classes[id] = tokenizer.ClassDelimiter
		default:
			classes[id] = tokenizer.ClassContent
		}
	}
	v, err := NewVocabulary(tokenizer.Special{PAD: 0, CLS: 1, SEP: 2, UNK: 3, MASK: 4}, classes)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// testDocuments makes n documents of 0 … longest tokens, a third of the tokens delimiters, some [UNK].
func testDocuments(seed uint64, n, longest int) *memory {
	s := rng.NewStream(seed, rng.Synth, 1, 0, 0)
	m := &memory{docs: make([][]uint32, n), broken: -1, lying: -1}
	for i := range m.docs {
		d := make([]uint32, s.Intn(longest+1))
		for j := range d {
			switch u := s.Float64(); {
			case u < 0.33:
				d[j] = uint32(5 + s.Intn(delimiter-5))
			case u < 0.35:
				d[j] = 3
			default:
				d[j] = uint32(delimiter + s.Intn(testV-delimiter))
			}
		}
		m.docs[i] = d
	}
	return m
}

// clone copies a step, whose slices are reused.
func clone(step []*Micro) []Micro {
	var c []Micro
	for _, m := range step {
		c = append(c, Micro{
			T: m.T, Ordinal: m.Ordinal,
			IDs:             append([]int32{}, m.IDs...),
			Offsets:         append([]int32{}, m.Offsets...),
			MaskedPositions: append([]int32{}, m.MaskedPositions...),
			Labels:          append([]int32{}, m.Labels...),
			MaskedOffsets:   append([]int32{}, m.MaskedOffsets...),
			Pieces:          append([]PieceRef{}, m.Pieces...),
		})
	}
	return c
}

// piece is a piece taken out of its micro-batch, comparable with ==.
type piece struct {
	ref         PieceRef
	ids, places string
	labels      string
}

func pieces(m *Micro) []piece {
	var out []piece
	for p, ref := range m.Pieces {
		lo, hi := m.Offsets[p], m.Offsets[p+1]
		mlo, mhi := m.MaskedOffsets[p], m.MaskedOffsets[p+1]
		places := make([]int32, 0, mhi-mlo)
		for _, x := range m.MaskedPositions[mlo:mhi] {
			places = append(places, x-lo)
		}
		out = append(out, piece{ref, fmt.Sprint(m.IDs[lo:hi]), fmt.Sprint(places), fmt.Sprint(m.Labels[mlo:mhi])})
	}
	return out
}

// original returns the uncorrupted ids of piece p, specials included.
func original(m *Micro, p int) []int32 {
	ids := append([]int32{}, m.IDs[m.Offsets[p]:m.Offsets[p+1]]...)
	for j := m.MaskedOffsets[p]; j < m.MaskedOffsets[p+1]; j++ {
		ids[m.MaskedPositions[j]-m.Offsets[p]] = m.Labels[j]
	}
	return ids
}

func newTestLoader(t testing.TB, docs Documents, o Options) *Loader {
	t.Helper()
	l, err := NewLoader(docs, testVocabulary(t), o)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func mustStep(t testing.TB, l interface{ NextStep() ([]*Micro, error) }) []*Micro {
	t.Helper()
	step, err := l.NextStep()
	if err != nil {
		t.Fatal(err)
	}
	return step
}
