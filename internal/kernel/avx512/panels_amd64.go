//go:build !noasm

package avx512

// This file is what avx512 and avx512bf16 share word for word: how panels of words go through the tiles, whatever a word
// holds. The one of avx512bf16 is made from the one of avx512 by go generate.

// mr is the height of a panel of A.
const mr = 14

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

// sweepPanels is blocked.Format.Sweep of panels k words deep: a pair of panels of B stays in the L1 cache while the panels
// of A pass, of which the first ones ask for the next pair.
func sweepPanels(m, n, k int, a, b []float32, stride int, c []float32, ldc int, bias []float32, add bool) {
	if m == 0 || n == 0 {
		return
	}
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
