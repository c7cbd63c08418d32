package kernel

import (
	"unsafe"

	"github.com/secencoder/secencoder/internal/bf16"
)

// DType is the element type of a Buf.
type DType uint8

const (
	F32  DType = iota // float32
	BF16              // bfloat16, the upper half of a float32
	I32               // int32
	I16               // int16
)

// Size returns the bytes of one element.
func (d DType) Size() int {
	switch d {
	case BF16, I16:
		return 2
	default:
		return 4
	}
}

// String returns the name that manifests and reports use.
func (d DType) String() string {
	switch d {
	case F32:
		return "f32"
	case BF16:
		return "bf16"
	case I32:
		return "i32"
	case I16:
		return "i16"
	}
	return "?"
}

// Buf describes device memory: where it starts, how long it is, what it holds. It owns nothing; whoever made the
// memory keeps it alive. The zero Buf means "absent": optional operands are given so.
type Buf struct {
	Ptr   unsafe.Pointer
	Bytes int
	DType DType
}

// FromF32 describes s; s must stay reachable as long as the Buf is used.
func FromF32(s []float32) Buf {
	return Buf{Ptr: unsafe.Pointer(unsafe.SliceData(s)), Bytes: 4 * len(s), DType: F32}
}

// FromBF16 describes s; s must stay reachable as long as the Buf is used.
func FromBF16(s []bf16.BF16) Buf {
	return Buf{Ptr: unsafe.Pointer(unsafe.SliceData(s)), Bytes: 2 * len(s), DType: BF16}
}

// FromI32 describes s; s must stay reachable as long as the Buf is used.
func FromI32(s []int32) Buf {
	return Buf{Ptr: unsafe.Pointer(unsafe.SliceData(s)), Bytes: 4 * len(s), DType: I32}
}

// FromI16 describes s; s must stay reachable as long as the Buf is used.
func FromI16(s []int16) Buf {
	return Buf{Ptr: unsafe.Pointer(unsafe.SliceData(s)), Bytes: 2 * len(s), DType: I16}
}

// Len returns the number of elements.
func (b Buf) Len() int { return b.Bytes / b.DType.Size() }

// Absent reports whether the operand was left out.
func (b Buf) Absent() bool { return b.Ptr == nil }

// F32 returns the memory as float32s; nil when absent. It panics on another dtype: an internal error.
func (b Buf) F32() []float32 {
	b.want(F32)
	return unsafe.Slice((*float32)(b.Ptr), b.Bytes/4)
}

// BF16 returns the memory as bf16s; nil when absent. It panics on another dtype: an internal error.
func (b Buf) BF16() []bf16.BF16 {
	b.want(BF16)
	return unsafe.Slice((*bf16.BF16)(b.Ptr), b.Bytes/2)
}

// I32 returns the memory as int32s; nil when absent. It panics on another dtype: an internal error.
func (b Buf) I32() []int32 {
	b.want(I32)
	return unsafe.Slice((*int32)(b.Ptr), b.Bytes/4)
}

// I16 returns the memory as int16s; nil when absent. It panics on another dtype: an internal error.
func (b Buf) I16() []int16 {
	b.want(I16)
	return unsafe.Slice((*int16)(b.Ptr), b.Bytes/2)
}

func (b Buf) want(d DType) {
	if b.Ptr != nil && b.DType != d {
		panic("internal error: kernel operand is " + b.DType.String() + ", want " + d.String())
	}
}
