package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"

	"github.com/secencoder/secencoder/internal/kernel/asm/evex"
)

var zmm = []VecPhysical{
	Z0, Z1, Z2, Z3, Z4, Z5, Z6, Z7, Z8, Z9, Z10, Z11, Z12, Z13, Z14, Z15,
	Z16, Z17, Z18, Z19, Z20, Z21, Z22, Z23, Z24, Z25, Z26, Z27, Z28, Z29, Z30, Z31,
}

// panel is the height of a panel of A.
const panel = 14

// order is how a tile finds A: in a panel, or where it lies, rows or terms lda bytes apart.
type order int

const (
	packed order = iota
	byRow
	byTerm
)

// tile512 writes C[m, n] = (bias or 0) + A·B (+ C): m ≤ rows, panels of 16 columns, mask with one bit per column. The
// panel of A is 14 rows high whatever rows is. Registers 0 … rows·panels−1 accumulate, the next hold B, the last two the
// broadcast element of A. With half, elements are pairs of BF16 and the instruction is VDPBF16PS.
//
// A term of the 14×32 tile is 28 multiply-adds against 16 loads: two ports of each, so the multipliers bind at 14 cycles.
// Operands in L1, Zen 5, one core: 14×32 makes 234 to 237 GFLOP/s for k from 64 to 512, of 239 that registers alone give;
// 14×16, which needs 15 loads for 14 multiply-adds, 208 to 220. VDPBF16PS at depths of 128 to 768 terms: 461 to 471 GFLOP/s,
// of 475 that registers alone give. A call lasts below 4 µs for k ≤ 256.
//
// Where A lies is one of three orders. In a panel the terms of 14 rows follow one another. By row and by term they are read
// where the caller has them, by way of four pointers four rows apart, or of one pointer that steps from term to term: the
// same loads, none of them twice, and no panel to be written first. A line of 64 bytes then serves 16 words of one row, or
// the 14 rows of one term. Reading from the L2 cache costs nothing that shows, not even where all rows share places in the
// L1 cache: at a stride of 12 KiB both ways take the same time within 1 %.
//
// The tile of C is asked for before the first term, the lines of B that the caller needs next (at next, two a round of
// four terms) on the way: both then wait in the caches. Rows of C a multiple of 4 KiB apart share places in the L1 cache, 14
// lines in 12, and would push each other and the operands out: those are asked for no nearer than the L2 cache, which gains
// 4 % of dW of 512×3,072×768 on one core whose caches other products have filled, BF16 and float32.
// Whole panels of 14 rows, one under the other, are one call: what Go does for a call was 3 to 4 % of a product of 64 terms.
// Tried: all tiles of C asked for into the L2 cache: 1 % slower in the mean of y, dX and dW; results of one block of terms
// stored past the caches: 1 to 2 % more of that dW in BF16, nothing of others.
func tile512(name string, rows, panels int, half bool, from order, whole bool) {
	args, count, asks := "a, b", "m", "next"
	if from != packed {
		args = "a *float32, lda int, b"
	}
	if whole {
		count, asks = "panels", "next, end"
	}
	TEXT(name, NOSPLIT, fmt.Sprintf("func(k int, %s *float32, stride int, c *float32, ldc int, bias *float32, %s int, mask uint32, add int, %s *float32)", args, count, asks))
	Pragma("noescape")
	what := map[order]string{byRow: " Row i of A begins i·lda bytes after a.", byTerm: " Term p of A begins p·lda bytes after a."}[from]
	pairs := ""
	if half {
		pairs = " of pairs of BF16, of which there are k"
	}
	high, asked := fmt.Sprintf("with m ≤ %d rows", rows), "next is prefetched"
	if whole {
		high = fmt.Sprintf("of %d rows for each of some panels of A", rows)
		asked = "from next on memory is prefetched, and from b on again where that passes end between panels"
	}
	Doc(fmt.Sprintf("%s sets the tile of C %s and the columns of mask to bias + A·B%s, or adds that to it. The "+
		"second panel of B begins stride bytes after the first; ldc is in bytes; %s.%s", name, high, pairs, asked, what))
	a := Load(Param("a"), RSI)
	stride := Load(Param("stride"), R8)
	c := Load(Param("c"), RDX)
	ldc := Load(Param("ldc"), R9)
	var left Register // rows of the tile
	if !whole {
		left = Load(Param("m"), R11)
	}
	mask := Load(Param("mask"), R12.As32())
	next := Load(Param("next"), RBX)
	KMOVW(mask, K1)
	SHRL(U8(16), mask)
	KMOVW(mask, K2)
	masks := []Op{K1, K2}

	acc := func(i, p int) VecPhysical { return zmm[i*panels+p] }
	bv := zmm[rows*panels : rows*panels+panels]
	bc := zmm[30:32]
	// lower goes on to row i+1, or to a label where there is none.
	lower := func(i int, row Register, done string) {
		if i+1 == rows && !whole {
			return
		}
		if !whole {
			CMPQ(left, U8(i+1))
			JLE(LabelRef(done))
		}
		ADDQ(ldc, row)
	}

	first := R11 // what a panel begins at, where the pointers leave it
	if whole && from != packed {
		MOVQ(a, first)
	}
	Label("panel")
	k := Load(Param("k"), RAX)
	b := Load(Param("b"), RDI)
	bias := Load(Param("bias"), R10)

	Comment("Ask for the tile of C.")
	MOVQ(c, RCX)
	TESTQ(U32(4095), ldc)
	JZ(LabelRef("aliases"))
	for at, ask := range []func(Op){PREFETCHT0, PREFETCHT1} {
		if at == 1 {
			JMP(LabelRef("asked"))
			Label("aliases")
		}
		for i := range rows {
			for p := range panels {
				ask(Mem{Base: RCX, Disp: 64 * p})
			}
			if i+1 < rows {
				lower(i, RCX, "asked")
			}
		}
	}
	Label("asked")

	Comment("Start from the bias, or from zero.")
	TESTQ(bias, bias)
	JZ(LabelRef("zero"))
	for p := range panels {
		VMOVUPS_Z(Mem{Base: bias, Disp: 64 * p}, masks[p], acc(0, p))
	}
	for i := 1; i < rows; i++ {
		for p := range panels {
			VMOVAPS(acc(0, p), acc(i, p))
		}
	}
	JMP(LabelRef("begin"))
	Label("zero")
	for i := range rows {
		for p := range panels {
			VPXORD(acc(i, p), acc(i, p), acc(i, p))
		}
	}
	Label("begin")

	at := func(u, i int) Mem { return Mem{Base: a, Disp: 4 * (panel*u + i)} }
	ahead := func(terms int) { ADDQ(U32(uint32(4*panel*terms)), a) }
	switch from {
	case byRow:
		Comment("Pointers to rows 0, 4, 8 and 12, and three times the stride.")
		pointers, three := []Register{a, R12, R13, R14}, R15
		lda := Load(Param("lda"), R10)
		LEAQ(Mem{Base: lda, Index: lda, Scale: 2}, three)
		for i := range 3 {
			LEAQ(Mem{Base: pointers[i], Index: lda, Scale: 4}, pointers[i+1])
		}
		at = func(u, i int) Mem {
			row := Mem{Base: pointers[i/4], Disp: 4 * u}
			switch i % 4 {
			case 1, 2:
				row.Index, row.Scale = lda, uint8(i%4)
			case 3:
				row.Index, row.Scale = three, 1
			}
			return row
		}
		ahead = func(terms int) {
			for _, p := range pointers {
				ADDQ(U8(4*terms), p)
			}
		}
	case byTerm:
		lda := Load(Param("lda"), R10)
		LEAQ(Mem{Base: lda, Index: lda, Scale: 2}, R15)
		at = func(u, i int) Mem {
			col := Mem{Base: a, Disp: 4 * i}
			switch u {
			case 1, 2:
				col.Index, col.Scale = lda, uint8(u)
			case 3:
				col.Index, col.Scale = R15, 1
			}
			return col
		}
		ahead = func(terms int) { LEAQ(Mem{Base: a, Index: lda, Scale: uint8(terms)}, a) }
	}
	step := func(u int) {
		VMOVUPS(Mem{Base: b, Disp: 64 * u}, bv[0])
		if panels == 2 {
			VMOVUPS(Mem{Base: b, Index: stride, Scale: 1, Disp: 64 * u}, bv[1])
		}
		for i := range rows {
			v := bc[i%2]
			VBROADCASTSS(at(u, i), v)
			for p := range panels {
				if half {
					evex.VDPBF16PS(v, bv[p], acc(i, p))
				} else {
					VFMADD231PS(v, bv[p], acc(i, p))
				}
			}
		}
	}
	const unroll = 4
	Label("loop")
	SUBQ(U8(unroll), k)
	JL(LabelRef("rest"))
	for u := range unroll {
		step(u)
		if u%2 == 0 {
			PREFETCHT1(Mem{Base: next, Disp: 32 * u})
		}
	}
	ahead(unroll)
	ADDQ(U32(64*unroll), b)
	SUBQ(I8(-128), next)
	JMP(LabelRef("loop"))
	Label("rest")
	ADDQ(U8(unroll), k)
	Label("one")
	SUBQ(U8(1), k)
	JL(LabelRef("store"))
	step(0)
	ahead(1)
	ADDQ(U32(64), b)
	JMP(LabelRef("one"))

	Label("store")
	add := Load(Param("add"), R13)
	TESTQ(add, add)
	JZ(LabelRef("set"))
	for i := range rows {
		for p := range panels {
			VADDPS_Z(Mem{Base: c, Disp: 64 * p}, acc(i, p), masks[p], acc(i, p))
			VMOVUPS(acc(i, p), masks[p], Mem{Base: c, Disp: 64 * p})
		}
		lower(i, c, "done")
	}
	JMP(LabelRef("done"))
	Label("set")
	for i := range rows {
		for p := range panels {
			VMOVUPS(acc(i, p), masks[p], Mem{Base: c, Disp: 64 * p})
		}
		lower(i, c, "done")
	}
	Label("done")
	if whole {
		again(from, first, a)
	}
	VZEROUPPER()
	RET()
}

