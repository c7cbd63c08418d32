package cuda

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unsafe"
)

// What a caller may want to tell apart. Every error of this package that has such a cause wraps it.
var (
	ErrNoDriver     = errors.New("no CUDA driver")
	ErrNoLibrary    = errors.New("CUDA library not found")
	ErrDriverTooOld = errors.New("CUDA driver too old")
	ErrNoDevice     = errors.New("no such CUDA device")
	ErrOutOfMemory  = errors.New("out of device memory")
	ErrDeviceLost   = errors.New("CUDA device lost")
	ErrBadModule    = errors.New("bad CUDA module")
	ErrClosed       = errors.New("used after Close")
)

// Error is an error code of libcuda or of a library on top of it, with the call that returned it. The code may belong to
// work that was given earlier: kernels run later than the call that starts them.
type Error struct {
	Call string // function of the library: cuMemAlloc_v2
	Code int    // what it returned
	Name string // CUDA_ERROR_OUT_OF_MEMORY
	Text string // what the library says about the code
	Hint string // what to do about it; may be empty
	kind error  // sentinel that it belongs to, or nil
}

// Error returns one sentence: the call, what went wrong, the code's name and number, and what to do about it.
func (e *Error) Error() string {
	s := fmt.Sprintf("%s: %s (%s, %d)", e.Call, e.Text, e.Name, e.Code)
	if e.Hint != "" {
		s += "; " + e.Hint
	}
	return s
}

// Unwrap returns the sentinel that the code belongs to, or nil.
func (e *Error) Unwrap() error { return e.kind }

// newError makes the error of a code that call returned. The name and the text are the driver's own where it knows the
// code, else those of our table.
func (d *Driver) newError(call string, code int) *Error {
	e := codeError(call, code)
	if d == nil {
		return e
	}
	if name := d.errorText(d.sym.getErrorName, code); name != "" {
		e.Name = name
	}
	if text := d.errorText(d.sym.getErrorString, code); text != "" {
		e.Text = strings.TrimSuffix(text, ".") // some end in one, most do not
	}
	return e
}

// errorText asks the driver for the name or the text of a code.
func (d *Driver) errorText(f Symbol, code int) string {
	if f.addr == 0 {
		return ""
	}
	text := new(uintptr)
	if f.Call(uintptr(code), uintptr(unsafe.Pointer(text))) != 0 {
		return ""
	}
	return cString(*text)
}

// check turns the result of a call that concerns no device into an error.
func (d *Driver) check(f Symbol, result uintptr) error {
	if code := int(int32(result)); code != 0 {
		return d.newError(f.Name, code)
	}
	return nil
}

// Join is errors.Join without what was said already. After a failure whatever is called on a device fails in the same way:
// an error that another one wraps, one with the same text, and one with the code of an earlier one are left out. (Codes
// of two libraries may have one number.)
func Join(errs ...error) error {
	var list []error
	for _, err := range errs {
		if err != nil && !slices.ContainsFunc(list, func(said error) bool { return explains(said, err) }) {
			list = append(list, err)
		}
	}
	if len(list) == 1 {
		return list[0]
	}
	return errors.Join(list...)
}

func explains(said, err error) bool {
	var first, second *Error
	if errors.As(said, &first) && errors.As(err, &second) && first.Code == second.Code && first.Name == second.Name {
		return true
	}
	return errors.Is(said, err) || said.Error() == err.Error()
}

// cString copies the C string at address p, which is not Go's memory; empty for a nil pointer.
func cString(p uintptr) string {
	if p == 0 {
		return ""
	}
	base := foreign(p)
	n := 0
	for *(*byte)(unsafe.Add(base, n)) != 0 {
		n++
	}
	return string(unsafe.Slice((*byte)(base), n))
}

// foreign makes a pointer of an address outside Go's memory. The detour through a variable is what vet wants of someone
// who knows that the address is not Go's.
func foreign(p uintptr) unsafe.Pointer { return *(*unsafe.Pointer)(unsafe.Pointer(&p)) }
