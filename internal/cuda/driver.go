package cuda

import (
	"bytes"
	"errors"
	"fmt"
	"sync"
	"unsafe"
)

// Options says where to look for the driver.
type Options struct {
	Library string // the option of OpenLibrary: a folder or a file, "" for none
}

// Driver is the opened and initialised libcuda.
type Driver struct {
	library *Library
	sym     *symbols
	version int
}

// loaded holds the drivers of this process by library handle: opening one twice gives the same one.
var loaded = struct {
	sync.Mutex
	drivers map[uintptr]*Driver
}{drivers: map[uintptr]*Driver{}}

// Load opens libcuda and initialises it. Nothing of CUDA is opened before. A machine without a driver gives an error
// that wraps ErrNoDriver and lists every place that was tried; a driver that lacks a function, ErrDriverTooOld; one that
// sees no GPU, ErrNoDevice. A failed Load may be repeated.
func Load(o Options) (*Driver, error) {
	library, err := OpenLibrary(LibCUDA, o.Library)
	if err != nil {
		return nil, err
	}
	loaded.Lock()
	defer loaded.Unlock()
	if d := loaded.drivers[library.handle]; d != nil {
		return d, nil
	}
	d := &Driver{library: library}
	if d.sym, err = resolve(library); err != nil {
		return nil, err
	}
	if err := d.check(d.sym.init, d.sym.init.Call(0)); err != nil {
		return nil, fmt.Errorf("initialise %s: %w", library.path, err)
	}
	version := new(int32)
	if err := d.check(d.sym.driverGetVersion, d.sym.driverGetVersion.Call(uintptr(unsafe.Pointer(version)))); err != nil {
		return nil, err
	}
	d.version = int(*version)
	loaded.drivers[library.handle] = d
	return d, nil
}

// Path returns the file of libcuda, see Library.Path.
func (d *Driver) Path() string { return d.library.path }

// Version returns the CUDA version that the driver is for, 12040 for 12.4.
func (d *Driver) Version() int { return d.version }

// Info describes a GPU. Sizes are in bytes.
type Info struct {
	Index           int
	Name            string
	Major, Minor    int   // compute capability: 9, 0 for sm_90
	Total, Free     int64 // memory; Free when it was asked, 0 for a device that cannot be opened
	Multiprocessors int
	L2              int
	SharedPerBlock  int // shared memory of a block without asking for more
	SharedOptIn     int // and with: see Function.SetShared
	WarpSize        int
	Err             error // why the device cannot be opened; nil when it can
}

// Numbers of CUdevice_attribute.
const (
	attrSharedPerBlock  = 8
	attrWarpSize        = 10
	attrMultiprocessors = 16
	attrL2              = 38
	attrMajor           = 75
	attrMinor           = 76
	attrSharedOptIn     = 97
)

// Devices describes every GPU that the driver sees, also those that cannot be opened (Info.Err says why). It opens each
// for a moment, because free memory is a matter of an opened device.
func (d *Driver) Devices() ([]Info, error) {
	n, err := d.count()
	if err != nil {
		return nil, err
	}
	list := make([]Info, n)
	for i := range list {
		list[i] = d.describe(i)
	}
	return list, nil
}

// count returns the number of GPUs. Newer drivers give an error when there is none, older ones 0: here both are 0.
func (d *Driver) count() (int, error) {
	n := new(int32)
	err := d.check(d.sym.deviceGetCount, d.sym.deviceGetCount.Call(uintptr(unsafe.Pointer(n))))
	if err != nil && !errors.Is(err, ErrNoDevice) {
		return 0, err
	}
	return int(*n), nil
}

// describe returns what can be found out about a GPU; what went wrong on the way is in Err.
func (d *Driver) describe(index int) Info {
	info := Info{Index: index}
	device, err := d.query(&info)
	if err == nil {
		err = d.peek(device, &info)
	}
	info.Err = err
	return info
}

// query fills in what is known of a GPU without opening it, and returns its handle.
func (d *Driver) query(info *Info) (device int32, err error) {
	handle, total, name := new(int32), new(uintptr), make([]byte, 256)
	if err := d.check(d.sym.deviceGet, d.sym.deviceGet.Call(uintptr(unsafe.Pointer(handle)), uintptr(info.Index))); err != nil {
		return 0, err
	}
	h := uintptr(*handle)
	if err := d.check(d.sym.deviceGetName, d.sym.deviceGetName.Call(uintptr(unsafe.Pointer(&name[0])), uintptr(len(name)), h)); err != nil {
		return 0, err
	}
	info.Name = string(name[:max(0, bytes.IndexByte(name, 0))])
	if err := d.check(d.sym.deviceTotalMem, d.sym.deviceTotalMem.Call(uintptr(unsafe.Pointer(total)), h)); err != nil {
		return 0, err
	}
	info.Total = int64(*total)
	for _, a := range []struct {
		to     *int
		number uintptr
	}{
		{&info.Major, attrMajor}, {&info.Minor, attrMinor}, {&info.Multiprocessors, attrMultiprocessors}, {&info.L2, attrL2},
		{&info.SharedPerBlock, attrSharedPerBlock}, {&info.SharedOptIn, attrSharedOptIn}, {&info.WarpSize, attrWarpSize},
	} {
		value := new(int32)
		if err := d.check(d.sym.deviceGetAttribute, d.sym.deviceGetAttribute.Call(uintptr(unsafe.Pointer(value)), a.number, h)); err != nil {
			return 0, err
		}
		*a.to = int(*value)
	}
	return *handle, nil
}

// peek opens the device for a moment to ask for its free memory.
func (d *Driver) peek(device int32, info *Info) (err error) {
	context, err := d.retain(device)
	if err != nil {
		return err
	}
	defer func() { err = Join(err, d.release(device)) }()
	leave, err := d.enterContext(context)
	if err != nil {
		return err
	}
	defer leave()
	info.Free, _, err = d.memory()
	return err
}

// memory returns free and total memory of the current context's device.
func (d *Driver) memory() (free, total int64, err error) {
	f, t := new(uintptr), new(uintptr)
	err = d.check(d.sym.memGetInfo, d.sym.memGetInfo.Call(uintptr(unsafe.Pointer(f)), uintptr(unsafe.Pointer(t))))
	return int64(*f), int64(*t), err
}

// retain opens the device's primary context: the one that cuBLASLt and every other library share.
func (d *Driver) retain(device int32) (context uintptr, err error) {
	p := new(uintptr)
	err = d.check(d.sym.primaryCtxRetain, d.sym.primaryCtxRetain.Call(uintptr(unsafe.Pointer(p)), uintptr(device)))
	return *p, err
}

// release gives a primary context back.
func (d *Driver) release(device int32) error {
	return d.check(d.sym.primaryCtxRelease, d.sym.primaryCtxRelease.Call(uintptr(device)))
}

// versionName writes a version as people do: 12040 is 12.4.
func versionName(v int) string { return fmt.Sprintf("%d.%d", v/1000, v%1000/10) }
