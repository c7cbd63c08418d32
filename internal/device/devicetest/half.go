package devicetest

import (
	"math"
	"slices"
	"testing"

	"github.com/secencoder/secencoder/internal/bf16"
	"github.com/secencoder/secencoder/internal/kernel"
)

// With BF16 operands (RunHalf) the reference computes the same formulas from rounded operands and rounds each result once.
// The suite lets it write those results as float32, so that what a family stores can be held against the result before its
// rounding x: a family that is off by at most b has to store something between bf16(x − b) and bf16(x + b). Values that
// are truncated, rounded twice over, or made from weights that were not rounded fall out of that.

// halfUnit is half the distance from 1 to the next BF16: the largest relative error of one rounding. Families may round
// factors of matrix products that a kernel makes on the way and that the reference keeps: dY∘act', dLogits, the gradient
// of a convolution's result. Each may be off by halfUnit for that.
const halfUnit = 0x1p-8

// newProblem returns a problem whose random numbers follow from its name, and whose activations are BF16 where the suite
// is in that arithmetic.
func (s *suite) newProblem(name string) *problem {
	p := newProblem(name)
	p.half, p.tensorCores = s.half, s.tensorCores
	return p
}

// activation is normal for an operand that is BF16 in that arithmetic.
func (p *problem) activation(name string, n, used int, scale float64) *tensor {
	t := p.normal(name, n, used, scale)
	p.halve(t)
	return t
}

// result is output for one that is BF16 in that arithmetic.
func (p *problem) result(name string, n, used int) *tensor {
	t := p.output(name, n, used)
	p.halve(t)
	return t
}

// halve makes a float32 operand BF16, its values rounded, in that arithmetic. It may be called again after they changed.
func (p *problem) halve(t *tensor) {
	if p.half {
		t.dtype = kernel.BF16
		for i, v := range t.f {
			t.f[i] = rounded(v)
		}
	}
}

// factor returns a factor of a matrix product as the call reads it.
func (p *problem) factor(x float32) float32 {
	if p.half {
		return rounded(x)
	}
	return x
}

// factors returns a whole operand as matrix products read it.
func (p *problem) factors(x []float32) []float32 {
	if !p.half {
		return x
	}
	y := slices.Clone(x)
	for i, v := range y {
		y[i] = rounded(v)
	}
	return y
}

// inner is the relative error of a factor that a family may round.
func (p *problem) inner() float64 {
	if p.half {
		return halfUnit
	}
	return 0
}

func rounded(x float32) float32 { return bf16.FromFloat32(x).Float32() }

// between says whether got, a BF16, is a rounding of something within bound of want.
func between(got, want float32, bound float64) bool {
	if got != got || want != want {
		return got != got && want != want
	}
	low, high := rounded(float32(float64(want)-bound)), rounded(float32(float64(want)+bound))
	return got == want || got >= low && got <= high
}

// spread is the bound of a value whose reference was rounded to BF16 itself.
func spread(want float32, bound float64) float64 {
	return bound + halfUnit*math.Abs(float64(want)) + 0x1p-133
}

// RunHalf holds a family against the suite with activations of BF16, as subtests of t named after the methods: all of
// them, or those that are named. LinearGradAdd is LinearGrad with an addend of dX, in both arithmetics.
func RunHalf(t *testing.T, open Open, names ...string) {
	Selection{Half: true, Groups: names}.Run(t, open)
}
