//go:build !noasm

package amx

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"unsafe"

	"github.com/secencoder/secencoder/internal/bf16"
	"github.com/secencoder/secencoder/internal/kernel/amx/emulator"
	"github.com/secencoder/secencoder/internal/kernel/avx512"
	"golang.org/x/sys/cpu"
)

// tiles reports whether the test may use tiles, now: on the processor, or emulated in a child. It skips the test where
// neither is possible.
func tiles(t *testing.T, flags ...string) bool {
	t.Helper()
	ok, why := Available()
	if ok {
		return true
	}
	vectors(t)
	if x := xgetbv() >> 17 & 3; x != 0 {
		t.Skip("tiles are there, but not for this process, so the processor may run some instructions and refuse others: " + why)
	}
	return emulator.Test(t, flags...)
}

// vectors skips the test on processors without the AVX-512 that packing and the macro-kernels are made of.
func vectors(t *testing.T) {
	t.Helper()
	if ok, why := avx512.Available(); !ok {
		t.Skip(why)
	}
	if !cpu.X86.HasAVX512BF16 {
		t.Skip("no AVX512_BF16")
	}
}

// Every macro of tiles.h against bytes written by hand from the manual's opcode lines, and against the decoder, which a
// test of its own holds against LLVM's.
func TestMacros(t *testing.T) {
	type macro struct {
		text string // as the decoder prints it; "": no tile instruction
		code []byte
	}
	var want []macro
	add := func(text string, code ...byte) { want = append(want, macro{text, code}) }
	add("LDTILECFG [rax+0]", 0xC4, 0xE2, 0x78, 0x49, 0x00)
	add("LDTILECFG [rdi+0]", 0xC4, 0xE2, 0x78, 0x49, 0x07)
	add("TILERELEASE", 0xC4, 0xE2, 0x78, 0x49, 0xC0)
	add("TILEZERO tmm0", 0xC4, 0xE2, 0x7B, 0x49, 0xC0)
	add("TILEZERO tmm7", 0xC4, 0xE2, 0x7B, 0x49, 0xF8)
	add("TILELOADD tmm0, [rax+rdx*1+0]", 0xC4, 0xE2, 0x7B, 0x4B, 0x84, 0x10, 0, 0, 0, 0)
	add("TILELOADD tmm4, [rsi+rdx*1+1024]", 0xC4, 0xE2, 0x7B, 0x4B, 0xA4, 0x16, 0, 4, 0, 0)
	add("TILELOADD tmm7, [rbx+rcx*1-64]", 0xC4, 0xE2, 0x7B, 0x4B, 0xBC, 0x0B, 0xC0, 0xFF, 0xFF, 0xFF)
	add("TILELOADDT1 tmm1, [rcx+rdi*1+305419896]", 0xC4, 0xE2, 0x79, 0x4B, 0x8C, 0x39, 0x78, 0x56, 0x34, 0x12)
	add("TILELOADDT1 tmm5, [rsi+rdx*1+1024]", 0xC4, 0xE2, 0x79, 0x4B, 0xAC, 0x16, 0, 4, 0, 0)
	add("TILESTORED [rcx+rdx*1+0], tmm0", 0xC4, 0xE2, 0x7A, 0x4B, 0x84, 0x11, 0, 0, 0, 0)
	add("TILESTORED [rdi+rbx*1+3072], tmm6", 0xC4, 0xE2, 0x7A, 0x4B, 0xB4, 0x1F, 0, 12, 0, 0)
	add("TDPBF16PS tmm0, tmm4, tmm6", 0xC4, 0xE2, 0x4A, 0x5C, 0xC4)
	add("TDPBF16PS tmm1, tmm4, tmm7", 0xC4, 0xE2, 0x42, 0x5C, 0xCC)
	add("TDPBF16PS tmm2, tmm5, tmm6", 0xC4, 0xE2, 0x4A, 0x5C, 0xD5)
	add("TDPBF16PS tmm3, tmm5, tmm7", 0xC4, 0xE2, 0x42, 0x5C, 0xDD)
	add("TDPBF16PS tmm7, tmm0, tmm1", 0xC4, 0xE2, 0x72, 0x5C, 0xF8)
	// EVEX.512.F2.0F38.W0 72 /r; the second byte has R̄ X̄ B̄ R̄' above the map, the third v̄v̄v̄v̄.
	add("", 0x62, 0xF2, 0x77, 0x48, 0x72, 0xC0)
	add("", 0x62, 0x72, 0x07, 0x48, 0x72, 0xCF)
	add("", 0x62, 0xE2, 0x77, 0x48, 0x72, 0xC0)
	add("", 0x62, 0xE2, 0x3F, 0x48, 0x72, 0xF3)
	add("", 0x62, 0x62, 0x77, 0x48, 0x72, 0xF8)
	add("", 0xC3) // RET
	at := macros()
	for _, m := range want {
		got := unsafe.Slice(*(**byte)(unsafe.Pointer(&at)), 15)
		if !bytes.Equal(got[:len(m.code)], m.code) {
			t.Fatalf("%s: % x, want % x", m.text, got[:len(m.code)], m.code)
		}
		if m.text != "" {
			i, err := emulator.Decode(got)
			if err != nil || i.String() != m.text || i.Len != len(m.code) {
				t.Errorf("% x: %v of %d bytes, %v, want %s", m.code, i, i.Len, err, m.text)
			}
		}
		at += uintptr(len(m.code))
	}
}

