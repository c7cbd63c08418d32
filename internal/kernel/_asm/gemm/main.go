// Command gemm writes the matrix-product micro-kernels and the packing routines of one instruction set.
//
// Layout that all of them share. A panel of B is 16 columns wide: element (p, j) stands at p·16 + j. A panel of A is MR
// rows high: element (p, i) stands at p·MR + i. An element is a float32, or the pair of BF16 of two neighbouring terms. A
// micro-kernel multiplies one panel of A by one or two neighbouring panels of B and keeps the whole tile of C in registers.
// rows14x… and cols14x… read A where the caller has it.
package main

import (
	"flag"
	"fmt"

	. "github.com/mmcloughlin/avo/build"
)

var isa = flag.String("isa", "avx512", "instruction set: avx512, avx512bf16 or avx2")

func main() {
	flag.Parse()
	ConstraintExpr("!noasm")
	switch *isa {
	case "avx512":
		tiles512(false)
		peak512("FMAPeak", "FMAPeak runs n rounds of 24 fused multiply-adds on 512-bit registers, and touches no memory: 768 FLOP a round.", false)
	case "avx512bf16":
		tiles512(true)
		peak512("BF16Peak", "BF16Peak runs n rounds of 24 VDPBF16PS on 512-bit registers, and touches no memory: 1,536 FLOP a round.", true)
	case "avx2":
		tile2("gemm6x16", 6)
		fmaPeak2()
	default:
		panic("unknown instruction set " + *isa)
	}
	Generate()
}

// tiles512 writes tiles of full height, and lower ones for the last rows of a matrix.
func tiles512(half bool) {
	for _, rows := range []int{14, 11, 8, 5, 2} {
		tile512(fmt.Sprintf("gemm%dx32", rows), rows, 2, half, packed, false)
	}
	tile512("gemm14x16", 14, 1, half, packed, false)
	tile512("panels14x32", 14, 2, half, packed, true)
	tile512("panels14x16", 14, 1, half, packed, true)
	tile512("rows14x32", 14, 2, half, byRow, true)
	tile512("rows14x16", 14, 1, half, byRow, true)
	if !half {
		tile512("cols14x32", 14, 2, half, byTerm, true)
		tile512("cols14x16", 14, 1, half, byTerm, true)
	}
}
