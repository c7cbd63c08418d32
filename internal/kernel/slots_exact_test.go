package kernel

import (
	"math"
	"math/big"
)

// exactBucket is bucket in arithmetic that is as good as exact: float64, with the power compared in big integers where
// float64 comes close to a whole number.
func exactBucket(r, buckets, maxRelative int) int {
	mid := buckets / 2
	if r <= mid {
		return r
	}
	t := math.Log(float64(r)/float64(mid)) / math.Log(float64(maxRelative-1)/float64(mid)) * float64(mid-1)
	if near := math.Round(t); math.Abs(t-near) < 1e-9 {
		// t > near ⇔ (r/mid)^(mid−1) > ((M−1)/mid)^near
		pow := func(base, n int) *big.Int {
			return new(big.Int).Exp(big.NewInt(int64(base)), big.NewInt(int64(n)), nil)
		}
		n := int(near)
		left := new(big.Int).Mul(pow(r, mid-1), pow(mid, n))
		right := new(big.Int).Mul(pow(maxRelative-1, n), pow(mid, mid-1))
		if left.Cmp(right) > 0 {
			return n + 1 + mid
		}
		return n + mid
	}
	return int(math.Ceil(t)) + mid
}
