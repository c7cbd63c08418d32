//go:build linux && (amd64 || arm64) && !nocuda

package nvrtc

import (
	"fmt"
	"runtime"
	"unsafe"

	"github.com/ebitengine/purego"
)

// Compiler is an opened libnvrtc. Its methods may run concurrently.
type Compiler struct {
	path string

	version, create, destroy, compile, ptxSize, ptx, logSize, log, errorString uintptr
}

// Open opens libnvrtc at a path; the library finds its built-ins beside itself. It stays open as long as the process
// lives: a second Open of the same path costs nothing.
func Open(path string) (*Compiler, error) {
	handle, err := purego.Dlopen(path, purego.RTLD_NOW|purego.RTLD_LOCAL)
	if err != nil {
		return nil, fmt.Errorf("open the CUDA compiler %s: %w", path, err)
	}
	c := &Compiler{path: path}
	for _, s := range []struct {
		name string
		to   *uintptr
	}{
		{"nvrtcVersion", &c.version},
		{"nvrtcCreateProgram", &c.create},
		{"nvrtcDestroyProgram", &c.destroy},
		{"nvrtcCompileProgram", &c.compile},
		{"nvrtcGetPTXSize", &c.ptxSize},
		{"nvrtcGetPTX", &c.ptx},
		{"nvrtcGetProgramLogSize", &c.logSize},
		{"nvrtcGetProgramLog", &c.log},
		{"nvrtcGetErrorString", &c.errorString},
	} {
		if *s.to, err = purego.Dlsym(handle, s.name); err != nil {
			return nil, fmt.Errorf("%s has no function %s: it is no libnvrtc, or an old one: %w", path, s.name, err)
		}
	}
	return c, nil
}

// Version returns the compiler's version, 12 and 1 for 12.1.
func (c *Compiler) Version() (major, minor int, err error) {
	var v [2]int32
	var pin runtime.Pinner
	defer pin.Unpin()
	if code, _, _ := purego.SyscallN(c.version, address(&pin, &v[0]), address(&pin, &v[1])); code != 0 {
		return 0, 0, fmt.Errorf("nvrtcVersion of %s: %s", c.path, c.text(code))
	}
	return int(v[0]), int(v[1]), nil
}

// Compile returns the PTX of a program and what the compiler said beside it (warnings). A refused program is a
// *CompileError. The same program gives the same bytes.
func (c *Compiler) Compile(p Program) (ptx []byte, log string, err error) {
	var pin runtime.Pinner
	defer pin.Unpin()
	text := func(s string) uintptr {
		b := append([]byte(s), 0)
		return address(&pin, &b[0])
	}
	// list makes an array of addresses, 0 for an empty one.
	list := func(texts []string) uintptr {
		if len(texts) == 0 {
			return 0
		}
		all := make([]uintptr, len(texts))
		for i, s := range texts {
			all[i] = text(s)
		}
		return address(&pin, &all[0])
	}
	names := p.headerNames()
	headers := make([]string, len(names))
	for i, name := range names {
		headers[i] = p.Headers[name]
	}

	var program uintptr
	at := address(&pin, &program)
	if code, _, _ := purego.SyscallN(c.create, at, text(p.Source), text(p.Name), uintptr(len(names)), list(headers), list(names)); code != 0 {
		return nil, "", &CompileError{p.Name, c.text(code), ""}
	}
	defer func() {
		if code, _, _ := purego.SyscallN(c.destroy, at); code != 0 && err == nil {
			err = fmt.Errorf("nvrtcDestroyProgram of %s: %s", p.Name, c.text(code))
		}
	}()

	compiled, _, _ := purego.SyscallN(c.compile, program, uintptr(len(p.Options)), list(p.Options))
	said, err := c.read(program, c.logSize, c.log)
	if err != nil {
		return nil, "", fmt.Errorf("the log of %s: %w", p.Name, err)
	}
	if compiled != 0 {
		return nil, string(said), &CompileError{p.Name, c.text(compiled), string(said)}
	}
	ptx, err = c.read(program, c.ptxSize, c.ptx)
	if err != nil {
		return nil, string(said), fmt.Errorf("the PTX of %s: %w", p.Name, err)
	}
	return ptx, string(said), nil
}

// read asks for the size of a text, then for the text, and drops the zero at its end.
func (c *Compiler) read(program, size, get uintptr) ([]byte, error) {
	var n uintptr
	var pin runtime.Pinner
	defer pin.Unpin()
	if code, _, _ := purego.SyscallN(size, program, address(&pin, &n)); code != 0 {
		return nil, fmt.Errorf("%s", c.text(code))
	}
	if n <= 1 {
		return nil, nil
	}
	b := make([]byte, n)
	if code, _, _ := purego.SyscallN(get, program, address(&pin, &b[0])); code != 0 {
		return nil, fmt.Errorf("%s", c.text(code))
	}
	return b[:n-1], nil
}

// text returns the name of a result code.
func (c *Compiler) text(code uintptr) string {
	p, _, _ := purego.SyscallN(c.errorString, uintptr(uint32(code)))
	if p == 0 {
		return fmt.Sprintf("code %d", int32(code))
	}
	// The library's own text, constant and ended by a zero; the detour keeps vet from taking it for a Go address.
	s := *(**[128]byte)(unsafe.Pointer(&p))
	n := 0
	for n < len(s) && s[n] != 0 {
		n++
	}
	return string(s[:n])
}

// address returns where a value lies and holds it there until pin lets go: what C fills in must not be on a stack, which
// moves when it grows, and what C reads must not be collected.
func address[T any](pin *runtime.Pinner, p *T) uintptr {
	pin.Pin(p)
	return uintptr(unsafe.Pointer(p))
}
