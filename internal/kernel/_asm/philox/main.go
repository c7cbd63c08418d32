// Command philox writes Philox4x32-10 in vectors and the dropout that reads it. A lane of 64 bits holds one call: the
// product of the lower halves leaves the high word in the upper half and the low word below, and nobody ever has to
// clear an upper half, because the next multiplication does not read it.
//
// Each round but the first is two multiplications, two shuffles and two three-way exclusive-ors (four in AVX2) of eight
// (four) calls of four words. Zen 5, one core, operands in L1, ns an element with the select and the scaling: AVX-512
// 0.22, AVX2 0.63, plain Go 4.5. With nothing but the instructions' throughput it would be 0.15 and 0.39.
// Tried: two chains, shifts, keys from general registers in each round: 0.35 and 0.85. Those with the keys and factors as
// operands in memory, shifts: 0.29; factors in registers, keys broadcast once a round, shuffles, which have twice the ports
// of shifts: 0.23; step after step over all chains instead of chain after chain: 0.24.
package main

import (
	"flag"
	"strconv"

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
	g := &generator{wide: wide, calls: 4, chain: make([][4]VecPhysical, 2)}
	if wide {
		g.calls, g.chain = 8, make([][4]VecPhysical, 4)
	}
	g.tables()
	g.dropout()
	g.keep()
	if wide {
		g.halves()
	} else {
		g.dropoutHalves()
	}
	Generate()
}

// generator emits for vectors of calls calls; chains of them run side by side.
type generator struct {
	wide  bool
	calls int
	order Mem // added to the first call index: the calls of a chain, so that two unpackings put their words in order
	mul   [2]VecPhysical
	keys  Mem   // the two keys of each round, in the frame
	first [3]Op // of the first round: what meets counter word 1; the new word 1; what meets the upper half of the product
	chain [][4]VecPhysical
	free  []VecPhysical
	steps []Register // calls from each chain to the next one; nil: the calls of a chain
}

const rounds = 10

// Registers 11 and 12 hold the factors, 27 to 29 the first round, 30 and 31 the keys of another, 13 to 15 are the callers'; the chains' change hands.
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
}

// broadcast puts a 32-bit general register into the lower half of each lane, its upper half 0.
func (g *generator) broadcast(r GPPhysical, to VecPhysical) {
	MOVL(r.As32(), r.As32())
	VMOVQ(r, to.AsX())
	VPBROADCASTQ(to.AsX(), to)
}

// rounds emits the ten rounds of all chains. A product becomes a counter word where it stands, so each round leaves two
// other registers free; nothing is copied. The first round of the step and the site is the same for all calls.
func (g *generator) rounds() {
	for c := range g.chain {
		x := &g.chain[c]
		VPMULUDQ(g.mul[0], x[0], x[3])
		VPSRLQ(U8(32), x[0], x[1])
		g.xor(g.first[0], x[1], x[0])
		g.move(g.first[1], x[1])
		VPSHUFD(U8(0xb1), x[3], x[2])
		g.xor(g.first[2], x[2], x[2])
	}
	for round := 1; round < rounds; round++ {
		key0, key1 := Op(g.key(2*round)), Op(g.key(2*round+1))
		if g.wide {
			VPBROADCASTQ(key0, zmm[30])
			VPBROADCASTQ(key1, zmm[31])
			key0, key1 = zmm[30], zmm[31]
		}
		for c := range g.chain {
			x := &g.chain[c]
			p, q := g.free[0], g.free[1]
			VPMULUDQ(g.mul[0], x[0], p) // hi0:lo0
			VPMULUDQ(g.mul[1], x[2], q) // hi1:lo1
			VPSHUFD(U8(0xb1), q, x[0])
			VPSHUFD(U8(0xb1), p, x[2])
			g.mix(x[1], key0, x[0])
			g.mix(x[3], key1, x[2])
			g.free = append(g.free[2:], x[1], x[3])
			x[1], x[3] = q, p
		}
	}
}