// plainTiles is the product of tiles in plain loops, in float64.
func plainTiles(c, a, b *[1024]byte) (sums, magnitudes [16][16]float64) {
	value := func(t *[1024]byte, i int) float64 {
		return float64(bf16.BF16(binary.LittleEndian.Uint16(t[i:])).Float32())
	}
	for i := range 16 {
		for j := range 16 {
			s := float64(math.Float32frombits(binary.LittleEndian.Uint32(c[64*i+4*j:])))
			m := math.Abs(s)
			for p := range 32 {
				x := value(a, 64*i+2*p) * value(b, p/2*64+4*j+p%2*2)
				s += x
				m += math.Abs(x)
			}
			sums[i][j], magnitudes[i][j] = s, m
		}
	}
	return sums, magnitudes
}

// randomTiles fills three tiles by a source of numbers.
func randomTiles(number func() float64) (c, a, b [1024]byte) {
	for i := 0; i < 1024; i += 4 {
		binary.LittleEndian.PutUint32(c[i:], math.Float32bits(float32(number())))
	}
	for i := 0; i < 1024; i += 2 {
		binary.LittleEndian.PutUint16(a[i:], uint16(bf16.FromFloat32(float32(number()))))
		binary.LittleEndian.PutUint16(b[i:], uint16(bf16.FromFloat32(float32(number()))))
	}
	return c, a, b
}

// One product of tiles: small integers exactly, other numbers within the roundings of float32.
func TestMultiplyTiles(t *testing.T) {
	if !tiles(t) {
		return
	}
	random := rand.New(rand.NewPCG(1, 1))
	for round := range 40 {
		number, u := random.NormFloat64, 34*0x1p-24 // 32 products, two additions
		if round%2 == 0 {
			number, u = func() float64 { return float64(random.IntN(201) - 100) }, 0
		}
		c, a, b := randomTiles(number)
		want, magnitude := plainTiles(&c, &a, &b)
		multiplyTiles(&c, &a, &b)
		for i := range 16 {
			for j := range 16 {
				got := float64(math.Float32frombits(binary.LittleEndian.Uint32(c[64*i+4*j:])))
				if math.Abs(got-want[i][j]) > u*magnitude[i][j] {
					t.Fatalf("round %d: C[%d, %d] = %v, want %v", round, i, j, got, want[i][j])
				}
			}
		}
	}
}

