package devicetest

import (
	"math"

	"github.com/secencoder/secencoder/internal/kernel"
)

// The bounds are those of Higham, "Accuracy and Stability of Numerical Algorithms", section 3: a sum of n products of
// float32, in any order, with or without fused multiply-add, is off by at most γ_n·Σ|x·y|, γ_n = n·u/(1 − n·u),
// u = 2^-24. n counts the terms plus the roundings of each term. The reference itself is off by one rounding, which the
// added constants cover. Magnitudes are computed in float64.

const unit = 0x1p-24

// gamma returns γ_n.
func gamma(n int) float64 { return float64(n) * unit / (1 - float64(n)*unit) }

// terms returns as how many terms n products of a sum count. On a GPU's tensor cores a product of two BF16 is exact,
// but sums are not rounded: they take L products at a time (4 and more, by the GPU), cut these and the sum so far to 24
// bits below the largest of them, and cut what comes out. Each of these L + 1 cuts loses less than 2u·Σ|x·y|, so the
// n/L steps, one of them not full, lose less than (n + n/L + 1)·2u·Σ|x·y|; the parts of a sum that was split, no more
// than n/L, are added with a rounding each. With L = 4 that is 2.75n + 2, below 3n and the constant that is added for
// each sum. (Fasi, Higham, Mikaitis and Pranesh, "Numerical behavior of NVIDIA tensor cores", 2021.)
func (p *problem) terms(n int) int {
	if p.half && p.tensorCores {
		return 3 * n
	}
	return n
}

// functionError is what a vectorised exponential, erf or tanh may be off by, relative to the largest value that the
// formula has around it: 16 roundings, of a polynomial of degree 5 to 8, its argument reduction and the last product.
const functionError = 16 * unit

// slopeLimit bounds the derivative of every activation: 1.13 for gelu, 1.1 for silu, mish and quick_gelu.
const slopeLimit = 1.2

// activationError bounds the error of act(x) for an exact x: gated forms are x times a factor, the others lie in [−1, 1].
func activationError(act kernel.Activation, x float64) float64 {
	switch act {
	case kernel.Linear, kernel.Relu:
		return 0
	case kernel.Tanh, kernel.Sigmoid:
		return functionError
	}
	return functionError * math.Abs(x)
}

// slopeError bounds the error of act'(x) for an exact x; derivatives are of order 1.
func slopeError(act kernel.Activation) float64 {
	if act == kernel.Linear || act == kernel.Relu {
		return 0
	}
	return 2 * functionError
}

func abs(x float32) float64 { return math.Abs(float64(x)) }

// normRow is one row that is normalized: the sum that goes in, how large its terms are and how exactly it is known.
type normRow struct {
	s         []float64 // the value
	magnitude []float64 // Σ of the absolute terms of s, at least |s|
	delta     []float64 // error of s before it is rounded
}

func newNormRow(w int) *normRow {
	return &normRow{make([]float64, w), make([]float64, w), make([]float64, w)}
}

// moments returns mean and 1/sqrt(variance + eps).
func (r *normRow) moments(eps float32) (mean, rstd float64) {
	for _, v := range r.s {
		mean += v
	}
	mean /= float64(len(r.s))
	var variance float64
	for _, v := range r.s {
		variance += (v - mean) * (v - mean)
	}
	return mean, 1 / math.Sqrt(variance/float64(len(r.s))+float64(eps))
}

// bound returns the error of LN(s)·γ + β, and those of the mean and of 1/sqrt(variance + eps).
//
// The mean of W terms is off by γ_W·mean(magnitude) + mean(delta) =: dm, a deviation by dm and the error of its s. The
// variance is off by its own sum, by 2·mean(|deviation|·error of s) to first order (the error of the mean drops out,
// because deviations sum to 0) and by dm² to second.
func (r *normRow) bound(gammas, betas []float32, eps float32) (out []float64, meanError, rstdError float64) {
	w := len(r.s)
	mean, rstd := r.moments(eps)
	var average, averageDelta, tilt float64
	for c, s := range r.s {
		average += r.magnitude[c] / float64(w)
		averageDelta += r.delta[c] / float64(w)
		tilt += math.Abs(s-mean) * (r.delta[c] + unit*r.magnitude[c]) / float64(w)
	}
	meanError = gamma(w+4)*average + averageDelta
	relative := gamma(w+16) + 2*rstd*rstd*tilt + 2*math.Pow(rstd*meanError, 2)
	out = make([]float64, w)
	for c, s := range r.s {
		deviation := math.Abs(s - mean)
		off := r.delta[c] + unit*r.magnitude[c] + meanError + unit*deviation
		g, b := 1.0, 0.0
		if gammas != nil {
			g, b = abs(gammas[c]), abs(betas[c])
		}
		out[c] = g*rstd*(off*(1+relative)+deviation*relative) + gamma(8)*(g*rstd*deviation+b)
	}
	return out, meanError + unit*math.Abs(mean), rstd * (relative + 2*unit)
}

// gradBound returns the error of the gradient of s, given dy and the stored statistics, which are exact here, and adds
// magnitude and error of each term of dγ and dβ.
func (r *normRow) gradBound(dy []float64, gammas []float32, mean, rstd float64, dGamma, dBeta *sumBound) []float64 {
	w := float64(len(r.s))
	var meanG, meanDot, tilt float64
	xhat, off := make([]float64, len(r.s)), make([]float64, len(r.s))
	for c, s := range r.s {
		xhat[c] = math.Abs(s-mean) * rstd
		off[c] = rstd*(r.delta[c]+unit*r.magnitude[c]) + 3*unit*xhat[c]
		g := math.Abs(dy[c]) * abs(gammas[c])
		meanG += g / w
		meanDot += g * xhat[c] / w
		tilt += g * off[c] / w
		dGamma.add(c, math.Abs(dy[c])*xhat[c], math.Abs(dy[c])*off[c])
		dBeta.add(c, math.Abs(dy[c]), 0)
	}
	bound := make([]float64, len(r.s))
	n := len(r.s)
	for c := range bound {
		g := math.Abs(dy[c]) * abs(gammas[c])
		bound[c] = rstd * (8*unit*g + gamma(n+8)*meanG + xhat[c]*(gamma(n+12)*meanDot+tilt) + off[c]*meanDot)
	}
	return bound
}

// sumBound collects the bound of one sum for each column.
type sumBound struct {
	magnitude, delta []float64
}

func newSumBound(n int) *sumBound { return &sumBound{make([]float64, n), make([]float64, n)} }

// add adds one term to a column: its absolute value and its error.
func (b *sumBound) add(c int, magnitude, delta float64) {
	b.magnitude[c] += magnitude
	b.delta[c] += delta
}

// set gives an output its bounds: γ_(terms+8)·Σ|terms| + Σ errors + the roundings of beta·d.
func (b *sumBound) set(t *tensor, terms int, beta float32) {
	if t == nil {
		return
	}
	t.bound = make([]float64, len(b.magnitude))
	for i := range t.bound {
		t.bound[i] = gamma(terms+8)*b.magnitude[i] + b.delta[i]
		if beta != 0 {
			t.bound[i] += (4*unit + gamma(terms+8)) * abs(beta) * abs(t.f[i])
		}
	}
}
