package gpu

import (
	"fmt"
	"unsafe"

	"github.com/secencoder/secencoder/internal/cuda"
	"github.com/secencoder/secencoder/internal/kernel"
)

// Operand describes device memory as calls of the table take it.
func Operand(p cuda.Ptr, bytes int, dtype kernel.DType) kernel.Buf {
	// The address is stored, not converted: it is none of Go's memory, which vet and checkptr would look for.
	return kernel.Buf{Ptr: *(*unsafe.Pointer)(unsafe.Pointer(&p)), Bytes: bytes, DType: dtype}
}

// address returns where an operand lies on the device; 0 for an absent one.
func address(b kernel.Buf) cuda.Ptr { return cuda.Ptr(uintptr(b.Ptr)) }

// want returns where an operand of n elements lies on the device. It panics, an internal error, when the operand is
// absent, shorter, or of another type: a kernel would write wherever that led.
func want(b kernel.Buf, dtype kernel.DType, n int) cuda.Ptr {
	if b.Absent() && n > 0 {
		panic("internal error: a CUDA kernel lacks an operand")
	}
	return may(b, dtype, n)
}

// may is want for an operand that may be absent: 0.
func may(b kernel.Buf, dtype kernel.DType, n int) cuda.Ptr {
	if !b.Absent() && (b.DType != dtype || b.Bytes < n*dtype.Size()) {
		panic(fmt.Sprintf("internal error: a CUDA kernel got %d bytes of %v for %d elements of %v", b.Bytes, b.DType, n, dtype))
	}
	return address(b)
}

// header returns where a step header lies, and the tokens of its plan; 0 and 0 for an absent one, which serves rows of all
// kinds without dropout.
func header(b kernel.Buf) (cuda.Ptr, int) {
	if b.Absent() {
		return 0, 0
	}
	return want(b, kernel.I32, b.Len()), kernel.TokensOfHeader(b.Len())
}