// arena is memory of this process for a Machine, by offset.
type arena []byte

func (m arena) ReadAt(b []byte, at int64) (int, error)  { return copy(b, m[at:]), nil }
func (m arena) WriteAt(b []byte, at int64) (int, error) { return copy(m[at:], b), nil }

// emulate is multiplyTiles by the emulator's machine.
func emulate(t *testing.T, c, a, b *[1024]byte) (product [1024]byte) {
	t.Helper()
	memory := arena(make([]byte, 64, 4096))
	memory[0] = 1
	for i := range 8 {
		memory[16+2*i], memory[48+i] = 64, 16
	}
	memory = append(append(append(memory, c[:]...), a[:]...), b[:]...)
	address := func(at int32) emulator.Address {
		return emulator.Address{Base: emulator.None, Index: emulator.RDX, Scale: 1, Disp: at}
	}
	var m emulator.Machine
	var r emulator.Registers
	for _, i := range []emulator.Inst{
		{Op: emulator.LDTILECFG, Address: emulator.Address{Base: emulator.None, Index: emulator.None}},
		{Op: emulator.TILELOADD, Tile: 5, Address: address(64)},
		{Op: emulator.TILELOADDT1, Tile: 2, Address: address(64 + 1024)},
		{Op: emulator.TILELOADD, Tile: 7, Address: address(64 + 2048)},
		{Op: emulator.TDPBF16PS, Tile: 5, A: 2, B: 7},
		{Op: emulator.TILESTORED, Tile: 5, Address: address(64)},
	} {
		if i.Op != emulator.LDTILECFG {
			r.General[emulator.RDX] = 64
		}
		if err := m.Execute(i, &r, memory); err != nil {
			t.Fatal(err)
		}
	}
	copy(product[:], memory[64:])
	return product
}

// Where there are tiles, the processor and the emulator: equal where every sum is exact, whatever its order; else the
// number of elements whose bits differ is told. The emulator's order is the manual's, and no kernel relies on it.
func TestProcessorAgainstEmulator(t *testing.T) {
	if ok, why := Available(); !ok {
		t.Skip("no tiles to compare with: " + why)
	}
	random := rand.New(rand.NewPCG(2, 2))
	differ, all := 0, 0
	for round := range 2000 {
		exact := round%2 == 0
		number := random.NormFloat64
		if exact {
			number = func() float64 { return float64(random.IntN(201) - 100) }
		}
		c, a, b := randomTiles(number)
		want := emulate(t, &c, &a, &b)
		multiplyTiles(&c, &a, &b)
		for i := 0; i < 1024; i += 4 {
			got, want := binary.LittleEndian.Uint32(c[i:]), binary.LittleEndian.Uint32(want[i:])
			if exact && got != want {
				t.Fatalf("round %d: element %d is %x on the processor, %x emulated", round, i/4, got, want)
			}
			if !exact {
				if all++; got != want {
					differ++
				}
			}
		}
	}
	t.Logf("random values: %d of %d elements have other bits on the processor than emulated", differ, all)
}

// A kernel that reads where no memory is ends the child, and the emulator says where and why.
func TestEmulatorReportsFaults(t *testing.T) {
	if ok, _ := Available(); ok {
		t.Skip("tiles run on the processor here")
	}
	vectors(t)
	if emulator.Emulated() {
		var c [1024]byte
		multiplyTiles(&c, nil, &c)
		t.Fatal("a load from address 0 went through")
	}
	_, out, err := emulator.Child(t)
	if errors.Is(err, emulator.ErrNotPermitted) {
		t.Skip(err)
	}
	if err == nil || !strings.Contains(err.Error(), "#PF: TILELOADDT1 tmm2") || !strings.Contains(err.Error(), "multiplyTiles") {
		t.Fatalf("%v\n%s", err, out)
	}
}
