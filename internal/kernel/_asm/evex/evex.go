// Package evex writes instructions that neither the assembler nor avo knows as bytes.
package evex

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	"github.com/mmcloughlin/avo/ir"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// Prefixes that a VEX or EVEX instruction implies.
const (
	f3 = 2
	f2 = 3
)

// code returns the six bytes of an instruction of the map 0F38 on three 512-bit registers by number: dst, and the sources
// in the vendor's order. Register numbers have five bits, the higher ones inverted: bits 3 and 4 of dst in R and R', of b
// in B and X, of a in vvvv and V'.
func code(prefix, opcode, dst, a, b int) [6]byte {
	not := func(n, bit int) int { return 1 - n>>bit&1 }
	return [6]byte{
		0x62,
		byte(not(dst, 3)<<7 | not(b, 4)<<6 | not(b, 3)<<5 | not(dst, 4)<<4 | 2),
		byte((15-a&15)<<3 | 4 | prefix),
		byte(0x40 | not(a, 4)<<3),
		byte(opcode),
		byte(0xc0 | dst&7<<3 | b&7),
	}
}

// emit writes an instruction, operands in the assembler's order, with its name as a comment.
func emit(name string, prefix, opcode int, b, a, dst VecPhysical) {
	c := code(prefix, opcode, int(dst.PhysicalIndex()), int(a.PhysicalIndex()), int(b.PhysicalIndex()))
	Comment(fmt.Sprintf("%s %s, %s, %s", name, b.Asm(), a.Asm(), dst.Asm()))
	Instruction(&ir.Instruction{Opcode: "LONG", Operands: []Op{U32(uint32(c[0]) | uint32(c[1])<<8 | uint32(c[2])<<16 | uint32(c[3])<<24)}})
	Instruction(&ir.Instruction{Opcode: "WORD", Operands: []Op{U16(uint16(c[4]) | uint16(c[5])<<8)}})
}

// VDPBF16PS adds to each float32 of dst the two products of its pairs of BF16 in a and b.
func VDPBF16PS(b, a, dst VecPhysical) { emit("VDPBF16PS", f3, 0x52, b, a, dst) }

// VCVTNE2PS2BF16 rounds the float32s of low into the lower half of dst and those of high into the upper half.
func VCVTNE2PS2BF16(low, high, dst VecPhysical) { emit("VCVTNE2PS2BF16", f2, 0x72, low, high, dst) }
