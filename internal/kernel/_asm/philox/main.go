// Command philox writes Philox4x32-10 in vectors and the dropout that reads it. A lane of 64 bits holds one call: the
// product of the lower halves leaves the high word in the upper half and the low word below, and nobody ever has to
// clear an upper half, because the next multiplication does not read it.
//
// Ten rounds of two multiplications, two shifts and two three-way exclusive-ors (four in AVX2) make eight (four) calls of
// four words. Zen 5, one core, ns an element with the select and the scaling: AVX-512 0.35, AVX2 0.85, plain Go 4.3.
// Bound by the multipliers and the shifts; 8 bytes an element make 23 GB/s.
package main

import (
	"flag"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

var isa = flag.String("isa", "avx512", "instruction set: avx512 or avx2")

var zmm = []VecPhysical{
	Z0, Z1, Z2, Z3, Z4, Z5, Z6, Z7, Z8, Z9, Z10, Z11, Z12, Z13, Z14, Z15,
	Z16, Z17, Z18, Z19, Z20, Z21, Z22, Z23, Z24, Z25, Z26, Z27, Z28, Z29, Z30, Z31,
}
var ymm = []VecPhysical{Y0, Y1, Y2, Y3, Y4, Y5, Y6, Y7, Y8, Y9, Y10, Y11, Y12, Y13, Y14, Y15}

func main() {
	flag.Parse()
	ConstraintExpr("!noasm")
	wide := *isa == "avx512"
	g := &generator{wide: wide, calls: 4}
	if wide {
		g.calls = 8
	}
	g.tables()
	g.words()
	g.dropout()
	Generate()
}

// generator emits for vectors of calls calls; chains of them run side by side.
type generator struct {
	wide  bool
	calls int
	order Mem // added to the first call index: the calls of a chain, so that two unpackings put their words in order
	mul   [2]Mem
	keys  string
}

const chains = 2

func (g *generator) v(i int) VecPhysical {
	if g.wide {
		return zmm[i]
	}
	return ymm[i]
}

func (g *generator) tables() {
	order := []uint64{0, 4, 1, 5, 2, 6, 3, 7}
	if !g.wide {
		order = []uint64{0, 2, 1, 3}
	}
	g.order = GLOBL("order", 8|16)
	for i, x := range order {
		DATA(8*i, U64(x))
	}
	for i, x := range []uint64{0xD2511F53, 0xCD9E8D57} {
		g.mul[i] = GLOBL([]string{"mul0", "mul1"}[i], 8|16)
		for l := range g.calls {
			DATA(8*l, U64(x))
		}
	}
}

func (g *generator) xor(a, b Op, to VecPhysical) {
	if g.wide {
		VPXORQ(a, b, to)
	} else {
		VPXOR(a, b, to)
	}
}

// broadcast puts a 32-bit general register into the lower half of each lane, its upper half 0.
func (g *generator) broadcast(r GPPhysical, to VecPhysical) {
	MOVL(r.As32(), r.As32())
	VMOVQ(r, to.AsX())
	VPBROADCASTQ(to.AsX(), to)
}

// rounds emits the ten rounds of all chains. Chain c has its counter in registers 4c … 4c+3; low is the register of the
// low counter word of chain 0, which it copies. k0, k1 (R14, R11) are copied and stepped. Scratch: registers 8, 9, 12.
func (g *generator) rounds(k0, k1 GPPhysical) {
	a, b := GPPhysical(RBX), GPPhysical(R12)
	MOVL(k0.As32(), a.As32())
	MOVL(k1.As32(), b.As32())
	p, q, key0, key1 := g.v(8), g.v(9), g.v(10), g.v(11)
	for round := range 10 {
		g.broadcast(a, key0)
		g.broadcast(b, key1)
		for c := range chains {
			c0, c1, c2, c3 := g.v(4*c), g.v(4*c+1), g.v(4*c+2), g.v(4*c+3)
			VPMULUDQ(g.mul[0], c0, p) // hi0:lo0
			VPMULUDQ(g.mul[1], c2, q) // hi1:lo1
			VPSRLQ(U8(32), q, c0)
			VPSRLQ(U8(32), p, c2)
			if g.wide {
				VPTERNLOGQ(U8(0x96), c1, key0, c0)
				VPTERNLOGQ(U8(0x96), c3, key1, c2)
			} else {
				g.xor(c1, c0, c0)
				g.xor(key0, c0, c0)
				g.xor(c3, c2, c2)
				g.xor(key1, c2, c2)
			}
			if g.wide {
				VMOVDQA64(q, c1)
				VMOVDQA64(p, c3)
			} else {
				VMOVDQA(q, c1)
				VMOVDQA(p, c3)
			}
		}
		if round < 9 {
			ADDL(U32(0x9E3779B9), a.As32())
			ADDL(U32(0xBB67AE85), b.As32())
		}
	}
}

// join emits the words of chain c in order: into its registers 4c and 4c+1.
func (g *generator) join(c int) {
	c0, c1, c2, c3 := g.v(4*c), g.v(4*c+1), g.v(4*c+2), g.v(4*c+3)
	VPSLLQ(U8(32), c1, c1)
	VPSLLQ(U8(32), c3, c3)
	if g.wide {
		VPBLENDMD(c1, c0, K2, c0)
		VPBLENDMD(c3, c2, K2, c2)
	} else {
		VPBLENDD(U8(0xaa), c1, c0, c0)
		VPBLENDD(U8(0xaa), c3, c2, c2)
	}
	VPUNPCKHQDQ(c2, c0, c1)
	VPUNPCKLQDQ(c2, c0, c0)
}

// begin emits the start of a function: parameters into registers, constants.
// R8 call index, R9 its upper word, R10 step, SI site, R14 and R11 the key.
func (g *generator) begin() {
	Load(Param("call"), R8)
	Load(Param("step"), R10.As32())
	Load(Param("site"), R9.As32())
	Load(Param("key0"), R14.As32())
	Load(Param("key1"), R11.As32())
	if g.wide {
		MOVL(U32(0xaaaa), RBX.As32())
		KMOVW(RBX.As32(), K2)
	}
}

// counters emits the counters of both chains from call index R8, and steps it. The upper half of a lane is the upper
// counter word of the call: no carry can be lost.
func (g *generator) counters() {
	for c := range chains {
		c0, c1, c2, c3 := g.v(4*c), g.v(4*c+1), g.v(4*c+2), g.v(4*c+3)
		VMOVQ(R8, c0.AsX())
		VPBROADCASTQ(c0.AsX(), c0)
		VPADDQ(g.order, c0, c0)
		VPSRLQ(U8(32), c0, c1)
		g.broadcast(R10, c2)
		g.broadcast(R9, c3)
		ADDQ(U8(uint8(g.calls)), R8)
	}
}

func (g *generator) words() {
	TEXT("philoxWords", NOSPLIT, "func(dst *uint32, groups int, call uint64, step, site, key0, key1 uint32)")
	Pragma("noescape")
	n := chains * g.calls * 4
	Doc("philoxWords writes the words of consecutive calls, " + map[int]string{64: "64", 32: "32"}[n] + " a group.")
	dst := Load(Param("dst"), RDI)
	groups := Load(Param("groups"), RCX)
	g.begin()
	Label("group")
	SUBQ(U8(1), groups)
	JL(LabelRef("end"))
	g.counters()
	g.rounds(R14.(GPPhysical), R11.(GPPhysical))
	for c := range chains {
		g.join(c)
		for i := range 2 {
			g.storeInt(g.v(4*c+i), Mem{Base: dst, Disp: (2*c + i) * g.calls * 8})
		}
	}
	ADDQ(U32(uint32(4*n)), dst)
	JMP(LabelRef("group"))
	Label("end")
	VZEROUPPER()
	RET()
}

func (g *generator) storeInt(r VecPhysical, at Mem) {
	VMOVUPS(r, at)
}

func (g *generator) dropout() {
	TEXT("philoxDropout", NOSPLIT, "func(dst, src *float32, groups int, call uint64, step, site, key0, key1, threshold uint32, scale float32)")
	Pragma("noescape")
	Doc("philoxDropout sets dst = src·scale where the word of the element is at least threshold, else 0; groups as in philoxWords.")
	dst := Load(Param("dst"), RDI)
	src := Load(Param("src"), RSI)
	groups := Load(Param("groups"), RCX)
	g.begin()
	scale, err := Param("scale").Resolve()
	if err != nil {
		panic(err)
	}
	VBROADCASTSS(scale.Addr, g.v(13))
	threshold, err := Param("threshold").Resolve()
	if err != nil {
		panic(err)
	}
	VBROADCASTSS(threshold.Addr, g.v(14))
	Label("group")
	SUBQ(U8(1), groups)
	JL(LabelRef("end"))
	g.counters()
	g.rounds(R14.(GPPhysical), R11.(GPPhysical))
	for c := range chains {
		g.join(c)
		for i := range 2 {
			w := g.v(4*c + i)
			disp := (2*c + i) * g.calls * 8
			if g.wide {
				VPCMPUD(U8(5), g.v(14), w, K1) // word ≥ threshold
				VMOVUPS_Z(Mem{Base: src, Disp: disp}, K1, w)
				VMULPS(g.v(13), w, w)
				VMOVUPS(w, Mem{Base: dst, Disp: disp})
				continue
			}
			VPMAXUD(g.v(14), w, g.v(12))
			VPCMPEQD(g.v(12), w, w)
			VMOVUPS(Mem{Base: src, Disp: disp}, g.v(12))
			VMULPS(g.v(13), g.v(12), g.v(12))
			VANDPS(g.v(12), w, w)
			VMOVUPS(w, Mem{Base: dst, Disp: disp})
		}
	}
	n := chains * g.calls * 4
	ADDQ(U32(uint32(4*n)), dst)
	ADDQ(U32(uint32(4*n)), src)
	JMP(LabelRef("group"))
	Label("end")
	VZEROUPPER()
	RET()
}
