package blocked

import (
	"math"

	"github.com/secencoder/secencoder/internal/kernel"
)

// AdamW reads 16 and writes 12 bytes an element for about 15 FLOP, a root and two divisions: bound by memory. Over 32 Mi
// elements one core goes through 58 GB/s, two through 63 (AVX-512, Zen 5; in L1 one core makes 170), wherever the slices
// begin: 4 and 16 bytes off a cache line cost 3 to 5 %. SumSquares reads 4 bytes an element: 35 and 43 GB/s, in L1 97, bound
// by the conversion to float64.

const (
	adamBlock   = 1 << 14 // elements of one part: 8 µs, and below 200 where others hold the memory
	squareBlock = 4096    // elements of one partial sum: fixed by the contract
	squareGroup = 16      // blocks of one part
)

// AdamW: one update over an arena range.
func (k *Kernels) AdamW(_ kernel.Stream, a *kernel.AdamWArgs) {
	k.begin(kernel.Buf{})
	defer k.end()
	k.call.adam = a
	k.call.adamFactor = AdamWScalars{
		Keep: float32(1 - a.LR*a.Decay), Clip: float32(a.Clip),
		OneB1: float32(1 - a.Beta1), Beta2: float32(a.Beta2), OneB2: float32(1 - a.Beta2),
		Rate: float32(a.LR / (1 - math.Pow(a.Beta1, float64(a.Step)))),
		Root: float32(math.Sqrt(1 - math.Pow(a.Beta2, float64(a.Step)))),
		Eps:  float32(a.Eps),
	}
	k.run(parts(a.N, adamBlock), (*Kernels).adamPart)
}

func (k *Kernels) adamPart(part, _ int) {
	a := k.call.adam
	lo, hi := span(part, adamBlock, a.N)
	k.p.AdamW(a.W.F32()[lo:hi], a.G.F32()[lo:hi], a.M.F32()[lo:hi], a.V.F32()[lo:hi], &k.call.adamFactor)
}

// SumSquares: Σ g² in blocks of 4,096 elements; block sums are added pairwise, neighbours first.
func (k *Kernels) SumSquares(_ kernel.Stream, a *kernel.SumSquaresArgs) float64 {
	k.begin(kernel.Buf{})
	defer k.end()
	k.call.squares = a
	n := parts(a.N, squareBlock)
	sums := grow(&k.s.sums, n)
	k.run(parts(n, squareGroup), (*Kernels).squaresPart)
	for ; n > 1; n = (n + 1) / 2 {
		for i := range n / 2 {
			sums[i] = sums[2*i] + sums[2*i+1]
		}
		if n%2 == 1 {
			sums[n/2] = sums[n-1]
		}
	}
	if n == 0 {
		return 0
	}
	return sums[0]
}

func (k *Kernels) squaresPart(part, _ int) {
	g := k.call.squares.G.F32()[:k.call.squares.N]
	lo, hi := span(part, squareGroup, len(k.s.sums))
	for b := lo; b < hi; b++ {
		i, j := span(b, squareBlock, len(g))
		k.s.sums[b] = k.p.SumSquares(g[i:j])
	}
}
