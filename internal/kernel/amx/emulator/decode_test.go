package emulator

import (
	"errors"
	"fmt"
	"os/exec"
	"regexp"
	"strings"
	"testing"
)

func sib(base, index, scale int, disp int32) Address { return Address{base, index, scale, disp} }

var none = Address{Base: None, Index: None}

// decoded are instructions whose bytes follow from the manual's opcode lines by hand: C4, then R̄ X̄ B̄ 00010, then
// 0 v̄v̄v̄v̄ 0 pp.
var decoded = []struct {
	code []byte
	want Inst
	text string
}{
	{[]byte{0xC4, 0xE2, 0x78, 0x49, 0x00}, Inst{Op: LDTILECFG, Len: 5, Address: sib(RAX, None, 0, 0)}, "LDTILECFG [rax+0]"},
	{[]byte{0xC4, 0xE2, 0x78, 0x49, 0x47, 0x40}, Inst{Op: LDTILECFG, Len: 6, Address: sib(RDI, None, 0, 64)}, ""},
	{[]byte{0xC4, 0xC2, 0x78, 0x49, 0x00}, Inst{Op: LDTILECFG, Len: 5, Address: sib(8, None, 0, 0)}, ""},
	{[]byte{0xC4, 0xE2, 0x78, 0x49, 0x05, 0x10, 0, 0, 0}, Inst{Op: LDTILECFG, Len: 9, Address: sib(IP, None, 0, 16)}, "LDTILECFG [rip+16]"},
	{[]byte{0xC4, 0xE2, 0x78, 0x49, 0x04, 0x24}, Inst{Op: LDTILECFG, Len: 6, Address: sib(RSP, None, 0, 0)}, ""},
	{[]byte{0xC4, 0xC2, 0x78, 0x49, 0x04, 0x24}, Inst{Op: LDTILECFG, Len: 6, Address: sib(12, None, 0, 0)}, ""},
	{[]byte{0xC4, 0xC2, 0x78, 0x49, 0x45, 0x00}, Inst{Op: LDTILECFG, Len: 6, Address: sib(13, None, 0, 0)}, ""},
	{[]byte{0xC4, 0xE2, 0x79, 0x49, 0x44, 0x5E, 0xF0}, Inst{Op: STTILECFG, Len: 7, Address: sib(RSI, RBX, 2, -16)}, "STTILECFG [rsi+rbx*2-16]"},
	{[]byte{0xC4, 0xE2, 0x78, 0x49, 0xC0}, Inst{Op: TILERELEASE, Len: 5, Address: none}, "TILERELEASE"},
	{[]byte{0xC4, 0xE2, 0x7B, 0x49, 0xE8}, Inst{Op: TILEZERO, Len: 5, Tile: 5, Address: none}, "TILEZERO tmm5"},
	{[]byte{0xC4, 0xE2, 0x7B, 0x4B, 0x24, 0x16}, Inst{Op: TILELOADD, Len: 6, Tile: 4, Address: sib(RSI, RDX, 1, 0)}, "TILELOADD tmm4, [rsi+rdx*1+0]"},
	{[]byte{0xC4, 0xE2, 0x7B, 0x4B, 0x7C, 0x8B, 0x80}, Inst{Op: TILELOADD, Len: 7, Tile: 7, Address: sib(RBX, RCX, 4, -128)}, ""},
	{[]byte{0xC4, 0xE2, 0x7B, 0x4B, 0x8C, 0x11, 0x00, 0x04, 0, 0}, Inst{Op: TILELOADD, Len: 10, Tile: 1, Address: sib(RCX, RDX, 1, 1024)}, ""},
	{[]byte{0xC4, 0x82, 0x7B, 0x4B, 0x24, 0xD7}, Inst{Op: TILELOADD, Len: 6, Tile: 4, Address: sib(15, 10, 8, 0)}, "TILELOADD tmm4, [r15+r10*8+0]"},
	{[]byte{0xC4, 0xA2, 0x7B, 0x4B, 0x24, 0x20}, Inst{Op: TILELOADD, Len: 6, Tile: 4, Address: sib(RAX, 12, 1, 0)}, ""}, // r12 may be an index
	{[]byte{0xC4, 0xC2, 0x7B, 0x4B, 0x44, 0x15, 0x00}, Inst{Op: TILELOADD, Len: 7, Address: sib(13, RDX, 1, 0)}, ""},
	{[]byte{0xC4, 0xE2, 0x7B, 0x4B, 0x04, 0x15, 0x40, 0, 0, 0}, Inst{Op: TILELOADD, Len: 10, Address: sib(None, RDX, 1, 64)}, "TILELOADD tmm0, [+rdx*1+64]"},
	{[]byte{0xC4, 0xE2, 0x79, 0x4B, 0x14, 0x3E}, Inst{Op: TILELOADDT1, Len: 6, Tile: 2, Address: sib(RSI, RDI, 1, 0)}, ""},
	{[]byte{0xC4, 0xE2, 0x7A, 0x4B, 0x1C, 0x17}, Inst{Op: TILESTORED, Len: 6, Tile: 3, Address: sib(RDI, RDX, 1, 0)}, "TILESTORED [rdi+rdx*1+0], tmm3"},
	{[]byte{0xC4, 0xE2, 0x4A, 0x5C, 0xC4}, Inst{Op: TDPBF16PS, Len: 5, Tile: 0, A: 4, B: 6, Address: none}, "TDPBF16PS tmm0, tmm4, tmm6"},
	{[]byte{0xC4, 0xE2, 0x7A, 0x5C, 0xFE}, Inst{Op: TDPBF16PS, Len: 5, Tile: 7, A: 6, B: 0, Address: none}, ""},
}

