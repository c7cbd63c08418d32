package main

import (
	"strconv"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// dropoutHalves writes the dropout of attention for AVX2, which has no masks of bits: two decisions a word.
func (g *generator) dropoutHalves() {
	TEXT("philoxDropoutHalves", NOSPLIT, "func(dst, src *float32, groups int, call uint64, step, site, key0, key1, threshold uint32, scale float32)")
	Pragma("noescape")
	Doc("philoxDropoutHalves sets dst = src·scale where the half-word of the element is at least threshold, else 0, " + strconv.Itoa(2*g.perGroup()) + " elements a group.")
	dst := Load(Param("dst"), RDI)
	src := Load(Param("src"), RSI)
	groups := Load(Param("groups"), RCX)
	g.begin()
	scale, threshold, t := g.v(13), g.v(14), g.v(15)
	broadcastArg("scale", scale)
	VMOVD(Load(Param("threshold"), RBX.As32()), threshold.AsX())
	VPBROADCASTW(threshold.AsX(), threshold)
	g.groups(groups, func(i int, w VecPhysical) {
		x := g.free[0]
		VPMAXUW(threshold, w, t)
		VPCMPEQW(t, w, w)
		for half := range 2 {
			disp := i*g.calls*16 + 32*half
			if half == 1 {
				VEXTRACTI128(U8(1), w, w.AsX())
			}
			VPMOVSXWD(w.AsX(), t)
			VMULPS(Mem{Base: src, Disp: disp}, scale, x)
			VANDPS(t, x, x)
			VMOVUPS(x, Mem{Base: dst, Disp: disp})
		}
	}, []Register{dst, src}, 8*g.perGroup())
}

// halves writes the masks of attention's dropout: bit j of a row says that half-word j of its calls is at least threshold.
// A chain makes 8 calls, 64 columns; where rows are short, the chains of one group are of several rows, which follow one
// another 8,192 calls apart.
func (g *generator) halves() {
	TEXT("philoxHalves", NOSPLIT, "func(dst *uint64, groups int, call uint64, inner, outer, next int, step, site, key0, key1, threshold uint32)")
	Pragma("noescape")
	Doc("philoxHalves sets bit i of word c of a group where half-word i of the 8 calls of chain c is at least threshold. The calls of " +
		"the four chains begin inner, outer, inner after one another, those of the next group next after the last.")
	dst := Load(Param("dst"), RDI)
	groups := Load(Param("groups"), RCX)
	g.begin()
	inner, outer, next := Load(Param("inner"), RDX), Load(Param("outer"), RSI), Load(Param("next"), R13)
	threshold := g.v(14)
	VPBROADCASTW(Load(Param("threshold"), RBX.As32()), threshold)
	g.steps = []Register{inner, outer, inner, next}
	g.groups(groups, func(i int, w VecPhysical) {
		VPCMPUW(U8(5), threshold, w, K1)
		KMOVD(K1, Mem{Base: dst, Disp: 4 * i})
	}, []Register{dst}, g.perGroup()/4)
	g.steps = nil
}
