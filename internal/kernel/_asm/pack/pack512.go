package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"

	"github.com/secencoder/secencoder/internal/kernel/asm/evex"
	"github.com/secencoder/secencoder/internal/kernel/asm/square"
)

// Packing reads and writes 8 bytes an element once. 16 rows by 256: 0.031 ns an element (257 GB/s in L1, Zen 5), AVX2
// 0.048, plain Go 0.47; it is bound by the 64 shuffles of a block of 256 elements. It is
// 9 to 15 % of a training step (pprof, AVX-512).

// low sets mask register k to its lowest n bits, n ≤ 16; it uses R13.
func low(n Register, k Op) {
	XORL(R13.As32(), R13.As32())
	BTSL(n.(GPPhysical).As32(), R13.As32())
	SUBL(U8(1), R13.As32())
	KMOVW(R13.As32(), k)
}

// lowHalves is low for n < 32.
func lowHalves(n Register, k Op) {
	XORL(R13.As32(), R13.As32())
	BTSL(n.(GPPhysical).As32(), R13.As32())
	SUBL(U8(1), R13.As32())
	KMOVD(R13.As32(), k)
}

// interleave is the order that brings elements apart by that many side by side: 0, 16, 1, 17 … for the halves of a vector,
// 0, 32, 1, 33 … for two vectors.
func interleave(apart int) Mem {
	at, ok := orders[apart]
	if !ok {
		at = GLOBL(fmt.Sprintf("interleave%d", apart), 8|16)
		for i := range 32 {
			DATA(2*i, U16(i/2+i%2*apart))
		}
		orders[apart] = at
	}
	return at
}

var orders = map[int]Mem{}

// wordsOf prepares words of the columns under mask K1 and returns what makes one vector of them, in r by way of t, from the
// row at from and, where a word holds two terms, the one at next.
func wordsOf(k kind) func(from, next Mem, r, t VecPhysical) {
	constants(k)
	switch k {
	case pairs:
		Comment("Indices that bring the two rows side by side.")
		VMOVDQU16(interleave(32), Z31)
	case halved:
		Comment("Indices that bring the two rows side by side.")
		VMOVDQU16(interleave(16), Z31)
	}
	return func(from, next Mem, r, t VecPhysical) {
		switch k {
		case pairs:
			VMOVDQU16_Z(from, K1, r.AsY())
			VMOVDQU16_Z(next, K1, t.AsY())
			VPERMT2W(t, Z31, r)
		case halved:
			VMOVUPS_Z(from, K1, r)
			VMOVUPS_Z(next, K1, t)
			evex.VCVTNE2PS2BF16(r, t, r)
			VPERMW(r, Z31, r)
		default:
			load(k, from, r, K1, nil, from, t)
			finish(k, r, t)
		}
	}
}

// kind says what the elements of a source and of a panel are.
type kind int

const (
	same    kind = iota // float32 into float32, unchanged
	rounded             // float32 into float32, rounded to BF16
	widened             // BF16 into float32
	pairs               // BF16 into pairs of BF16
	halved              // float32 into pairs of BF16, rounded
)

// suffix is what the names of the functions of a kind end in.
func (k kind) suffix() string { return [...]string{"", "Rounded", "Widened", "Pairs", "Halved"}[k] }

// terms is how many terms a word of the panel holds, size the bytes of an element of the source.
func (k kind) terms() int { return [...]int{1, 1, 1, 2, 2}[k] }
func (k kind) size() int  { return [...]int{4, 4, 2, 2, 4}[k] }

// source is the type of the elements of the source.
func (k kind) source() string {
	if k.size() == 2 {
		return "uint16"
	}
	return "float32"
}

// says describes a kind in documentation.
func (k kind) says() string {
	return [...]string{
		"", ", rounded to BF16", ", from BF16", ", pairs of terms p, p+1 of BF16 in one word", ", rounded to BF16, pairs of terms p, p+1 in one word",
	}[k]
}

