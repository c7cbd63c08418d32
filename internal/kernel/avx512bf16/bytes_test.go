package avx512bf16

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// known are the bytes of instructions as an assembler makes them, operands in the order of the AT&T syntax, which is that of
// Go's assembler.
var known = map[string]string{
	"VDPBF16PS Z0, Z1, Z0":         "62f2764852c0",
	"VDPBF16PS Z30, Z28, Z0":       "62921e4052c6",
	"VDPBF16PS Z31, Z29, Z27":      "6202164052df",
	"VDPBF16PS Z7, Z8, Z16":        "62e23e4852c7",
	"VDPBF16PS Z15, Z16, Z23":      "62c27e4052ff",
	"VDPBF16PS Z24, Z7, Z8":        "6212464852c0",
	"VCVTNE2PS2BF16 Z0, Z16, Z0":   "62f27f4072c0",
	"VCVTNE2PS2BF16 Z31, Z15, Z17": "6282074872cf",
	"VCVTNE2PS2BF16 Z9, Z4, Z30":   "62425f4872f1",
}

// decode names an instruction of three 512-bit registers by its six bytes.
func decode(b []byte) (string, error) {
	p0, p1, p2 := b[1], b[2], b[3]
	switch {
	case b[0] != 0x62:
		return "", fmt.Errorf("% x does not begin with 62", b)
	case p0&0x0f != 2:
		return "", fmt.Errorf("% x is not of the map 0F38", b)
	case p1&0x84 != 4:
		return "", fmt.Errorf("% x: W is not 0, or the fixed bit not 1", b)
	case p2&0xf7 != 0x40:
		return "", fmt.Errorf("% x: zeroing, length, broadcast or mask is not that of plain 512 bits", b)
	case b[5]>>6 != 3:
		return "", fmt.Errorf("% x has a memory operand", b)
	}
	name, ok := map[[2]byte]string{{2, 0x52}: "VDPBF16PS", {3, 0x72}: "VCVTNE2PS2BF16"}[[2]byte{p1 & 3, b[4]}]
	if !ok {
		return "", fmt.Errorf("% x has an unknown opcode", b)
	}
	clear := func(x byte, bit int) int { return int(^x >> bit & 1) }
	dst := int(b[5]>>3&7) + 8*clear(p0, 7) + 16*clear(p0, 4)
	src2 := int(b[5]&7) + 8*clear(p0, 5) + 16*clear(p0, 6)
	src1 := int(^p1>>3&15) + 16*clear(p2, 3)
	return fmt.Sprintf("%s Z%d, Z%d, Z%d", name, src2, src1, dst), nil
}

// LLVM's assembler makes the known bytes.
func TestKnownAgainstLLVM(t *testing.T) {
	program, err := exec.LookPath("llvm-mc")
	if err != nil {
		t.Skip("no llvm-mc (Debian's llvm)")
	}
	for text, code := range known {
		command := exec.Command(program, "-triple=x86_64", "-mattr=+avx512bf16", "-show-encoding")
		command.Stdin = strings.NewReader(strings.ReplaceAll(strings.ToLower(text), " z", " %zmm"))
		out, err := command.Output()
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		_, list, _ := strings.Cut(string(out), "encoding: [")
		list, _, _ = strings.Cut(list, "]")
		if got := strings.NewReplacer("0x", "", ",", "").Replace(list); got != code {
			t.Errorf("%s is %s, LLVM makes %s", text, code, got)
		}
	}
}

// TestBytes holds what the generators wrote as bytes against the comments beside them, by a decoder that is held against
// an assembler.
func TestBytes(t *testing.T) {
	for want, code := range known {
		b, err := hex.DecodeString(code)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := decode(b); got != want || err != nil {
			t.Errorf("%s is %q, %v; want %q", code, got, err, want)
		}
	}
	line := regexp.MustCompile(`// (V[A-Z0-9]+ Z\d+, Z\d+, Z\d+)\n\tLONG +\$0x([0-9a-f]+)\n\tWORD +\$0x([0-9a-f]+)\n`)
	for _, file := range []string{"gemm_amd64.s", "pack_amd64.s"} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		found := line.FindAllSubmatch(text, -1)
		if want := len(regexp.MustCompile(`\tLONG `).FindAll(text, -1)); len(found) != want || want == 0 {
			t.Fatalf("%s: %d instructions of %d LONGs are understood", file, len(found), want)
		}
		for _, m := range found {
			low, err1 := strconv.ParseUint(string(m[2]), 16, 32)
			high, err2 := strconv.ParseUint(string(m[3]), 16, 16)
			if err1 != nil || err2 != nil {
				t.Fatalf("%s: %q: %v, %v", file, m[0], err1, err2)
			}
			code := binary.LittleEndian.AppendUint16(binary.LittleEndian.AppendUint32(nil, uint32(low)), uint16(high))
			if got, err := decode(code); got != string(m[1]) || err != nil {
				t.Errorf("%s: %q is %q, %v", file, m[1], got, err)
			}
		}
	}
}
