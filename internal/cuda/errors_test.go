package cuda

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

func TestErrorSentence(t *testing.T) {
	err := error(codeError("cuMemAlloc_v2", 2))
	want := "cuMemAlloc_v2: out of memory (CUDA_ERROR_OUT_OF_MEMORY, 2); "
	if !strings.HasPrefix(err.Error(), want) {
		t.Errorf("error %q, want it to begin with %q", err, want)
	}
	if err := codeError("cuMemHostAlloc", 2); !strings.Contains(err.Error(), "host memory") || strings.Contains(err.Error(), "GPU") {
		t.Errorf("pinned memory: %q", err)
	}
	var e *Error
	if !errors.As(fmt.Errorf("step 3: %w", err), &e) || e.Code != 2 || e.Call != "cuMemAlloc_v2" {
		t.Errorf("the code cannot be had from a wrapped error: %+v", e)
	}
	if err := codeError("cuFoo", 12345); err.Error() != "cuFoo: a code that this program does not know (CUDA error 12345, 12345)" {
		t.Errorf("unknown code: %q", err)
	}
}

func TestSentinels(t *testing.T) {
	for code, want := range map[int]error{
		1: nil, 2: ErrOutOfMemory, 34: ErrNoDriver, 36: ErrDriverTooOld, 46: nil, 100: ErrNoDevice, 101: ErrNoDevice,
		200: ErrBadModule, 214: ErrDeviceLost, 218: ErrBadModule, 222: ErrDriverTooOld, 600: nil, 700: ErrDeviceLost,
		719: ErrDeviceLost, 803: ErrNoDriver, 901: nil, 999: ErrDeviceLost,
	} {
		err := codeError("cuCall", code)
		if err.Unwrap() != want {
			t.Errorf("code %d wraps %v, want %v", code, err.Unwrap(), want)
		}
	}
}

func TestFirstLossIsKept(t *testing.T) {
	d := &Device{drv: &Driver{sym: &symbols{}}}
	oom, fault := codeError("cuMemAlloc_v2", 2), codeError("cuStreamSynchronize", 700)
	if err := d.note(oom); err != error(oom) || d.usable() != nil {
		t.Errorf("out of memory lost the device: %v, %v", err, d.usable())
	}
	if err := d.note(fault); err != error(fault) {
		t.Errorf("the loss gave %v", err)
	}
	if err := d.note(codeError("cuMemFree_v2", 719)); err != error(fault) {
		t.Errorf("after the loss: %v, want the first error", err)
	}
	if _, err := d.enter(); err != error(fault) {
		t.Errorf("enter after the loss: %v, want the first error", err)
	}
	foreign := &Error{Call: "cublasLtMatmul", Code: 700, Name: "CUBLAS", Text: "another library's 700"}
	d = &Device{drv: &Driver{sym: &symbols{}}}
	if err := d.note(foreign); err != error(foreign) || d.usable() != nil {
		t.Error("the code of another library was taken for CUDA's")
	}
}

// What says the same again is left out of a joined error; what has the same number in another library is not the same.
func TestJoin(t *testing.T) {
	driver, other := codeError("cuMemFree_v2", 1), codeError("cuEventRecord", 1)
	library := &Error{Call: "cublasLtMatmul", Code: 1, Name: "CUBLAS_STATUS_NOT_INITIALIZED", Text: "the library was not initialized"}
	if got := Join(driver, nil, other, driver, fmt.Errorf("again: %w", other)); got != error(driver) {
		t.Errorf("one cause: %v", got)
	}
	if got := Join(driver, library); !errors.Is(got, driver) || !errors.Is(got, library) {
		t.Errorf("two causes: %v", got)
	}
	if got := Join(nil, nil); got != nil {
		t.Errorf("no cause: %v", got)
	}
}
