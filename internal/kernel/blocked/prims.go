package blocked

import (
	"github.com/secencoder/secencoder/internal/bf16"
	"github.com/secencoder/secencoder/internal/kernel"
)

// Prims are the inner loops that a family brings: what an instruction set is good at. Everything else, the blocking, the
// order of sums and the work of all cores, is this package's. Portable fills all of them in Go; a family replaces those
// that it does better. None of them allocates, keeps a slice, or depends on anything but its arguments, so all may be
// called concurrently. Slices of one call have the length of the first unless said otherwise; dst may be one of the
// operands of the same call, element for element.
type Prims struct {
	Name string

	Single Format // products of float32
	Half   Format // products of BF16; float32 panels of rounded values where the family multiplies float32 only

	Widen  func(dst []float32, src []bf16.BF16) // dst = src; the memory is apart
	Narrow func(dst []bf16.BF16, src []float32) // dst = src, rounded to nearest even, a NaN quiet; the memory is apart
	Rows   RowLoops
	Scores ScoreLoops

	Add   func(dst, a, b []float32)         // dst = a + b
	Scale func(dst, x []float32, a float32) // dst = a·x
	Dot   func(a, b []float32) float32      // Σ a·b
	Sum   func(x []float32) float32         // Σ x
	// Shift sets dst += x + a.
	Shift func(dst, x []float32, a float32)
	Max   func(x []float32) float32 // largest element; −Inf for none
	// ExpSum sets dst = exp(a·(x − b)) and returns its sum.
	ExpSum func(dst, x []float32, a, b float32) float32
	// SoftmaxGrad sets ds = a·p·(dp − delta).
	SoftmaxGrad func(ds, p, dp []float32, a, delta float32)
	// Act sets dst = act(x); ActGrad sets dst = dy·act'(x).
	Act     func(act kernel.Activation, dst, x []float32)
	ActGrad func(act kernel.Activation, dst, dy, x []float32)

	// NormRow sets out = (x − mean)·rstd·gamma + beta and returns mean and rstd; biased variance about the mean.
	NormRow func(out, x, gamma, beta []float32, eps float32) (mean, rstd float32)
	// NormGradRow sets dx = rstd·(g − mean(g) − x̂·mean(g·x̂)) with g = dy·gamma, and adds dy·x̂ to dgamma and dy to dbeta.
	NormGradRow func(dx, x, gamma, dy []float32, mean, rstd float32, dgamma, dbeta []float32)

	// Dropout sets dst[i] = src[i]·scale where the word of element+i is at least threshold, else 0.
	Dropout func(dst, src []float32, element uint64, c Counter, threshold uint32, scale float32)
	// DropoutHalf is the same for attention: element i reads half-word i mod 8 of call index call + i/8.
	DropoutHalf func(dst, src []float32, call uint64, c Counter, threshold uint32, scale float32)

	// AddTransposed adds src[j·lds + i] to dst[i·ldd + j] for i < rows, j < cols.
	AddTransposed func(dst []float32, ldd int, src []float32, lds, rows, cols int)

	// AdamW updates w, m, v by g; see kernel.AdamWArgs.
	AdamW func(w, g, m, v []float32, c *AdamWScalars)
	// SumSquares returns Σ x², accumulated in float64.
	SumSquares func(x []float32) float64
}

// Counter is what the dropout words of one call share: the last two counter words and the key.
type Counter struct {
	Step, Site uint32 // Site with the purpose in its upper byte
	Key        [2]uint32
}

// AdamWScalars are the factors of one update, rounded once to float32 from their float64 values.
type AdamWScalars struct {
	Keep  float32 // 1 − lr·decay
	Clip  float32
	OneB1 float32 // 1 − β1
	Beta2 float32
	OneB2 float32 // 1 − β2
	Rate  float32 // lr / (1 − β1^t)
	Root  float32 // sqrt(1 − β2^t)
	Eps   float32
}
