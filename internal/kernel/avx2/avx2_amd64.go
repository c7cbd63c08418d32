//go:build !noasm

// Package avx2 holds the inner loops for amd64 processors with AVX2 and FMA, in assembly made by the generators in
// ../_asm. Begin with Prims; Available says whether this machine can run them.
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

// Prims returns the inner loops; they must not run where Available says no.
func Prims() blocked.Prims {
	p := blocked.Portable()
	p.Name, p.MR, p.NR = "avx2", 6, 16
	p.Tile = tile
	return p
}

func ptr(s []float32) *float32 { return unsafe.SliceData(s) }

// tile is blocked.Prims.Tile. A tile cut by an edge is made whole in a buffer.
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
