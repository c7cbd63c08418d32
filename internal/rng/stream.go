package rng

import (
	"math"
	"math/bits"
)

// Stream reads the words of consecutive elements one after the other. The zero Stream is not usable: make one with
// NewStream. A Stream is a small value; copying it forks it, both then give the same numbers. It is not safe for
// concurrent use.
type Stream struct {
	ctr   [4]uint32
	key   [2]uint32
	block [4]uint32
	used  int // words of block that were handed out
	spare float64
	has   bool // spare holds a normal variate
}

// NewStream returns the stream that begins with the first word of Block(seed, p, site, step, start). Streams whose
// starts differ by n share no number while each reads fewer than 4n words. It panics when site exceeds MaxSite, which
// is an internal error.
func NewStream(seed uint64, p Purpose, site, step uint32, start uint64) Stream {
	return Stream{
		ctr:  [4]uint32{uint32(start), uint32(start >> 32), step, word(p, site)},
		key:  [2]uint32{uint32(seed), uint32(seed >> 32)},
		used: 4,
	}
}

// Uint32 returns the next word: 32 uniform bits.
func (s *Stream) Uint32() uint32 {
	if s.used == 4 {
		s.block = Philox(s.ctr, s.key)
		s.used = 0
		if s.ctr[0]++; s.ctr[0] == 0 {
			s.ctr[1]++
		}
	}
	w := s.block[s.used]
	s.used++
	return w
}

// Uint64 returns the next two words, the first one low.
func (s *Stream) Uint64() uint64 {
	low := uint64(s.Uint32())
	return low | uint64(s.Uint32())<<32
}

// Float64 returns a uniform number in [0, 1), a multiple of 2^-53.
func (s *Stream) Float64() float64 { return float64(s.Uint64()>>11) * 0x1p-53 }

// Intn returns a uniform number in [0, n), unbiased. It panics when n < 1, which is an internal error.
// Source: Lemire, "Fast random integer generation in an interval" (2019), with 64-bit words.
func (s *Stream) Intn(n int) int {
	if n < 1 {
		panic("internal error: Intn of an empty range")
	}
	bound := uint64(n)
	hi, lo := bits.Mul64(s.Uint64(), bound)
	if lo < bound {
		for reject := -bound % bound; lo < reject; {
			hi, lo = bits.Mul64(s.Uint64(), bound)
		}
	}
	return int(hi)
}

// Norm returns a normal variate of mean 0 and deviation 1. It uses two uniform numbers for two variates (Box and
// Muller 1958): the second is kept for the next call.
func (s *Stream) Norm() float64 {
	if s.has {
		s.has = false
		return s.spare
	}
	radius := math.Sqrt(-2 * math.Log(1-s.Float64())) // 1−u lies in (0, 1]
	sin, cos := math.Sincos(2 * math.Pi * s.Float64())
	s.spare, s.has = radius*sin, true
	return radius * cos
}

// Shuffle puts n things in a uniformly random order by calling swap (Fisher and Yates, from the end). It panics when
// n < 0, which is an internal error.
func (s *Stream) Shuffle(n int, swap func(i, j int)) {
	if n < 0 {
		panic("internal error: Shuffle of a negative number of things")
	}
	for i := n - 1; i > 0; i-- {
		swap(i, s.Intn(i+1))
	}
}
