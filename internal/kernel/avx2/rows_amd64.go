//go:build !noasm

package avx2

import "github.com/secencoder/secencoder/internal/bf16"

// The loops that convert take whole vectors of 8, and keep no slice: buffers on the stack may go through them.

func widen(dst []float32, src []bf16.BF16) {
	n := len(dst) &^ 7
	vecWiden(ptr(dst), hptr(src, n), n)
	for i, x := range src[n:len(dst)] {
		dst[n+i] = x.Float32()
	}
}

func narrow(dst []bf16.BF16, src []float32) {
	n := len(dst) &^ 7
	vecNarrow(hptr(dst, n), fptr(src, n), n)
	for i, x := range src[n:len(dst)] {
		dst[n+i] = bf16.FromFloat32(x)
	}
}

func addHalf(dst, a, b []bf16.BF16) {
	n := len(dst) &^ 7
	vecAdd16(hptr(dst, n), hptr(a, n), hptr(b, n), n)
	portable.Rows.Add(dst[n:], a[n:], b[n:])
}

func addHalfTo(dst []float32, src []bf16.BF16) {
	n := len(dst) &^ 7
	vecAddWide(ptr(dst), hptr(src, n), n)
	portable.Rows.AddTo(dst[n:], src[n:])
}
