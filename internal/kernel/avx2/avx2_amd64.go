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

func packRows(dst []float32, width int, from blocked.Values, at, ld, rows, k int) {
	if from.BF16 != nil {
		portable.Single.PackRows(dst, width, from, at, ld, rows, k)
		return
	}
	src := from.F32
	if k == 0 {
		return
	}
	_, _ = dst[k*width-1], src[at+(rows-1)*ld+k-1]
	if width == 6 {
		packRows8(ptr(dst), width, ptr(src[at:]), 4*ld, rows, k, 6)
		return
	}
	for i := 0; i < width; i += 8 {
		n := min(max(rows-i, 0), 8)
		first := at
		if n > 0 {
			first += i * ld
		}
		packRows8(ptr(dst[i:]), width, ptr(src[first:]), 4*ld, n, k, 8)
	}
}

func packCols(dst []float32, width int, from blocked.Values, at, ld, cols, k int) {
	if from.BF16 != nil {
		portable.Single.PackCols(dst, width, from, at, ld, cols, k)
		return
	}
	src := from.F32
	if k == 0 {
		return
	}
	_, _ = dst[k*width-1], src[at+(k-1)*ld+cols-1]
	switch {
	case cols == 16 && width == 16:
		packCols16(ptr(dst), ptr(src[at:]), 4*ld, k)
	case cols == 6 && width == 6:
		packCols6(ptr(dst), ptr(src[at:]), 4*ld, k)
	default:
		portable.Single.PackCols(dst, width, from, at, ld, cols, k)
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
