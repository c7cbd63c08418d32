// Package ref is the plain Go family of kernels: always compiled, on every platform, single-threaded, written like the
// formulas. It is the definition of every result, the oracle of the conformance suite (internal/device/devicetest), and
// the fallback where no vectorised family fits the processor.
//
// Values are float32 where they are stored. Every sum, product, exponential and quotient inside a kernel is float64 and
// is rounded once, when it is stored; what HF rounds in between because it is a tensor there (a dropped-out input, a
// residual sum, a pre-activation) is rounded here too. AdamW is elementwise float32, as torch computes it.
//
// Of operands that hold BF16, values are read exactly and results are rounded once more, when they are stored; the factors
// of matrix products that come from memory (weights, dropped-out inputs) are rounded to BF16, those that a kernel makes on
// the way (probabilities, dY∘act', dLogits) are not. See half.go.
//
// Begin with New. The operands are documented in package kernel. Rules that hold for all kernels:
//
//   - A destination with beta 0 is overwritten: what it held before, NaN included, does not count.
//   - Rows beyond those in use are neither read nor written.
//   - A dropped value is 0, whatever it was.
//   - No operand may overlap a destination, but for Add.
package ref

import (
	"math"
	"sync"

	"github.com/secencoder/secencoder/internal/kernel"
)

// table implements kernel.Kernels. It keeps scratch memory between calls, so that calls of the same sizes do not
// allocate.
type table struct {
	mu     sync.Mutex
	f64    [6][]float64
	i32    [2][]int32
	f32    [][]float32 // copies of BF16 operands, and rounded factors
	copies int         // of them in this call
	narrow []narrowing // BF16 destinations of this call
}

// New returns the reference kernels, named "ref". Calls of one table from several goroutines run one after the other.
func New() kernel.Kernels { return &table{} }

// Name returns "ref".
func (*table) Name() string { return "ref" }

// WorkBytes returns 0: no kernel here uses its Work field.
func (*table) WorkBytes(any) int { return 0 }

// PackedBytes returns 0: products here read weights as they are.
func (*table) PackedBytes(int, int, kernel.DType, bool) int { return 0 }

// PackWeight does nothing.
func (*table) PackWeight(kernel.Stream, *kernel.PackWeightArgs) {}

// Sync returns nil: calls are done when they return.
func (*table) Sync(kernel.Stream) error { return nil }

// floats returns scratch slice i with n elements, cleared.
func (k *table) floats(i, n int) []float64 {
	if cap(k.f64[i]) < n {
		k.f64[i] = make([]float64, n)
	}
	s := k.f64[i][:n]
	clear(s)
	return s
}

// ints returns scratch slice i with n elements.
func (k *table) ints(i, n int) []int32 {
	if cap(k.i32[i]) < n {
		k.i32[i] = make([]int32, n)
	}
	return k.i32[i][:n]
}

// view lays a header over its words; an absent one serves kernels over RowsAll without dropout.
func view(b kernel.Buf) kernel.Header {
	if b.Absent() {
		return kernel.Header{}
	}
	words := b.I32()
	return kernel.ViewHeader(words, kernel.TokensOfHeader(len(words)))
}

// store writes d = beta·d + sum, not reading d when beta is 0.
func store(d []float32, beta float32, sum []float64) {
	for i, s := range sum {
		if beta != 0 {
			s += float64(beta) * float64(d[i])
		}
		d[i] = float32(s)
	}
}

// dot returns Σ x·y over the elements of x.
func dot(x, y []float32) float64 {
	var sum float64
	y = y[:len(x)]
	for i, v := range x {
		sum += float64(v) * float64(y[i])
	}
	return sum
}

// axpy adds a·x to y.
func axpy(y []float64, a float64, x []float32) {
	x = x[:len(y)]
	for i := range y {
		y[i] += a * float64(x[i])
	}
}

// row returns row r of a matrix of the given width.
func row(m []float32, r, width int) []float32 { return m[r*width : (r+1)*width] }

// dropout decides what is dropped in the rows of one value.
type dropout struct {
	h         kernel.Header
	d         kernel.Dropout
	kind      kernel.RowKind
	width     int
	threshold uint32
	scale     float32
	element   uint64 // of column 0 in the current row
}

func newDropout(h kernel.Header, d kernel.Dropout, kind kernel.RowKind, width int) dropout {
	return dropout{h: h, d: d, kind: kind, width: width, threshold: d.Threshold(), scale: d.Scale()}
}

// row goes to a row.
func (m *dropout) row(r int) {
	if m.d.On() {
		m.element = m.h.DropoutElement(m.kind, r, m.width)
	}
}

// apply returns x after dropout at column c, rounded to float32: 0, or x/(1−P).
func (m *dropout) apply(x float32, c int) float32 {
	switch {
	case !m.d.On():
		return x
	case m.kept(c):
		return x * m.scale
	}
	return 0
}

// grad is apply for gradients that are not rounded.
func (m *dropout) grad(x float64, c int) float64 {
	switch {
	case !m.d.On():
		return x
	case m.kept(c):
		return x * float64(m.scale)
	}
	return 0
}

func (m *dropout) kept(c int) bool {
	return m.h.DropoutWord(m.d.Site, m.element+uint64(c)) >= m.threshold
}

// logSumExp returns log Σ exp(x), NaN when an x is NaN.
func logSumExp(x []float64) float64 {
	m := math.Inf(-1)
	for _, v := range x {
		if v > m {
			m = v
		}
	}
	var sum float64
	for _, v := range x {
		sum += math.Exp(v - m)
	}
	return m + math.Log(sum)
}