// load loads one vector of words: of halved, 32 elements from the two places under their masks.
func load(k kind, from Mem, to VecPhysical, m0, m1 Op, second Mem, t VecPhysical) {
	switch k {
	case same, rounded:
		VMOVUPS_Z(from, m0, to)
	case widened:
		VPMOVZXWD_Z(from, m0, to)
	case pairs:
		VMOVDQU16_Z(from, m0, to)
	case halved:
		VMOVUPS_Z(from, m0, to)
		VMOVUPS_Z(second, m1, t)
		evex.VCVTNE2PS2BF16(to, t, to)
	}
}

// finish ends what load began, by way of t and of what constants left.
func finish(k kind, r, t VecPhysical) {
	switch k {
	case widened:
		VPSLLD(U8(16), r, r)
	case rounded: // (x + 7fff + (x>>16 & 1)) & ffff0000; a NaN keeps its sign and upper bits and becomes quiet
		VPSRLD(U8(16), r, t)
		VPANDD(Z28, t, t)
		VPADDD(Z29, t, t)
		VPADDD(r, t, t)
		VCMPPS(U8(3), r, r, K3)
		VPORD(Z31, r, K3, t)
		VPANDD(Z30, t, r)
	}
}

// constants fills the registers 28 to 31 for rounding; it uses R13.
func constants(k kind) {
	if k != rounded {
		return
	}
	for i, c := range []uint32{1, 0x7fff, 0xffff0000, 0x00400000} {
		MOVL(U32(c), R13.As32())
		VPBROADCASTD(R13.As32(), square.Z[28+i])
	}
}

// loadRows loads the rows in use under mask K1 (and K4, the upper half of a row's terms) and clears the others.
func loadRows(k kind, at func(i int) Mem, rows Register) {
	constants(k)
	for i := range 16 {
		VPXORD(square.Z[i], square.Z[i], square.Z[i])
	}
	for i := range 16 {
		CMPQ(rows, U8(i))
		JLE(LabelRef("loaded"))
		second := at(i)
		second.Disp += 64
		load(k, at(i), square.Z[i], K1, K4, second, Z16)
		finish(k, square.Z[i], Z16)
	}
	Label("loaded")
}

func packRows512(kd kind) {
	name := "packRows" + kd.suffix()
	TEXT(name, NOSPLIT, "func(dst *float32, width int, src *"+kd.source()+", ld, rows, k int)")
	Pragma("noescape")
	Doc(name + " sets dst[p·width + i] = src[i·ld + p] for i < rows ≤ 16, p < k, and 0 for rows ≤ i < width ≤ 16" + kd.says() + "; ld is in bytes.")
	dst := Load(Param("dst"), RDI)
	width := Load(Param("width"), RAX)
	src := Load(Param("src"), RSI)
	ld := Load(Param("ld"), RDX)
	rows := Load(Param("rows"), RBX)
	k := Load(Param("k"), RCX)
	low(width, K2)
	SHLQ(U8(2), width)
	at := square.Rows(src, ld)
	step := 16 * kd.terms() // terms of one block
	MOVQ(U32(16), R12)
	KXNORD(K1, K1, K1)
	KXNORD(K4, K4, K4)
	Label("block")
	TESTQ(k, k)
	JLE(LabelRef("end"))
	CMPQ(k, U8(step))
	JGE(LabelRef("whole"))
	Comment("The last block: masks of its terms, and the number of its words.")
	MOVQ(k, R12)
	switch kd {
	case pairs:
		lowHalves(R12, K1)
	case halved:
		MOVQ(U32(16), R15)
		CMPQ(R12, R15)
		CMOVQLT(R12, R15)
		low(R15, K1)
		SUBQ(R12, R15)
		NEGQ(R15)
		low(R15, K4)
	default:
		low(R12, K1)
	}
	if kd.terms() == 2 {
		ADDQ(U8(1), R12)
		SHRQ(U8(1), R12)
	}
	Label("whole")
	loadRows(kd, at, rows)
	for i, r := range square.Transpose() {
		if i > 0 {
			CMPQ(R12, U8(i))
			JLE(LabelRef("end"))
		}
		VMOVUPS(r, K2, Mem{Base: dst})
		ADDQ(width, dst)
	}
	for _, p := range []Register{src, R8, R9, R10} {
		ADDQ(U32(uint32(step*kd.size())), p)
	}
	SUBQ(U8(step), k)
	JMP(LabelRef("block"))
	Label("end")
	VZEROUPPER()
	RET()
}

