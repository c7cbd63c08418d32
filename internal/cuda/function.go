package cuda

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"unsafe"
)

// Function is one kernel of a Module. It is gone when its module is closed.
type Function struct {
	m          *Module
	name       string
	value      uintptr
	parameters []uint8      // sizes in bytes; nil when not known
	static     int          // bytes of shared memory that the kernel declares itself
	maxThreads int          // of a block
	raise      sync.Mutex   // held while dynamic grows
	dynamic    atomic.Int64 // most bytes of shared memory that a launch may ask for
}

// Function returns a kernel by its name.
func (m *Module) Function(name string) (*Function, error) {
	module, leave, err := m.enter()
	if err != nil {
		return nil, err
	}
	defer leave()
	text := append([]byte(name), 0)
	p := new(uintptr)
	f := m.d.sym().moduleGetFunction
	if err := m.d.check(f, f.Call(uintptr(unsafe.Pointer(p)), module, uintptr(unsafe.Pointer(&text[0])))); err != nil {
		var code *Error
		if errors.As(err, &code) && code.Code == 500 {
			return nil, fmt.Errorf("%w: it has no kernel %q (%w)", ErrBadModule, name, err)
		}
		return nil, fmt.Errorf("kernel %q: %w", name, err)
	}
	k := &Function{m: m, name: name, value: *p, parameters: m.parameters[name]}
	if k.static, err = k.attribute(funcShared); err != nil {
		return nil, err
	}
	if k.maxThreads, err = k.attribute(funcMaxThreads); err != nil {
		return nil, err
	}
	k.dynamic.Store(int64(m.d.info.SharedPerBlock - k.static))
	return k, nil
}

// Numbers of CUfunction_attribute.
const (
	funcMaxThreads = 0
	funcShared     = 1
	funcLocal      = 3
	funcRegisters  = 4
	funcPTX        = 5
	funcBinary     = 6
	funcMaxDynamic = 8
)

// attribute asks for one number; the device must be entered.
func (f *Function) attribute(number uintptr) (int, error) {
	value := new(int32)
	s := f.m.d.sym().funcGetAttribute
	if err := f.m.d.check(s, s.Call(uintptr(unsafe.Pointer(value)), number, f.value)); err != nil {
		return 0, fmt.Errorf("kernel %q: %w", f.name, err)
	}
	return int(*value), nil
}

// Attributes is what the compiled kernel takes, for one thread or one block.
type Attributes struct {
	Registers  int // of a thread
	Local      int // bytes of a thread in memory: spilled registers and arrays
	Shared     int // bytes of a block that the kernel declares itself
	MaxThreads int // most threads of a block
	PTX        int // virtual architecture it was written for, 80 for sm_80
	Binary     int // architecture it was compiled for, 90 for sm_90
}

// Attributes asks the driver what the kernel takes.
func (f *Function) Attributes() (Attributes, error) {
	_, leave, err := f.m.enter()
	if err != nil {
		return Attributes{}, err
	}
	defer leave()
	var a Attributes
	for _, e := range []struct {
		to     *int
		number uintptr
	}{{&a.Registers, funcRegisters}, {&a.Local, funcLocal}, {&a.Shared, funcShared}, {&a.MaxThreads, funcMaxThreads}, {&a.PTX, funcPTX}, {&a.Binary, funcBinary}} {
		if *e.to, err = f.attribute(e.number); err != nil {
			return Attributes{}, err
		}
	}
	return a, nil
}

// SetShared lets launches ask for up to that many bytes of dynamic shared memory. It is needed for more than every kernel
// may have (48 KB, its own included); the device sets a limit, which the error names. It never lowers what is allowed.
func (f *Function) SetShared(bytes int) error {
	_, leave, err := f.m.enter()
	if err != nil {
		return err
	}
	defer leave()
	if limit := f.m.d.info.SharedOptIn - f.static; bytes < 0 || bytes > limit {
		return fmt.Errorf("kernel %q: %d bytes of dynamic shared memory; GPU %d allows 0 to %d (%d a block, of which the kernel has %d itself)",
			f.name, bytes, f.m.d.info.Index, limit, f.m.d.info.SharedOptIn, f.static)
	}
	f.raise.Lock()
	defer f.raise.Unlock()
	if int64(bytes) <= f.dynamic.Load() {
		return nil
	}
	s := f.m.d.sym().funcSetAttribute
	if err := f.m.d.check(s, s.call(f.value, funcMaxDynamic, uintptr(bytes), 0, 0)); err != nil {
		return fmt.Errorf("kernel %q: %d bytes of dynamic shared memory: %w", f.name, bytes, err)
	}
	f.dynamic.Store(int64(bytes))
	return nil
}
