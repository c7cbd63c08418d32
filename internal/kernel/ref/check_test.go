package ref

import (
	"math"
	"testing"

	"github.com/secencoder/secencoder/internal/kernel"
	"github.com/secencoder/secencoder/internal/rng"
)

// The gradients are checked against finite differences of float64 forward passes that are written anew in
// forward_test.go, from HF's formulas. Loss = Σ dOut·out.

// tolerance bounds what a gradient may be off by, relative to the largest of its tensor. The kernels compute in float64
// from operands that were stored as float32: statistics, log-sum-exp, pre-activations, each off by 2^-24 relative to
// values up to 8 times the result; the result is rounded once more. Finite differences add less than 1e-9.
const tolerance = 0x1p-20

// source makes test data.
type source struct{ rng.Stream }

func newSource(seed uint64) *source { return &source{rng.NewStream(seed, rng.Probe, 1, 0, 0)} }

func (s *source) normal(n int, scale float64) []float32 {
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(s.Norm() * scale)
	}
	return x
}

// lift returns x as float64.
func lift(x []float32) []float64 {
	y := make([]float64, len(x))
	for i, v := range x {
		y[i] = float64(v)
	}
	return y
}

// inner returns Σ x·y.
func inner(x []float32, y []float64) float64 {
	var sum float64
	for i, v := range x {
		sum += float64(v) * y[i]
	}
	return sum
}

// checkGrad compares a gradient with the central differences of loss at every element of x, extrapolated once: their
// error is of order h⁴ = 1e-12 times the fifth derivative.
func checkGrad(t *testing.T, name string, got []float32, x []float64, loss func() float64) {
	t.Helper()
	if len(got) != len(x) {
		t.Fatalf("%s: %d gradients of %d elements", name, len(got), len(x))
	}
	want, largest := make([]float64, len(x)), 0.0
	for i := range x {
		keep := x[i]
		difference := func(h float64) float64 {
			x[i] = keep + h
			up := loss()
			x[i] = keep - h
			down := loss()
			x[i] = keep
			return (up - down) / (2 * h)
		}
		want[i] = (4*difference(5e-4) - difference(1e-3)) / 3
		largest = max(largest, math.Abs(want[i]))
	}
	for i := range x {
		if off := math.Abs(float64(got[i]) - want[i]); !(off <= tolerance*largest+1e-8) {
			t.Fatalf("%s[%d]: got %v, want %v (off by %.3g, largest %.3g)", name, i, got[i], want[i], off, largest)
		}
	}
	if largest == 0 && len(x) > 0 {
		t.Errorf("%s: the gradient is 0 everywhere: nothing was tested", name)
	}
}

// checkValues compares a result with its float64 value: one rounding, and those of what is rounded on the way.
func checkValues(t *testing.T, name string, got []float32, want []float64) {
	t.Helper()
	largest := 0.0
	for _, w := range want {
		largest = max(largest, math.Abs(w))
	}
	for i, w := range want {
		if off := math.Abs(float64(got[i]) - w); !(off <= 0x1p-21*largest) {
			t.Fatalf("%s[%d]: got %v, want %v", name, i, got[i], w)
		}
	}
}

// pack is a step header over pieces of 3, 6, 1 and 2 tokens in a plan of 15, with 4 masked tokens.
type pack struct {
	kernel.Pack
	T     int
	words []int32
}

func newPack(vocabulary int) *pack {
	p := &pack{T: 15, Pack: kernel.Pack{
		Offsets: []int32{0, 3, 9, 10, 12}, Masked: []int32{1, 4, 7, 11}, Step: 9, Seed: 1 << 40, Ordinal: 1000, Scale: 0.25,
	}}
	for i := range p.Masked {
		p.Labels = append(p.Labels, int32(i*5%vocabulary))
	}
	p.words = make([]int32, kernel.HeaderWords(p.T))
	p.Fill(p.words, p.T)
	return p
}

func (p *pack) header() kernel.Buf { return kernel.FromI32(p.words) }

func (p *pack) tokens() int { return int(p.Offsets[len(p.Offsets)-1]) }

// piece returns the piece of a token and its place there.
func (p *pack) piece(token int) (piece, place int) {
	for int(p.Offsets[piece+1]) <= token {
		piece++
	}
	return piece, token - int(p.Offsets[piece])
}

// factor is dropout as the documentation of kernel.Dropout has it: what an element is multiplied with.
func (p *pack) factor(d kernel.Dropout, kind kernel.RowKind, row, column, width int) float64 {
	if d.P == 0 {
		return 1
	}
	var element uint64
	switch kind {
	case kernel.RowsAll:
		element = uint64(row*width + column)
	case kernel.RowsPieces:
		element = (uint64(p.Ordinal)+uint64(row))*uint64(width) + uint64(column)
	default:
		if kind == kernel.RowsMasked {
			row = int(p.Masked[row])
		}
		piece, place := p.piece(row)
		element = ((uint64(p.Ordinal)+uint64(piece))*65_536+uint64(place))*uint64(width) + uint64(column)
	}
	call := element / 4
	words := rng.Philox([4]uint32{uint32(call), uint32(call >> 32), p.Step, uint32(rng.Dropout)<<24 + d.Site}, [2]uint32{uint32(p.Seed), uint32(p.Seed >> 32)})
	if float64(words[element%4]) < math.Floor(float64(d.P)*(1<<32)) {
		return 0
	}
	return 1 / (1 - float64(d.P))
}

// attentionFactor is the same for attention probabilities.
func (p *pack) attentionFactor(d kernel.Dropout, piece, heads, head, i, j int) float64 {
	if d.P == 0 {
		return 1
	}
	call := (((uint64(p.Ordinal)+uint64(piece))*uint64(heads)+uint64(head))*65_536+uint64(i))*8192 + uint64(j/8)
	words := rng.Philox([4]uint32{uint32(call), uint32(call >> 32), p.Step, uint32(rng.Dropout)<<24 + d.Site}, [2]uint32{uint32(p.Seed), uint32(p.Seed >> 32)})
	half := words[j%8/2]
	if j%2 == 1 {
		half >>= 16
	}
	if float64(half&0xffff) < math.Round(65_536*float64(d.P)) {
		return 0
	}
	return 1 / (1 - float64(d.P))
}

// rowsOf returns the rows in use of a kind, with n for all rows.
func (p *pack) rowsOf(kind kernel.RowKind, n int) int {
	return []int{n, p.tokens(), len(p.Masked), len(p.Offsets) - 1}[kind]
}

func f32(n int) []float32 { return make([]float32, n) }

var buf = kernel.FromF32
