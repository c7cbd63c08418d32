package gpu

import (
	"errors"

	"github.com/secencoder/secencoder/internal/cuda"
	"github.com/secencoder/secencoder/internal/kernel"
)

// lane is a stream, with scratch memory that its calls use one after the other. Memory that became too small is kept until
// the lane is released, because a graph that was captured from earlier calls goes on using it.
type lane struct {
	stream  *cuda.Stream
	scratch cuda.Ptr
	bytes   int
	retired []cuda.Ptr
}

// take returns scratch memory for one call, on a multiple of 256 bytes. What the calls before had there is gone.
func (l *lane) take(device *cuda.Device, bytes int) (cuda.Ptr, error) {
	if bytes <= l.bytes {
		return l.scratch, nil
	}
	p, err := device.Alloc(l.stream, bytes)
	if err != nil {
		return 0, err
	}
	if l.bytes > 0 {
		l.retired = append(l.retired, l.scratch)
	}
	l.scratch, l.bytes = p, bytes
	return p, nil
}

// release gives all of the scratch memory back, behind the calls of the stream.
func (l *lane) release(device *cuda.Device) error {
	if l.bytes == 0 {
		return nil
	}
	var errs []error
	for _, p := range append(l.retired, l.scratch) {
		errs = append(errs, device.Free(l.stream, p))
	}
	l.scratch, l.bytes, l.retired = 0, 0, nil
	return errors.Join(errs...)
}

// Stream returns the name under which calls go to a stream of the table's device; 0 names a stream of the table's own. The
// stream must stay open until Release, or longer than the table.
func (t *Table) Stream(s *cuda.Stream) kernel.Stream {
	t.mu.Lock()
	defer t.mu.Unlock()
	free := 0
	for i, l := range t.lanes {
		switch l.stream {
		case s:
			return kernel.Stream(i)
		case nil:
			free = i
		}
	}
	if free > 0 {
		t.lanes[free].stream = s
		return kernel.Stream(free)
	}
	t.lanes = append(t.lanes, &lane{stream: s})
	return kernel.Stream(len(t.lanes) - 1)
}

// Release forgets a stream's name and gives back the scratch memory of its calls, in the order of the stream. Graphs that
// were captured from them must not be launched any more.
func (t *Table) Release(on kernel.Stream) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	l := t.lanes[on]
	err := l.release(t.device)
	if on > 0 {
		l.stream = nil
	}
	return err
}

// Sync waits for the calls on a stream and returns the first error of the table since the last Sync.
func (t *Table) Sync(on kernel.Stream) error {
	t.mu.Lock()
	stream := t.lanes[on].stream
	t.mu.Unlock()
	waited := stream.Synchronize() // others may put their calls on streams meanwhile
	t.mu.Lock()
	defer t.mu.Unlock()
	if waited != nil {
		t.fail(waited)
	}
	err := t.err
	t.err = nil
	return err
}