func (g *generator) xor(a Op, b, to VecPhysical) {
	if g.wide {
		VPXORQ(a, b, to)
	} else {
		VPXOR(a, b, to)
	}
}

func (g *generator) move(from Op, to VecPhysical) {
	if g.wide {
		VMOVDQA64(from, to)
	} else {
		VMOVDQU(from, to)
	}
}

// mix emits x ^= a ^ key.
func (g *generator) mix(a VecPhysical, key Op, x VecPhysical) {
	if g.wide {
		VPTERNLOGQ(U8(0x96), key, a, x)
	} else {
		VPXOR(key, a, a)
		VPXOR(a, x, x)
	}
}

// key returns the place of a key: one 64-bit word, or a whole vector.
func (g *generator) key(i int) Mem {
	if g.wide {
		return g.keys.Offset(8 * i)
	}
	return g.keys.Offset(32 * i)
}

// join emits the words of chain c in order and returns their two registers.
func (g *generator) join(c int) [2]VecPhysical {
	x := g.chain[c]
	VPSLLQ(U8(32), x[1], x[1])
	VPSLLQ(U8(32), x[3], x[3])
	if g.wide {
		VPBLENDMD(x[1], x[0], K2, x[0])
		VPBLENDMD(x[3], x[2], K2, x[2])
	} else {
		VPBLENDD(U8(0xaa), x[1], x[0], x[0])
		VPBLENDD(U8(0xaa), x[3], x[2], x[2])
	}
	VPUNPCKHQDQ(x[2], x[0], x[1])
	VPUNPCKLQDQ(x[2], x[0], x[0])
	return [2]VecPhysical{x[0], x[1]}
}

// begin emits the start of a function: parameters into registers, the keys of all rounds into the frame, the first round
// of the step and the site. R8 is the call index.
func (g *generator) begin() {
	Load(Param("call"), R8)
	step := Load(Param("step"), R10.As32()).(GPPhysical).As64().(GPPhysical)
	site := Load(Param("site"), R9.As32()).(GPPhysical).As64().(GPPhysical)
	Load(Param("key0"), R14.As32())
	Load(Param("key1"), R11.As32())
	size := 32
	if g.wide {
		size = 8
		MOVL(U32(0xaaaa), RBX.As32())
		KMOVW(RBX.As32(), K2)
	}
	g.keys = AllocLocal((2*rounds + 1) * size)
	for i, x := range []uint32{0xD2511F53, 0xCD9E8D57} {
		g.mul[i] = g.v(11 + i)
		MOVL(U32(x), RBX.As32())
		g.broadcast(RBX, g.mul[i])
	}
	Comment("The first round: low half of the product, upper half with key 0, site with key 1.")
	IMULQ(step, RBX)
	XORL(R11.As32(), R9.As32())
	MOVL(RBX.As32(), R12.As32())
	SHRQ(U8(32), RBX)
	XORL(R14.As32(), RBX.As32())
	for i, k := range []GPPhysical{RBX, R12, site} {
		if g.wide {
			g.first[i] = zmm[27+i]
			g.broadcast(k, zmm[27+i])
			continue
		}
		g.first[i] = g.key([]int{0, 1, 2 * rounds}[i])
		g.broadcast(k, Y0)
		VMOVDQU(Y0, g.first[i].(Mem))
	}
	for round := 1; round < rounds; round++ {
		for i, k := range []GPPhysical{R14, R11} {
			ADDL(U32([]uint32{0x9E3779B9, 0xBB67AE85}[i]), k.As32())
			if g.wide {
				MOVQ(k, g.key(2*round+i))
			} else {
				g.broadcast(k, Y0)
				VMOVDQU(Y0, g.key(2*round+i))
			}
		}
	}
}

