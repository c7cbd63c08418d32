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
	p.Half = blocked.Format{MR: mr, NR: 32, KR: 2, Half: true, Depth: 512, PackRows: packRows, PackCols: packCols, PackWide: packWide, Tile: tile, Sweep: sweep, InPlace: inPlace}
	return p
}

func ptr(s []float32) *float32 { return unsafe.SliceData(s) }

// tile is blocked.Format.Tile: one panel of B when that is enough, else two.
func tile(k int, a, b []float32, stride int, c []float32, ldc int, bias []float32, m, n int, add bool) {
	_ = c[(m-1)*ldc+n-1]
	panels((k+1)/2, ptr(a), ptr(b), stride, ptr(c), ldc, ptr(bias), m, n, add, ptr(b))
}

// sweep is blocked.Format.Sweep.
func sweep(m, n, terms int, a, b []float32, stride int, c []float32, ldc int, bias []float32, add bool) {
	sweepPanels(m, n, (terms+1)/2, a, b, stride, c, ldc, bias, add)
}

// inPlace is blocked.Format.InPlace: two neighbouring terms of a row are a word of a panel.
func inPlace(m, n, terms int, a blocked.Values, at, ld int, _ bool, rest, b []float32, stride int, c []float32, ldc int, bias []float32, add bool) {
	p := place{lda: 2 * ld, step: 2 * mr * ld}
	if whole := m / mr * mr; whole > 0 && terms > 0 {
		p.a = (*float32)(unsafe.Pointer(start(a.BF16, at, ld, whole, terms)))
	}
	sweepFrom(&p, m, n, terms/2, rest, b, stride, c, ldc, bias, add)
}

// lying multiplies whole panels of A where they lie, count of them from number i on, as panels14x32 does packed ones.
func lying(p *place, i, k int, b *float32, stride int, c *float32, ldc int, bias *float32, count, n int, add bool, next, end *float32) {
	a, mask, sum := p.panel(i), columns(n), flag(add)
	if n <= 16 {
		rows14x16(k, a, p.lda, b, 0, c, 4*ldc, bias, count, mask, sum, next, end)
	} else {
		rows14x32(k, a, p.lda, b, 4*stride, c, 4*ldc, bias, count, mask, sum, next, end)
	}
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

// packWide packs eight terms of each panel at a time, and what is left panel by panel.
func packWide(dst []float32, width, stride int, src blocked.Values, at, ld, panels, k int) {
	quads := k / 8
	done := 8 * quads
	if quads > 0 {
		_ = dst[(panels-1)*stride+done/2*width-1]
		if src.BF16 != nil {
			packWidePairs(ptr(dst), width, 4*stride, (*uint16)(start(src.BF16, at, ld, done, panels*width)), 2*ld, panels, quads)
		} else {
			packWideHalved(ptr(dst), width, 4*stride, start(src.F32, at, ld, done, panels*width), 4*ld, panels, quads)
		}
	}
	for j := 0; j < panels && done < k; j++ {
		packCols(dst[j*stride+done/2*width:], width, src, at+done*ld+j*width, ld, width, k-done)
	}
}
