package cuda

import (
	"errors"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

// DeviceOptions says how a device is used.
type DeviceOptions struct {
	MemoryLimit int64 // most bytes that Alloc takes from the driver; 0: no limit of ours
}

// Device is one opened GPU: its primary context, its memory, and what was made on it. Its methods may be called from any
// goroutine.
//
// Close of the device, and of whatever was made on it, waits until the calls that are under way on the device are over, a
// Synchronize included, however long that waits; and calls on the device that begin meanwhile wait behind that Close, on
// other streams too. Close nothing in the middle of a step while another goroutine waits for the GPU.
type Device struct {
	drv    *Driver
	info   Info
	device int32 // CUdevice
	ctx    uintptr
	pool   *pool

	life      sync.RWMutex // read: a call is under way; write: something is closed
	closed    bool         // guarded by life
	errClosed error
	lost      atomic.Pointer[Error] // the first error after which the context is of no use
	leave     func()                // made once: see enter

	captures atomic.Int32 // streams that are being captured

	mu    sync.Mutex
	owned map[*handle]struct{}        // guarded by mu: what is open on the device
	hosts atomic.Pointer[[]hostRange] // written under mu: see changeHosts
	slabs slabs
}

// Open opens the GPU of that index, as Devices counts. The error of an index that does not exist wraps ErrNoDevice.
func (d *Driver) Open(index int, o DeviceOptions) (*Device, error) {
	n, err := d.count()
	if err != nil {
		return nil, err
	}
	if index < 0 || index >= n {
		return nil, fmt.Errorf("%w: index %d, but the driver sees %d (counted from 0)", ErrNoDevice, index, n)
	}
	dev := &Device{drv: d, info: Info{Index: index}, owned: map[*handle]struct{}{}}
	dev.errClosed = fmt.Errorf("GPU %d: %w", index, ErrClosed)
	dev.leave = func() { runtime.UnlockOSThread(); dev.life.RUnlock() }
	if dev.device, err = d.query(&dev.info); err != nil {
		return nil, fmt.Errorf("open GPU %d: %w", index, err)
	}
	if dev.ctx, err = d.retain(dev.device); err != nil {
		return nil, fmt.Errorf("open GPU %d (%s): %w", index, dev.info.Name, err)
	}
	if err := dev.start(o); err != nil {
		return nil, Join(fmt.Errorf("open GPU %d (%s): %w", index, dev.info.Name, err), d.release(dev.device))
	}
	return dev, nil
}

// start does what needs the context.
func (d *Device) start(o DeviceOptions) error {
	leave, err := d.drv.enterContext(d.ctx)
	if err != nil {
		return err
	}
	defer leave()
	if d.info.Free, _, err = d.drv.memory(); err != nil {
		return err
	}
	d.pool = newPool(d, o)
	return nil
}

// Info returns what was found when the device was opened.
func (d *Device) Info() Info { return d.info }

// kind orders what is open on a device by the order in which Close frees it: users before what they use.
type kind int

const (
	kindGraph kind = iota
	kindLaunch
	kindLt
	kindEvent
	kindModule
	kindHost
	kindStream
)

var kindNames = [...]string{"graph", "launch", "cublasLt handle", "event", "module", "block of host memory", "stream"}

// handle is one thing that is open on a device, by the value that the driver knows it by.
type handle struct {
	d     *Device
	kind  kind
	free  func(value uintptr) error // gives it back; called with life locked and the context current
	value atomic.Uintptr            // 0 once it is closed; what it names is there as long as the device is entered
}

// own registers what was made on the device, so that Close finds it.
func (d *Device) own(k kind, value uintptr, free func(uintptr) error) *handle {
	h := &handle{d: d, kind: k, free: free}
	h.value.Store(value)
	d.mu.Lock()
	d.owned[h] = struct{}{}
	d.mu.Unlock()
	return h
}

// freeBy makes the free of a handle whose value goes to one function of the driver.
func (d *Device) freeBy(f Symbol) func(uintptr) error {
	return func(value uintptr) error { return d.check(f, f.call(value, 0, 0, 0, 0)) }
}

// enter enters the device and returns the value. The error of a closed handle wraps ErrClosed.
func (h *handle) enter() (value uintptr, leave func(), err error) {
	if leave, err = h.d.enter(); err != nil {
		return 0, nil, err
	}
	if value = h.value.Load(); value == 0 {
		leave()
		return 0, nil, h.errClosed()
	}
	return value, leave, nil
}

func (h *handle) errClosed() error { return fmt.Errorf("%s: %w", kindNames[h.kind], ErrClosed) }

// of returns the value for a call on another handle's device, which must be the same.
func (h *handle) of(d *Device) (uintptr, error) {
	if h.d != d {
		return 0, fmt.Errorf("a %s of GPU %d was used on GPU %d", kindNames[h.kind], h.d.info.Index, d.info.Index)
	}
	value := h.value.Load()
	if value == 0 {
		return 0, h.errClosed()
	}
	return value, nil
}

// close frees it, when the calls that are under way on the device are over: one of them may be using it. Calls that begin
// while it waits wait behind it, since a lock that is wanted for writing lets no reader in any more. A second close
// does nothing, and so does one after the device was closed. On a lost device it returns the error of the loss: the driver
// frees nothing of a dead context but with the context itself. After errCapturing it is open still.
func (h *handle) close() error {
	d := h.d
	d.life.Lock()
	defer d.life.Unlock()
	value := h.value.Load()
	if value == 0 {
		return nil
	}
	err := d.usable()
	if err == nil {
		err = h.freeNow(value)
	}
	if err == errCapturing {
		return err
	}
	h.value.Store(0)
	d.mu.Lock()
	delete(d.owned, h)
	d.mu.Unlock()
	return err
}

// freeNow frees it; life is locked.
func (h *handle) freeNow(value uintptr) error {
	leave, err := h.d.drv.enterContext(h.d.ctx)
	if err != nil {
		return h.d.lose(err)
	}
	defer leave()
	return h.free(value)
}

// Close waits for calls that are under way, with those that begin meanwhile behind it, and for the device's work, frees
// everything that is still open and gives the primary context back. What the caller should have closed is named in the
// error; it is freed all the same. On a lost device the error is that of the loss. A second Close does nothing. While a
// stream is being captured the device is not closed: that is an error.
func (d *Device) Close() error {
	d.life.Lock()
	defer d.life.Unlock()
	if d.closed {
		return nil
	}
	if d.captures.Load() > 0 {
		return fmt.Errorf("close GPU %d: %w", d.info.Index, errCapturing)
	}
	d.closed = true
	var errs []error
	if lost := d.lost.Load(); lost != nil {
		errs = append(errs, lost)
	}
	leave, err := d.drv.enterContext(d.ctx)
	if err != nil {
		errs = append(errs, d.lose(err))
	} else {
		defer leave()
	}
	errs = append(errs, d.freeAll())
	if err := d.drv.release(d.device); err != nil {
		errs = append(errs, d.note(err))
	}
	errs = append(errs, d.slabs.free())
	return Join(errs...)
}

// freeAll frees what is still open, users before what they use, and says what it was. What is left on a lost device goes
// with its context.
func (d *Device) freeAll() error {
	var errs []error
	if d.lost.Load() == nil {
		errs = append(errs, d.check(d.sym().ctxSynchronize, d.sym().ctxSynchronize.Call()))
	}
	d.mu.Lock()
	left := slices.Collect(maps.Keys(d.owned))
	clear(d.owned)
	d.mu.Unlock()
	slices.SortFunc(left, func(a, b *handle) int { return int(a.kind - b.kind) })
	count := make([]int, len(kindNames))
	for _, h := range left {
		count[h.kind]++
		if value := h.value.Load(); value != 0 && d.lost.Load() == nil {
			errs = append(errs, h.free(value))
		}
		h.value.Store(0)
	}
	errs = append(errs, d.pool.close())
	if len(left) > 0 && d.lost.Load() == nil {
		var what []string
		for k, n := range count {
			if n > 0 {
				what = append(what, fmt.Sprintf("%d × %s", n, kindNames[k]))
			}
		}
		errs = append(errs, fmt.Errorf("GPU %d was closed with these still open: %s", d.info.Index, strings.Join(what, ", ")))
	}
	return Join(errs...)
}

func (d *Device) sym() *symbols { return d.drv.sym }

// check turns the result of a call into an error, and remembers one after which the device is lost: from then on every
// call returns that first one.
func (d *Device) check(f Symbol, result uintptr) error {
	if int32(result) == 0 {
		return nil
	}
	return d.note(d.drv.check(f, result))
}

// lose takes the device for lost because its context cannot be made current, whatever the code.
func (d *Device) lose(err error) error {
	if e := (*Error)(nil); errors.As(err, &e) {
		lost := *e
		lost.kind = ErrDeviceLost
		err = &lost
	}
	return d.note(err)
}

// note remembers the first error after which the device is lost, and returns it instead of a later one.
func (d *Device) note(err error) error {
	if e := (*Error)(nil); errors.As(err, &e) && e.kind == ErrDeviceLost {
		d.lost.CompareAndSwap(nil, e)
	}
	if lost := d.lost.Load(); lost != nil {
		return lost
	}
	return err
}