func TestDecode(t *testing.T) {
	for _, c := range decoded {
		got, err := Decode(append(c.code, 0x90, 0x90))
		if err != nil || got != c.want {
			t.Errorf("% x: %+v, %v, want %+v", c.code, got, err, c.want)
		}
		if c.text != "" && got.String() != c.text {
			t.Errorf("% x: %q, want %q", c.code, got, c.text)
		}
		for n := range len(c.code) {
			if _, err := Decode(c.code[:n]); !errors.Is(err, ErrNotTile) {
				t.Errorf("% x cut to %d bytes: %v", c.code, n, err)
			}
		}
	}
}

// LLVM's disassembler reads the same instructions.
func TestDecodeAgainstLLVM(t *testing.T) {
	program, err := exec.LookPath("llvm-mc")
	if err != nil {
		t.Skip("no llvm-mc (Debian's llvm)")
	}
	var lines strings.Builder
	for _, c := range decoded {
		for _, b := range c.code {
			fmt.Fprintf(&lines, "0x%02x ", b)
		}
		lines.WriteString("\n")
	}
	command := exec.Command(program, "--disassemble", "-triple=x86_64", "-output-asm-variant=1", "-mattr=+amx-tile,+amx-bf16")
	command.Stdin = strings.NewReader(lines.String())
	out, err := command.Output()
	if err != nil {
		t.Fatal(err)
	}
	scaled := regexp.MustCompile(`(\d)\*(r\w+)`) // 4*rcx
	theirs := strings.Split(strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(string(out)), ".text")), "\n")
	if len(theirs) != len(decoded) {
		t.Fatalf("%d instructions of %d:\n%s", len(theirs), len(decoded), out)
	}
	for i, c := range decoded {
		want := strings.ReplaceAll(scaled.ReplaceAllString(strings.Join(strings.Fields(theirs[i]), ""), "$2*$1"), "*1", "")
		got := strings.NewReplacer(" ", "", "*1", "", "+0]", "]", "[+", "[").Replace(strings.ToLower(c.want.String()))
		if got != want {
			t.Errorf("% x: %s, LLVM reads %s", c.code, got, want)
		}
	}
}

func TestDecodeRefuses(t *testing.T) {
	for _, c := range []struct {
		why  string
		code []byte
		tile bool // it is a tile instruction, but a wrong one
	}{
		{"NOP", []byte{0x90, 0x90, 0x90, 0x90, 0x90, 0x90}, false},
		{"UD2", []byte{0x0F, 0x0B, 0x90, 0x90, 0x90}, false},
		{"VFMADD231PS xmm0, xmm1, xmm2", []byte{0xC4, 0xE2, 0x71, 0xB8, 0xC2}, false},
		{"TDPBSSD: another extension", []byte{0xC4, 0xE2, 0x4B, 0x5E, 0xC4}, false},
		{"TDPBF16PS from memory", []byte{0xC4, 0xE2, 0x4A, 0x5C, 0x04, 0x16}, false},
		{"map 0F3A", []byte{0xC4, 0xE3, 0x7B, 0x49, 0xC0}, false},
		{"W 1", []byte{0xC4, 0xE2, 0xFB, 0x49, 0xC0}, true},
		{"L 1", []byte{0xC4, 0xE2, 0x7F, 0x49, 0xC0}, true},
		{"vvvv in use", []byte{0xC4, 0xE2, 0x73, 0x4B, 0x24, 0x16}, true},
		{"tile 8 by R", []byte{0xC4, 0x62, 0x7B, 0x49, 0xC0}, true},
		{"tile 8 by vvvv", []byte{0xC4, 0xE2, 0x3A, 0x5C, 0xC4}, true},
		{"tile 8 by B", []byte{0xC4, 0xC2, 0x4A, 0x5C, 0xC4}, true},
		{"LDTILECFG with a register field", []byte{0xC4, 0xE2, 0x78, 0x49, 0x08}, true},
		{"TILERELEASE with rm", []byte{0xC4, 0xE2, 0x78, 0x49, 0xC1}, true},
		{"TILEZERO with rm", []byte{0xC4, 0xE2, 0x7B, 0x49, 0xC1}, true},
		{"TILELOADD without SIB", []byte{0xC4, 0xE2, 0x7B, 0x4B, 0x06}, true},
		{"product of a tile with itself", []byte{0xC4, 0xE2, 0x5A, 0x5C, 0xC4}, true},
		{"product into a factor", []byte{0xC4, 0xE2, 0x4A, 0x5C, 0xE4}, true},
		{"product into the other factor", []byte{0xC4, 0xE2, 0x7A, 0x5C, 0xC4}, true},
	} {
		if i, err := Decode(c.code); err == nil || errors.Is(err, ErrNotTile) == c.tile {
			t.Errorf("%s: %v, %v", c.why, i, err)
		}
	}
}
