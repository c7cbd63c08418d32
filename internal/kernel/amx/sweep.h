// The body of a macro-kernel, included once for each way to feed the tiles. The includer defines
//
//	LOADA  the instruction that loads tiles of A,
//	FILL0 … FILL7  what runs beside the eight tile instructions of a step: prefetches,
//	AHEAD  by how much R10 moves in a step.
//
// Registers: SI, DI, BX the next tiles of A, of the first and of the second panel of B; CX the scratch; DX 64, the
// distance of rows in a packed tile; R9 the call; R8 steps left in the block; R10 what to prefetch of B. Of the block
// before, on its way from the scratch to C: R11 its scratch, R12 and R13 its rows of C (lower, upper half), AX bytes from
// one row of C to the next, K1, K2 its columns, K3, K4 those of them that are added to, Z30, Z31 its bias (−0 where there
// is none, which changes no bit), R14 what is left of it: rows, while they run under the tiles groups of four rows,
// STRAIGHT when the tiles themselves go to C.

// One row from the scratch to C.
#define ROW(at, lo, hi) \
	VADDPS at(R11), Z30, Z0; \
	VADDPS (at+1024)(R11), Z31, Z1; \
	VADDPS lo, Z0, K3, Z0; \
	VADDPS hi, Z1, K4, Z1; \
	VMOVUPS Z0, K1, lo; \
	VMOVUPS Z1, K2, hi

#define NEXTROWS \
	ADDQ $128, R11; \
	LEAQ (R12)(AX*2), R12; \
	LEAQ (R13)(AX*2), R13

#define NEXTTILES \
	ADDQ $2048, SI; \
	ADDQ $1024, DI; \
	ADDQ $1024, BX; \
	ADDQ $AHEAD, R10

#define STORE(t) TILESTORED(t, rCX, rDX, (1024*t))
#define STOREC(t, at) TILESTORED(t, rCX, rAX, at)
#define STRAIGHT 64

	MOVQ call+0(FP), R9
	LEAQ config<>(SB), AX
	LDTILECFG(rAX)
	MOVQ $64, DX
	MOVQ sweepCall_scratch(R9), CX
	MOVQ sweepCall_a(R9), SI
	XORQ R14, R14
	JMP pair

block:
	// The first step of the block is done, and the tiles of the block before are in the scratch.
	NEXTTILES
	DECQ R8
	CMPQ R14, $32
	JEQ under
	TESTQ R14, R14
	JEQ steps
	LEAQ 1024(CX), R13
few:
	ROW(0, (R12), 64(R12))
	ADDQ $64, R11
	ADDQ AX, R12
	DECQ R14
	JEQ steps
	CMPQ R11, R13
	JNE few
	ADDQ $1024, R11
	JMP few

under:
	// A whole block: four rows a step, under the tile products, while there are steps.
	MOVQ $8, R14
	TESTQ R8, R8
	JEQ alone
mixed:
	LOADA(4, rSI, rDX, 0)
	FILL0
	TILELOADD(6, rDI, rDX, 0)
	FILL1
	ROW(0, (R12), 64(R12))
	TDPBF16PS(0, 4, 6)
	FILL2
	TILELOADD(7, rBX, rDX, 0)
	FILL3
	ROW(64, (R12)(AX*1), 64(R12)(AX*1))
	TDPBF16PS(1, 4, 7)
	FILL4
	LOADA(5, rSI, rDX, 1024)
	FILL5
	ROW(2048, (R13), 64(R13))
	TDPBF16PS(2, 5, 6)
	FILL6
	ROW(2112, (R13)(AX*1), 64(R13)(AX*1))
	TDPBF16PS(3, 5, 7)
	FILL7
	NEXTTILES
	NEXTROWS
	DECQ R8
	JEQ ended
	DECQ R14
	JNE mixed
	JMP step
ended:
	DECQ R14
	JEQ boundary
alone:
	ROW(0, (R12), 64(R12))
	ROW(64, (R12)(AX*1), 64(R12)(AX*1))
	ROW(2048, (R13), 64(R13))
	ROW(2112, (R13)(AX*1), 64(R13)(AX*1))
	NEXTROWS
	DECQ R14
	JNE alone
	JMP boundary

steps:
	TESTQ R8, R8
	JEQ boundary
step:
	LOADA(4, rSI, rDX, 0)
	FILL0
	TILELOADD(6, rDI, rDX, 0)
	FILL1
	TDPBF16PS(0, 4, 6)
	FILL2
	TILELOADD(7, rBX, rDX, 0)
	FILL3
	TDPBF16PS(1, 4, 7)
	FILL4
	LOADA(5, rSI, rDX, 1024)
	FILL5
	TDPBF16PS(2, 5, 6)
	FILL6
	TDPBF16PS(3, 5, 7)
	FILL7
	NEXTTILES
	DECQ R8
	JNE step

boundary:
	// The products of the block stand in tiles 0 … 3. Its place, its columns, its bias:
	MOVQ CX, R11
	MOVQ sweepCall_ldc(R9), AX
	MOVQ sweepCall_row(R9), R12
	MOVQ AX, R13
	SHLQ $4, R13
	MOVQ sweepCall_left(R9), R14
	CMPQ sweepCall_direct(R9), $0
	JEQ masks
	CMPQ R14, $32
	JLT masks
	CMPQ sweepCall_n(R9), $32
	JLT masks
	MOVQ $STRAIGHT, R14
	JMP next
