//go:build !noasm

package avx512

import (
	"math"
	"unsafe"

	"github.com/secencoder/secencoder/internal/bf16"
	"github.com/secencoder/secencoder/internal/kernel/blocked"
)

// rows returns the loops over rows of activations.
func rows() blocked.RowLoops {
	return blocked.RowLoops{Add: addHalf, AddTo: addHalfTo, AddDouble: addDouble, Prefetch: prefetchRow, Keep: keep, Norm: normLoop, NormGrad: normGradLoop, Gelu: geluLoop, GeluGrad: geluGradLoop}
}

// hptr returns the start of s, which must be n elements long.
func hptr(s []bf16.BF16, n int) *uint16 { return (*uint16)(unsafe.SliceData(s[:n])) }

// fptr returns the start of s, which must be n elements long.
func fptr(s []float32, n int) *float32 { return unsafe.SliceData(s[:n]) }

func widen(dst []float32, src []bf16.BF16) { vecWiden(ptr(dst), hptr(src, len(dst)), len(dst)) }

func narrow(dst []bf16.BF16, src []float32) {
	vecNarrow(hptr(dst, len(dst)), fptr(src, len(dst)), len(dst))
}

func addHalf(dst, a, b []bf16.BF16) {
	n := len(dst)
	vecAdd16(hptr(dst, n), hptr(a, n), hptr(b, n), n)
}

func addHalfTo(dst []float32, src []bf16.BF16) {
	vecAddWide(ptr(dst), hptr(src, len(dst)), len(dst))
}

func prefetchRow(x unsafe.Pointer, bytes int) { prefetch((*byte)(x), bytes) }

func addDouble(dst []float64, src []float32) {
	n := len(dst) &^ 15
	vecAddDouble(unsafe.SliceData(dst), fptr(src, n), n)
	portable.Rows.AddDouble(dst[n:], src[n:])
}

func geluLoop(dst []bf16.BF16, x []float32) {
	n := len(dst)
	vecGelu16(hptr(dst, n), fptr(x, n), n)
}

func geluGradLoop(dst, dy, x []bf16.BF16, sums []float32) {
	n := len(dst)
	vecGeluGrad16(hptr(dst, n), hptr(dy, n), hptr(x, n), fptr(sums, n), n)
}

// keep is blocked.RowLoops.Keep: whole groups in place, the rest through a buffer.
func keep(dst []byte, call uint64, c blocked.Counter, threshold uint32) {
	const bytes = groupCalls / 2 // of a group
	groups := len(dst) / bytes
	if groups > 0 {
		philoxKeep(&dst[0], groups, call, c.Step, c.Site, c.Key[0], c.Key[1], threshold)
	}
	if done := groups * bytes; done < len(dst) {
		var last [bytes]byte
		philoxKeep(&last[0], 1, call+uint64(2*done), c.Step, c.Site, c.Key[0], c.Key[1], threshold)
		copy(dst[done:], last[:])
	}
}

// normLoop is blocked.RowLoops.Norm: the sum of the row as it is made, its deviation, the result.
func normLoop(r *blocked.NormRow) {
	n := len(r.Gamma)
	s := fptr(r.Sum, n)
	r.Mean = inputLoop(r, s, n) / float32(n)
	r.RStd = 1 / float32(math.Sqrt(float64(vecDeviation(s, r.Mean, n)/float32(n)+r.Eps)))
	if r.Out.BF16 != nil {
		vecNormApply16(hptr(r.Out.BF16, n), s, ptr(r.Gamma), fptr(r.Beta, n), r.Mean, r.RStd, n)
		return
	}
	vecNormApply(fptr(r.Out.F32, n), s, ptr(r.Gamma), fptr(r.Beta, n), r.Mean, r.RStd, n)
}

// inputLoop fills s, r.Sum, and returns what it adds up to.
func inputLoop(r *blocked.NormRow, s *float32, n int) float32 {
	if r.Keep != nil {
		keep := &r.Keep[:(n+7)/8][0]
		if r.X.BF16 == nil {
			return vecKeepAdd(s, fptr(r.X.F32, n), fptr(r.Res.F32, n), keep, r.Scale, n)
		}
		return vecKeepAdd16(s, hptr(r.X.BF16, n), hptr(r.Res.BF16, n), keep, r.Scale, n)
	}
	if r.Res.BF16 == nil {
		return vecWidenSum16(s, hptr(r.X.BF16, n), n)
	}
	return vecAddSum16(s, hptr(r.X.BF16, n), hptr(r.Res.BF16, n), n)
}

// normGradLoop is blocked.RowLoops.NormGrad: the row again, the sums, the gradients.
func normGradLoop(r *blocked.NormRow) {
	n := len(r.Gamma)
	s, gamma, mean, rstd := fptr(r.Sum, n), ptr(r.Gamma), r.Mean, r.RStd
	inputLoop(r, s, n)
	if r.DOut.BF16 == nil { // with dropout
		dy := fptr(r.DOut.F32, n)
		g, gh := vecNormSums(s, gamma, dy, fptr(r.DGamma, n), fptr(r.DBeta, n), mean, rstd, n)
		g, gh = g/float32(n), gh/float32(n)
		switch {
		case r.DX.F32 != nil:
			vecNormGradKeep(fptr(r.DRes.F32, n), s, gamma, dy, fptr(r.DX.F32, n), &r.Keep[0], mean, rstd, g, gh, r.Scale, n)
		case r.DRes.F32 != nil:
			vecNormGrad(fptr(r.DRes.F32, n), s, gamma, dy, mean, rstd, g, gh, n)
		}
		return
	}
	dy := hptr(r.DOut.BF16, n)
	g, gh := vecNormSums16(s, gamma, dy, fptr(r.DGamma, n), fptr(r.DBeta, n), mean, rstd, n)
	g, gh = g/float32(n), gh/float32(n)
	switch dx, dres := r.DX.BF16, r.DRes.BF16; {
	case dx != nil && dres != nil && r.Keep != nil:
		vecNormGradKeep16(hptr(dres, n), s, gamma, dy, hptr(dx, n), &r.Keep[0], mean, rstd, g, gh, r.Scale, n)
	case dres != nil:
		vecNormGrad16(hptr(dres, n), s, gamma, dy, mean, rstd, g, gh, n)
		copy(dx, dres)
	case dx != nil:
		vecNormGrad16(hptr(dx, n), s, gamma, dy, mean, rstd, g, gh, n)
	}
}
