// Command lookup writes the loops over an index that rises by 0 or 1 from one element to the next, as slots do along a
// row of attention: 16 neighbours then read 16 neighbours of the table, which one permutation deals out.
package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

func main() {
	ConstraintExpr("!noasm")
	add()
	sum()
	Generate()
}

// next emits the start of a block of 16: the mask of lanes in use in K1, the first index in R12, the offsets from it in
// Z0, the address of its element in R9. Registers: DI values, SI table, DX index, CX elements left.
func next() {
	MOVL(U32(0xffff), R8.As32())
	CMPQ(RCX, U8(16))
	JGE(LabelRef("whole"))
	XORL(R8.As32(), R8.As32())
	BTSL(ECX, R8.As32())
	SUBL(U8(1), R8.As32())
	Label("whole")
	KMOVW(R8.As32(), K1)
	VPMOVZXWD_Z(Mem{Base: DX}, K1, Z0)
	MOVWQZX(Mem{Base: DX}, R12)
	VPBROADCASTD(R12.As32(), Z1)
	VPSUBD(Z1, Z0, Z0)
	LEAQ(Mem{Base: SI, Index: R12, Scale: 4}, R9)
}

func load(doc, name string) {
	TEXT(name, NOSPLIT, "func(x, table *float32, index *int16, base, n int)")
	Pragma("noescape")
	Doc(doc)
	Load(Param("x"), RDI)
	Load(Param("table"), RSI)
	Load(Param("index"), RDX)
	Load(Param("base"), R8)
	SHLQ(U8(2), R8)
	SUBQ(R8, RSI)
	Load(Param("n"), RCX)
	Label("block")
	TESTQ(RCX, RCX)
	JLE(LabelRef("end"))
}

func advance() {
	ADDQ(U8(64), RDI)
	ADDQ(U8(32), RDX)
	SUBQ(U8(16), RCX)
	JMP(LabelRef("block"))
	Label("end")
	VZEROUPPER()
	RET()
}

func add() {
	load("addLooked adds table[index[i] − base] to x[i] for i < n. It reads 15 elements of the table beyond the last one.", "addLooked")
	next()
	VMOVUPS(Mem{Base: R9}, Z2)
	VPERMPS(Z2, Z0, Z2)
	VADDPS_Z(Mem{Base: RDI}, Z2, K1, Z2)
	VMOVUPS(Z2, K1, Mem{Base: RDI})
	advance()
}

// sum adds runs of equal index by differences of prefix sums: the sums at the ends of the runs, compressed, less the one
// before. An element of the table is off by at most 16·2^-24 of the sum of magnitudes in its block.
func sum() {
	load("sumLooked adds x[i] to table[index[i] − base] for i < n.", "sumLooked")
	next()
	VPXORD(Z3, Z3, Z3)
	VMOVUPS_Z(Mem{Base: RDI}, K1, Z2)
	for _, s := range []uint8{1, 2, 4, 8} {
		VALIGND(U8(16-s), Z3, Z2, Z4)
		VADDPS(Z4, Z2, Z2)
	}
	Comment("A run ends where the next offset differs; the last lane in use ends one too.")
	VALIGND(U8(1), Z0, Z0, Z1)
	VPCMPD(U8(4), Z1, Z0, K1, K2)
	MOVL(R8.As32(), R10.As32())
	SHRL(U8(1), R10.As32())
	XORL(R8.As32(), R10.As32())
	KMOVW(R10.As32(), K3)
	KORW(K3, K2, K2)
	VCOMPRESSPS_Z(Z2, K2, Z2)
	Comment("The number of runs is the last index less the first, plus 1.")
	MOVQ(U32(16), R10)
	CMPQ(RCX, R10)
	CMOVQLT(RCX, R10)
	MOVWQZX(Mem{Base: DX, Index: R10, Scale: 2, Disp: -2}, R11)
	SUBQ(R12, R11)
	ADDQ(U8(1), R11)
	XORL(R10.As32(), R10.As32())
	BTSL(R11.As32(), R10.As32())
	SUBL(U8(1), R10.As32())
	KMOVW(R10.As32(), K2)
	VALIGND(U8(15), Z3, Z2, Z4)
	VSUBPS(Z4, Z2, Z2)
	VADDPS_Z(Mem{Base: R9}, Z2, K2, Z2)
	VMOVUPS(Z2, K2, Mem{Base: R9})
	advance()
}
