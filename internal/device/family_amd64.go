package device

import "golang.org/x/sys/cpu"

// vectorised returns the families for this architecture, best first. Package cpu reports AVX and what is built on it
// only where the operating system saves the wide registers.
func vectorised() []family {
	x := &cpu.X86
	avx2 := []feature{{"AVX", x.HasAVX}, {"AVX2", x.HasAVX2}, {"FMA", x.HasFMA}}
	avx512 := append(avx2[:len(avx2):len(avx2)],
		feature{"AVX512F", x.HasAVX512F}, feature{"AVX512BW", x.HasAVX512BW}, feature{"AVX512DQ", x.HasAVX512DQ}, feature{"AVX512VL", x.HasAVX512VL})
	amx := append(avx512[:len(avx512):len(avx512)], feature{"AMX-TILE", x.HasAMXTile}, feature{"AMX-BF16", x.HasAMXBF16})
	return []family{
		{name: "amx", needs: amx},
		{name: "avx512", needs: avx512},
		{name: "avx2", needs: avx2},
	}
}
