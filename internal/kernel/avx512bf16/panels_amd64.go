// Code generated from avx512/panels_amd64.go. DO NOT EDIT.

//go:build !noasm

package avx512bf16

import "unsafe"

// This file is what avx512 and avx512bf16 share word for word: how panels of words go through the tiles, whatever a word
// holds. The one of avx512bf16 is made from the one of avx512 by go generate.

// mr is the height of a panel of A.
const mr = 14

// panels multiplies one panel of A by one or two of B, k words deep, with the lowest tile that holds m rows; next is
// prefetched.
func panels(k int, a, b *float32, stride int, c *float32, ldc int, bias *float32, m, n int, add bool, next *float32) {
	mask, sum := columns(n), flag(add)
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

// place is where whole panels of A lie unpacked: the first at a, the others step bytes apart; a is nil when all are packed.
// Rows lie lda bytes apart, or terms do, when trans.
type place struct {
	a         *float32
	step, lda int
	trans     bool
}

// panel returns the address of a panel.
func (p *place) panel(i int) *float32 {
	return (*float32)(unsafe.Add(unsafe.Pointer(p.a), i*p.step))
}

// sweepPanels is blocked.Format.Sweep of panels k words deep.
func sweepPanels(m, n, k int, a, b []float32, stride int, c []float32, ldc int, bias []float32, add bool) {
	sweepFrom(&place{}, m, n, k, a, b, stride, c, ldc, bias, add)
}

// atOnce is how many whole panels of A go into one call: 35 µs of 256 words each, twice that where they come from memory.
const atOnce = 32

// sweepFrom multiplies panels of A, the whole ones where p says, those of a after them: a pair of panels of B stays in the
// L1 cache while the panels of A pass, of which the first ones ask for the next pair.
func sweepFrom(p *place, m, n, k int, a, b []float32, stride int, c []float32, ldc int, bias []float32, add bool) {
	if m == 0 || n == 0 {
		return
	}
	whole, lie := m/mr, p.a != nil
	_ = b[(n-1)/16*stride+16*k:]
	if lie {
		_ = a[(m-whole*mr+mr-1)/mr*mr*k:]
	} else {
		_ = a[(m+mr-1)/mr*mr*k:]
	}
	_ = c[(m-1)*ldc+n-1]
	for j := 0; j < n; j += 32 {
		cols := min(32, n-j)
		at, next := b[j/16*stride:], 0
		if j+32 < n {
			next = 2 * stride
		}
		var from *float32
		if bias != nil {
			from = &bias[j]
		}
		end := ptr(at[min(len(at), 2*stride+32*k)-8*k:])
		for i := 0; i < whole; i += atOnce {
			to, count, ask := ptr(c[i*mr*ldc+j:]), min(atOnce, whole-i), ptr(at[next:])
			switch {
			case lie:
				lying(p, i, k, ptr(at), stride, to, ldc, from, count, cols, add, ask, end)
			case cols > 16:
				panels14x32(k, ptr(a[i*mr*k:]), ptr(at), 4*stride, to, 4*ldc, from, count, columns(cols), flag(add), ask, end)
			default:
				panels14x16(k, ptr(a[i*mr*k:]), ptr(at), 0, to, 4*ldc, from, count, columns(cols), flag(add), ask, end)
			}
		}
		if i := whole * mr; i < m {
			rest := a
			if !lie {
				rest = a[i*k:]
			}
			panels(k, ptr(rest), ptr(at), stride, ptr(c[i*ldc+j:]), ldc, from, m-i, cols, add, ptr(at[next:]))
		}
	}
}

// columns is the mask of n columns of a tile; flag is what a tile reads for add.
func columns(n int) uint32 { return ^uint32(0) >> (32 - n) }

func flag(add bool) int {
	if add {
		return 1
	}
	return 0
}

// source checks that a panel lies in dst and its elements lie in src, and returns where they start.
func source[T any](dst []float32, words int, src []T, at, ld, rows, k int) *T {
	_ = dst[words-1]
	return start(src, at, ld, rows, k)
}

// start checks that rows of k elements, ld apart, lie in src, and returns where the first one starts.
func start[T any](src []T, at, ld, rows, k int) *T {
	_ = src[at+(rows-1)*ld+k-1]
	return &src[at]
}
