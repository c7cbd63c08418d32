//go:build !noasm

// The macro-kernels: C[m, n] (+)= A·B over packed tiles, 2·m·n·k FLOP. See sweep.go for the story.

#include "go_asm.h"
#include "tiles.h"

// All eight tiles: 16 rows of 64 bytes, palette 1.
DATA config<>+0(SB)/8, $1
DATA config<>+8(SB)/8, $0
DATA config<>+16(SB)/8, $0x0040004000400040
DATA config<>+24(SB)/8, $0x0040004000400040
DATA config<>+32(SB)/8, $0
DATA config<>+40(SB)/8, $0
DATA config<>+48(SB)/8, $0x1010101010101010
DATA config<>+56(SB)/8, $0
GLOBL config<>(SB), RODATA|NOPTR, $64

// A streams through the L1 cache, the pair of panels of B stays in it, the next pair comes to L2, four lines a step.
#define LOADA TILELOADDT1
#define AHEAD 256
#define FILL0 PREFETCHT1 (R10)
#define FILL1
#define FILL2 PREFETCHT1 64(R10)
#define FILL3
#define FILL4 PREFETCHT1 128(R10)
#define FILL5
#define FILL6 PREFETCHT1 192(R10)
#define FILL7

// func sweepBlocked(call *sweepCall)
TEXT ·sweepBlocked(SB), NOSPLIT, $0-8
#include "sweep.h"

#undef LOADA
#undef AHEAD
#undef FILL0
#undef FILL1
#undef FILL2
#undef FILL3
#undef FILL4
#undef FILL5
#undef FILL6
#undef FILL7
#undef ROW
#undef NEXTROWS
#undef NEXTTILES
#undef STORE
#undef STOREC
#undef STRAIGHT

// Few rows: the products of a pair of panels end before four lines a step have fetched the next pair, which comes from
// beyond L2. 16 lines a step.
#define TWO(at) \
	PREFETCHT1 at(R10); \
	PREFETCHT1 (at+64)(R10)
#define LOADA TILELOADD
#define AHEAD 1024
#define FILL0 TWO(0)
#define FILL1 TWO(128)
#define FILL2 TWO(256)
#define FILL3 TWO(384)
#define FILL4 TWO(512)
#define FILL5 TWO(640)
#define FILL6 TWO(768)
#define FILL7 TWO(896)

// func sweepThin(call *sweepCall)
TEXT ·sweepThin(SB), NOSPLIT, $0-8
#include "sweep.h"

#undef LOADA
#undef AHEAD
#undef FILL0
#undef FILL1
#undef FILL2
#undef FILL3
#undef FILL4
#undef FILL5
#undef FILL6
#undef FILL7
#undef ROW
#undef NEXTROWS
#undef NEXTTILES
#undef STORE
#undef STOREC
#undef STRAIGHT

// Everything comes to L1 two steps ahead: eight lines beside each tile instruction.
#define EIGHT(at, base) \
	PREFETCHT0 (at)(base); \
	PREFETCHT0 (at+64)(base); \
	PREFETCHT0 (at+128)(base); \
	PREFETCHT0 (at+192)(base); \
	PREFETCHT0 (at+256)(base); \
	PREFETCHT0 (at+320)(base); \
	PREFETCHT0 (at+384)(base); \
	PREFETCHT0 (at+448)(base)
#define LOADA TILELOADD
#define AHEAD 0
#define FILL0 EIGHT(4096, SI)
#define FILL1 EIGHT(2048, DI)
#define FILL2 EIGHT(4608, SI)
#define FILL3 EIGHT(2048, BX)
#define FILL4 EIGHT(5120, SI)
#define FILL5 EIGHT(2560, DI)
#define FILL6 EIGHT(5632, SI)
#define FILL7 EIGHT(2560, BX)

// func sweepDeep(call *sweepCall)
TEXT ·sweepDeep(SB), NOSPLIT, $0-8
#include "sweep.h"

// func Peak(rounds int)
TEXT ·Peak(SB), NOSPLIT, $0-8
	MOVQ rounds+0(FP), R8
	LEAQ config<>(SB), AX
	LDTILECFG(rAX)
	TILEZERO(0)
	TILEZERO(1)
	TILEZERO(2)
	TILEZERO(3)
	TILEZERO(4)
	TILEZERO(5)
	TILEZERO(6)
	TILEZERO(7)
	JMP test
loop:
	TDPBF16PS(0, 4, 6)
	TDPBF16PS(1, 4, 7)
	TDPBF16PS(2, 5, 6)
	TDPBF16PS(3, 5, 7)
	TDPBF16PS(0, 4, 6)
	TDPBF16PS(1, 4, 7)
	TDPBF16PS(2, 5, 6)
	TDPBF16PS(3, 5, 7)
test:
	DECQ R8
	JGE loop
	TILERELEASE
	RET

// func multiplyTiles(c *[1024]byte, a *[1024]byte, b *[1024]byte)
TEXT ·multiplyTiles(SB), NOSPLIT, $0-24
	LEAQ config<>(SB), AX
	LDTILECFG(rAX)
	MOVQ $64, DX
	MOVQ c+0(FP), CX
	MOVQ a+8(FP), SI
	MOVQ b+16(FP), DI
	TILELOADD(5, rCX, rDX, 0)
	TILELOADDT1(2, rSI, rDX, 0)
	TILELOADD(7, rDI, rDX, 0)
	TDPBF16PS(5, 2, 7)
	TILESTORED(5, rCX, rDX, 0)
	TILERELEASE
	RET

// func xgetbv() uint32
TEXT ·xgetbv(SB), NOSPLIT, $0-4
	XORL CX, CX
	XGETBV
	MOVL AX, ret+0(FP)
	RET

// func cpuid(leaf, subleaf uint32) (eax, ebx, ecx, edx uint32)
TEXT ·cpuid(SB), NOSPLIT, $0-24
	MOVL leaf+0(FP), AX
	MOVL subleaf+4(FP), CX
	CPUID
	MOVL AX, eax+8(FP)
	MOVL BX, ebx+12(FP)
	MOVL CX, ecx+16(FP)
	MOVL DX, edx+20(FP)
	RET

// func macros() uintptr
TEXT ·macros(SB), NOSPLIT, $0-8
	LEAQ everyMacro<>(SB), AX
	MOVQ AX, ret+0(FP)
	RET

// Never run: TestMacros reads it.
TEXT everyMacro<>(SB), NOSPLIT, $0-0
	LDTILECFG(rAX)
	LDTILECFG(rDI)
	TILERELEASE
	TILEZERO(0)
	TILEZERO(7)
	TILELOADD(0, rAX, rDX, 0)
	TILELOADD(4, rSI, rDX, 1024)
	TILELOADD(7, rBX, rCX, -64)
	TILELOADDT1(1, rCX, rDI, 0x12345678)
	TILELOADDT1(5, rSI, rDX, 1024)
	TILESTORED(0, rCX, rDX, 0)
	TILESTORED(6, rDI, rBX, 3072)
	TDPBF16PS(0, 4, 6)
	TDPBF16PS(1, 4, 7)
	TDPBF16PS(2, 5, 6)
	TDPBF16PS(3, 5, 7)
	TDPBF16PS(7, 0, 1)
	VCVTNE2PS2BF16(0, 1, 0)
	VCVTNE2PS2BF16(9, 15, 7)
	VCVTNE2PS2BF16(16, 1, 0)
	VCVTNE2PS2BF16(22, 8, 3)
	VCVTNE2PS2BF16(31, 1, 0)
	RET