// counters emits the call indices of all chains from R8, and steps it. The upper half of a lane is the upper counter word
// of the call: no carry can be lost.
func (g *generator) counters() {
	g.free = nil
	for i := range 11 {
		g.free = append(g.free, g.v(i))
	}
	if g.wide {
		g.free = append(g.free, zmm[16:27]...)
	}
	for c := range g.chain {
		x := &g.chain[c]
		copy(x[:], g.free)
		g.free = g.free[4:]
		VMOVQ(R8, x[0].AsX())
		VPBROADCASTQ(x[0].AsX(), x[0])
		VPADDQ(g.order, x[0], x[0])
		if g.steps != nil {
			ADDQ(g.steps[c], R8)
		} else {
			ADDQ(U8(uint8(g.calls)), R8)
		}
	}
}

// groups emits a function that runs body on the vectors of words of each group, in order, and moves the pointers by so
// many bytes. Loads are the caller's, after begin.
func (g *generator) groups(n Register, body func(i int, w VecPhysical), pointers []Register, bytes int) {
	Label("group")
	SUBQ(U8(1), n)
	JL(LabelRef("end"))
	g.counters()
	g.rounds()
	for c := range g.chain {
		for i, w := range g.join(c) {
			body(2*c+i, w)
		}
	}
	for _, p := range pointers {
		ADDQ(U32(uint32(bytes)), p)
	}
	JMP(LabelRef("group"))
	Label("end")
	VZEROUPPER()
	RET()
}

// perGroup is the number of words of a group.
func (g *generator) perGroup() int { return len(g.chain) * g.calls * 4 }

// broadcastArg puts a parameter of 32 bits into every lane.
func broadcastArg(name string, to VecPhysical) {
	at, err := Param(name).Resolve()
	if err != nil {
		panic(err)
	}
	VBROADCASTSS(at.Addr, to)
}

func (g *generator) dropout() {
	TEXT("philoxDropout", NOSPLIT, "func(dst, src *float32, groups int, call uint64, step, site, key0, key1, threshold uint32, scale float32)")
	Pragma("noescape")
	Doc("philoxDropout sets dst = src·scale where the word of the element is at least threshold, else 0, " + strconv.Itoa(g.perGroup()) + " elements a group.")
	dst := Load(Param("dst"), RDI)
	src := Load(Param("src"), RSI)
	groups := Load(Param("groups"), RCX)
	g.begin()
	scale, threshold, t := g.v(13), g.v(14), g.v(15)
	broadcastArg("scale", scale)
	broadcastArg("threshold", threshold)
	g.groups(groups, func(i int, w VecPhysical) {
		from, to := Mem{Base: src, Disp: i * g.calls * 8}, Mem{Base: dst, Disp: i * g.calls * 8}
		if g.wide {
			VPCMPUD(U8(5), threshold, w, K1) // word ≥ threshold
			VMULPS_Z(from, scale, K1, w)
		} else {
			VPMAXUD(threshold, w, t)
			VPCMPEQD(t, w, w)
			VMULPS(from, scale, t)
			VANDPS(t, w, w)
		}
		VMOVUPS(w, to)
	}, []Register{dst, src}, 4*g.perGroup())
}

func (g *generator) keep() {
	TEXT("philoxKeep", NOSPLIT, "func(dst *byte, groups int, call uint64, step, site, key0, key1, threshold uint32)")
	Pragma("noescape")
	Doc("philoxKeep sets the bits of words that are at least threshold, " + strconv.Itoa(g.perGroup()) + " a group.")
	dst := Load(Param("dst"), RDI)
	groups := Load(Param("groups"), RCX)
	g.begin()
	threshold, t := g.v(14), g.v(15)
	broadcastArg("threshold", threshold)
	g.groups(groups, func(i int, w VecPhysical) {
		to := Mem{Base: dst, Disp: i * g.calls / 4}
		if g.wide {
			VPCMPUD(U8(5), threshold, w, K1)
			KMOVW(K1, to)
		} else {
			VPMAXUD(threshold, w, t)
			VPCMPEQD(t, w, w)
			VMOVMSKPS(w, RBX.As32())
			MOVB(RBX.As8(), to)
		}
	}, []Register{dst}, g.perGroup()/8)
}
