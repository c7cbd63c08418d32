// Command pack writes the loops that bring matrices into panels, and transposed addition.
package main

import (
	"flag"

	. "github.com/mmcloughlin/avo/build"
)

var isa = flag.String("isa", "avx512", "instruction set: avx512 or avx2")

func main() {
	flag.Parse()
	ConstraintExpr("!noasm")
	if *isa == "avx512" {
		packRows512()
		packCols512()
		addTransposed512()
	} else {
		packRows2()
		packCols2()
		addTransposed2()
	}
	Generate()
}
