//go:build !noasm

package amx

import (
	"unsafe"

	"github.com/secencoder/secencoder/internal/bf16"
	"github.com/secencoder/secencoder/internal/kernel/blocked"
)

// The layout. A step is 32 terms. A panel of A is 32 rows high and holds two tiles a step, rows 0 … 15 and 16 … 31, of 16
// rows of 32 elements: in the order of use. A panel of B is 16 columns wide and holds one tile a step: row p has the terms
// 2p and 2p+1 of every column side by side. Rows, columns and terms that the operand lacks are zero.
//
// float32 sources are rounded by VCVTNE2PS2BF16: to nearest even, NaN kept, denormals to zero, which the products would
// take for zero anyway.

const (
	stepTerms = 32
	tileWords = 256 // 32-bit words of a tile
	heightA   = 32  // rows of a panel of A
	widthB    = 16  // columns of a panel of B
)

//go:noescape
func rowsAF32(dst, src unsafe.Pointer, ld, steps, rows int)

//go:noescape
func rowsABF16(dst, src unsafe.Pointer, ld, steps, rows int)

//go:noescape
func colsAF32(dst, src unsafe.Pointer, ld, steps int)

//go:noescape
func colsABF16(dst, src unsafe.Pointer, ld, steps int)

//go:noescape
func rowsBF32(dst, src unsafe.Pointer, ld, steps int)

//go:noescape
func rowsBBF16(dst, src unsafe.Pointer, ld, steps int)

//go:noescape
func colsBF32(dst, src unsafe.Pointer, ld, steps int)

//go:noescape
func colsBBF16(dst, src unsafe.Pointer, ld, steps int)

// rowsBy packs so many full steps: of rows ≤ 16 of a panel of A, of all 16 columns of a panel of B.
func rowsBy(half bool, width int, dst, src unsafe.Pointer, ld, steps, rows int) {
	switch {
	case width == heightA && half:
		rowsABF16(dst, src, 2*ld, steps, rows)
	case width == heightA:
		rowsAF32(dst, src, 4*ld, steps, rows)
	case half:
		rowsBBF16(dst, src, 2*ld, steps)
	default:
		rowsBF32(dst, src, 4*ld, steps)
	}
}

// colsBy packs so many full steps of 16 rows of a panel of A or columns of a panel of B.
func colsBy(half bool, width int, dst, src unsafe.Pointer, ld, steps int) {
	switch {
	case width == heightA && half:
		colsABF16(dst, src, 2*ld, steps)
	case width == heightA:
		colsAF32(dst, src, 4*ld, steps)
	case half:
		colsBBF16(dst, src, 2*ld, steps)
	default:
		colsBF32(dst, src, 4*ld, steps)
	}
}

// packRows is blocked.Format.PackRows.
func packRows(dst []float32, width int, src blocked.Values, at, ld, rows, k int) {
	if src.BF16 != nil {
		packRowsOf(dst, width, src.BF16, at, ld, rows, k)
		return
	}
	packRowsOf(dst, width, src.F32, at, ld, rows, k)
}

// packCols is blocked.Format.PackCols.
func packCols(dst []float32, width int, src blocked.Values, at, ld, cols, k int) {
	if src.BF16 != nil {
		packColsOf(dst, width, src.BF16, at, ld, cols, k)
		return
	}
	packColsOf(dst, width, src.F32, at, ld, cols, k)
}

// steps returns the number of full steps in k terms, and the terms of the last, partial one.
func steps(k int) (full, rest int) { return k / stepTerms, k % stepTerms }

// packRowsOf is packRows of one type.
func packRowsOf[T float32 | bf16.BF16](dst []float32, width int, src []T, at, ld, rows, k int) {
	full, rest := steps(k)
	all := full + min(rest, 1)
	dst = dst[:all*width*16]
	if all == 0 {
		return
	}
	if rows > 0 {
		_, _ = src[at+k-1], src[at+(rows-1)*ld+k-1]
		_, _ = src[at], src[at+(rows-1)*ld]
	}
	half := unsafe.Sizeof(*new(T)) == 2
	done := 0
	if width == heightA && full > 0 {
		for h := 0; h < rows; h += 16 {
			rowsBy(half, width, unsafe.Pointer(&dst[h*16]), unsafe.Pointer(&src[at+h*ld]), ld, full, min(16, rows-h))
		}
		for s := range full {
			clear(dst[s*width*16:][rows*16 : width*16])
		}
		done = full
	} else if rows == widthB && full > 0 {
		rowsBy(half, width, unsafe.Pointer(&dst[0]), unsafe.Pointer(&src[at]), ld, full, rows)
		done = full
	}
	// What is left goes through full buffers: the last terms, and all terms of a panel of B with fewer columns.
	for s := done; s < all; s++ {
		n := stepTerms
		if s == full {
			n = rest
		}
		for h := 0; h < width; h += 16 {
			var buffer [16 * stepTerms]T
			for i := h; i < min(h+16, rows); i++ {
				copy(buffer[(i-h)*stepTerms:], src[at+i*ld+s*stepTerms:][:n])
			}
			rowsBy(half, width, unsafe.Pointer(&dst[(s*width+h)*16]), unsafe.Pointer(&buffer), stepTerms, 1, 16)
		}
	}
}

// packColsOf is packCols of one type.
func packColsOf[T float32 | bf16.BF16](dst []float32, width int, src []T, at, ld, cols, k int) {
	full, rest := steps(k)
	all := full + min(rest, 1)
	dst = dst[:all*width*16]
	if all == 0 {
		return
	}
	if cols > 0 {
		_, _ = src[at+cols-1], src[at+(k-1)*ld+cols-1]
		_, _ = src[at], src[at+(k-1)*ld]
	}
	half := unsafe.Sizeof(*new(T)) == 2
	for h := 0; h < width; h += 16 {
		n, done := max(0, min(16, cols-h)), 0
		if n == 16 && full > 0 {
			colsBy(half, width, unsafe.Pointer(&dst[h*16]), unsafe.Pointer(&src[at+h]), ld, full)
			done = full
		}
		for s := done; s < all; s++ {
			terms := stepTerms
			if s == full {
				terms = rest
			}
			var buffer [stepTerms * 16]T
			if n > 0 {
				for p := range terms {
					copy(buffer[p*16:], src[at+h+(s*stepTerms+p)*ld:][:n])
				}
			}
			colsBy(half, width, unsafe.Pointer(&dst[(s*width+h)*16]), unsafe.Pointer(&buffer), 16, 1)
		}
	}
}
