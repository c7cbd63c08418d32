//go:build !noasm

package avx512bf16

import "encoding/binary"

// Fast reports whether VDPBF16PS multiplies faster than float32 does, by who made the processor: everywhere but on Intel's,
// where it has half the rate of a fused multiply-add.
func Fast() bool { return makerOf(vendor()) != "GenuineIntel" }

// makerOf joins the registers that CPUID leaf 0 gives.
func makerOf(ebx, edx, ecx uint32) string {
	var b [12]byte
	binary.LittleEndian.PutUint32(b[0:], ebx)
	binary.LittleEndian.PutUint32(b[4:], edx)
	binary.LittleEndian.PutUint32(b[8:], ecx)
	return string(b[:])
}

// vendor is CPUID leaf 0 without its first result.
func vendor() (ebx, edx, ecx uint32)
