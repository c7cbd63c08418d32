package blocked_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/secencoder/secencoder/internal/bf16"
	"github.com/secencoder/secencoder/internal/kernel"
	"github.com/secencoder/secencoder/internal/kernel/blocked"
)

// operandOf makes n normal variates in one of the two types, and what they are as float32.
func operandOf(rnd *rand.Rand, n int, half bool) (kernel.Buf, []float32) {
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(rnd.NormFloat64())
	}
	if !half {
		return kernel.FromF32(x), x
	}
	h, wide := halves(x)
	return kernel.FromBF16(h), wide
}

// rounded returns the factors of a product of BF16.
func roundedTo(x []float32, half bool) []float32 {
	if half {
		_, x = halves(x)
	}
	return x
}

// sumOfProducts is one element of a product, and the sum of the magnitudes of its terms, in float64.
type sumOfProducts struct{ sum, size float64 }

// multiplied returns A[m, k]·B[n, k]ᵀ; element (i, p) of an operand stands at i·row + p·col.
func multiplied(m, n, k int, a []float32, aRow, aCol int, b []float32, bRow, bCol int) []sumOfProducts {
	c := make([]sumOfProducts, m*n)
	for i := range m {
		for j := range n {
			var s, t float64
			for p := range k {
				x := float64(a[i*aRow+p*aCol]) * float64(b[j*bRow+p*bCol])
				s += x
				t += math.Abs(x)
			}
			c[i*n+j] = sumOfProducts{s, t}
		}
	}
	return c
}

// add returns the sums with x added.
func (c sumOfProducts) add(x float32) sumOfProducts {
	return sumOfProducts{c.sum + float64(x), c.size + math.Abs(float64(x))}
}

// holds reports whether got, of one of the two types, is a rounding of a sum of k products: float32 sums of k terms are off
// by at most k·2^-24 of the magnitudes, in any order; four more roundings stand for the bias, the addend and the result.
func (c sumOfProducts) holds(got float32, k int, half bool) bool {
	bound := float64(k+4) * 0x1p-24 * c.size
	if half {
		low, high := bf16.FromFloat32(float32(c.sum-bound)), bf16.FromFloat32(float32(c.sum+bound))
		return got >= low.Float32() && got <= high.Float32()
	}
	return math.Abs(float64(got)-c.sum) <= bound
}

// TestProductShapes holds the products of linear layers, in both arithmetics, against float64, at random sizes about the
// edges of panels, tiles, blocks of terms, blocks of the result and chunks of B, with weights packed ahead and not.
func TestProductShapes(t *testing.T) {
	edges := []int{1, 2, 5, 8, 11, 14, 16, 28, 32, 64, 128, 140, 256, 280, 384, 512, 768, 1024}
	rnd := rand.New(rand.NewPCG(11, 12))
	type shape struct{ rows, in, out int }
	shapes := []shape{{1100, 2100, 3}, {3, 1030, 150}, {1100, 1030, 141}} // several blocks of terms, chunks of columns, both
	for len(shapes) < 40 {
		pick := func() int { return max(1, edges[rnd.IntN(len(edges))]+rnd.IntN(3)-1) }
		if s := (shape{pick(), pick(), pick()}); s.rows*s.in*s.out < 1<<21 {
			shapes = append(shapes, s)
		}
	}
	if testing.Short() {
		shapes = shapes[3:20]
	}
	for i, s := range shapes {
		for _, half := range []bool{false, true} {
			x, xs := operandOf(rnd, s.rows*s.in, half)
			dy, dys := operandOf(rnd, s.rows*s.out, half)
			add, adds := operandOf(rnd, s.rows*s.in, half)
			w, ws := operandOf(rnd, s.out*s.in, false)
			b, bs := operandOf(rnd, s.out, false)
			dw, dws := operandOf(rnd, s.out*s.in, false)
			dws = append([]float32(nil), dws...)
			ws = roundedTo(ws, half)
			dtype := x.DType
			y := multiplied(s.rows, s.out, s.in, xs, s.in, 1, ws, s.in, 1)
			dX := multiplied(s.rows, s.in, s.out, dys, s.out, 1, ws, 1, s.in)
			dW := multiplied(s.out, s.in, s.rows, dys, 1, s.out, xs, 1, s.in)
			for _, p := range families() {
				if p.Name == "portable" && i < 3 {
					continue // takes seconds
				}
				k := blocked.New(p, pool(2))
				packed := func(transposed bool) kernel.Buf {
					if i%2 == 0 {
						return kernel.Buf{}
					}
					to := kernel.FromF32(make([]float32, k.PackedBytes(s.out, s.in, dtype, transposed)/4))
					k.PackWeight(0, &kernel.PackWeightArgs{W: w, Packed: to, In: s.in, Out: s.out, X: dtype, Transposed: transposed})
					return to
				}
				gotY, _ := operandOf(rnd, s.rows*s.out, half)
				gotX, _ := operandOf(rnd, s.rows*s.in, half)
				copy(dw.F32(), dws)
				k.Linear(0, &kernel.LinearArgs{X: x, W: w, B: b, Y: gotY, N: s.rows, In: s.in, Out: s.out, Packed: packed(false)})
				k.LinearGrad(0, &kernel.LinearGradArgs{X: x, W: w, DY: dy, DX: gotX, DXAdd: add, DW: dw, Beta: [2]float32{1, 0}, N: s.rows, In: s.in, Out: s.out, Packed: packed(true)})
				what := fmt.Sprintf("%s: %v, BF16 %v", p.Name, s, half)
				check(t, what+": y", gotY, y, s.in, func(at int) float32 { return bs[at%s.out] })
				check(t, what+": dX", gotX, dX, s.out, func(at int) float32 { return adds[at] })
				check(t, what+": dW", dw, dW, s.rows, func(at int) float32 { return dws[at] })
			}
		}
	}
}

func check(t *testing.T, what string, got kernel.Buf, want []sumOfProducts, k int, addend func(at int) float32) {
	t.Helper()
	for i, c := range want {
		var x float32
		if got.DType == kernel.BF16 {
			x = got.BF16()[i].Float32()
		} else {
			x = got.F32()[i]
		}
		if c = c.add(addend(i)); !c.holds(x, k, got.DType == kernel.BF16) {
			t.Fatalf("%s: element %d is %g, want %g", what, i, x, c.sum)
		}
	}
}
