// Package emulator executes Intel's tile instructions (AMX-TILE, AMX-BF16) in Go, so that kernels made of them can be
// tested on processors that have none.
//
// Begin with Test: it runs a test once more in a child process under ptrace, where every tile instruction, illegal to the
// processor, stops the child, is decoded from its bytes, executed on the tiles of its thread, and stepped over. Decode and
// Machine are the parts, usable by themselves: the decoder knows nothing of what emitted the bytes, the machine nothing
// of processes.
//
// Source of every rule: Intel 64 and IA-32 Architectures Software Developer's Manual, volume 2, "Operation" of the
// instructions, and volume 1, chapter 18. Where the manual names an exception the machine returns a *Fault, and Run kills
// the child and reports it: a kernel that is wrong in any such way must not pass.
//
// It emulates no other instruction: the kernels' AVX-512 runs on the processor.
package emulator

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Op is a tile instruction.
type Op uint8

// The instructions of AMX-TILE and AMX-BF16.
const (
	LDTILECFG Op = iota + 1
	STTILECFG
	TILERELEASE
	TILEZERO
	TILELOADD
	TILELOADDT1
	TILESTORED
	TDPBF16PS
)

var opNames = [...]string{
	LDTILECFG: "LDTILECFG", STTILECFG: "STTILECFG", TILERELEASE: "TILERELEASE", TILEZERO: "TILEZERO",
	TILELOADD: "TILELOADD", TILELOADDT1: "TILELOADDT1", TILESTORED: "TILESTORED", TDPBF16PS: "TDPBF16PS",
}

// String returns the mnemonic.
func (o Op) String() string {
	if int(o) < len(opNames) && opNames[o] != "" {
		return opNames[o]
	}
	return fmt.Sprintf("Op(%d)", uint8(o))
}

// General registers by their number in an encoding. None means that an address has no such part; IP is the address of
// the next instruction.
const (
	RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI = 0, 1, 2, 3, 4, 5, 6, 7

	None, IP = -1, -2
)

// Inst is one decoded instruction.
type Inst struct {
	Op      Op
	Len     int // bytes
	Tile    int // destination, or the tile that is stored
	A, B    int // factors of TDPBF16PS
	Address Address
}

// Address is base + index·scale + disp. Instructions that move tiles take index·scale as the stride of rows.
type Address struct {
	Base, Index, Scale int
	Disp               int32
}

// String returns the instruction in Intel's order of operands.
func (i Inst) String() string {
	switch i.Op {
	case LDTILECFG, STTILECFG:
		return fmt.Sprintf("%v %v", i.Op, i.Address)
	case TILERELEASE:
		return i.Op.String()
	case TILEZERO:
		return fmt.Sprintf("%v tmm%d", i.Op, i.Tile)
	case TILELOADD, TILELOADDT1:
		return fmt.Sprintf("%v tmm%d, %v", i.Op, i.Tile, i.Address)
	case TILESTORED:
		return fmt.Sprintf("%v %v, tmm%d", i.Op, i.Address, i.Tile)
	}
	return fmt.Sprintf("%v tmm%d, tmm%d, tmm%d", i.Op, i.Tile, i.A, i.B)
}

var registerNames = [16]string{"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15"}

// String returns the address in Intel's brackets.
func (a Address) String() string {
	s := ""
	if a.Base == IP {
		s = "rip"
	} else if a.Base >= 0 {
		s = registerNames[a.Base]
	}
	if a.Index >= 0 {
		s += fmt.Sprintf("+%s*%d", registerNames[a.Index], a.Scale)
	}
	return fmt.Sprintf("[%s%+d]", s, a.Disp)
}

// ErrNotTile says that bytes are no tile instruction. Any other error of Decode is a tile instruction that the processor
// would refuse.
var ErrNotTile = errors.New("not a tile instruction")

