package cuda

import (
	"errors"
	"sync"
	"unsafe"

	"github.com/secencoder/secencoder/internal/mmap"
)

// slabs lends argument blocks outside Go's heap.
type slabs struct {
	mu   sync.Mutex
	maps [][]byte
	idle []*block
}

const slabBytes = 64 << 10

// take lends a block.
func (s *slabs) take() (*block, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.idle) == 0 {
		m, err := mmap.Alloc(slabBytes)
		if err != nil {
			return nil, err
		}
		s.maps = append(s.maps, m)
		for at := 0; at+int(unsafe.Sizeof(block{})) <= len(m); at += int(unsafe.Sizeof(block{})) {
			s.idle = append(s.idle, (*block)(unsafe.Pointer(&m[at])))
		}
	}
	b := s.idle[len(s.idle)-1]
	s.idle = s.idle[:len(s.idle)-1]
	return b, nil
}

// give takes a block back.
func (s *slabs) give(b *block) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.idle = append(s.idle, b)
}

// free gives all memory back; no block may be in use.
func (s *slabs) free() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	for _, m := range s.maps {
		errs = append(errs, mmap.Free(m))
	}
	s.maps, s.idle = nil, nil
	return errors.Join(errs...)
}
