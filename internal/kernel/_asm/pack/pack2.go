package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

var ymm = []VecPhysical{Y0, Y1, Y2, Y3, Y4, Y5, Y6, Y7, Y8, Y9, Y10, Y11, Y12, Y13, Y14, Y15}

// transpose8 transposes the 8×8 block in registers 0 … 7 in 24 shuffles; column i ends in the register returned at i.
func transpose8() []VecPhysical {
	a, b := ymm[:8], ymm[8:]
	for i := 0; i < 8; i += 2 {
		VUNPCKLPS(a[i+1], a[i], b[i])
		VUNPCKHPS(a[i+1], a[i], b[i+1])
	}
	for i := 0; i < 8; i += 4 {
		VUNPCKLPD(b[i+2], b[i], a[i])
		VUNPCKHPD(b[i+2], b[i], a[i+1])
		VUNPCKLPD(b[i+3], b[i+1], a[i+2])
		VUNPCKHPD(b[i+3], b[i+1], a[i+3])
	}
	for c := range 4 {
		VPERM2F128(U8(0x20), a[4+c], a[c], b[c])
		VPERM2F128(U8(0x31), a[4+c], a[c], b[4+c])
	}
	return b
}

// laneMasks is eight lanes of ones and eight of zeros.
func laneMasks() Mem {
	at := GLOBL("lanes", 8|16)
	for i := range 8 {
		DATA(4*i, U32(0xffffffff))
	}
	for i := 8; i < 16; i++ {
		DATA(4*i, U32(0))
	}
	return at
}

var masks Mem

// low2 sets r to ones in the lowest n lanes, n ≤ 8; it uses R13.
func low2(n Register, r VecPhysical) {
	LEAQ(masks, R13)
	NEGQ(n)
	VMOVUPS(Mem{Base: R13, Index: n, Scale: 4, Disp: 32}, r)
	NEGQ(n)
}

