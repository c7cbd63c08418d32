package blocked

import (
	"fmt"
	"sync"
	"unsafe"

	"github.com/secencoder/secencoder/internal/mmap"
)

// Packed operands and blocks of sums are read and written many times over. On pages of 4 KiB the processor walks page tables
// for that: products by tiles (AMX) are 30 % slower there; on Zen 5, dW of 512×3,072×768 is 0 to 4 % faster on large ones.

// largePage is the size of a large page, fewestBytes what is worth one.
const (
	largePage   = 2 << 20
	fewestBytes = 128 << 10
)

// pages is scratch that goes to large pages where it is large.
type pages struct {
	f      []float32
	memory []byte // outside Go's heap, or nil
}

// mapped is the memory outside Go's heap of one Kernels. It lives apart from it, to be given back after it.
type mapped struct {
	mu  sync.Mutex
	all map[*byte][]byte
}

// grow returns n elements over p, like grow.
func (p *pages) grow(m *mapped, n int) []float32 {
	if cap(p.f) < n {
		m.free(p.memory)
		p.f, p.memory = nil, nil
		if 4*n >= fewestBytes {
			p.memory = m.alloc(upTo(4*n, largePage))
		}
		if p.memory != nil {
			p.f = unsafe.Slice((*float32)(unsafe.Pointer(unsafe.SliceData(p.memory))), len(p.memory)/4)
		} else {
			p.f = make([]float32, n)
		}
	}
	p.f = p.f[:n]
	return p.f
}

// alloc returns memory outside Go's heap, or nil where there is none to be had: Go's heap then serves, or says so.
func (m *mapped) alloc(bytes int) []byte {
	b, err := mmap.Alloc(bytes)
	if err != nil {
		return nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.all == nil {
		m.all = map[*byte][]byte{}
	}
	m.all[&b[0]] = b
	return b
}

func (m *mapped) free(b []byte) {
	if b == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.all, &b[0])
	unmap(b)
}

// close gives everything back.
func (m *mapped) close() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, b := range m.all {
		unmap(b)
	}
	m.all = nil
}

func unmap(b []byte) {
	if err := mmap.Free(b); err != nil {
		panic(fmt.Sprintf("internal error: scratch: %v", err))
	}
}
