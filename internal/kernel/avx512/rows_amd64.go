//go:build !noasm

package avx512

import "github.com/secencoder/secencoder/internal/bf16"

func widen(dst []float32, src []bf16.BF16) { vecWiden(ptr(dst), hptr(src, len(dst)), len(dst)) }

func narrow(dst []bf16.BF16, src []float32) {
	vecNarrow(hptr(dst, len(dst)), fptr(src, len(dst)), len(dst))
}

func addHalf(dst, a, b []bf16.BF16) {
	n := len(dst)
	vecAdd16(hptr(dst, n), hptr(a, n), hptr(b, n), n)
}

func addHalfTo(dst []float32, src []bf16.BF16) {
	vecAddWide(ptr(dst), hptr(src, len(dst)), len(dst))
}
