//go:build !noasm

// Package avx2 holds the inner loops for amd64 processors with AVX2 and FMA, vectors of 8 float32: products of packed panels,
// packing, exp and erf, sums, norms, the optimizer. They are assembly made by the generators in ../_asm.
//
// Begin with Prims, which package blocked composes kernels from; Available says whether this machine can run them. The
// package knows no shapes beyond one vector loop and starts no goroutines.
package avx2

import (
	"unsafe"

	"golang.org/x/sys/cpu"

	"github.com/secencoder/secencoder/internal/bf16"
	"github.com/secencoder/secencoder/internal/kernel/blocked"
)

// Available reports whether the processor has and the operating system enables all that these loops use, and why not.
func Available() (bool, string) {
	switch {
	case !cpu.X86.HasAVX2:
		return false, "no AVX2"
	case !cpu.X86.HasFMA:
		return false, "no FMA"
	}
	return true, "AVX2 and FMA"
}

func ptr(s []float32) *float32 { return unsafe.SliceData(s) }

// tile is blocked.Format.Tile. A tile cut by an edge is made whole in a buffer.
func tile(k int, a, b []float32, _ int, c []float32, ldc int, bias []float32, m, n int, add bool) {
	_ = c[(m-1)*ldc+n-1]
	if m == 6 && n == 16 {
		sum := 0
		if add {
			sum = 1
		}
		gemm6x16(k, ptr(a), ptr(b), ptr(c), 4*ldc, ptr(bias), sum)
		return
	}
	var whole [6 * 16]float32
	var start *float32
	if bias != nil {
		var padded [16]float32
		copy(padded[:], bias[:n])
		start = &padded[0]
	}
	gemm6x16(k, ptr(a), ptr(b), &whole[0], 4*16, start, 0)
	for i := range m {
		row, part := c[i*ldc:][:n], whole[i*16:][:n]
		for j, x := range part {
			if add {
				x += row[j]
			}
			row[j] = x
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
		packRowsWidened(dst, width, src.BF16, at, ld, rows, k)
	case width == 6:
		packRows8(ptr(dst), width, source(dst, k*width, src.F32, at, ld, rows, k), 4*ld, rows, k, 6)
	default:
		for i := 0; i < width; i += 8 {
			first, n := at, min(max(rows-i, 0), 8)
			if n > 0 {
				first += i * ld
			}
			packRows8(ptr(dst[i:]), width, source(dst[i:], k*width-i, src.F32, first, ld, max(n, 1), k), 4*ld, n, k, 8)
		}
	}
}

// packRowsWidened goes by way of float32 rows, 64 terms at a time.
func packRowsWidened(dst []float32, width int, src []bf16.BF16, at, ld, rows, k int) {
	const terms = 64
	var wide [16 * terms]float32
	for p := 0; p < k; p += terms {
		n := min(terms, k-p)
		for i := range rows {
			widen(wide[i*terms:][:n], src[at+i*ld+p:][:n])
		}
		packRows(dst[p*width:], width, blocked.Values{F32: wide[:]}, 0, terms, rows, n)
	}
}

func packCols(dst []float32, width int, src blocked.Values, at, ld, cols, k int) {
	switch {
	case k == 0:
	case cols != width || width != 16 && width != 6:
		portable.Single.PackCols(dst, width, src, at, ld, cols, k)
	case src.BF16 != nil && width == 16:
		packCols16Widened(ptr(dst), (*uint16)(source(dst, k*width, src.BF16, at, ld, k, cols)), 2*ld, k)
	case src.BF16 != nil:
		packCols6Widened(ptr(dst), (*uint16)(source(dst, k*width, src.BF16, at, ld, k, cols)), 2*ld, k)
	case width == 16:
		packCols16(ptr(dst), source(dst, k*width, src.F32, at, ld, k, cols), 4*ld, k)
	default:
		packCols6(ptr(dst), source(dst, k*width, src.F32, at, ld, k, cols), 4*ld, k)
	}
}

func packRowsHalf(dst []float32, width int, src blocked.Values, at, ld, rows, k int) {
	packRows(dst, width, src, at, ld, rows, k)
	if src.BF16 == nil {
		roundAll(dst[:k*width])
	}
}

func packColsHalf(dst []float32, width int, src blocked.Values, at, ld, cols, k int) {
	packCols(dst, width, src, at, ld, cols, k)
	if src.BF16 == nil {
		roundAll(dst[:k*width])
	}
}

// roundAll rounds x to BF16.
func roundAll(x []float32) {
	var half [512]bf16.BF16
	for len(x) > 0 {
		n := min(len(x), len(half))
		narrow(half[:n], x[:n])
		widen(x[:n], half[:n])
		x = x[n:]
	}
}

func addTransposed(dst []float32, ldd int, src []float32, lds, rows, cols int) {
	_, _ = dst[(rows-1)*ldd+cols-1], src[(cols-1)*lds+rows-1]
	for i := 0; i < rows; i += 8 {
		for j := 0; j < cols; j += 8 {
			r, c := min(8, rows-i), min(8, cols-j)
			if r == 8 && c == 8 {
				addTransposed8(ptr(dst[i*ldd+j:]), 4*ldd, ptr(src[j*lds+i:]), 4*lds)
				continue
			}
			portable.AddTransposed(dst[i*ldd+j:], ldd, src[j*lds+i:], lds, r, c)
		}
	}
}
