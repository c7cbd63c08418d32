// Command pack writes the loops that bring matrices into panels, and transposed addition.
package main

import (
	"flag"

	. "github.com/mmcloughlin/avo/build"
)

var isa = flag.String("isa", "avx512", "instruction set: avx512, avx512bf16 or avx2")

func main() {
	flag.Parse()
	ConstraintExpr("!noasm")
	switch *isa {
	case "avx512":
		for _, k := range []kind{same, rounded, widened} {
			packRows512(k)
			packCols512(k)
			packWide512(k)
		}
		addTransposed512()
	case "avx512bf16":
		for _, k := range []kind{pairs, halved} {
			packRows512(k)
			packCols512(k)
			packWide512(k)
		}
	case "avx2":
		packRows2()
		packCols2(false)
		packCols2(true)
		addTransposed2()
	default:
		panic("unknown instruction set " + *isa)
	}
	Generate()
}
