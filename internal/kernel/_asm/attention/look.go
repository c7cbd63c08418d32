package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"

	"github.com/secencoder/secencoder/internal/kernel/asm/square"
)

// The looks run over a whole tile: element j of a row of x belongs to the element index[j] of its row of a table, and the index
// of the next row begins one before. The index rises by 0 or 1 from one element to the next, so 16 neighbours of x belong to at
// most 16 neighbours of the table, which one permutation deals out, or one compression collects.
//
// Registers: DI x, DX index, SI table, CX columns left, R15 rows left, R8 and K1 the lanes in use.

func begin(name, doc string) {
	TEXT(name, NOSPLIT, "func(x *float32, ldx int, table *float32, ldt int, index *int16, base, rows, cols int)")
	Pragma("noescape")
	Doc(name + doc)
	Load(Param("x"), R14)
	Load(Param("table"), RSI)
	Load(Param("index"), R13)
	Load(Param("base"), R8)
	SHLQ(U8(2), R8)
	SUBQ(R8, RSI)
}

// lanes emits the mask of the next 16 columns.
func lanes() {
	MOVL(U32(0xffff), R8.As32())
	CMPQ(RCX, U8(16))
	JGE(LabelRef("whole"))
	XORL(R8.As32(), R8.As32())
	BTSL(ECX, R8.As32())
	SUBL(U8(1), R8.As32())
	Label("whole")
	KMOVW(R8.As32(), K1)
}

// offsets emits the first index into R12, the offsets from it into Z0, and the address of its element into R9.
func offsets() {
	VPMOVZXWD_Z(Mem{Base: DX}, K1, Z0)
	MOVWQZX(Mem{Base: DX}, R12)
	VPBROADCASTD(R12.As32(), Z1)
	VPSUBD(Z1, Z0, Z0)
	LEAQ(Mem{Base: SI, Index: R12, Scale: 4}, R9)
}

// byRows goes through one row of a table after the other: they come from memory.
func byRows(name, doc string, body func()) {
	begin(name, doc)
	Load(Param("rows"), R15)
	Label("row")
	MOVQ(R14, RDI)
	MOVQ(R13, RDX)
	Load(Param("cols"), RCX)
	Label("block")
	lanes()
	offsets()
	body()
	ADDQ(U8(64), RDI)
	ADDQ(U8(32), RDX)
	SUBQ(U8(16), RCX)
	JG(LabelRef("block"))
	Load(Param("ldx"), RAX)
	ADDQ(RAX, R14)
	Load(Param("ldt"), RAX)
	ADDQ(RAX, RSI)
	SUBQ(U8(2), R13)
	SUBQ(U8(1), R15)
	JG(LabelRef("row"))
	VZEROUPPER()
	RET()
}

// byColumns takes 16 columns of all rows and then the next 16: neighbours in a row write the same elements of a table, and would
// wait for one another.
func byColumns(name, doc string, body func()) {
	begin(name, doc)
	MOVQ(RSI, RBX)
	Load(Param("cols"), RCX)
	Label("block")
	lanes()
	MOVQ(R14, RDI)
	MOVQ(R13, RDX)
	MOVQ(RBX, RSI)
	Load(Param("rows"), R15)
	Label("row")
	body()
	Load(Param("ldx"), RAX)
	ADDQ(RAX, RDI)
	Load(Param("ldt"), RAX)
	ADDQ(RAX, RSI)
	SUBQ(U8(2), RDX)
	SUBQ(U8(1), R15)
	JG(LabelRef("row"))
	ADDQ(U8(64), R14)
	ADDQ(U8(32), R13)
	SUBQ(U8(16), RCX)
	JG(LabelRef("block"))
	VZEROUPPER()
	RET()
}

func looks() {
	byRows("lookRows", " adds to each element of x what the table has for it. It reads up to 15 elements of the table beyond the last one.", func() {
		VMOVUPS(Mem{Base: R9}, Z2)
		VPERMPS(Z2, Z0, Z2)
		VADDPS_Z(Mem{Base: RDI}, Z2, K1, Z2)
		VMOVUPS(Z2, K1, Mem{Base: RDI})
	})
	byRows("pickRows", " sets each element of x to what the table has for it. It reads up to 15 elements of the table beyond the last one.", func() {
		VMOVUPS(Mem{Base: R9}, Z2)
		VPERMPS(Z2, Z0, Z2)
		VMOVUPS(Z2, K1, Mem{Base: RDI})
	})
	// Where 16 neighbours have 16 slots they are added as they stand. Elsewhere runs of equal index are sums of prefixes: those at
	// the ends of the runs, compressed, less the one before; an element of the table is off by at most 16·2^-24 of the sum of
	// magnitudes in its block.
	byColumns("sumRows", " adds each element of x to what the table has for it.", func() {
		CMPQ(RCX, U8(16))
		JL(LabelRef("runs"))
		sumLanes()
	})
	lookTurned()
	sumTurned()
}

