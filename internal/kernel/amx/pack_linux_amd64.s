//go:build !noasm

// Packing into tiles, a step of 32 terms at a time. Rows of the source are contiguous in the terms (rows…) or in the
// rows or columns of the operand (cols…). Tails never come here: Go copies them into full buffers.
//
// A step reads 512 elements and writes 1 KiB: bound by the loads where nothing is turned over, else by the 64 shuffles of
// the transposition of 16×16 words. 256 rows by 384 terms, Zen 5, one core, elements a ns from float32 / from BF16: rowsA
// 19 to 32 / 27 to 37, colsA 13 to 14 / 16 to 25, rowsB 18 to 32 / 28 to 32, colsB 13 to 14 / 17 to 20. A product of that A
// with 384 columns takes 34 µs at 2,200 GFLOP/s, packing it 3 to 7.

#include "tiles.h"

// Words of the first half of a vector and of the second, in turns.
DATA zip<>+0(SB)/8, $0x0011000100100000
DATA zip<>+8(SB)/8, $0x0013000300120002
DATA zip<>+16(SB)/8, $0x0015000500140004
DATA zip<>+24(SB)/8, $0x0017000700160006
DATA zip<>+32(SB)/8, $0x0019000900180008
DATA zip<>+40(SB)/8, $0x001b000b001a000a
DATA zip<>+48(SB)/8, $0x001d000d001c000c
DATA zip<>+56(SB)/8, $0x001f000f001e000e
GLOBL zip<>(SB), RODATA|NOPTR, $64

// 32 terms of the row at R8 as bfloat16 in Z(to); R8 moves to the next row.
#define ROW_F32(to) \
	VMOVUPS (R8), Z0; \
	VMOVUPS 64(R8), Z1; \
	VCVTNE2PS2BF16(to, 1, 0); \
	ADDQ BX, R8
#define ROW_BF16(z) \
	VMOVDQU64 (R8), z; \
	ADDQ BX, R8

// Two terms of 16 rows or columns at R8 as words of pairs in z = Z(to); R8 moves two terms on.
#define PAIR_F32(to, z) \
	VMOVUPS (R8), Z0; \
	VMOVUPS (R8)(BX*1), Z1; \
	VCVTNE2PS2BF16(to, 1, 0); \
	VPERMW z, Z2, z; \
	LEAQ (R8)(BX*2), R8
#define PAIR_BF16(to, z) \
	VMOVDQU (R8), Y0; \
	VINSERTI64X4 $1, (R8)(BX*1), Z0, Z0; \
	VPERMW Z0, Z2, z; \
	LEAQ (R8)(BX*2), R8

#define SIXTEEN_ROWS_F32 \
	ROW_F32(16); ROW_F32(17); ROW_F32(18); ROW_F32(19); \
	ROW_F32(20); ROW_F32(21); ROW_F32(22); ROW_F32(23); \
	ROW_F32(24); ROW_F32(25); ROW_F32(26); ROW_F32(27); \
	ROW_F32(28); ROW_F32(29); ROW_F32(30); ROW_F32(31)
#define SIXTEEN_ROWS_BF16 \
	ROW_BF16(Z16); ROW_BF16(Z17); ROW_BF16(Z18); ROW_BF16(Z19); \
	ROW_BF16(Z20); ROW_BF16(Z21); ROW_BF16(Z22); ROW_BF16(Z23); \
	ROW_BF16(Z24); ROW_BF16(Z25); ROW_BF16(Z26); ROW_BF16(Z27); \
	ROW_BF16(Z28); ROW_BF16(Z29); ROW_BF16(Z30); ROW_BF16(Z31)
#define SIXTEEN_PAIRS(pair) \
	pair(16, Z16); pair(17, Z17); pair(18, Z18); pair(19, Z19); \
	pair(20, Z20); pair(21, Z21); pair(22, Z22); pair(23, Z23); \
	pair(24, Z24); pair(25, Z25); pair(26, Z26); pair(27, Z27); \
	pair(28, Z28); pair(29, Z29); pair(30, Z30); pair(31, Z31)