// again emits the step to the panel of A below, which begins where first says unless it follows the one before, and the end
// of the loop over panels.
func again(from order, first, a Register) {
	switch from {
	case byRow:
		lda := Load(Param("lda"), R10)
		LEAQ(Mem{Base: lda, Index: lda, Scale: 2}, R15)
		LEAQ(Mem{Base: first, Index: lda, Scale: 8}, first)
		LEAQ(Mem{Base: first, Index: R15, Scale: 2}, first)
		MOVQ(first, a)
	case byTerm:
		ADDQ(U8(4*panel), first)
		MOVQ(first, a)
	}
	Load(Param("b"), RCX)
	CMPQ(RBX, param("end"))
	CMOVQGT(RCX, RBX)
	SUBQ(U8(1), param("panels"))
	JG(LabelRef("panel"))
}

// param returns a parameter where it lies.
func param(name string) Mem {
	b, err := Param(name).Resolve()
	if err != nil {
		panic(err)
	}
	return b.Addr
}

// peak512 writes the loop that measures the peak: 24 independent chains of multiply-adds in registers.
func peak512(name, doc string, half bool) {
	TEXT(name, NOSPLIT, "func(n int)")
	Doc(doc)
	n := Load(Param("n"), RAX)
	for i := range 24 {
		VPXORD(zmm[i], zmm[i], zmm[i])
	}
	VPXORD(Z30, Z30, Z30)
	VPXORD(Z31, Z31, Z31)
	Label("loop")
	for i := range 24 {
		if half {
			evex.VDPBF16PS(Z30, Z31, zmm[i])
		} else {
			VFMADD231PS(Z30, Z31, zmm[i])
		}
	}
	SUBQ(U8(1), n)
	JG(LabelRef("loop"))
	VZEROUPPER()
	RET()
}
