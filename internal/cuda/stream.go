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
	return &Stream{handle: d.own(kindStream, *p, d.freeBy(d.sym().streamDestroy))}, nil
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
// which is anybody's from then on. A second Close does nothing. A stream that is being
// captured is not closed: that is an error.
func (s *Stream) Close() error {
	if s.capturing.Load() {
		return errCapturing
	}
	return Join(s.retire(), s.close())
}

// retire makes the memory that is cached for the stream anybody's.
func (s *Stream) retire() error {
	_, leave, err := s.enter()
	if err != nil {
		return nil // closed, or lost, which close says
	}
	defer leave()
	return s.d.pool.retire(s)
}