// rowPointers2 makes the addresses of rows 0 … 7 from two pointers, the stride and three times the stride.
func rowPointers2(src, ld Register) func(i int) Mem {
	p := []Register{src, R8}
	LEAQ(Mem{Base: ld, Index: ld, Scale: 2}, R11)
	LEAQ(Mem{Base: src, Index: ld, Scale: 4}, R8)
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

// loadRows2 loads the rows in use, clearing the others; y15 masks the columns when part is set.
func loadRows2(at func(i int) Mem, rows Register, part bool, label string) {
	for i := range 8 {
		VXORPS(ymm[i], ymm[i], ymm[i])
	}
	for i := range 8 {
		CMPQ(rows, U8(i))
		JLE(LabelRef(label))
		if part {
			VMASKMOVPS(at(i), Y15, ymm[i])
		} else {
			VMOVUPS(at(i), ymm[i])
		}
	}
	Label(label)
}

func packRows2() {
	masks = laneMasks()
	TEXT("packRows8", NOSPLIT, "func(dst *float32, width int, src *float32, ld, rows, k, lanes int)")
	Pragma("noescape")
	Doc("packRows8 sets dst[p·width + i] = src[i·ld + p] for i < rows ≤ 8, p < k, and 0 for rows ≤ i < lanes, which is 6 or 8; ld is in bytes.")
	dst := Load(Param("dst"), RDI)
	width := Load(Param("width"), RAX)
	src := Load(Param("src"), RSI)
	ld := Load(Param("ld"), RDX)
	rows := Load(Param("rows"), RBX)
	k := Load(Param("k"), RCX)
	lanes := Load(Param("lanes"), R9)
	SHLQ(U8(2), width)
	at := rowPointers2(src, ld)
	store := func(r VecPhysical) {
		VMOVUPS(r.AsX(), Mem{Base: dst})
		VEXTRACTF128(U8(1), r, X0)
		VMOVLPS(X0, Mem{Base: dst, Disp: 16})
		ADDQ(width, dst)
	}
	storeAll := func(r VecPhysical) {
		VMOVUPS(r, Mem{Base: dst})
		ADDQ(width, dst)
	}
	Label("block")
	CMPQ(k, U8(8))
	JL(LabelRef("last"))
	loadRows2(at, rows, false, "loaded")
	out := transpose8()
	CMPQ(lanes, U8(8))
	JNE(LabelRef("six"))
	for _, r := range out {
		storeAll(r)
	}
	JMP(LabelRef("next"))
	Label("six")
	for _, r := range out {
		store(r)
	}
	Label("next")
	ADDQ(U8(32), src)
	ADDQ(U8(32), R8)
	SUBQ(U8(8), k)
	JMP(LabelRef("block"))

	Label("last")
	TESTQ(k, k)
	JZ(LabelRef("end"))
	low2(k, Y15)
	loadRows2(at, rows, true, "loadedpart")
	out = transpose8()
	CMPQ(lanes, U8(8))
	JNE(LabelRef("sixpart"))
	for i, r := range out {
		if i > 0 {
			CMPQ(k, U8(i))
			JLE(LabelRef("end"))
		}
		storeAll(r)
	}
	JMP(LabelRef("end"))
	Label("sixpart")
	for i, r := range out {
		if i > 0 {
			CMPQ(k, U8(i))
			JLE(LabelRef("end"))
		}
		store(r)
	}
	Label("end")
	VZEROUPPER()
	RET()
}

// packCols2 writes the two whole panels: 16 columns of B, 6 of A, from float32 and from BF16.
func packCols2(widened bool) {
	for _, width := range []int{16, 6} {
		name, source, size := fmt.Sprintf("packCols%d", width), "float32", 4
		if widened {
			name, source, size = name+"Widened", "uint16", 2
		}
		TEXT(name, NOSPLIT, "func(dst *float32, src *"+source+", ld, k int)")
		Pragma("noescape")
		Doc(name + " copies rows of that many elements, ld bytes apart, into a panel.")
		dst := Load(Param("dst"), RDI)
		src := Load(Param("src"), RSI)
		ld := Load(Param("ld"), RDX)
		k := Load(Param("k"), RCX)
		Label("one")
		SUBQ(U8(1), k)
		JL(LabelRef("end"))
		switch {
		case width == 16:
			for i := range 2 {
				from := Mem{Base: src, Disp: 8 * size * i}
				if widened {
					VPMOVZXWD(from, ymm[i])
					VPSLLD(U8(16), ymm[i], ymm[i])
				} else {
					VMOVUPS(from, ymm[i])
				}
			}
			for i := range 2 {
				VMOVUPS(ymm[i], Mem{Base: dst, Disp: 32 * i})
			}
		case widened:
			VPMOVZXWD(Mem{Base: src}, X0)
			VMOVD(Mem{Base: src, Disp: 8}, X1)
			VPMOVZXWD(X1, X1)
			VPSLLD(U8(16), X0, X0)
			VPSLLD(U8(16), X1, X1)
			VMOVUPS(X0, Mem{Base: dst})
			VMOVLPS(X1, Mem{Base: dst, Disp: 16})
		default:
			VMOVUPS(Mem{Base: src}, X0)
			MOVQ(Mem{Base: src, Disp: 16}, R8)
			VMOVUPS(X0, Mem{Base: dst})
			MOVQ(R8, Mem{Base: dst, Disp: 16})
		}
		ADDQ(ld, src)
		ADDQ(U8(4*width), dst)
		JMP(LabelRef("one"))
		Label("end")
		VZEROUPPER()
		RET()
	}
}

func addTransposed2() {
	TEXT("addTransposed8", NOSPLIT, "func(dst *float32, ldd int, src *float32, lds int)")
	Pragma("noescape")
	Doc("addTransposed8 adds src[j·lds + i] to dst[i·ldd + j] for i, j < 8; strides in bytes.")
	dst := Load(Param("dst"), RDI)
	ldd := Load(Param("ldd"), RAX)
	src := Load(Param("src"), RSI)
	lds := Load(Param("lds"), RDX)
	at := rowPointers2(src, lds)
	for i := range 8 {
		VMOVUPS(at(i), ymm[i])
	}
	for _, r := range transpose8() {
		VADDPS(Mem{Base: dst}, r, r)
		VMOVUPS(r, Mem{Base: dst})
		ADDQ(ldd, dst)
	}
	VZEROUPPER()
	RET()
}
