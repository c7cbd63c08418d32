// Code generated from avx512/loops_amd64.go. DO NOT EDIT.

//go:build !noasm

package avx2

import (
	"math"
	"unsafe"

	"github.com/secencoder/secencoder/internal/bf16"
	"github.com/secencoder/secencoder/internal/kernel"
	"github.com/secencoder/secencoder/internal/kernel/blocked"
)

// This file is what avx2 and avx512 share word for word: how Go calls loops that both have under one name. The one of
// avx2 is made from the one of avx512 by go generate.

// loops sets those of p.
func loops(p *blocked.Prims) {
	p.Add = func(dst, a, b []float32) { vecAdd(ptr(dst), at(a, dst), at(b, dst), len(dst)) }
	p.Scale = func(dst, x []float32, a float32) { vecScale(ptr(dst), at(x, dst), a, len(dst)) }
	p.Dot = func(a, b []float32) float32 { return vecDot(ptr(a), at(b, a), len(a)) }
	p.Sum = func(x []float32) float32 { return vecSum(ptr(x), len(x)) }
	p.Shift = func(dst, x []float32, a float32) { vecShift(ptr(dst), at(x, dst), a, len(dst)) }
	p.Max = func(x []float32) float32 { return vecMax(ptr(x), len(x)) }
	p.ExpSum = func(dst, x []float32, a, b float32) float32 { return vecExpSum(ptr(dst), at(x, dst), a, b, len(dst)) }
	p.SoftmaxGrad = func(ds, p, dp []float32, a, delta float32) {
		vecSoftmaxGrad(ptr(ds), at(p, ds), at(dp, ds), a, delta, len(ds))
	}
	p.Act, p.ActGrad = act, actGrad
	p.NormRow, p.NormGradRow = normRow, normGradRow
	p.AdamW = adamW
	p.Dropout = dropout
	p.SumSquares = func(x []float32) float64 { return vecSumSquares(ptr(x), len(x)) }
}

// at returns the start of s, which must be as long as like.
func at(s, like []float32) *float32 { return ptr(s[:len(like)]) }

var portable = blocked.Portable()

func act(f kernel.Activation, dst, x []float32) {
	to, from, n := ptr(dst), at(x, dst), len(dst)
	switch f {
	case kernel.Gelu:
		vecGelu(to, from, n)
	case kernel.GeluNew:
		vecGeluNew(to, from, n)
	case kernel.QuickGelu:
		vecQuickGelu(to, from, n)
	case kernel.Silu:
		vecSilu(to, from, n)
	case kernel.Sigmoid:
		vecSigmoid(to, from, n)
	case kernel.Tanh:
		vecTanh(to, from, n)
	default:
		portable.Act(f, dst, x)
	}
}

func actGrad(f kernel.Activation, dst, dy, x []float32) {
	to, g, from, n := ptr(dst), at(dy, dst), at(x, dst), len(dst)
	switch f {
	case kernel.Gelu:
		vecGeluGrad(to, g, from, n)
	case kernel.GeluNew:
		vecGeluNewGrad(to, g, from, n)
	case kernel.QuickGelu:
		vecQuickGeluGrad(to, g, from, n)
	case kernel.Silu:
		vecSiluGrad(to, g, from, n)
	case kernel.Sigmoid:
		vecSigmoidGrad(to, g, from, n)
	case kernel.Tanh:
		vecTanhGrad(to, g, from, n)
	default:
		portable.ActGrad(f, dst, dy, x)
	}
}

func normRow(out, x, gamma, beta []float32, eps float32) (mean, rstd float32) {
	n := len(out)
	mean = vecSum(at(x, out), n) / float32(n)
	rstd = 1 / float32(math.Sqrt(float64(vecDeviation(ptr(x), mean, n)/float32(n)+eps)))
	vecNormApply(ptr(out), ptr(x), at(gamma, out), at(beta, out), mean, rstd, n)
	return mean, rstd
}

func normGradRow(dx, x, gamma, dy []float32, mean, rstd float32, dgamma, dbeta []float32) {
	n := len(x)
	g, gh := vecNormSums(ptr(x), at(gamma, x), at(dy, x), at(dgamma, x), at(dbeta, x), mean, rstd, n)
	if dx != nil {
		vecNormGrad(at(dx, x), ptr(x), ptr(gamma), ptr(dy), mean, rstd, g/float32(n), gh/float32(n), n)
	}
}

func adamW(w, g, m, v []float32, c *blocked.AdamWScalars) {
	vecAdamW(ptr(w), at(g, w), at(m, w), at(v, w), c.Keep, c.Clip, c.OneB1, c.Beta2, c.OneB2, c.Rate, c.Root, c.Eps, len(w))
}

// dropout is blocked.Prims.Dropout: whole groups in place, the rest through a buffer.
func dropout(dst, src []float32, element uint64, c blocked.Counter, threshold uint32, scale float32) {
	src = src[:len(dst)]
	if skip := int(-element & 3); skip > 0 {
		skip = min(skip, len(dst))
		portable.Dropout(dst[:skip], src[:skip], element, c, threshold, scale)
		dst, src, element = dst[skip:], src[skip:], element+uint64(skip)
	}
	if groups := len(dst) / (4 * groupCalls); groups > 0 {
		philoxDropout(ptr(dst), ptr(src), groups, element/4, c.Step, c.Site, c.Key[0], c.Key[1], threshold, scale)
		n := groups * 4 * groupCalls
		dst, src, element = dst[n:], src[n:], element+uint64(n)
	}
	if len(dst) == 0 {
		return
	}
	var last [4 * groupCalls]float32
	copy(last[:], src)
	philoxDropout(&last[0], &last[0], 1, element/4, c.Step, c.Site, c.Key[0], c.Key[1], threshold, scale)
	copy(dst, last[:])
}

// rows returns the loops over rows of activations.
func rows() blocked.RowLoops {
	return blocked.RowLoops{Add: addHalf, AddTo: addHalfTo, AddDouble: addDouble, Prefetch: prefetchRow, Keep: keep, Norm: normLoop, NormGrad: normGradLoop, Gelu: geluLoop, GeluGrad: geluGradLoop}
}

// hptr returns the start of s, which must be n elements long.
func hptr(s []bf16.BF16, n int) *uint16 { return (*uint16)(unsafe.SliceData(s[:n])) }

// fptr returns the start of s, which must be n elements long.
func fptr(s []float32, n int) *float32 { return unsafe.SliceData(s[:n]) }

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
