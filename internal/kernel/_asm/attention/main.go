// Command attention writes the passes over one tile of scores for AVX-512: softmax with a running maximum, its gradient,
// and the addition of rows that lie skewed. A call is one tile, so that nothing is paid per row but the sum at its end.
//
// A vector of 16 scores takes one load, 12 arithmetic instructions of the exponential (2^x from a polynomial of degree 5,
// no division, no table), and one store; the maximum is a pass of its own before. The gradient reads scores and dP and writes
// P and dS over them.
package main

import (
	"math"
	"strconv"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"

	"github.com/secencoder/secencoder/internal/kernel/asm/evex"
)

// Registers that hold their value through a function: 16 sub, 17 delta, 18 scale of dropout, 19 factor of dP, 20 factor of
// scores, 21 least exponent, 22 one, 23 … 27 the coefficients of 2^r.
var (
	sub, delta, kept, inner, factor, least, one = Z16, Z17, Z18, Z19, Z20, Z21, Z22

	// (2^r − 1)/r on |r| ≤ ½, so that 1 + r·q(r) has the least relative error: 9.2e-8 before rounding.
	fit  = [5]float64{0.693146978, 0.240222421, 0.0555073374, 0.00967151266, 0.00132647269}
	fits = [5]VecPhysical{Z23, Z24, Z25, Z26, Z27}
)

func main() {
	ConstraintExpr("!noasm")
	softmax()
	grad()
	addRows()
	fetchRows()
	looks()
	Generate()
}

// constant broadcasts x.
func constant(x float64, to VecPhysical) {
	MOVL(U32(math.Float32bits(float32(x))), RAX.As32())
	VPBROADCASTD(RAX.As32(), to)
}

func arg(name string, to VecPhysical) {
	at, err := Param(name).Resolve()
	if err != nil {
		panic(err)
	}
	VBROADCASTSS(at.Addr, to)
}

// exponent loads what exp2 needs.
func exponent() {
	constant(-200, least)
	constant(1, one)
	for i, c := range fit {
		constant(c, fits[i])
	}
}

// exp2 emits x = 2^x; NaN stays NaN. n and q are scratch.
func exp2(x, n, q VecPhysical) {
	VMAXPS(x, least, x) // −Inf becomes 0 in the end; the second operand of the instruction is x: NaN passes
	VRNDSCALEPS(U8(8), x, n)
	VSUBPS(n, x, x)
	VMOVAPS(fits[4], q)
	for i := 3; i >= 0; i-- {
		VFMADD213PS(fits[i], x, q)
	}
	VFMADD213PS(one, x, q)
	VSCALEFPS(n, q, x)
}

// columns sets R15 to the bytes of the whole vectors of a row of BX columns and K2 to the lanes of the rest.
func columns() {
	MOVQ(RBX, R15)
	SHRQ(U8(4), R15)
	SHLQ(U8(6), R15)
	ANDQ(U8(15), RBX)
	XORL(EAX, EAX)
	BTSL(EBX, EAX)
	SUBL(U8(1), EAX)
	KMOVW(EAX, K2)
}

// each runs body over the vectors of a row: AX is the offset in bytes, the last, partial one has the lanes of K2.
func each(label string, body func(tail bool)) {
	XORQ(RAX, RAX)
	CMPQ(R15, U8(0))
	JE(LabelRef(label + "tail"))
	Label(label)
	body(false)
	ADDQ(U8(64), RAX)
	CMPQ(RAX, R15)
	JL(LabelRef(label))
	Label(label + "tail")
	TESTQ(RBX, RBX)
	JZ(LabelRef(label + "done"))
	body(true)
	Label(label + "done")
}

// fold emits the reduction of x into its lane 0.
func fold(x, t VecPhysical, op func(a, b, to Op)) {
	VEXTRACTF64X4(U8(1), x, t.AsY())
	op(t.AsY(), x.AsY(), x.AsY())
	VEXTRACTF128(U8(1), x.AsY(), t.AsX())
	op(t.AsX(), x.AsX(), x.AsX())
	VPSHUFD(U8(0x4e), x.AsX(), t.AsX())
	op(t.AsX(), x.AsX(), x.AsX())
	VPSHUFD(U8(0xb1), x.AsX(), t.AsX())
	op(t.AsX(), x.AsX(), x.AsX())
}

