package device

import (
	"golang.org/x/sys/cpu"

	"github.com/secencoder/secencoder/internal/kernel"
	"github.com/secencoder/secencoder/internal/kernel/avx2"
	"github.com/secencoder/secencoder/internal/kernel/avx512"
	"github.com/secencoder/secencoder/internal/kernel/blocked"
)

// vectorised returns the families for this architecture, best first. Package cpu reports AVX and what is built on it
// only where the operating system saves the wide registers.
func vectorised() []family {
	x := &cpu.X86
	with2 := []feature{{"AVX", x.HasAVX}, {"AVX2", x.HasAVX2}, {"FMA", x.HasFMA}}
	with512 := append(with2[:len(with2):len(with2)],
		feature{"AVX512F", x.HasAVX512F}, feature{"AVX512BW", x.HasAVX512BW}, feature{"AVX512DQ", x.HasAVX512DQ}, feature{"AVX512VL", x.HasAVX512VL})
	amx := append(with512[:len(with512):len(with512)], feature{"AMX-TILE", x.HasAMXTile}, feature{"AMX-BF16", x.HasAMXBF16})
	return []family{
		{name: "amx", needs: amx},
		{name: "avx512", built: true, needs: with512, because: "vectors of 16 float32, all threads",
			open: func(p kernel.Pool) kernel.Kernels { return blocked.New(avx512.Prims(), p) }},
		{name: "avx2", built: true, needs: with2, because: "vectors of 8 float32, all threads",
			open: func(p kernel.Pool) kernel.Kernels { return blocked.New(avx2.Prims(), p) }},
	}
}
