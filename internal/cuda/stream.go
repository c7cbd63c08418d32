package cuda

import (
	"sync/atomic"
	"unsafe"
)

// Stream is a queue of work on the device: what is put into one stream runs in that order, streams run beside each
// other.
type Stream struct {
	*handle
	capturing atomic.Bool // see Capture
}

// NewStream makes a stream that does not wait for the legacy default stream.
func (d *Device) NewStream() (*Stream, error) {
	leave, err := d.enter()
	if err != nil {
		return nil, err
	}
	defer leave()
	const nonBlocking = 1
	p := new(uintptr)
	if err := d.check(d.sym().streamCreate, d.sym().streamCreate.Call(uintptr(unsafe.Pointer(p)), nonBlocking)); err != nil {
		return nil, err
	}
	s := new(Stream)
	s.handle = d.own(kindStream, *p, s.free)
	return s, nil
}

// Synchronize waits until all work of the stream is done. An error may come from any of that work.
func (s *Stream) Synchronize() error {
	stream, leave, err := s.enter()
	if err != nil {
		return err
	}
	defer leave()
	return s.d.check(s.d.sym().streamSynchronize, s.d.sym().streamSynchronize.call(stream, 0, 0, 0, 0))
}

// Wait lets later work of the stream wait for the event, without waiting itself.
func (s *Stream) Wait(e *Event) error {
	stream, leave, err := s.enter()
	if err != nil {
		return err
	}
	defer leave()
	event, err := e.of(s.d)
	if err != nil {
		return err
	}
	return s.d.check(s.d.sym().streamWaitEvent, s.d.sym().streamWaitEvent.call(stream, event, 0, 0, 0))
}

// Close gives the stream back when its work is done. It waits for that work only where memory is cached for the stream,
// which is anybody's from then on. A second Close does nothing. A stream that is being captured is not closed: that is an
// error. It waits for calls too, as Close of all that a Device has does.
func (s *Stream) Close() error { return s.close() }

// free makes the memory that is cached for the stream anybody's and gives the stream back.
func (s *Stream) free(value uintptr) error {
	if s.capturing.Load() {
		return errCapturing
	}
	return Join(s.d.pool.retire(s), s.d.freeBy(s.d.sym().streamDestroy)(value))
}
