// Package square writes what works on blocks of 16 by 16 elements in vector registers.
package square

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// Z are the vector registers.
var Z = []VecPhysical{
	Z0, Z1, Z2, Z3, Z4, Z5, Z6, Z7, Z8, Z9, Z10, Z11, Z12, Z13, Z14, Z15,
	Z16, Z17, Z18, Z19, Z20, Z21, Z22, Z23, Z24, Z25, Z26, Z27, Z28, Z29, Z30, Z31,
}

// Transpose transposes the 16×16 block in registers 0 … 15 in 64 shuffles; column i ends in the register returned at i.
func Transpose() []VecPhysical {
	a, b := Z[:16], Z[16:]
	for i := 0; i < 16; i += 2 { // pairs of rows: elements of neighbouring rows side by side
		VUNPCKLPS(a[i+1], a[i], b[i])
		VUNPCKHPS(a[i+1], a[i], b[i+1])
	}
	for i := 0; i < 16; i += 4 { // groups of four rows: register i+c holds column c of each 128-bit lane
		VUNPCKLPD(b[i+2], b[i], a[i])
		VUNPCKHPD(b[i+2], b[i], a[i+1])
		VUNPCKLPD(b[i+3], b[i+1], a[i+2])
		VUNPCKHPD(b[i+3], b[i+1], a[i+3])
	}
	for c := range 4 { // lanes 0, 2 and 1, 3 of groups 0, 1 and 2, 3
		VSHUFF32X4(U8(0x88), a[4+c], a[c], b[c])
		VSHUFF32X4(U8(0xdd), a[4+c], a[c], b[4+c])
		VSHUFF32X4(U8(0x88), a[12+c], a[8+c], b[8+c])
		VSHUFF32X4(U8(0xdd), a[12+c], a[8+c], b[12+c])
	}
	out := make([]VecPhysical, 16)
	for c := range 4 {
		VSHUFF32X4(U8(0x88), b[8+c], b[c], a[c])
		VSHUFF32X4(U8(0x88), b[12+c], b[4+c], a[4+c])
		VSHUFF32X4(U8(0xdd), b[8+c], b[c], a[8+c])
		VSHUFF32X4(U8(0xdd), b[12+c], b[4+c], a[12+c])
		out[c], out[4+c], out[8+c], out[12+c] = a[c], a[4+c], a[8+c], a[12+c]
	}
	return out
}

// Rows returns the addresses of 16 rows of a stride, from four pointers, the stride and three times the stride. It uses R8 … R11.
func Rows(src, ld Register) func(i int) Mem {
	p := []Register{src, R8, R9, R10}
	LEAQ(Mem{Base: ld, Index: ld, Scale: 2}, R11)
	LEAQ(Mem{Base: src, Index: ld, Scale: 4}, R8)
	LEAQ(Mem{Base: R8, Index: ld, Scale: 4}, R9)
	LEAQ(Mem{Base: R9, Index: ld, Scale: 4}, R10)
	return func(i int) Mem {
		switch i % 4 {
		case 1:
			return Mem{Base: p[i/4], Index: ld, Scale: 1}
		case 2:
			return Mem{Base: p[i/4], Index: ld, Scale: 2}
		case 3:
			return Mem{Base: p[i/4], Index: R11, Scale: 1}
		}
		return Mem{Base: p[i/4]}
	}
}
