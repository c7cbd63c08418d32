package cuda

import (
	"time"
	"unsafe"
)

// Event is a mark in a stream: others wait for it, and two of them measure the time between.
type Event struct{ *handle }

// NewEvent makes an event that was not recorded: waiting for it returns at once.
func (d *Device) NewEvent() (*Event, error) {
	leave, err := d.enter()
	if err != nil {
		return nil, err
	}
	defer leave()
	p := new(uintptr)
	if err := d.check(d.sym().eventCreate, d.sym().eventCreate.Call(uintptr(unsafe.Pointer(p)), 0)); err != nil {
		return nil, err
	}
	return &Event{d.own(kindEvent, *p, d.freeBy(d.sym().eventDestroy))}, nil
}

// Record puts the mark behind all work that the stream has now.
func (e *Event) Record(s *Stream) error {
	event, leave, err := e.enter()
	if err != nil {
		return err
	}
	defer leave()
	stream, err := s.of(e.d)
	if err != nil {
		return err
	}
	return e.d.check(e.d.sym().eventRecord, e.d.sym().eventRecord.call(event, stream, 0, 0, 0))
}

// Done reports whether the work before the mark is done, without waiting.
func (e *Event) Done() (bool, error) {
	event, leave, err := e.enter()
	if err != nil {
		return false, err
	}
	defer leave()
	const notReady = 600
	r := e.d.sym().eventQuery.call(event, 0, 0, 0, 0)
	if int32(r) == notReady {
		return false, nil
	}
	return r == 0, e.d.check(e.d.sym().eventQuery, r)
}

// Synchronize waits until the work before the mark is done.
func (e *Event) Synchronize() error {
	event, leave, err := e.enter()
	if err != nil {
		return err
	}
	defer leave()
	return e.d.check(e.d.sym().eventSynchronize, e.d.sym().eventSynchronize.call(event, 0, 0, 0, 0))
}

// Since returns the device's time from start to e, to about half a microsecond. Both must have been recorded and be done.
func (e *Event) Since(start *Event) (time.Duration, error) {
	end, leave, err := e.enter()
	if err != nil {
		return 0, err
	}
	defer leave()
	begin, err := start.of(e.d)
	if err != nil {
		return 0, err
	}
	milliseconds := new(float32)
	err = e.d.check(e.d.sym().eventElapsed, e.d.sym().eventElapsed.Call(uintptr(unsafe.Pointer(milliseconds)), begin, end))
	return time.Duration(float64(*milliseconds) * float64(time.Millisecond)), err
}

// Close gives the event back. A second Close does nothing. It waits as Close of all that a Device has does.
func (e *Event) Close() error { return e.close() }
