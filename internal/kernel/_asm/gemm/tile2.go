package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

var ymm = []VecPhysical{Y0, Y1, Y2, Y3, Y4, Y5, Y6, Y7, Y8, Y9, Y10, Y11, Y12, Y13, Y14, Y15}

// tile2 writes the full tile C[rows, 16] = (bias or 0) + A·B (+ C). Tiles cut by an edge go through a buffer in Go.
// Registers 0 … 11 accumulate, 12 and 13 hold B, 14 and 15 the broadcast element of A.
func tile2(name string, rows int) {
	TEXT(name, NOSPLIT, "func(k int, a, b *float32, c *float32, ldc int, bias *float32, add int)")
	Pragma("noescape")
	Doc(fmt.Sprintf("%s sets the full tile of C, %d rows of 16 columns, to bias + A·B, or adds that to it; ldc is in bytes.", name, rows))
	k := Load(Param("k"), RAX)
	a := Load(Param("a"), RSI)
	b := Load(Param("b"), RDI)
	c := Load(Param("c"), RDX)
	ldc := Load(Param("ldc"), R9)
	bias := Load(Param("bias"), R10)
	add := Load(Param("add"), R13)

	acc := func(i, p int) VecPhysical { return ymm[i*2+p] }
	bv := ymm[12:14]
	bc := ymm[14:16]

	Comment("Start from the bias, or from zero.")
	TESTQ(bias, bias)
	JZ(LabelRef("zero"))
	for p := range 2 {
		VMOVUPS(Mem{Base: bias, Disp: 32 * p}, acc(0, p))
	}
	for i := 1; i < rows; i++ {
		for p := range 2 {
			VMOVAPS(acc(0, p), acc(i, p))
		}
	}
	JMP(LabelRef("begin"))
	Label("zero")
	for i := range rows {
		for p := range 2 {
			VXORPS(acc(i, p), acc(i, p), acc(i, p))
		}
	}
	Label("begin")

	step := func(u int) {
		for p := range 2 {
			VMOVUPS(Mem{Base: b, Disp: 64*u + 32*p}, bv[p])
		}
		for i := range rows {
			v := bc[i%2]
			VBROADCASTSS(Mem{Base: a, Disp: 4 * (rows*u + i)}, v)
			for p := range 2 {
				VFMADD231PS(v, bv[p], acc(i, p))
			}
		}
	}
	const unroll = 4
	Label("loop")
	SUBQ(U8(unroll), k)
	JL(LabelRef("rest"))
	for u := range unroll {
		step(u)
	}
	ADDQ(U32(4*rows*unroll), a)
	ADDQ(U32(64*unroll), b)
	JMP(LabelRef("loop"))
	Label("rest")
	ADDQ(U8(unroll), k)
	Label("one")
	SUBQ(U8(1), k)
	JL(LabelRef("store"))
	step(0)
	ADDQ(U32(4*rows), a)
	ADDQ(U32(64), b)
	JMP(LabelRef("one"))

	Label("store")
	TESTQ(add, add)
	JZ(LabelRef("set"))
	for i := range rows {
		for p := range 2 {
			VADDPS(Mem{Base: c, Disp: 32 * p}, acc(i, p), acc(i, p))
			VMOVUPS(acc(i, p), Mem{Base: c, Disp: 32 * p})
		}
		if i+1 < rows {
			ADDQ(ldc, c)
		}
	}
	JMP(LabelRef("done"))
	Label("set")
	for i := range rows {
		for p := range 2 {
			VMOVUPS(acc(i, p), Mem{Base: c, Disp: 32 * p})
		}
		if i+1 < rows {
			ADDQ(ldc, c)
		}
	}
	Label("done")
	VZEROUPPER()
	RET()
}

// fmaPeak2 writes the loop that measures the peak: 12 independent chains of fused multiply-adds in registers.
func fmaPeak2() {
	TEXT("FMAPeak", NOSPLIT, "func(n int)")
	Doc("FMAPeak runs n rounds of 12 fused multiply-adds on 256-bit registers, and touches no memory: 192 FLOP a round.")
	n := Load(Param("n"), RAX)
	for _, r := range ymm {
		VXORPS(r, r, r)
	}
	Label("loop")
	for i := range 12 {
		VFMADD231PS(Y14, Y15, ymm[i])
	}
	SUBQ(U8(1), n)
	JG(LabelRef("loop"))
	VZEROUPPER()
	RET()
}
