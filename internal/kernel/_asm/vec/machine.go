package main

import (
	"fmt"
	"math"
	"strings"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// machine is one instruction set: vectors of 16 lanes with mask registers, or of 8 lanes with mask vectors.
type machine struct {
	wide     bool
	consts   map[string]Mem
	bits     map[Register]int // of an element at a pointer of the function; 32 where it says nothing
	converts bool             // the function reads or writes BF16
	whole    bool             // the function takes multiples of lanes alone: no partial vector
	held     map[uint32]Op    // constants in registers of the function
	far      bool             // R12 holds the bytes of a row
}

var zmm = []VecPhysical{
	Z0, Z1, Z2, Z3, Z4, Z5, Z6, Z7, Z8, Z9, Z10, Z11, Z12, Z13, Z14, Z15,
	Z16, Z17, Z18, Z19, Z20, Z21, Z22, Z23, Z24, Z25, Z26, Z27, Z28, Z29, Z30, Z31,
}
var ymm = []VecPhysical{Y0, Y1, Y2, Y3, Y4, Y5, Y6, Y7, Y8, Y9, Y10, Y11, Y12, Y13, Y14, Y15}

// v returns vector register i. Register 15 of the narrow machine is the mask of the last, partial vector.
func (m *machine) v(i int) VecPhysical {
	if m.wide {
		return zmm[i]
	}
	return ymm[i]
}

func (m *machine) lanes() int {
	if m.wide {
		return 16
	}
	return 8
}

// c returns x in every lane: where hold put it, else in memory.
func (m *machine) c(x float64) Op { return m.word(math.Float32bits(float32(x))) }

func (m *machine) word(x uint32) Op {
	if r, ok := m.held[x]; ok {
		return r
	}
	return m.constant(x)
}

// constant returns the address of x in every lane. Symbols stand on 32 bytes: a vector of 16 lanes may cross a cache line.
func (m *machine) constant(x uint32) Mem {
	name := fmt.Sprintf("k%08x", x)
	if at, ok := m.consts[name]; ok {
		return at
	}
	at := GLOBL(name, 8|16) // RODATA, NOPTR
	for i := range m.lanes() {
		DATA(4*i, U32(x))
	}
	m.consts[name] = at
	return at
}

// hold puts constants into registers that the loops leave alone, as many as there are, for the rest of the function. The
// machine of 8 lanes has none to spare; its constants never cross a cache line.
func (m *machine) hold(words ...uint32) {
	for _, x := range words {
		if _, ok := m.held[x]; ok || !m.wide || len(m.held) == len(m.spare()) {
			continue
		}
		r := m.spare()[len(m.held)]
		VBROADCASTSS(m.constant(x), r)
		m.held[x] = r
	}
}

// spare returns the registers of hold: those that scratch does not use come first.
func (m *machine) spare() []VecPhysical {
	if m.converts {
		return append(append([]VecPhysical{}, zmm[16:30]...), Z15, Z11, Z10, Z9, Z8)
	}
	return zmm[16:]
}

// holdC is hold for numbers.
func (m *machine) holdC(x ...float64) {
	for _, x := range x {
		m.hold(math.Float32bits(float32(x)))
	}
}

// words returns the address of lane values.
func (m *machine) words(name string, x []uint32) Mem {
	if at, ok := m.consts[name]; ok {
		return at
	}
	at := GLOBL(name, 8|16)
	for i, w := range x {
		DATA(4*i, U32(w))
	}
	m.consts[name] = at
	return at
}

// arg broadcasts a float32 parameter.
func (m *machine) arg(name string, to VecPhysical) {
	at, err := Param(name).Resolve()
	if err != nil {
		panic(err)
	}
	VBROADCASTSS(at.Addr, to)
}

func (m *machine) zero(r VecPhysical) {
	if m.wide {
		VPXORD(r, r, r)
	} else {
		VXORPS(r, r, r)
	}
}

// block is one vector of a loop over elements.
type block struct {
	m    *machine
	u    int // which of the unrolled vectors: 0 in the others
	tail bool
}

// at returns the address of the vector at p.
func (b block) at(p Register) Mem {
	return Mem{Base: p, Disp: b.m.bytes(p, b.u)}
}

// bytes returns what so many vectors take at p.
func (m *machine) bytes(p Register, vectors int) int {
	if n, ok := m.bits[p]; ok {
		return n * m.lanes() * vectors / 8
	}
	return 4 * m.lanes() * vectors
}

// load reads float32s, or BF16s and widens them.
func (b block) load(p Register, r VecPhysical) {
	at := b.at(p)
	switch {
	case b.m.bits[p] == 16:
		b.m.widen(at, r, b.tail)
	case !b.tail:
		VMOVUPS(at, r)
	case b.m.wide:
		VMOVUPS_Z(at, K1, r)
	default:
		VMASKMOVPS(at, Y15, r)
	}
}

// store writes float32s, or rounds them to BF16s and writes those.
func (b block) store(r VecPhysical, p Register) {
	at := b.at(p)
	switch {
	case b.m.bits[p] == 16:
		b.m.narrow(r, at, b.tail)
	case !b.tail:
		VMOVUPS(r, at)
	case b.m.wide:
		VMOVUPS(r, K1, at)
	default:
		VMASKMOVPS(r, Y15, at)
	}
}

// below emits a prefetch of what stands at p in the next row, where the function has called ahead.
func (b block) below(p Register) {
	size := b.m.bytes(p, 1)
	if !b.m.far || size < 64 && b.u%(64/size) != 0 {
		return
	}
	at := b.at(p)
	at.Index, at.Scale = R12, 1
	PREFETCHT0(at)
}

// ahead prepares below: rows follow one another, so the next one is n elements of so many bits on. A pass over a row that
// is in L1 leaves memory idle; with this it does not.
func (m *machine) ahead(n Register, bits int) {
	m.far = true
	MOVQ(n, R12)
	SHLQ(U8(map[int]uint8{16: 1, 32: 2}[bits]), R12)
}

// clip sets lanes beyond the end to 0.
func (b block) clip(r VecPhysical) {
	switch {
	case !b.tail:
	case b.m.wide:
		VMOVAPS_Z(r, K1, r)
	default:
		VANDPS(Y15, r, r)
	}
}

// loop runs body over n elements at the pointers: unrolled, then one vector at a time, then the rest under a mask.
func (m *machine) loop(n Register, pointers []Register, unroll int, body func(b block)) {
	w := m.lanes()
	advance := func(vectors int) {
		for _, p := range pointers {
			ADDQ(U32(m.bytes(p, vectors)), p)
		}
		SUBQ(U32(w*vectors), n)
	}
	if unroll > 1 {
		Label("many")
		CMPQ(n, U32(w*unroll))
		JL(LabelRef("few"))
		for u := range unroll {
			body(block{m: m, u: u})
		}
		advance(unroll)
		JMP(LabelRef("many"))
	}
	Label("few")
	CMPQ(n, U32(w))
	JL(LabelRef("last"))
	body(block{m: m})
	advance(1)
	JMP(LabelRef("few"))
	Label("last")
	if m.whole {
		return
	}
	TESTQ(n, n)
	JZ(LabelRef("end"))
	m.mask(n)
	body(block{m: m, tail: true})
	Label("end")
}

// mask prepares the mask of the first n lanes, 0 < n < lanes.
func (m *machine) mask(n Register) {
	if m.wide {
		XORL(R13.As32(), R13.As32())
		BTSL(n.(GPPhysical).As32(), R13.As32())
		SUBL(U8(1), R13.As32())
		KMOVW(R13.As32(), K1)
		return
	}
	table := m.words("lanes", append(slices8(0xffffffff), slices8(0)...))
	LEAQ(table, R13)
	SHLQ(U8(2), n)
	SUBQ(n, R13)
	VMOVUPS(Mem{Base: R13, Disp: 32}, Y15)
}

func slices8(x uint32) []uint32 { return []uint32{x, x, x, x, x, x, x, x} }

// fold adds vectors 0 … n−1 into lane 0 of vector 0, in a fixed tree.
func (m *machine) fold(n int, op func(a, b, to Op)) {
	for ; n > 1; n /= 2 {
		for i := range n / 2 {
			op(m.v(i+n/2), m.v(i), m.v(i))
		}
	}
	if m.wide {
		VEXTRACTF64X4(U8(1), Z0, Y1)
		op(Y1, Y0, Y0)
	}
	VEXTRACTF128(U8(1), Y0, X1)
	op(X1, X0, X0)
	VPSHUFD(U8(0x4e), X0, X1)
	op(X1, X0, X0)
	VPSHUFD(U8(0xb1), X0, X1)
	op(X1, X0, X0)
}

// function begins one; pointers are its pointer parameters, in order: "x:16" is one to BF16s, "x:1" to bits, "x:64"
// to float64s.
func (m *machine) function(name, signature, doc string, pointers ...string) (regs []Register, n Register) {
	TEXT(name, NOSPLIT, signature)
	Pragma("noescape")
	Doc(doc)
	free := []GPPhysical{RDI, RSI, RDX, RCX, R8, R9, R10, R11}
	m.bits, m.whole, m.converts, m.held, m.far = map[Register]int{}, false, false, map[uint32]Op{}, false
	for i, p := range pointers {
		p, bits, ok := strings.Cut(p, ":")
		r := Load(Param(p), free[i])
		if ok {
			m.converts = m.converts || bits == "16"
			m.bits[r] = map[string]int{"1": 1, "16": 16, "64": 64}[bits]
		}
		regs = append(regs, r)
	}
	return regs, Load(Param("n"), RAX)
}

func done() {
	VZEROUPPER()
	RET()
}
