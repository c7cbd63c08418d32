package devicetest

import (
	"math"
	"testing"
)

// cutSum adds products as tensor cores do, steps of so many: what stands below the 24 bits of the largest is cut off.
func cutSum(products []float64, step int) float64 {
	sum := 0.0
	for len(products) > 0 {
		n := min(step, len(products))
		largest := math.Abs(sum)
		for _, x := range products[:n] {
			largest = max(largest, math.Abs(x))
		}
		_, e := math.Frexp(largest)
		cut := func(x float64) float64 { return math.Trunc(math.Ldexp(x, 24-e)) }
		whole := cut(sum)
		for _, x := range products[:n] {
			whole += cut(x)
		}
		sum = math.Ldexp(whole, e-24)
		_, e = math.Frexp(sum)
		sum = math.Ldexp(cut(sum), e-24)
		products = products[n:]
	}
	return sum
}

// The bound for tensor cores holds for sums that are cut as badly as can be: the first product is large and each of the
// others lies just below what is kept. The bound of sums that are rounded does not.
func TestTensorCoreBound(t *testing.T) {
	x := float64(rounded(0x1p-12 * 1.4))
	for _, n := range []int{64, 1000} {
		for _, step := range []int{4, 8, 16} {
			products := []float64{1}
			exact := 1.0
			for range n - 1 {
				products, exact = append(products, x*x), exact+x*x
			}
			off := exact - cutSum(products, step)
			p := &problem{half: true, tensorCores: true}
			if most := gamma(p.terms(n)+4) * exact; off > most {
				t.Errorf("%d products, %d a step: off by %g, the bound is %g", n, step, off, most)
			}
			if least := gamma(n+4) * exact; off <= least {
				t.Errorf("%d products, %d a step: off by %g, which the bound of rounded sums, %g, holds too", n, step, off, least)
			}
		}
	}
	if n := (&problem{tensorCores: true}).terms(10); n != 10 {
		t.Errorf("10 products of float32 count as %d", n)
	}
}
