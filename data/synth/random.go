package synth

import (
	"math"
	"math/bits"

	"github.com/secencoder/secencoder/internal/rng"
)

// Sites of the generator's counter, one for each kind of thing that draws.
const (
	siteTenant = iota + 1
	siteDay    // a user's day
	siteWork   // what a user does in a window
	siteMachine
	siteInternet
	siteCampaign
	siteDelivery
	siteInk
)

// random draws from the counter-based generator: the numbers follow from (seed, site, entity, window) alone, so any
// window can be made by any thread.
type random struct{ s rng.Stream }

func newRandom(seed uint64, site uint32, entity int, window int) random {
	return random{rng.NewStream(seed, rng.Synth, site, uint32(entity), uint64(window)<<32)}
}

// n returns a uniform number in [0, n), n < 2^31, from 32 bits: the bias of at most n/2^32 does not matter here, and
// one word is half the cost of an unbiased draw.
func (r *random) n(n int) int {
	hi, _ := bits.Mul32(r.s.Uint32(), uint32(n))
	return int(hi)
}

// between returns a uniform number in [lo, hi].
func (r *random) between(lo, hi int) int { return lo + r.n(hi-lo+1) }

func (r *random) float() float64 { return float64(r.s.Uint32()) * 0x1p-32 }

// chance is true with probability p.
func (r *random) chance(p float64) bool { return r.float() < p }

// micros returns a uniform time span in [lo, hi) seconds, in microseconds.
func (r *random) micros(lo, hi float64) int64 { return int64((lo + (hi-lo)*r.float()) * 1e6) }

// poisson returns a count of the given mean: by products of uniforms below 30 (Knuth), by the normal distribution above.
func (r *random) poisson(mean float64) int {
	if mean > 30 {
		return max(0, int(math.Round(mean+math.Sqrt(mean)*r.s.Norm())))
	}
	n, product, limit := 0, 1.0, math.Exp(-mean)
	for {
		if product *= 1 - r.float(); product <= limit {
			return n
		}
		n++
	}
}

// zipf returns an index in [0, n) whose probability falls about as 1/(index+1): the integer part of n^u − 1 spread.
func (r *random) zipf(n int) int {
	return min(n-1, int(math.Exp(r.float()*math.Log(float64(n)+1)))-1)
}

// logUniform returns a number in [lo, hi], each order of magnitude equally likely.
func (r *random) logUniform(lo, hi float64) int64 {
	return int64(lo * math.Exp(r.float()*math.Log(hi/lo)))
}

// pick returns one of the strings.
func (r *random) pick(s []string) string { return s[r.n(len(s))] }

func (r *random) hex(b []byte, n int, digits string) []byte {
	for n > 0 {
		w := r.s.Uint32()
		for range min(n, 8) {
			b = append(b, digits[w&15])
			w >>= 4
		}
		n -= 8
	}
	return b
}

func (r *random) base64(b []byte, n int) []byte {
	const digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
	for n > 0 {
		w := r.s.Uint32()
		for range min(n, 5) {
			b = append(b, digits[w&63])
			w >>= 6
		}
		n -= 5
	}
	return b
}

// guid appends a version 4 UUID (RFC 9562, section 5.4).
func (r *random) guid(b []byte) []byte {
	const digits = "0123456789abcdef"
	b = r.hex(b, 8, digits)
	b = r.hex(append(b, '-'), 4, digits)
	b = r.hex(append(b, "-4"...), 3, digits)
	b = append(b, '-', "89ab"[r.n(4)])
	b = r.hex(b, 3, digits)
	return r.hex(append(b, '-'), 12, digits)
}