masks:
	MOVQ $-1, R8
	CMPQ sweepCall_n(R9), $32
	CMOVQLE sweepCall_tail(R9), R8
	KMOVW R8, K1
	MOVQ R8, BX
	SHRQ $16, BX
	KMOVW BX, K2
	ANDQ sweepCall_sum(R9), R8
	KMOVW R8, K3
	SHRQ $16, R8
	KMOVW R8, K4
	VPTERNLOGD $0xff, Z30, Z30, Z30
	VPSLLD $31, Z30, Z30
	VMOVAPS Z30, Z31
	MOVQ sweepCall_bias(R9), BX
	TESTQ BX, BX
	JEQ unbiased
	VMOVUPS.Z (BX), K1, Z30
	VMOVUPS.Z 64(BX), K2, Z31
unbiased:
	MOVQ $32, R8
	CMPQ R14, R8
	CMOVQGT R8, R14
next:
	SUBQ $32, sweepCall_left(R9)
	JLE columns
	// Next come the 32 rows below.
	LEAQ (R12)(R13*2), R8
	MOVQ R8, sweepCall_row(R9)
	ADDQ R12, R13
	MOVQ sweepCall_b(R9), DI
	MOVQ sweepCall_b1(R9), BX
	JMP join

columns:
	// Next come the 32 columns to the right.
	ADDQ R12, R13
	SUBQ $32, sweepCall_rest(R9)
	SUBQ $32, sweepCall_n(R9)
	JLE last
	ADDQ $128, sweepCall_c(R9)
	MOVQ sweepCall_c(R9), R8
	MOVQ R8, sweepCall_row(R9)
	MOVQ sweepCall_m(R9), R8
	MOVQ R8, sweepCall_left(R9)
	MOVQ sweepCall_stride(R9), R8
	ADDQ R8, R8
	ADDQ R8, sweepCall_b(R9)
	MOVQ sweepCall_a(R9), SI
	CMPQ sweepCall_bias(R9), $0
	JEQ pair
	ADDQ $128, sweepCall_bias(R9)

pair:
	// A new pair of panels of B. Where there is one panel only it serves as both, and the mask drops the second half.
	MOVQ sweepCall_b(R9), DI
	MOVQ sweepCall_stride(R9), R10
	LEAQ (DI)(R10*1), BX
	LEAQ (BX)(R10*1), R10
	CMPQ sweepCall_n(R9), $16
	CMOVQLE DI, BX
	MOVQ BX, sweepCall_b1(R9)
	CMPQ sweepCall_rest(R9), $32
	CMOVQLE DI, R10

join:
	MOVQ sweepCall_steps(R9), R8
	LOADA(4, rSI, rDX, 0)
	TILELOADD(6, rDI, rDX, 0)
	TILELOADD(7, rBX, rDX, 0)
	LOADA(5, rSI, rDX, 1024)
	TESTQ R14, R14
	JEQ first
	CMPQ R14, $STRAIGHT
	JEQ straight
	STORE(0)
	TILEZERO(0)
	TDPBF16PS(0, 4, 6)
	STORE(1)
	TILEZERO(1)
	TDPBF16PS(1, 4, 7)
	STORE(2)
	TILEZERO(2)
	TDPBF16PS(2, 5, 6)
	STORE(3)
	TILEZERO(3)
	TDPBF16PS(3, 5, 7)
	JMP block
straight:
	XORQ R14, R14
	MOVQ R12, CX
	STOREC(0, 0)
	TILEZERO(0)
	TDPBF16PS(0, 4, 6)
	STOREC(1, 64)
	TILEZERO(1)
	TDPBF16PS(1, 4, 7)
	MOVQ R13, CX
	STOREC(2, 0)
	TILEZERO(2)
	TDPBF16PS(2, 5, 6)
	STOREC(3, 64)
	TILEZERO(3)
	TDPBF16PS(3, 5, 7)
	MOVQ sweepCall_scratch(R9), CX
	JMP block
first:
	TILEZERO(0)
	TDPBF16PS(0, 4, 6)
	TILEZERO(1)
	TDPBF16PS(1, 4, 7)
	TILEZERO(2)
	TDPBF16PS(2, 5, 6)
	TILEZERO(3)
	TDPBF16PS(3, 5, 7)
	JMP block

last:
	CMPQ R14, $STRAIGHT
	JNE partial
	MOVQ R12, CX
	STOREC(0, 0)
	STOREC(1, 64)
	MOVQ R13, CX
	STOREC(2, 0)
	STOREC(3, 64)
	JMP done
partial:
	STORE(0)
	STORE(1)
	STORE(2)
	STORE(3)
	LEAQ 1024(CX), R13
rows:
	ROW(0, (R12), 64(R12))
	ADDQ $64, R11
	ADDQ AX, R12
	DECQ R14
	JEQ done
	CMPQ R11, R13
	JNE rows
	ADDQ $1024, R11
	JMP rows
done:
	TILERELEASE
	VZEROUPPER
	RET
