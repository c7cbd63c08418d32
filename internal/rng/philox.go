// Package rng makes every random number of the tool: Philox4x32-10, a counter-based generator. A number is a pure
// function of (seed, purpose, site, step, element), so it does not depend on how many threads ask, in which order, or
// whether a run was interrupted. Nothing is stored and nothing has to be restored.
//
// Begin with Block for numbers that belong to an element (dropout, initial weights), and with Stream for a run of
// numbers that belong to one thing (the masks of a piece, the records of a generated log). The purposes stand in one
// table, so that two uses never share a number.
//
// It is not a source of secrets.
package rng

import "math/bits"

// Constants of Philox4x32: the multipliers, and the Weyl increments of the key.
const (
	mul0  = 0xD2511F53
	mul1  = 0xCD9E8D57
	weyl0 = 0x9E3779B9
	weyl1 = 0xBB67AE85
)

// Philox is Philox4x32-10: ten rounds over the counter, keyed. It may be called concurrently.
// Source: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3" (SC 2011), section 3.3.
func Philox(ctr [4]uint32, key [2]uint32) [4]uint32 {
	c0, c1, c2, c3 := ctr[0], ctr[1], ctr[2], ctr[3]
	k0, k1 := key[0], key[1]
	for range 10 {
		hi0, lo0 := bits.Mul32(mul0, c0)
		hi1, lo1 := bits.Mul32(mul1, c2)
		c0, c1, c2, c3 = hi1^c1^k0, lo1, hi0^c3^k1, lo0
		k0 += weyl0
		k1 += weyl1
	}
	return [4]uint32{c0, c1, c2, c3}
}

// Purpose says what a random number is for. Its value is part of the counter: never renumber, only append.
type Purpose uint8

const (
	Init       Purpose = iota + 1 // initial weights; site: number of the tensor, element: index in it
	Order                         // order of the documents of an epoch
	MaskChoice                    // which tokens of a piece are masked
	MaskKind                      // whether a masked token becomes [MASK], a random token, or stays
	MaskToken                     // which random token it becomes
	Dropout                       // what dropout drops; site: number of the place in the model
	Synth                         // generated logs
	Bootstrap                     // draws of the intervals of an evaluation
	Sample                        // which pieces a sampled evaluation reads
	Split                         // which records are held out
	Probe                         // inputs of benchmarks and tests
)

// MaxSite is the largest site: it shares a counter word with the purpose.
const MaxSite = 1<<24 - 1

// Block returns the four random words of an element: Philox with counter (element low, element high, step,
// purpose·2^24 + site) and the seed as key. It panics when site exceeds MaxSite, which is an internal error. It may be
// called concurrently.
func Block(seed uint64, p Purpose, site, step uint32, elem uint64) [4]uint32 {
	return Philox([4]uint32{uint32(elem), uint32(elem >> 32), step, word(p, site)}, [2]uint32{uint32(seed), uint32(seed >> 32)})
}

func word(p Purpose, site uint32) uint32 {
	if site > MaxSite {
		panic("internal error: random site beyond 24 bits")
	}
	return uint32(p)<<24 | site
}