// sumLanes emits the sum of the lanes of K1, the next CX columns if these are fewer than 16, from the label runs on, and of 16
// columns from its beginning.
func sumLanes() {
	MOVWQZX(Mem{Base: DX}, R12)
	MOVWQZX(Mem{Base: DX, Disp: 30}, R11)
	LEAQ(Mem{Base: SI, Index: R12, Scale: 4}, R9)
	SUBQ(R12, R11)
	CMPQ(R11, U8(15))
	JNE(LabelRef("runs"))
	VMOVUPS(Mem{Base: RDI}, Z2)
	VADDPS(Mem{Base: R9}, Z2, Z2)
	VMOVUPS(Z2, Mem{Base: R9})
	JMP(LabelRef("added"))
	Label("runs")
	offsets()
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
	Label("added")
}

// turned begins a function over 16 rows of a table and cols columns, whose rows of x are columns of 16 elements.
func turned(name, more, doc string) {
	TEXT(name, NOSPLIT, "func(x *float32, ldx int, table *float32, ldt int, index *int16, base, cols int"+more+")")
	Pragma("noescape")
	Doc(name + doc)
	Load(Param("x"), RDI)
	Load(Param("ldx"), RAX)
	Load(Param("table"), RSI)
	Load(Param("ldt"), RDX)
	Load(Param("index"), RBX)
	Load(Param("cols"), RCX)
	Load(Param("base"), R8)
	SHLQ(U8(2), R8)
	SUBQ(R8, RSI)
}

func lookTurned() {
	turned("lookTurned16", "", " adds table[j·ldt + index[i−j] − base] to x[i·ldx + j] for j < 16, i < cols, a multiple of 16. It reads "+
		"up to 15 elements of the table beyond the last one.")
	row := square.Rows(RSI, RDX)
	Label("block")
	for j := range 16 {
		at := row(j)
		VPMOVZXWD(Mem{Base: RBX, Disp: -2 * j}, Z17)
		MOVWQZX(Mem{Base: RBX, Disp: -2 * j}, R12)
		VPBROADCASTD(R12.As32(), Z16)
		VPSUBD(Z16, Z17, Z17)
		LEAQ(Mem{Base: at.Base, Index: R12, Scale: 4}, R12)
		at.Base = R12
		VMOVUPS(at, square.Z[j])
		VPERMPS(square.Z[j], Z17, square.Z[j])
	}
	for _, r := range square.Transpose() {
		VADDPS(Mem{Base: RDI}, r, r)
		VMOVUPS(r, Mem{Base: RDI})
		ADDQ(RAX, RDI)
	}
	ADDQ(U8(32), RBX)
	SUBQ(U8(16), RCX)
	JG(LabelRef("block"))
	VZEROUPPER()
	RET()
}

func sumTurned() {
	turned("sumTurned16", ", buf *float32", " adds x[i·ldx + j] to table[j·ldt + index[i−j] − base] for j < 16, i < cols, a multiple of 16. It "+
		"writes 256 elements of buf.")
	MOVQ(RDI, R14)
	MOVQ(RBX, R13)
	MOVQ(RSI, RBX)
	MOVL(U32(0xffff), R8.As32())
	KMOVW(R8.As32(), K1)
	Label("block")
	row := square.Rows(R14, RAX)
	for i := range 16 {
		VMOVUPS(row(i), square.Z[i])
	}
	Load(Param("buf"), RDI)
	for j, r := range square.Transpose() {
		VMOVUPS(r, Mem{Base: RDI, Disp: 64 * j})
	}
	MOVL(U32(0xffff), R8.As32())
	MOVQ(RBX, RSI)
	MOVQ(R13, RDX)
	MOVQ(U32(16), R15)
	Label("row")
	sumLanes()
	ADDQ(U8(64), RDI)
	Load(Param("ldt"), R9)
	ADDQ(R9, RSI)
	SUBQ(U8(2), RDX)
	SUBQ(U8(1), R15)
	JG(LabelRef("row"))
	SHLQ(U8(4), RAX)
	ADDQ(RAX, R14)
	SHRQ(U8(4), RAX)
	ADDQ(U8(32), R13)
	SUBQ(U8(16), RCX)
	JG(LabelRef("block"))
	VZEROUPPER()
	RET()
}
