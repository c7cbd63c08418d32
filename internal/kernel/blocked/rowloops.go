package blocked

import (
	"unsafe"

	"github.com/secencoder/secencoder/internal/bf16"
)

// RowLoops are the loops over rows of activations that read or write BF16, or that take several steps of a kernel at once
// while a row is in L1.
type RowLoops struct {
	Add   func(dst, a, b []bf16.BF16)          // dst = a + b, in float32, rounded
	AddTo func(dst []float32, src []bf16.BF16) // dst += src
	// AddDouble sets dst += src in float64.
	AddDouble func(dst []float64, src []float32)

	// Prefetch asks for memory that is used soon.
	Prefetch func(x unsafe.Pointer, bytes int)

	// The ones below may be nil: the kernels then go step by step, to the same bits. Rows are a multiple of 16 long.

	// Keep sets bit i mod 8 of keep[i/8] where the dropout word of element 4·call + i is at least threshold. len(keep) is a
	// multiple of 16.
	Keep func(keep []byte, call uint64, c Counter, threshold uint32)
	// Norm and NormGrad are the passes over one row; see NormRow.
	Norm, NormGrad func(r *NormRow)

	// Gelu sets dst = x·Φ(x), rounded from a result that is off by at most 2^-21·|x|: under the rounding, where Prims.Act
	// spends its time on the last places of far tails. GeluGrad sets dst = dy·(Φ(x) + x·φ(x)), off by at most 2^-16·|dy|
	// before it is rounded, and adds it to sums as it is then. Nil: Prims.Act and ActGrad.
	Gelu     func(dst []bf16.BF16, x []float32)
	GeluGrad func(dst, dy, x []bf16.BF16, sums []float32)
}

// NormRow is a row of LayerNorm or AddNorm, the sum s of x, dropped, and res: out = (s − mean)·rstd·gamma + beta, or its
// gradient. X, Res, Out, DOut, DX and DRes are all float32 or all BF16; with float32, Keep and Res are set.
type NormRow struct {
	X, Res Values // Res absent: LayerNorm
	Keep   []byte // where x is not dropped; nil: all of it
	Scale  float32
	Gamma  []float32
	Sum    []float32 // scratch for s; not read where X is float32 and alone
	// Norm:
	Out  Values
	Beta []float32
	Eps  float32
	// set by Norm, read by NormGrad:
	Mean, RStd float32
	// NormGrad: DRes or DX is absent, or both, where they are not wanted. Without Res, DX is the gradient of s.
	DOut, DRes, DX Values
	DGamma, DBeta  []float32 // sums so far
}

// portableRows has no loops of several steps.
func portableRows() RowLoops {
	return RowLoops{Add: addBF16, AddTo: addToBF16, AddDouble: addDouble, Prefetch: func(unsafe.Pointer, int) {}}
}

func addBF16(dst, a, b []bf16.BF16) {
	a, b = a[:len(dst)], b[:len(dst)]
	for i := range dst {
		dst[i] = bf16.FromFloat32(a[i].Float32() + b[i].Float32())
	}
}

func addToBF16(dst []float32, src []bf16.BF16) {
	src = src[:len(dst)]
	for i := range dst {
		dst[i] += src[i].Float32()
	}
}

func addDouble(dst []float64, src []float32) {
	src = src[:len(dst)]
	for i, x := range src {
		dst[i] += float64(x)
	}
}

func widen(dst []float32, src []bf16.BF16) {
	src = src[:len(dst)]
	for i, x := range src {
		dst[i] = x.Float32()
	}
}

func narrow(dst []bf16.BF16, src []float32) {
	src = src[:len(dst)]
	for i, x := range src {
		dst[i] = bf16.FromFloat32(x)
	}
}

// absent reports whether the operand was left out. A copy of v for each row would cost 40 ns.
func (v *Values) absent() bool { return v.F32 == nil && v.BF16 == nil }

// set makes v elements at … at+n of w. It is field by field: a struct that is stored in parts and then copied whole makes
// the processor wait for its own stores, 20 ns a row.
func (v *Values) set(w *Values, at, n int) {
	if w.BF16 != nil {
		v.BF16 = w.BF16[at:][:n]
	} else if w.F32 != nil {
		v.F32 = w.F32[at:][:n]
	}
}

// wide returns elements of v as float32: its own, or widened in buf.
func (k *Kernels) wide(v *Values, at, n int, buf []float32) []float32 {
	if v.BF16 == nil {
		return v.F32[at:][:n]
	}
	k.p.Widen(buf[:n], v.BF16[at:][:n])
	return buf[:n]
}

// dest returns where float32 results that go to elements of v are made: there, or in buf; stored then rounds them.
func (v *Values) dest(at, n int, buf []float32) []float32 {
	if v.BF16 == nil {
		return v.F32[at:][:n]
	}
	return buf[:n]
}

// stored puts x, which dest returned, where it belongs.
func (k *Kernels) stored(v *Values, at int, x []float32) {
	if v.BF16 != nil {
		k.p.Narrow(v.BF16[at:][:len(x)], x)
	}
}

// copyFrom copies n elements of another value of the same type.
func (v *Values) copyFrom(at int, from *Values, start, n int) {
	if v.BF16 != nil {
		copy(v.BF16[at:][:n], from.BF16[start:][:n])
	} else {
		copy(v.F32[at:][:n], from.F32[start:][:n])
	}
}

// clear sets n elements to 0.
func (v *Values) clear(at, n int) {
	if v.BF16 != nil {
		clear(v.BF16[at:][:n])
	} else {
		clear(v.F32[at:][:n])
	}
}
