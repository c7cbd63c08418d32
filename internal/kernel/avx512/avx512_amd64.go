//go:build !noasm

// Package avx512 holds the inner loops for amd64 processors with AVX-512, vectors of 16 float32: products of packed panels,
// packing, exp and erf, sums, norms, the optimizer. They are assembly made by the generators in ../_asm.
//
// Begin with Prims, which package blocked composes kernels from; Available says whether this machine can run them. The
// package knows no shapes beyond one vector loop and starts no goroutines.
package avx512

import (
	"unsafe"

	"golang.org/x/sys/cpu"

	"github.com/secencoder/secencoder/internal/kernel/blocked"
)

// Available reports whether the processor has and the operating system enables all that these loops use, and why not.
func Available() (bool, string) {
	for _, f := range []struct {
		name string
		has  bool
	}{
		{"AVX512F", cpu.X86.HasAVX512F}, {"AVX512BW", cpu.X86.HasAVX512BW}, {"AVX512DQ", cpu.X86.HasAVX512DQ},
		{"AVX512VL", cpu.X86.HasAVX512VL}, {"AVX2", cpu.X86.HasAVX2}, {"FMA", cpu.X86.HasFMA},
	} {
		if !f.has {
			return false, "no " + f.name
		}
	}
	return true, "AVX-512 F, BW, DQ, VL"
}

func ptr(s []float32) *float32 { return unsafe.SliceData(s) }

// tile is blocked.Format.Tile: one panel of B when that is enough, else two.
func tile(k int, a, b []float32, stride int, c []float32, ldc int, bias []float32, m, n int, add bool) {
	_ = c[(m-1)*ldc+n-1]
	mask := uint32(1)<<n - 1
	if n == 32 {
		mask = ^uint32(0)
	}
	sum := 0
	if add {
		sum = 1
	}
	if n <= 16 {
		gemm14x16(k, ptr(a), ptr(b), 0, ptr(c), 4*ldc, ptr(bias), m, mask, sum)
		return
	}
	gemm14x32(k, ptr(a), ptr(b), 4*stride, ptr(c), 4*ldc, ptr(bias), m, mask, sum)
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
	packRows16(ptr(dst), width, ptr(src[at:]), 4*ld, rows, k)
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
	packCols16(ptr(dst), width, ptr(src[at:]), 4*ld, cols, k)
}

func addTransposed(dst []float32, ldd int, src []float32, lds, rows, cols int) {
	_, _ = dst[(rows-1)*ldd+cols-1], src[(cols-1)*lds+rows-1]
	for i := 0; i < rows; i += 16 {
		for j := 0; j < cols; j += 16 {
			addTransposed16(ptr(dst[i*ldd+j:]), 4*ldd, ptr(src[j*lds+i:]), 4*lds, min(16, rows-i), min(16, cols-j))
		}
	}
}

func addLookedTo(x, table []float32, index []int16, base int) {
	if n := len(x); n > 0 {
		first, last := int(index[0])-base, int(index[n-1])-base
		_, _ = table[first], table[:cap(table)][last+15]
		addLooked(ptr(x), ptr(table), &index[0], base, n)
	}
}

func sumLookedOf(x, table []float32, index []int16, base int) {
	if n := len(x); n > 0 {
		_, _ = table[int(index[0])-base], table[int(index[n-1])-base]
		sumLooked(ptr(x), ptr(table), &index[0], base, n)
	}
}