// Decode reads one instruction from the start of code, which should hold 15 bytes where there are as many.
func Decode(code []byte) (Inst, error) {
	if len(code) < 5 || code[0] != 0xC4 || code[1]&0x1F != 2 {
		return Inst{}, ErrNotTile // three-byte VEX, map 0F38
	}
	r, x, b := int(^code[1]>>7&1), int(^code[1]>>6&1), int(^code[1]>>5&1) // extensions of ModRM.reg, SIB.index, base
	w, v, l, pp := code[2]>>7, int(^code[2]>>3&15), code[2]>>2&1, code[2]&3
	opcode, modrm := code[3], code[4]
	mod, reg, rm := modrm>>6, int(modrm>>3&7), int(modrm&7)
	const none, p66, pF3, pF2 = 0, 1, 2, 3 // VEX.pp
	i := Inst{Address: Address{Base: None, Index: None}}
	memory, tiles := mod != 3, 0
	switch {
	case opcode == 0x49 && memory && pp == none:
		i.Op = LDTILECFG
	case opcode == 0x49 && memory && pp == p66:
		i.Op = STTILECFG
	case opcode == 0x49 && !memory && pp == none:
		i.Op = TILERELEASE
	case opcode == 0x49 && !memory && pp == pF2:
		i.Op, tiles = TILEZERO, 1
	case opcode == 0x4B && memory && pp == pF2:
		i.Op, tiles = TILELOADD, 1
	case opcode == 0x4B && memory && pp == p66:
		i.Op, tiles = TILELOADDT1, 1
	case opcode == 0x4B && memory && pp == pF3:
		i.Op, tiles = TILESTORED, 1
	case opcode == 0x5C && !memory && pp == pF3:
		i.Op, tiles = TDPBF16PS, 3
	default:
		return Inst{}, ErrNotTile
	}
	switch {
	case w != 0 || l != 0:
		return i, fmt.Errorf("%v with VEX.W %d, VEX.L %d: both must be 0", i.Op, w, l)
	case tiles < 3 && v != 0:
		return i, fmt.Errorf("%v with VEX.vvvv in use", i.Op)
	case tiles > 0 && r != 0, tiles == 3 && (b != 0 || v > 7):
		return i, fmt.Errorf("%v with a tile beyond tmm7", i.Op)
	case tiles == 0 && reg != 0:
		return i, fmt.Errorf("%v with ModRM.reg %d, want 0", i.Op, reg)
	case (i.Op == TILERELEASE || i.Op == TILEZERO) && rm != 0:
		return i, fmt.Errorf("%v with ModRM.rm %d, want 0", i.Op, rm)
	}
	i.Tile, i.Len = reg, 5
	if tiles == 3 {
		i.A, i.B = rm, v
		if i.Tile == i.A || i.Tile == i.B || i.A == i.B {
			return i, fmt.Errorf("%v: the three tiles must differ", i)
		}
	}
	if !memory {
		return i, nil
	}
	return i, i.address(code, mod, rm, x, b, tiles == 1)
}

// address reads SIB and displacement. Instructions that move tiles must have the SIB form.
func (i *Inst) address(code []byte, mod byte, rm, x, b int, sib bool) error {
	a := &i.Address
	low := rm // three bits of the base
	if rm == 4 {
		if len(code) < 6 {
			return ErrNotTile
		}
		s := code[5]
		i.Len++
		low = int(s & 7)
		if index := int(s>>3&7) | x<<3; index != RSP {
			a.Index, a.Scale = index, 1<<(s>>6)
		}
	} else if sib {
		return fmt.Errorf("%v without SIB", i.Op)
	}
	size := [3]int{0, 1, 4}[mod]
	switch {
	case low != 5 || mod != 0:
		a.Base = low | b<<3
	case rm == 4:
		size = 4 // no base
	default:
		a.Base, size = IP, 4
	}
	if len(code) < i.Len+size {
		return ErrNotTile
	}
	switch size {
	case 1:
		a.Disp = int32(int8(code[i.Len]))
	case 4:
		a.Disp = int32(binary.LittleEndian.Uint32(code[i.Len:]))
	}
	i.Len += size
	return nil
}