func packCols512(kd kind) {
	name := "packCols" + kd.suffix()
	TEXT(name, NOSPLIT, "func(dst *float32, width int, src *"+kd.source()+", ld, cols, k int)")
	Pragma("noescape")
	Doc(name + " sets dst[p·width + i] = src[p·ld + i] for i < cols, p < k, and 0 for cols ≤ i < width ≤ 16" + kd.says() + "; ld is in bytes.")
	dst := Load(Param("dst"), RDI)
	width := Load(Param("width"), RAX)
	src := Load(Param("src"), RSI)
	ld := Load(Param("ld"), RDX)
	cols := Load(Param("cols"), RBX)
	k := Load(Param("k"), RCX)
	low(cols, K1)
	low(width, K2)
	SHLQ(U8(2), width)
	word := wordsOf(kd)
	LEAQ(Mem{Base: ld, Index: ld, Scale: 2}, R8)
	LEAQ(Mem{Base: width, Index: width, Scale: 2}, R9)
	from := []Mem{{Base: src}, {Base: src, Index: ld, Scale: 1}, {Base: src, Index: ld, Scale: 2}, {Base: src, Index: R8, Scale: 1}}
	to := []Mem{{Base: dst}, {Base: dst, Index: width, Scale: 1}, {Base: dst, Index: width, Scale: 2}, {Base: dst, Index: R9, Scale: 1}}
	n := 4 / kd.terms()
	Label("four")
	SUBQ(U8(4), k)
	JL(LabelRef("rest"))
	for i := range n {
		f := i * kd.terms()
		word(from[f], from[f+kd.terms()-1], square.Z[i], square.Z[4+i])
	}
	for i := range n {
		VMOVUPS(square.Z[i], K2, to[i])
	}
	LEAQ(Mem{Base: src, Index: ld, Scale: 4}, src)
	LEAQ(Mem{Base: dst, Index: width, Scale: uint8(n)}, dst)
	JMP(LabelRef("four"))
	Label("rest")
	ADDQ(U8(4), k)
	Label("one")
	SUBQ(U8(kd.terms()), k)
	JL(LabelRef("odd"))
	word(from[0], from[kd.terms()-1], Z0, Z4)
	VMOVUPS(Z0, K2, to[0])
	LEAQ(Mem{Base: src, Index: ld, Scale: uint8(kd.terms())}, src)
	ADDQ(width, dst)
	JMP(LabelRef("one"))
	Label("odd")
	if kd.terms() == 2 {
		Comment("An odd last term: its partner is 0.")
		ADDQ(U8(1), k)
		JL(LabelRef("end"))
		if kd == pairs {
			VPMOVZXWD_Z(from[0], K1, Z0)
		} else {
			VPXORD(Z4, Z4, Z4)
			VMOVUPS_Z(from[0], K1, Z0)
			evex.VCVTNE2PS2BF16(Z0, Z4, Z0)
			VPERMW(Z0, Z31, Z0)
		}
		VMOVUPS(Z0, K2, to[0])
		Label("end")
	}
	VZEROUPPER()
	RET()
}