// Four rows r0 … r3: in each 128-bit lane l, words 4l … 4l+3 of the rows become rows of four words.
#define FOUR(r0, r1, r2, r3, t0, t1, t2, t3) \
	VPUNPCKLDQ r1, r0, t0; \
	VPUNPCKHDQ r1, r0, t1; \
	VPUNPCKLDQ r3, r2, t2; \
	VPUNPCKHDQ r3, r2, t3; \
	VPUNPCKLQDQ t2, t0, r0; \
	VPUNPCKHQDQ t2, t0, r1; \
	VPUNPCKLQDQ t3, t1, r2; \
	VPUNPCKHQDQ t3, t1, r3

// Lanes of four registers: lane l of u0 … u3 becomes the row 4l + q, stored at offset 64·(4l + q).
#define LANES(u0, u1, u2, u3, t0, t1, t2, t3, at) \
	VSHUFI32X4 $0x88, u1, u0, t0; \
	VSHUFI32X4 $0xdd, u1, u0, t1; \
	VSHUFI32X4 $0x88, u3, u2, t2; \
	VSHUFI32X4 $0xdd, u3, u2, t3; \
	VSHUFI32X4 $0x88, t2, t0, u0; \
	VSHUFI32X4 $0x88, t3, t1, u1; \
	VSHUFI32X4 $0xdd, t2, t0, u2; \
	VSHUFI32X4 $0xdd, t3, t1, u3; \
	VMOVDQU64 u0, at(DI); \
	VMOVDQU64 u1, (at+256)(DI); \
	VMOVDQU64 u2, (at+512)(DI); \
	VMOVDQU64 u3, (at+768)(DI)

// The 16×16 words of Z16 … Z31, transposed, to DI. Z3 … Z14 are overwritten.
#define TRANSPOSED \
	FOUR(Z16, Z17, Z18, Z19, Z3, Z4, Z5, Z6); \
	FOUR(Z20, Z21, Z22, Z23, Z7, Z8, Z9, Z10); \
	FOUR(Z24, Z25, Z26, Z27, Z11, Z12, Z13, Z14); \
	FOUR(Z28, Z29, Z30, Z31, Z3, Z4, Z5, Z6); \
	LANES(Z16, Z20, Z24, Z28, Z3, Z4, Z5, Z6, 0); \
	LANES(Z17, Z21, Z25, Z29, Z7, Z8, Z9, Z10, 64); \
	LANES(Z18, Z22, Z26, Z30, Z11, Z12, Z13, Z14, 128); \
	LANES(Z19, Z23, Z27, Z31, Z3, Z4, Z5, Z6, 192)

#define PLAIN \
	VMOVDQU64 Z16, (DI); \
	VMOVDQU64 Z17, 64(DI); \
	VMOVDQU64 Z18, 128(DI); \
	VMOVDQU64 Z19, 192(DI); \
	VMOVDQU64 Z20, 256(DI); \
	VMOVDQU64 Z21, 320(DI); \
	VMOVDQU64 Z22, 384(DI); \
	VMOVDQU64 Z23, 448(DI); \
	VMOVDQU64 Z24, 512(DI); \
	VMOVDQU64 Z25, 576(DI); \
	VMOVDQU64 Z26, 640(DI); \
	VMOVDQU64 Z27, 704(DI); \
	VMOVDQU64 Z28, 768(DI); \
	VMOVDQU64 Z29, 832(DI); \
	VMOVDQU64 Z30, 896(DI); \
	VMOVDQU64 Z31, 960(DI)

// SI the source, BX bytes from one of its rows to the next, DI the destination, R9 steps.
#define ARGUMENTS \
	MOVQ dst+0(FP), DI; \
	MOVQ src+8(FP), SI; \
	MOVQ ld+16(FP), BX; \
	MOVQ steps+24(FP), R9

