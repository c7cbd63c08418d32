package gpu

import (
	"fmt"

	"github.com/secencoder/secencoder/internal/cuda"
	"github.com/secencoder/secencoder/internal/kernel"
)

// Stream returns the name under which calls go to a stream of the table's device; 0 names a stream of the table's own. The
// stream must stay open until Release, or longer than the table.
func (t *Table) Stream(s *cuda.Stream) kernel.Stream {
	t.mu.Lock()
	defer t.mu.Unlock()
	free := 0
	for i, known := range t.streams {
		switch known {
		case s:
			return kernel.Stream(i)
		case nil:
			free = i
		}
	}
	if free > 0 {
		t.streams[free] = s
		return kernel.Stream(free)
	}
	t.streams = append(t.streams, s)
	return kernel.Stream(len(t.streams) - 1)
}

// Release forgets a stream's name, which a later Stream may give again.
func (t *Table) Release(on kernel.Stream) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if on > 0 && int(on) < len(t.streams) {
		t.streams[on] = nil
	}
}

// Sync waits for the calls on a stream and returns the first error of the table since the last Sync.
func (t *Table) Sync(on kernel.Stream) error {
	t.mu.Lock()
	stream, err := t.stream(on)
	t.mu.Unlock()
	if err == nil {
		err = stream.Synchronize() // others may put their calls on streams meanwhile
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if err != nil {
		t.fail(err)
	}
	err, t.err = t.err, nil
	return err
}

// stream returns the stream of a name.
func (t *Table) stream(on kernel.Stream) (*cuda.Stream, error) {
	if int(on) >= len(t.streams) || t.streams[on] == nil {
		return nil, fmt.Errorf("stream %d of the kernel table: %w", on, cuda.ErrClosed)
	}
	return t.streams[on], nil
}