func at(p Register) Mem { return Mem{Base: p, Index: RAX, Scale: 1} }

// keepMask loads the 16 bits of the vector at AX: two bytes for 64.
func keepMask(keep Register) {
	MOVQ(RAX, RDX)
	SHRQ(U8(5), RDX)
	KMOVW(Mem{Base: keep, Index: RDX, Scale: 1}, K3)
}

// halves emits the rounding of x to 16 BF16 in the lower half of t. The instruction takes denormals for 0, as products of BF16
// do anyway.
func halves(x, t VecPhysical) VecPhysical {
	evex.VCVTNE2PS2BF16(x, x, t)
	return t.AsY().(VecPhysical)
}

// nextHalves leaves half of AX in DX: the place of a vector of BF16.
func nextHalves() {
	MOVQ(RAX, RDX)
	SHRQ(U8(1), RDX)
}

func halfAt(p Register) Mem { return Mem{Base: p, Index: RDX, Scale: 1} }

func softmax() {
	for v := range 4 {
		drop, half := v&1 != 0, v&2 != 0
		name, keeps, doc := "softmaxTile", "", ""
		if drop {
			name, keeps, doc = "softmaxTileDrop", ", keep *uint64, words int", "; s is 0 where keep, words of 64 columns a row, has no bit"
		}
		if half {
			name, doc = name+"Half", doc+"; s is left as BF16, in the first half of each row"
		}
		TEXT(name, NOSPLIT, "func(s *float32, ld, rows, cols int, row, col *float32, scale float32, m, l, alpha, sub *float32"+keeps+")")
		Pragma("noescape")
		Doc(name + " goes on with the softmax of rows: with x = scale·(s + row + col), m becomes max(m, x), alpha 2^(m before − m), " +
			"s 2^(x − m), l alpha·l + Σ s" + doc + ". ld is in bytes; vectors over rows are read and written in whole groups of 16.")
		s, ld := Load(Param("s"), RDI), Load(Param("ld"), RSI)
		rows := Load(Param("rows"), RCX)
		Load(Param("cols"), RBX)
		columns()
		row := Load(Param("row"), R8)
		exponent()
		arg("scale", factor)

		Comment("The largest element of each row, into alpha.")
		out := Load(Param("alpha"), R9)
		constant(math.Inf(-1), Z15)
		MOVQ(s, R10)
		Label("max")
		VMOVAPS(Z15, Z0)
		each("maxcol", func(tail bool) {
			if !tail {
				VMOVUPS(at(R10), Z1)
				VADDPS(at(row), Z1, Z1)
				VMAXPS(Z1, Z0, Z0)
				return
			}
			VMOVUPS_Z(at(R10), K2, Z1)
			VADDPS_Z(at(row), Z1, K2, Z1)
			VMAXPS(Z1, Z0, K2, Z0)
		})
		fold(Z0, Z1, func(a, b, to Op) { VMAXPS(a, b, to) })
		VMOVSS(X0, Mem{Base: out})
		ADDQ(U8(4), out)
		ADDQ(ld, R10)
		SUBQ(U8(1), rows)
		JG(LabelRef("max"))

		Comment("The maximum so far and what the sums so far shrink by.")
		Load(Param("rows"), RCX)
		col, m, alpha, subs := Load(Param("col"), R9), Load(Param("m"), R10), Load(Param("alpha"), R11), Load(Param("sub"), R12)
		XORQ(RAX, RAX)
		Label("scale")
		VMOVUPS(at(col), Z1)
		VADDPS(at(alpha), Z1, Z0)
		VMULPS(factor, Z0, Z0)
		VMOVUPS(at(m), Z2)
		VMAXPS(Z0, Z2, Z0)
		VMOVUPS(Z0, at(m))
		VSUBPS(Z0, Z2, Z2)
		VFNMADD213PS(Z0, factor, Z1) // m − scale·col
		VMOVUPS(Z1, at(subs))
		exp2(Z2, Z3, Z4)
		VMOVUPS(Z2, at(alpha))
		ADDQ(U8(64), RAX)
		SUBQ(U8(16), RCX)
		JG(LabelRef("scale"))

		Comment("The exponentials.")
		Load(Param("rows"), RCX)
		l := Load(Param("l"), R10)
		keep, words := R9, R13
		if drop {
			Load(Param("keep"), keep)
			Load(Param("words"), words)
		}
		Label("exp")
		VBROADCASTSS(Mem{Base: subs}, sub)
		VPXORD(Z0, Z0, Z0)
		each("expcol", func(tail bool) {
			x := Z1
			if drop {
				keepMask(keep)
			}
			VMOVUPS(at(s), x)
			VADDPS(at(row), x, x)
			VFMSUB213PS(sub, factor, x)
			exp2(x, Z2, Z3)
			if tail {
				VMOVAPS_Z(x, K2, x)
			}
			VADDPS(x, Z0, Z0)
			if drop {
				VMOVAPS_Z(x, K3, x)
			}
			if half {
				nextHalves()
				VMOVUPS(halves(x, Z2), halfAt(s))
			} else {
				VMOVUPS(x, at(s))
			}
		})
		fold(Z0, Z1, func(a, b, to Op) { VADDPS(a, b, to) })
		VMOVSS(Mem{Base: l}, X1)
		VMULSS(Mem{Base: alpha}, X1, X1)
		VADDSS(X1, X0, X0)
		VMOVSS(X0, Mem{Base: l})
		for _, p := range []Register{subs, l, alpha} {
			ADDQ(U8(4), p)
		}
		if drop {
			LEAQ(Mem{Base: keep, Index: words, Scale: 8}, keep)
		}
		ADDQ(ld, s)
		SUBQ(U8(1), rows)
		JG(LabelRef("exp"))
		VZEROUPPER()
		RET()
	}
}

