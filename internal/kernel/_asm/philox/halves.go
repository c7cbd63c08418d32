package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

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
