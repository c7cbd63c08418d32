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
	panels(k, ptr(a), ptr(b), stride, ptr(c), ldc, ptr(bias), m, n, add, ptr(b))
}

// inPlace is blocked.Format.InPlace.
func inPlace(m, n, k int, a blocked.Values, at, ld int, trans bool, rest, b []float32, stride int, c []float32, ldc int, bias []float32, add bool) {
	p := place{lda: 4 * ld, trans: trans}
	switch whole := m / mr * mr; {
	case whole == 0 || k == 0:
	case trans:
		p.a, p.step = start(a.F32, at, ld, k, whole), 4*mr
	default:
		p.a, p.step = start(a.F32, at, ld, whole, k), 4*mr*ld
	}
	sweepFrom(&p, m, n, k, rest, b, stride, c, ldc, bias, add)
}

// lying multiplies whole panels of A where they lie, count of them from number i on, as panels14x32 does packed ones.
func lying(p *place, i, k int, b *float32, stride int, c *float32, ldc int, bias *float32, count, n int, add bool, next, end *float32) {
	a, mask, sum := p.panel(i), columns(n), flag(add)
	switch {
	case p.trans && n <= 16:
		cols14x16(k, a, p.lda, b, 0, c, 4*ldc, bias, count, mask, sum, next, end)
	case p.trans:
		cols14x32(k, a, p.lda, b, 4*stride, c, 4*ldc, bias, count, mask, sum, next, end)
	case n <= 16:
		rows14x16(k, a, p.lda, b, 0, c, 4*ldc, bias, count, mask, sum, next, end)
	default:
		rows14x32(k, a, p.lda, b, 4*stride, c, 4*ldc, bias, count, mask, sum, next, end)
	}
}

func packRowsOf(dst []float32, width int, src blocked.Values, at, ld, rows, k int) {
	switch {
	case k == 0:
	case src.BF16 != nil:
		packRowsWidened(ptr(dst), width, (*uint16)(source(dst, k*width, src.BF16, at, ld, rows, k)), 2*ld, rows, k)
	default:
		packRows(ptr(dst), width, source(dst, k*width, src.F32, at, ld, rows, k), 4*ld, rows, k)
	}
}

func packColsOf(dst []float32, width int, src blocked.Values, at, ld, cols, k int) {
	switch {
	case k == 0:
	case src.BF16 != nil:
		packColsWidened(ptr(dst), width, (*uint16)(source(dst, k*width, src.BF16, at, ld, k, cols)), 2*ld, cols, k)
	default:
		packCols(ptr(dst), width, source(dst, k*width, src.F32, at, ld, k, cols), 4*ld, cols, k)
	}
}

func packRowsHalf(dst []float32, width int, src blocked.Values, at, ld, rows, k int) {
	if k == 0 || src.BF16 != nil {
		packRowsOf(dst, width, src, at, ld, rows, k)
		return
	}
	packRowsRounded(ptr(dst), width, source(dst, k*width, src.F32, at, ld, rows, k), 4*ld, rows, k)
}

func packColsHalf(dst []float32, width int, src blocked.Values, at, ld, cols, k int) {
	if k == 0 || src.BF16 != nil {
		packColsOf(dst, width, src, at, ld, cols, k)
		return
	}
	packColsRounded(ptr(dst), width, source(dst, k*width, src.F32, at, ld, k, cols), 4*ld, cols, k)
}

func packWideOf(dst []float32, width, stride int, src blocked.Values, at, ld, panels, k int) {
	packWideAs(dst, width, stride, src, at, ld, panels, k, false)
}

func packWideHalf(dst []float32, width, stride int, src blocked.Values, at, ld, panels, k int) {
	packWideAs(dst, width, stride, src, at, ld, panels, k, true)
}

// packWideAs packs four terms of each panel at a time, and what is left panel by panel.
func packWideAs(dst []float32, width, stride int, src blocked.Values, at, ld, panels, k int, round bool) {
	quads := k / 4
	done := 4 * quads
	if quads > 0 {
		_ = dst[(panels-1)*stride+done*width-1]
		switch {
		case src.BF16 != nil:
			packWideWidened(ptr(dst), width, 4*stride, (*uint16)(start(src.BF16, at, ld, done, panels*width)), 2*ld, panels, quads)
		case round:
			packWideRounded(ptr(dst), width, 4*stride, start(src.F32, at, ld, done, panels*width), 4*ld, panels, quads)
		default:
			packWide(ptr(dst), width, 4*stride, start(src.F32, at, ld, done, panels*width), 4*ld, panels, quads)
		}
	}
	for j := 0; j < panels && done < k; j++ {
		to, from := dst[j*stride+done*width:], at+done*ld+j*width
		if round {
			packColsHalf(to, width, src, from, ld, width, k-done)
		} else {
			packColsOf(to, width, src, from, ld, width, k-done)
		}
	}
}

func addTransposed(dst []float32, ldd int, src []float32, lds, rows, cols int) {
	_, _ = dst[(rows-1)*ldd+cols-1], src[(cols-1)*lds+rows-1]
	for i := 0; i < rows; i += 16 {
		for j := 0; j < cols; j += 16 {
			addTransposed16(ptr(dst[i*ldd+j:]), 4*ldd, ptr(src[j*lds+i:]), 4*lds, min(16, rows-i), min(16, cols-j))
		}
	}
}
