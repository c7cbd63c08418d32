// Command gemm writes the matrix-product micro-kernels and the packing routines of one instruction set.
//
// Layout that all of them share. A panel of B is 16 columns wide: element (p, j) stands at p·16 + j. A panel of A is MR
// rows high: element (p, i) stands at p·MR + i. A micro-kernel multiplies one panel of A by one or two neighbouring
// panels of B and keeps the whole tile of C in registers.
package main

import (
	"flag"

	. "github.com/mmcloughlin/avo/build"
)

var isa = flag.String("isa", "avx512", "instruction set: avx512 or avx2")

func main() {
	flag.Parse()
	ConstraintExpr("!noasm")
	switch *isa {
	case "avx512":
		tile512("gemm14x32", 14, 2)
		tile512("gemm14x16", 14, 1)
		fmaPeak512()
	case "avx2":
		tile2("gemm6x16", 6)
		fmaPeak2()
	default:
		panic("unknown instruction set " + *isa)
	}
	Generate()
}
