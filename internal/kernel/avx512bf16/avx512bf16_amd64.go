//go:build !noasm

// Package avx512bf16 holds the inner loops for amd64 processors that multiply pairs of BF16 in AVX-512 registers. Products
// of BF16 use VDPBF16PS; all else, float32 products too, is package avx512's.
//
// VDPBF16PS adds two products to each float32 of the accumulator and takes denormals as zero. On Zen 5 it does twice the
// work of a fused multiply-add in the same time, on Intel processors half as much: those have tiles, or should use avx512.
package avx512bf16

import (
	"unsafe"

	"golang.org/x/sys/cpu"

	"github.com/secencoder/secencoder/internal/kernel/avx512"
	"github.com/secencoder/secencoder/internal/kernel/blocked"
)

// Available reports whether the processor has and the operating system enables all that these loops use, and why not.
func Available() (bool, string) {
	if ok, why := avx512.Available(); !ok {
		return false, why
	}
	if !cpu.X86.HasAVX512BF16 {
		return false, "no AVX512_BF16"
	}
	return true, "AVX-512 F, BW, DQ, VL, BF16"
}

// Prims returns the inner loops; they must not run where Available says no.
func Prims() blocked.Prims {
	p := avx512.Prims()
	p.Name = "avx512bf16"
	p.Half = blocked.Format{MR: mr, NR: 32, KR: 2, Half: true, Depth: 512, PackRows: packRows, PackCols: packCols, Tile: tile, Sweep: sweep}
	return p
}

// mr is the height of a panel of A.
const mr = 14

func ptr(s []float32) *float32 { return unsafe.SliceData(s) }

// tile is blocked.Format.Tile: one panel of B when that is enough, else two.
func tile(k int, a, b []float32, stride int, c []float32, ldc int, bias []float32, m, n int, add bool) {
	_ = c[(m-1)*ldc+n-1]
	panels((k+1)/2, ptr(a), ptr(b), stride, ptr(c), ldc, ptr(bias), m, n, add, ptr(b))
}

// panels multiplies one panel of A by one or two of B, k words deep, with the lowest tile that holds m rows; next is
// prefetched.
func panels(k int, a, b *float32, stride int, c *float32, ldc int, bias *float32, m, n int, add bool, next *float32) {
	mask := uint32(1)<<n - 1
	if n == 32 {
		mask = ^uint32(0)
	}
	sum := 0
	if add {
		sum = 1
	}
	switch {
	case n <= 16:
		gemm14x16(k, a, b, 0, c, 4*ldc, bias, m, mask, sum, next)
	case m <= 2:
		gemm2x32(k, a, b, 4*stride, c, 4*ldc, bias, m, mask, sum, next)
	case m <= 5:
		gemm5x32(k, a, b, 4*stride, c, 4*ldc, bias, m, mask, sum, next)
	case m <= 8:
		gemm8x32(k, a, b, 4*stride, c, 4*ldc, bias, m, mask, sum, next)
	case m <= 11:
		gemm11x32(k, a, b, 4*stride, c, 4*ldc, bias, m, mask, sum, next)
	default:
		gemm14x32(k, a, b, 4*stride, c, 4*ldc, bias, m, mask, sum, next)
	}
}

// sweep is blocked.Format.Sweep: a pair of panels of B stays in the L1 cache while the panels of A pass, of which the
// first ones ask for the next pair.
func sweep(m, n, terms int, a, b []float32, stride int, c []float32, ldc int, bias []float32, add bool) {
	if m == 0 || n == 0 {
		return
	}
	k := (terms + 1) / 2
	_, _ = a[(m+mr-1)/mr*mr*k:], b[(n-1)/16*stride+16*k:]
	_ = c[(m-1)*ldc+n-1]
	for j := 0; j < n; j += 32 {
		cols := min(32, n-j)
		at, next := b[j/16*stride:], 0
		if j+32 < n {
			next = 2 * stride
		}
		var start *float32
		if bias != nil {
			start = &bias[j]
		}
		for i := 0; i < m; i += mr {
			panels(k, ptr(a[i*k:]), ptr(at), stride, ptr(c[i*ldc+j:]), ldc, start, min(mr, m-i), cols, add, ptr(at[next:]))
			if next += 8 * k; next+8*k > min(len(at), 2*stride+32*k) {
				next = 0
			}
		}
	}
}

// source checks that a panel lies in dst and its elements lie in src, and returns where they start.
func source[T any](dst []float32, words int, src []T, at, ld, rows, k int) *T {
	_, _ = dst[words-1], src[at+(rows-1)*ld+k-1]
	return &src[at]
}

func packRows(dst []float32, width int, src blocked.Values, at, ld, rows, k int) {
	switch {
	case k == 0:
	case src.BF16 != nil:
		packRowsPairs(ptr(dst), width, (*uint16)(source(dst, (k+1)/2*width, src.BF16, at, ld, rows, k)), 2*ld, rows, k)
	default:
		packRowsHalved(ptr(dst), width, source(dst, (k+1)/2*width, src.F32, at, ld, rows, k), 4*ld, rows, k)
	}
}

func packCols(dst []float32, width int, src blocked.Values, at, ld, cols, k int) {
	switch {
	case k == 0:
	case src.BF16 != nil:
		packColsPairs(ptr(dst), width, (*uint16)(source(dst, (k+1)/2*width, src.BF16, at, ld, k, cols)), 2*ld, cols, k)
	default:
		packColsHalved(ptr(dst), width, source(dst, (k+1)/2*width, src.F32, at, ld, k, cols), 4*ld, cols, k)
	}
}
