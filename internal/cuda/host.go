package cuda

import (
	"fmt"
	"unsafe"
)

// Host is pinned host memory: outside Go's heap, and the device reads and writes it while the program goes on.
type Host struct {
	*handle
	bytes int
}

// hostRange is where a Host lies, for the copies, which treat other memory otherwise.
type hostRange struct{ from, to uintptr }

// NewHost takes pinned host memory. Its content is undefined.
func (d *Device) NewHost(bytes int) (*Host, error) {
	if bytes <= 0 {
		return nil, fmt.Errorf("pinned host memory of %d bytes: want at least 1", bytes)
	}
	leave, err := d.enter()
	if err != nil {
		return nil, err
	}
	defer leave()
	const portable = 1 // pinned for every context of the process, not for this device's alone
	p := new(uintptr)
	if err := d.check(d.sym().memHostAlloc, d.sym().memHostAlloc.Call(uintptr(unsafe.Pointer(p)), uintptr(bytes), portable)); err != nil {
		return nil, fmt.Errorf("pinned host memory of %d bytes: %w", bytes, err)
	}
	h := &Host{bytes: bytes}
	d.changeHosts(func(list []hostRange) []hostRange { return append(list, hostRange{*p, *p + uintptr(bytes)}) })
	h.handle = d.own(kindHost, *p, d.freeHost)
	return h, nil
}

// freeHost waits for copies under way, then gives the memory back. It gives none back after errCapturing.
func (d *Device) freeHost(p uintptr) error {
	err := d.pool.idle()
	if err == errCapturing {
		return err
	}
	d.changeHosts(func(list []hostRange) []hostRange {
		for i, r := range list {
			if r.from == p {
				return append(list[:i], list[i+1:]...)
			}
		}
		return list
	})
	return Join(err, d.freeBy(d.sym().memFreeHost)(p))
}

// changeHosts replaces the list of pinned ranges by a changed copy, so that copies read it without a lock.
func (d *Device) changeHosts(change func([]hostRange) []hostRange) {
	d.mu.Lock()
	defer d.mu.Unlock()
	var list []hostRange
	if old := d.hosts.Load(); old != nil {
		list = append(list, *old...)
	}
	list = change(list)
	d.hosts.Store(&list)
}

// pinned reports whether the bytes lie in one Host of the device.
func (d *Device) pinned(p uintptr, bytes int) bool {
	if list := d.hosts.Load(); list != nil {
		for _, r := range *list {
			if p >= r.from && p+uintptr(bytes) <= r.to {
				return true
			}
		}
	}
	return false
}

// Bytes returns the memory; nil after Close. It must not be used after Close.
func (h *Host) Bytes() []byte {
	p := h.value.Load()
	if p == 0 {
		return nil
	}
	return unsafe.Slice((*byte)(foreign(p)), h.bytes)
}

// Close waits for the device's work, then gives the memory back. A second Close does nothing. While a graph is being
// captured, which waiting would end, the memory is not given back: that is an error. It waits for calls too, as Close of all
// that a Device has does.
func (h *Host) Close() error { return h.close() }
