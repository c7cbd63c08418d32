//go:build !noasm

// Package avx512 holds the inner loops for amd64 processors with AVX-512, in assembly made by the generators in
// ../_asm. Begin with Prims; Available says whether this machine can run them.
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
		{"AVX512VL", cpu.X86.HasAVX512VL}, {"AVX2", cpu.X86.HasAVX2}, {"FMA", cpu.X86.HasFMA}, {"BMI2", cpu.X86.HasBMI2},
	} {
		if !f.has {
			return false, "no " + f.name
		}
	}
	return true, "AVX-512 F, BW, DQ, VL"
}

// Prims returns the inner loops; they must not run where Available says no.
func Prims() blocked.Prims {
	p := blocked.Portable()
	p.Name, p.MR, p.NR = "avx512", 14, 32
	p.Tile = tile
	return p
}

func ptr(s []float32) *float32 { return unsafe.SliceData(s) }

// tile is blocked.Prims.Tile: one panel of B when that is enough, else two.
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