// func rowsAF32(dst, src unsafe.Pointer, ld, steps, rows int)
TEXT ·rowsAF32(SB), NOSPLIT, $0-40
	ARGUMENTS
	MOVQ rows+32(FP), R10
row:
	MOVQ DI, R11
	MOVQ SI, R8
	MOVQ R9, CX
step:
	VMOVUPS (R8), Z0
	VMOVUPS 64(R8), Z1
	VCVTNE2PS2BF16(0, 1, 0)
	VMOVDQU64 Z0, (R11)
	ADDQ $128, R8
	ADDQ $2048, R11
	DECQ CX
	JNE step
	ADDQ BX, SI
	ADDQ $64, DI
	DECQ R10
	JNE row
	VZEROUPPER
	RET

// func rowsABF16(dst, src unsafe.Pointer, ld, steps, rows int)
TEXT ·rowsABF16(SB), NOSPLIT, $0-40
	ARGUMENTS
	MOVQ rows+32(FP), R10
row:
	MOVQ DI, R11
	MOVQ SI, R8
	MOVQ R9, CX
step:
	VMOVDQU64 (R8), Z0
	VMOVDQU64 Z0, (R11)
	ADDQ $64, R8
	ADDQ $2048, R11
	DECQ CX
	JNE step
	ADDQ BX, SI
	ADDQ $64, DI
	DECQ R10
	JNE row
	VZEROUPPER
	RET

// func colsAF32(dst, src unsafe.Pointer, ld, steps int)
TEXT ·colsAF32(SB), NOSPLIT, $0-32
	ARGUMENTS
	VMOVDQU64 zip<>(SB), Z2
	MOVQ SI, R8
step:
	SIXTEEN_PAIRS(PAIR_F32)
	TRANSPOSED
	ADDQ $2048, DI
	DECQ R9
	JNE step
	VZEROUPPER
	RET

// func colsABF16(dst, src unsafe.Pointer, ld, steps int)
TEXT ·colsABF16(SB), NOSPLIT, $0-32
	ARGUMENTS
	VMOVDQU64 zip<>(SB), Z2
	MOVQ SI, R8
step:
	SIXTEEN_PAIRS(PAIR_BF16)
	TRANSPOSED
	ADDQ $2048, DI
	DECQ R9
	JNE step
	VZEROUPPER
	RET

// func rowsBF32(dst, src unsafe.Pointer, ld, steps int)
TEXT ·rowsBF32(SB), NOSPLIT, $0-32
	ARGUMENTS
step:
	MOVQ SI, R8
	SIXTEEN_ROWS_F32
	TRANSPOSED
	ADDQ $128, SI
	ADDQ $1024, DI
	DECQ R9
	JNE step
	VZEROUPPER
	RET

// func rowsBBF16(dst, src unsafe.Pointer, ld, steps int)
TEXT ·rowsBBF16(SB), NOSPLIT, $0-32
	ARGUMENTS
step:
	MOVQ SI, R8
	SIXTEEN_ROWS_BF16
	TRANSPOSED
	ADDQ $64, SI
	ADDQ $1024, DI
	DECQ R9
	JNE step
	VZEROUPPER
	RET

// func colsBF32(dst, src unsafe.Pointer, ld, steps int)
TEXT ·colsBF32(SB), NOSPLIT, $0-32
	ARGUMENTS
	VMOVDQU64 zip<>(SB), Z2
	MOVQ SI, R8
step:
	SIXTEEN_PAIRS(PAIR_F32)
	PLAIN
	ADDQ $1024, DI
	DECQ R9
	JNE step
	VZEROUPPER
	RET

// func colsBBF16(dst, src unsafe.Pointer, ld, steps int)
TEXT ·colsBBF16(SB), NOSPLIT, $0-32
	ARGUMENTS
	VMOVDQU64 zip<>(SB), Z2
	MOVQ SI, R8
step:
	SIXTEEN_PAIRS(PAIR_BF16)
	PLAIN
	ADDQ $1024, DI
	DECQ R9
	JNE step
	VZEROUPPER
	RET