// packWide512 packs whole panels side by side: four words of the first panel, four of the second and so on, then the next
// four, and asks for the same columns of the next rows on the way. Down one panel after the other it takes one line, or half
// of one, of each page, which prefetching hardware does not follow: dW of 3,072×768, 512 and 2,048 rows, in turns with that,
// one core, is 2 to 3 % faster in float32, 1 to 2 % in BF16, and 3 to 6 % at 768×3,072 in BF16.
// Tried: 512 and 1,024 columns at a time and 32 or 64 terms, without asking: the same gain in float32, less in BF16; with
// both no more than with one.
func packWide512(kd kind) {
	name := "packWide" + kd.suffix()
	TEXT(name, NOSPLIT, "func(dst *float32, width, stride int, src *"+kd.source()+", ld, panels, quads int)")
	Pragma("noescape")
	Doc(name + " sets dst[j·stride + p·width + i] = src[p·ld + j·width + i] for j < panels, i < width ≤ 16" + kd.says() +
		", four words p of each panel at a time, quads times; ld and stride are in bytes.")
	dst := Load(Param("dst"), RDI)
	width := Load(Param("width"), RAX)
	stride := Load(Param("stride"), RBX)
	src := Load(Param("src"), RSI)
	ld := Load(Param("ld"), RDX)
	quads := Load(Param("quads"), R12)
	low(width, K1)
	word := wordsOf(kd)
	MOVQ(width, R13)
	SHLQ(U8(kd.size()/2), R13)
	SHLQ(U8(2), width)
	LEAQ(Mem{Base: ld, Index: ld, Scale: 2}, R8)
	LEAQ(Mem{Base: width, Index: width, Scale: 2}, R9)
	row := func(base Register, i int) Mem {
		return []Mem{{Base: base}, {Base: base, Index: ld, Scale: 1}, {Base: base, Index: ld, Scale: 2}, {Base: base, Index: R8, Scale: 1}}[i]
	}
	Label("quad")
	SUBQ(U8(1), quads)
	JL(LabelRef("end"))
	MOVQ(src, R10)
	LEAQ(Mem{Base: src, Index: ld, Scale: 4}, R15)
	MOVQ(dst, R11)
	Load(Param("panels"), R14)
	Label("panel")
	rows := make([]Mem, 8)
	for i := range 4 {
		rows[i], rows[4+i] = row(R10, i), row(R15, i)
	}
	for i := range 4 {
		f := i * kd.terms()
		word(rows[f], rows[f+kd.terms()-1], square.Z[i], square.Z[4+i])
	}
	for i, to := range []Mem{{Base: R11}, {Base: R11, Index: width, Scale: 1}, {Base: R11, Index: width, Scale: 2}, {Base: R11, Index: R9, Scale: 1}} {
		VMOVUPS(square.Z[i], K1, to)
	}
	for n := range kd.terms() { // the rows of the next quad
		LEAQ(Mem{Base: []Register{R10, R15}[n], Index: ld, Scale: uint8(4 * kd.terms())}, RCX)
		for i := range 4 {
			PREFETCHT0(row(RCX, i))
		}
	}
	ADDQ(R13, R10)
	ADDQ(R13, R15)
	ADDQ(stride, R11)
	SUBQ(U8(1), R14)
	JG(LabelRef("panel"))
	for range kd.terms() {
		LEAQ(Mem{Base: src, Index: ld, Scale: 4}, src)
	}
	LEAQ(Mem{Base: dst, Index: width, Scale: 4}, dst)
	JMP(LabelRef("quad"))
	Label("end")
	VZEROUPPER()
	RET()
}

func addTransposed512() {
	TEXT("addTransposed16", NOSPLIT, "func(dst *float32, ldd int, src *float32, lds, rows, cols int)")
	Pragma("noescape")
	Doc("addTransposed16 adds src[j·lds + i] to dst[i·ldd + j] for i < rows ≤ 16, j < cols ≤ 16; strides in bytes.")
	dst := Load(Param("dst"), RDI)
	ldd := Load(Param("ldd"), RAX)
	src := Load(Param("src"), RSI)
	lds := Load(Param("lds"), RDX)
	rows := Load(Param("rows"), RCX)
	cols := Load(Param("cols"), RBX)
	low(rows, K1)
	low(cols, K2)
	at := square.Rows(src, lds)
	loadRows(same, at, cols)
	for i, r := range square.Transpose() {
		if i > 0 {
			CMPQ(rows, U8(i))
			JLE(LabelRef("end"))
		}
		VADDPS_Z(Mem{Base: dst}, r, K2, r)
		VMOVUPS(r, K2, Mem{Base: dst})
		ADDQ(ldd, dst)
	}
	Label("end")
	VZEROUPPER()
	RET()
}
