package cuda

import "unsafe"

// MemoryStats says what the memory of a device is used for, in bytes.
type MemoryStats struct {
	InUse     int64 // handed out or held by graphs, rounded up to size classes
	HighWater int64 // the most that InUse was
	Reserved  int64 // taken from the driver: in use and cached
	Limit     int64 // of Reserved; 0: none

	ReservedHighWater int64 // the most that Reserved was: what the device must have
	Asked             int64 // handed out, as asked for; InUse beyond it is lost to rounding or held by graphs
	Blocks            int   // allocations of the driver
	Taken, Given      int64 // calls of the driver since the start: allocations, frees
}

func newPool(d *Device, o DeviceOptions) *pool { return newPoolOn(&deviceMemory{d: d}, o.MemoryLimit) }

// deviceMemory is what the pool of a device stands on. The device has been entered by whoever calls the pool.
type deviceMemory struct {
	d     *Device
	event uintptr // for order; 0 until it is needed
}

func (m *deviceMemory) memAlloc(bytes int64) (Ptr, error) {
	f, p := m.d.sym().memAlloc, new(uintptr)
	err := m.d.check(f, f.Call(uintptr(unsafe.Pointer(p)), uintptr(bytes)))
	return Ptr(*p), err
}

func (m *deviceMemory) memFree(p Ptr) error {
	if m.d.lost.Load() != nil {
		return nil // it goes with the context; the loss itself has been reported
	}
	f := m.d.sym().memFree
	return m.d.check(f, f.call(uintptr(p), 0, 0, 0, 0))
}

func (m *deviceMemory) memInfo() (free, total int64, err error) { return m.d.drv.memory() }

// order records the pool's event on one stream and lets the other wait for it. A wait is for the last record before it,
// so one event does for all.
func (m *deviceMemory) order(s, behind *Stream) error {
	sym := m.d.sym()
	if m.event == 0 {
		const disableTiming = 2
		p := new(uintptr)
		if err := m.d.check(sym.eventCreate, sym.eventCreate.Call(uintptr(unsafe.Pointer(p)), disableTiming)); err != nil {
			return err
		}
		m.event = *p
	}
	if err := m.d.check(sym.eventRecord, sym.eventRecord.call(m.event, behind.value.Load(), 0, 0, 0)); err != nil {
		return err
	}
	return m.d.check(sym.streamWaitEvent, sym.streamWaitEvent.call(s.value.Load(), m.event, 0, 0, 0))
}

func (m *deviceMemory) synchronize(s *Stream) error {
	if s == nil {
		f := m.d.sym().ctxSynchronize
		return m.d.check(f, f.call(0, 0, 0, 0, 0))
	}
	f := m.d.sym().streamSynchronize
	return m.d.check(f, f.call(s.value.Load(), 0, 0, 0, 0))
}

func (m *deviceMemory) close() error {
	if m.event == 0 || m.d.lost.Load() != nil {
		return nil
	}
	f := m.d.sym().eventDestroy
	err := m.d.check(f, f.call(m.event, 0, 0, 0, 0))
	m.event = 0
	return err
}

// Alloc takes device memory for work on a stream, from the cache where it can; nil: for work on any stream. Its content is
// undefined, its address a multiple of 256. The error of too little memory wraps ErrOutOfMemory and says what is needed,
// free and allowed. While a graph is being captured only memory that is cached for the stream itself or for none is given,
// and a capture gets memory on the stream that captures, not on those forked from it.
func (d *Device) Alloc(s *Stream, bytes int) (Ptr, error) {
	leave, err := d.enterWith(s)
	if err != nil {
		return 0, err
	}
	defer leave()
	return d.pool.alloc(s, int64(bytes))
}

// Free takes device memory back behind the work that the stream has now, which must be the last that uses it, without
// waiting; nil: no work uses it any more. It goes to the cache, see Trim. Address 0 is nothing.
func (d *Device) Free(s *Stream, p Ptr) error {
	leave, err := d.enterWith(s)
	if err != nil {
		return err
	}
	defer leave()
	return d.pool.free(s, p)
}

// Trim gives the memory that is cached, not in use, back to the driver. It waits for the streams that used it last, and
// is refused while a graph is being captured.
func (d *Device) Trim() error {
	leave, err := d.enter()
	if err != nil {
		return err
	}
	defer leave()
	return d.pool.trimAll()
}

// Memory returns what the device's memory is used for, as far as this Device took it.
func (d *Device) Memory() MemoryStats { return d.pool.memory() }

// enterWith enters the device for a call on one of its streams, or on none.
func (d *Device) enterWith(s *Stream) (leave func(), err error) {
	if leave, err = d.enter(); err != nil || s == nil {
		return leave, err
	}
	if _, err = s.of(d); err != nil {
		leave()
		return nil, err
	}
	return leave, nil
}