func grad() {
	for v := range 8 {
		drop, sums, half := v&1 != 0, v&2 != 0, v&4 != 0
		name, more, doc := "gradTile", "", ""
		if drop {
			name, more = name+"Drop", ", keep *uint64, words int, kept float32"
			doc = " Where keep, words of 64 columns a row, has no bit, s becomes 0 and dp counts as 0, elsewhere s is times kept."
		}
		if sums {
			name, more = name+"Sums", more+", rowSum, colSum *float32"
			doc += " Sums of ds over rows and columns are added to rowSum and colSum."
		}
		if half {
			name, more = name+"Half", more+", half *uint16"
			doc += " s is left as BF16, in the first half of each row, and dp goes to half too, rounded, rows ld bytes apart: to the second " +
				"half of the row of s before."
		}
		TEXT(name, NOSPLIT, "func(s, dp *float32, ld, ldp, rows, cols int, row, sub, delta *float32, scale, inner float32"+more+")")
		Pragma("noescape")
		Doc(name + " sets p = 2^(scale·(s + row) − sub), dp = p·(inner·dp − delta), s = p; sub and delta are of each row." + doc + " Strides are in bytes.")
		s, dp := Load(Param("s"), RDI), Load(Param("dp"), RSI)
		rows := Load(Param("rows"), RCX)
		Load(Param("cols"), RBX)
		columns()
		row, subs, deltas := Load(Param("row"), R8), Load(Param("sub"), R9), Load(Param("delta"), R10)
		exponent()
		arg("scale", factor)
		arg("inner", inner)
		keep, rowSum, colSum, to := R11, R12, R13, R14
		if drop {
			Load(Param("keep"), keep)
			arg("kept", kept)
		}
		if half {
			Load(Param("half"), to)
		}
		if sums {
			Load(Param("rowSum"), rowSum)
			Load(Param("colSum"), colSum)
		}
		Label("row")
		VBROADCASTSS(Mem{Base: subs}, sub)
		VBROADCASTSS(Mem{Base: deltas}, delta)
		if sums {
			VPXORD(Z0, Z0, Z0)
		}
		each("col", func(tail bool) {
			x, d := Z1, Z4
			if drop {
				keepMask(keep)
			}
			VMOVUPS(at(s), x)
			VADDPS(at(row), x, x)
			VFMSUB213PS(sub, factor, x)
			exp2(x, Z2, Z3)
			if tail {
				VMOVAPS_Z(x, K2, x)
			}
			p := x
			if drop {
				p = Z5
				VMULPS_Z(kept, x, K3, p)
				VMOVUPS_Z(at(dp), K3, d)
			} else {
				VMOVUPS(at(dp), d)
			}
			if half {
				nextHalves()
				VMOVUPS(halves(p, Z6), halfAt(s))
			} else {
				VMOVUPS(p, at(s))
			}
			VFMSUB213PS(delta, inner, d)
			if tail {
				VMULPS_Z(x, d, K2, d)
			} else {
				VMULPS(x, d, d)
			}
			VMOVUPS(d, at(dp))
			if half {
				VMOVUPS(halves(d, Z6), halfAt(to))
			}
			if sums {
				VADDPS(d, Z0, Z0)
				VADDPS(at(colSum), d, d)
				VMOVUPS(d, at(colSum))
			}
		})
		if sums {
			fold(Z0, Z1, func(a, b, to Op) { VADDPS(a, b, to) })
			VADDSS(Mem{Base: rowSum}, X0, X0)
			VMOVSS(X0, Mem{Base: rowSum})
			ADDQ(U8(4), rowSum)
		}
		ADDQ(U8(4), subs)
		ADDQ(U8(4), deltas)
		if drop {
			Load(Param("words"), RDX)
			LEAQ(Mem{Base: keep, Index: RDX, Scale: 8}, keep)
		}
		for _, p := range []struct {
			name string
			p    Register
		}{{"ld", s}, {"ldp", dp}} {
			Load(Param(p.name), RDX)
			ADDQ(RDX, p.p)
			if half && p.name == "ld" {
				ADDQ(RDX, to)
			}
		}
		SUBQ(U8(1), rows)
		JG(LabelRef("row"))
		VZEROUPPER()
		RET()
	}
}

