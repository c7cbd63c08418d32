//go:build !noasm

// Package amx holds the inner loops for processors with AMX, Intel's tiles: products of BF16 by TDPBF16PS, 16×16×32 terms
// an instruction. Everything else, products of float32 among it, is package avx512's, bit for bit.
//
// Begin with Prims, which package blocked composes kernels from; Available says whether this machine can run them, and
// asks the kernel for the tiles. sweep.go is the product, pack.go the layout of its operands. The instructions are bytes
// (tiles.h), as Go's assembler does not know them. Package emulator below executes them in tests where the processor
// cannot.
//
// Every call configures the tiles and gives them up before it returns: no tile state outlives an assembly function, which
// Go does not preempt, so neither a change of thread nor a signal between calls can lose it. No call lasts 200 µs.
package amx

import (
	"fmt"
	"sync"
	"syscall"
	"unsafe"

	"github.com/secencoder/secencoder/internal/kernel/avx512"
	"github.com/secencoder/secencoder/internal/kernel/blocked"
	"golang.org/x/sys/cpu"
)

// Available reports whether the processor has and the operating system enables all that these loops use, and why not. Its
// first call asks the kernel for permission to use tiles, for the whole process: without it the first tile instruction
// would end the process.
func Available() (bool, string) {
	missing := probe()
	if missing != "" {
		return false, missing
	}
	return true, "AMX-TILE, AMX-BF16 and AVX-512"
}

var probe = sync.OnceValue(func() string {
	return lacking(processor{
		avx512: avx512.Available, cpuid: cpuid, xgetbv: xgetbv, permit: permit,
		tile: cpu.X86.HasAMXTile, bf16: cpu.X86.HasAMXBF16,
		xsave: cpu.X86.HasOSXSAVE, rounds: cpu.X86.HasAVX512BF16,
	})
})

// processor is what the probe asks.
type processor struct {
	avx512     func() (bool, string)
	tile, bf16 bool // CPUID leaf 7
	xsave      bool
	rounds     bool // AVX512_BF16: packing rounds by it
	cpuid      func(leaf, subleaf uint32) (eax, ebx, ecx, edx uint32)
	xgetbv     func() uint32
	permit     func() error
}

// lacking returns what is missing, "" for nothing. The order matters: nothing is asked that the answer before rules out.
func lacking(p processor) string {
	if ok, why := p.avx512(); !ok {
		return why
	}
	switch {
	case !p.rounds:
		return "no AVX512_BF16"
	case !p.tile:
		return "no AMX-TILE"
	case !p.bf16:
		return "no AMX-BF16"
	case !p.xsave:
		return "the operating system does not save extended registers"
	}
	const states = 1<<17 | 1<<18 // XTILECFG, XTILEDATA
	if got := p.xgetbv() & states; got != states {
		return fmt.Sprintf("the operating system does not save tile registers (XCR0 has %#x of %#x)", got, states)
	}
	// Palette 1: bytes a tile, bytes a row, registers, rows.
	if palettes, _, _, _ := p.cpuid(0x1d, 0); palettes < 1 {
		return "no tile palette 1"
	}
	eax, ebx, ecx, _ := p.cpuid(0x1d, 1)
	if bytes, row, names, rows := eax>>16, ebx&0xffff, ebx>>16, ecx&0xffff; bytes < 1024 || row < 64 || names < 8 || rows < 16 {
		return fmt.Sprintf("tile palette 1 has %d tiles of %d rows of %d bytes, want 8 of 16 of 64", names, rows, row)
	}
	if err := p.permit(); err != nil {
		return fmt.Sprintf("the kernel does not permit tile registers: %v", err)
	}
	return ""
}

// permit asks for XTILEDATA, which Linux gives on request since 5.16. The permission holds for all threads, those there
// are and those to come.
func permit() error {
	const (
		getPermission, requestPermission = 0x1022, 0x1023 // ARCH_GET_XCOMP_PERM, ARCH_REQ_XCOMP_PERM
		tileData                         = 18
	)
	if _, _, err := syscall.RawSyscall(syscall.SYS_ARCH_PRCTL, requestPermission, tileData, 0); err != 0 {
		return fmt.Errorf("arch_prctl(ARCH_REQ_XCOMP_PERM): %w", err)
	}
	var granted uint64
	if _, _, err := syscall.RawSyscall(syscall.SYS_ARCH_PRCTL, getPermission, uintptr(unsafe.Pointer(&granted)), 0); err != 0 {
		return fmt.Errorf("arch_prctl(ARCH_GET_XCOMP_PERM): %w", err)
	}
	if granted>>tileData&1 == 0 {
		return fmt.Errorf("arch_prctl granted %#x, without bit %d", granted, tileData)
	}
	return nil
}

// Prims returns the inner loops; they must not run where Available says no.
func Prims() blocked.Prims {
	p := avx512.Prims()
	p.Name = "amx"
	p.Half = blocked.Format{
		MR: 32, NR: 32, KR: 32, Half: true, Depth: 384, Rows: 256,
		PackRows: packRows, PackCols: packCols, Tile: tile, Sweep: sweep,
	}
	return p
}

// Peak runs rounds of eight products of tiles and touches no memory: 131,072 FLOP a round. It may be called from any
// goroutine where Available says yes; 1,000 rounds last 50 µs at 2,600 GFLOP/s.
func Peak(rounds int)

func xgetbv() uint32

func cpuid(leaf, subleaf uint32) (eax, ebx, ecx, edx uint32)

// multiplyTiles adds the product of the tiles at a and b to the one at c: 16 rows of 64 bytes each.
//
//go:noescape
func multiplyTiles(c, a, b *[1024]byte)

// macros returns the address of code that holds every macro of tiles.h, and is never run.
func macros() uintptr
