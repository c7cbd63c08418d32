package device

import (
	"fmt"
	"unsafe"

	"github.com/secencoder/secencoder/internal/kernel"
	"github.com/secencoder/secencoder/internal/mmap"
)

// Align is the alignment of an arena's start, in bytes; offsets that are multiples of it keep every Buf on cache lines.
const Align = 64

// Arena is one stretch of device memory, zero at first. On the processor it lies outside Go's heap: the garbage
// collector neither scans nor counts it, large pages are asked for, and it is given back by Close alone. It must not
// hold Go pointers. Views of it may be used concurrently as memory may.
type Arena struct {
	memory []byte
	bytes  int
}

// NewArena allocates an arena. Physical memory is taken when it is first written.
func (d *Device) NewArena(bytes int) (*Arena, error) { return NewArena(bytes) }

// NewArena allocates an arena of the processor's memory, where no device is open.
func NewArena(bytes int) (*Arena, error) {
	memory, err := mmap.Alloc(bytes)
	if err != nil {
		return nil, fmt.Errorf("arena: %w", err)
	}
	return &Arena{memory: memory, bytes: bytes}, nil
}

// Bytes returns the size.
func (a *Arena) Bytes() int { return a.bytes }

// Buf describes n elements of the given type at an offset in bytes. It panics, an internal error, when they do not lie
// in the arena or the offset is not a multiple of the element size.
func (a *Arena) Buf(offset, n int, dtype kernel.DType) kernel.Buf {
	size := n * dtype.Size()
	if offset < 0 || n < 0 || offset > len(a.memory)-size || offset%dtype.Size() != 0 {
		panic(fmt.Sprintf("internal error: %d elements of %v at byte %d of an arena of %d bytes", n, dtype, offset, len(a.memory)))
	}
	return kernel.Buf{Ptr: unsafe.Add(unsafe.Pointer(unsafe.SliceData(a.memory)), offset), Bytes: size, DType: dtype}
}

// F32 returns n float32s at an offset in bytes; it panics like Buf.
func (a *Arena) F32(offset, n int) []float32 { return a.Buf(offset, n, kernel.F32).F32() }

// I32 returns n int32s at an offset in bytes; it panics like Buf.
func (a *Arena) I32(offset, n int) []int32 { return a.Buf(offset, n, kernel.I32).I32() }

// Close gives the memory back; no view may be used any more. A second call does nothing.
func (a *Arena) Close() error {
	memory := a.memory
	a.memory = nil
	if err := mmap.Free(memory); err != nil {
		return fmt.Errorf("arena: %w", err)
	}
	return nil
}