func addRows() {
	TEXT("addRows", NOSPLIT, "func(dst *float32, ldd int, src *float32, lds, rows, cols int)")
	Pragma("noescape")
	Doc("addRows adds row i of src to row i of dst, " + strconv.Itoa(16) + " columns at a time; strides are in bytes.")
	dst, src := Load(Param("dst"), RDI), Load(Param("src"), RSI)
	ldd, lds := Load(Param("ldd"), R8), Load(Param("lds"), R9)
	rows := Load(Param("rows"), RCX)
	Load(Param("cols"), RBX)
	columns()
	Label("row")
	each("col", func(tail bool) {
		if tail {
			VMOVUPS_Z(at(src), K2, Z0)
			VADDPS_Z(at(dst), Z0, K2, Z0)
			VMOVUPS(Z0, K2, at(dst))
			return
		}
		VMOVUPS(at(src), Z0)
		VADDPS(at(dst), Z0, Z0)
		VMOVUPS(Z0, at(dst))
	})
	ADDQ(ldd, dst)
	ADDQ(lds, src)
	SUBQ(U8(1), rows)
	JG(LabelRef("row"))
	VZEROUPPER()
	RET()
}

// fetchRows asks for what the rows of a tile will look up, so that these lines, each of another page, come while products run.
func fetchRows() {
	TEXT("fetchRows", NOSPLIT, "func(src *float32, lds int, index *int16, base, rows, lines int)")
	Pragma("noescape")
	Doc("fetchRows prefetches lines of 64 bytes from src + j·lds, in bytes, and element index[−j] − base on, for j < rows.")
	src, lds, index := Load(Param("src"), RDI), Load(Param("lds"), RSI), Load(Param("index"), RDX)
	base, rows, lines := Load(Param("base"), R8), Load(Param("rows"), RCX), Load(Param("lines"), R9)
	SHLQ(U8(2), base)
	SUBQ(base, src)
	Label("row")
	MOVWQSX(Mem{Base: index}, RAX)
	LEAQ(Mem{Base: src, Index: RAX, Scale: 4}, RBX)
	MOVQ(lines, R10)
	Label("line")
	PREFETCHT0(Mem{Base: RBX})
	ADDQ(U8(64), RBX)
	SUBQ(U8(1), R10)
	JG(LabelRef("line"))
	ADDQ(lds, src)
	SUBQ(U8(2), index)
	SUBQ(U8(1), rows)
	JG(LabelRef("row"))
	RET()
}
