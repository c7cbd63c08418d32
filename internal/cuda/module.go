package cuda

import (
	"bytes"
	"fmt"
	"runtime"
	"strings"
	"unsafe"
)

// Module is kernels that were loaded on a device.
type Module struct {
	*handle
	parameters map[string][]uint8 // by entry, when the module came as PTX
}

// LoadModule loads PTX, which the driver compiles for the device, or a cubin, which is compiled already. A driver too
// old for the PTX is an error that wraps ErrDriverTooOld and says which is needed; what the driver's compiler refuses,
// one that wraps ErrBadModule and holds its log.
func (d *Device) LoadModule(image []byte) (*Module, error) {
	m := new(Module)
	if bytes.HasPrefix(image, []byte("\x7fELF")) {
		if err := checkCubin(image); err != nil {
			return nil, err
		}
	} else {
		h, err := readPTX(image)
		if err != nil {
			return nil, err
		}
		if err := h.suits(d.drv.version, &d.info); err != nil {
			return nil, err
		}
		m.parameters = parameters(image)
	}
	leave, err := d.enter()
	if err != nil {
		return nil, err
	}
	defer leave()
	value, err := d.loadImage(append(bytes.Clone(image), 0)) // the driver reads PTX up to a zero
	if err != nil {
		return nil, err
	}
	m.handle = d.own(kindModule, value, d.freeBy(d.sym().moduleUnload))
	return m, nil
}

// loadImage calls the driver, with room for what its compiler has to say about errors.
func (d *Device) loadImage(image []byte) (uintptr, error) {
	const logBuffer, logBytes = 5, 6 // CU_JIT_ERROR_LOG_BUFFER and its size
	log := make([]byte, 16<<10)
	var pin runtime.Pinner // values holds addresses, which the garbage collector does not see as such
	defer pin.Unpin()
	pin.Pin(&log[0])
	options := []int32{logBuffer, logBytes}
	values := []uintptr{uintptr(unsafe.Pointer(&log[0])), uintptr(len(log) - 1)}
	module := new(uintptr)
	f := d.sym().moduleLoadDataEx
	err := d.check(f, f.Call(uintptr(unsafe.Pointer(module)), uintptr(unsafe.Pointer(&image[0])), uintptr(len(options)),
		uintptr(unsafe.Pointer(&options[0])), uintptr(unsafe.Pointer(&values[0]))))
	if err == nil {
		return *module, nil
	}
	if said := strings.TrimSpace(string(log[:max(0, bytes.IndexByte(log, 0))])); said != "" {
		return 0, fmt.Errorf("load kernels: %w; the driver's compiler said:\n%s", err, said)
	}
	return 0, fmt.Errorf("load kernels: %w", err)
}

// Close unloads the kernels; none may be running. A second Close does nothing. It waits as Close of all that a Device has does.
func (m *Module) Close() error { return m.close() }
