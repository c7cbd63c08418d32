package model

import (
	"fmt"
	"math"
	"unsafe"

	"github.com/secencoder/secencoder/internal/mmap"
)

// arena is one float32 arena of the parameters: zeroed pages outside Go's heap, so that the garbage collector neither
// scans nor counts them.
type arena struct {
	raw  []byte
	data []float32
}

func newArena(elements int) (*arena, error) {
	if elements < 1 || elements > math.MaxInt/4 {
		return nil, fmt.Errorf("an arena of %d elements", elements)
	}
	raw, err := mmap.Alloc(4 * elements)
	if err != nil {
		return nil, err
	}
	return &arena{raw: raw, data: unsafe.Slice((*float32)(unsafe.Pointer(unsafe.SliceData(raw))), elements)}, nil
}

func (a *arena) all() []float32 {
	if a == nil {
		return nil
	}
	return a.data
}

func (a *arena) free() error {
	raw := a.raw
	a.raw, a.data = nil, nil
	return mmap.Free(raw)
}
