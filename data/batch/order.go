package batch

import "github.com/secencoder/secencoder/internal/rng"

// permutation is a bijection of 0 … n−1 that needs no memory: a Feistel network of four rounds over the smallest even
// number of bits that holds n, walked along its cycle until the value falls below n (Black and Rogaway, "Ciphers with
// arbitrary finite domains", 2002, section 4). Its round function is the counter-based generator itself, so seed and
// epoch are the key. n is more than a quarter of the walked domain, so fewer than four steps are expected.
type permutation struct {
	n       uint64
	half    uint // bits of one half
	seed    uint64
	purpose rng.Purpose // Order for epochs, Sample for the order that a sampled evaluation reads in
}

func newPermutation(seed uint64, purpose rng.Purpose, n int) permutation {
	p := permutation{n: uint64(n), seed: seed, purpose: purpose}
	for uint64(1)<<(2*p.half) < p.n {
		p.half++
	}
	return p
}

// at returns the document at a position of an epoch's order; position < n.
func (p permutation) at(epoch uint32, position uint64) int {
	low := uint64(1)<<p.half - 1
	x := position
	for {
		l, r := x>>p.half, x&low
		for round := range uint32(4) {
			l, r = r, l^(uint64(rng.Block(p.seed, p.purpose, round, epoch, r)[0])&low)
		}
		if x = l<<p.half | r; x < p.n {
			return int(x)
		}
	}
}
