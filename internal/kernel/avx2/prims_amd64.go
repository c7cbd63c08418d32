//go:build !noasm

package avx2

import (
	"math"

	"github.com/secencoder/secencoder/internal/kernel"
	"github.com/secencoder/secencoder/internal/kernel/blocked"
)

// Prims returns the inner loops; they must not run where Available says no.
func Prims() blocked.Prims {
	p := blocked.Portable()
	p.Name, p.AddTransposed = "avx2", addTransposed
	p.Single = blocked.Format{MR: 6, NR: 16, KR: 1, Depth: 256, PackRows: packRows, PackCols: packCols, Tile: tile}
	p.Half = blocked.Format{MR: 6, NR: 16, KR: 1, Depth: 256, PackRows: packRowsHalf, PackCols: packColsHalf, Tile: tile}
	p.Widen, p.Narrow, p.Rows = widen, narrow, rows()
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
	p.Dropout, p.DropoutHalf = dropout, dropoutHalf
	p.SumSquares = func(x []float32) float64 { return vecSumSquares(ptr(x), len(x)) }
	return p
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

// groupCalls is how many Philox calls one group of philoxDropout and philoxDropoutHalves makes.
const groupCalls = 8

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

// dropoutHalf is blocked.Prims.DropoutHalf: whole groups in place, the rest through a buffer.
func dropoutHalf(dst, src []float32, call uint64, c blocked.Counter, threshold uint32, scale float32) {
	src = src[:len(dst)]
	if threshold > 0xffff { // drops all
		clear(dst)
		return
	}
	const group = 8 * groupCalls
	if groups := len(dst) / group; groups > 0 {
		philoxDropoutHalves(ptr(dst), ptr(src), groups, call, c.Step, c.Site, c.Key[0], c.Key[1], threshold, scale)
		dst, src, call = dst[groups*group:], src[groups*group:], call+uint64(groups)*groupCalls
	}
	if len(dst) == 0 {
		return
	}
	var last [group]float32
	copy(last[:], src)
	philoxDropoutHalves(&last[0], &last[0], 1, call, c.Step, c.Site, c.Key[0], c.Key[1], threshold, scale)
	copy(dst, last[:])
}
