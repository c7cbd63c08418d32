package cuda

import (
	"fmt"
	"sync"
	"unsafe"
)

// MemoryStats counts device memory, in bytes.
type MemoryStats struct{ InUse, HighWater, Reserved, Limit int64 }

// pool gives device memory.
type pool struct {
	d     *Device
	mu    sync.Mutex
	sizes map[Ptr]int
	stats MemoryStats
}

func newPool(d *Device, o DeviceOptions) *pool {
	return &pool{d: d, sizes: map[Ptr]int{}, stats: MemoryStats{Limit: o.MemoryLimit}}
}

// Alloc takes device memory for work in the stream.
func (d *Device) Alloc(s *Stream, bytes int) (Ptr, error) {
	leave, err := d.enter()
	if err != nil {
		return 0, err
	}
	defer leave()
	p := d.pool
	p.mu.Lock()
	defer p.mu.Unlock()
	if l := p.stats.Limit; l > 0 && p.stats.InUse+int64(bytes) > l {
		return 0, fmt.Errorf("%w: %d bytes needed, %d of the limit of %d left", ErrOutOfMemory, bytes, l-p.stats.InUse, l)
	}
	at := new(uintptr)
	if err := d.check(d.sym().memAlloc, d.sym().memAlloc.Call(uintptr(unsafe.Pointer(at)), uintptr(bytes))); err != nil {
		return 0, fmt.Errorf("%d bytes of device memory: %w", bytes, err)
	}
	p.sizes[Ptr(*at)] = bytes
	p.stats.InUse += int64(bytes)
	p.stats.HighWater = max(p.stats.HighWater, p.stats.InUse)
	p.stats.Reserved = p.stats.InUse
	return Ptr(*at), nil
}

// Free gives device memory back behind the stream's earlier work.
func (d *Device) Free(s *Stream, at Ptr) error {
	stream, leave, err := s.enter()
	if err != nil {
		return err
	}
	defer leave()
	p := d.pool
	p.mu.Lock()
	defer p.mu.Unlock()
	bytes, ok := p.sizes[at]
	if !ok {
		return fmt.Errorf("device address %#x was not taken, or was given back already", uintptr(at))
	}
	if err := d.check(d.sym().streamSynchronize, d.sym().streamSynchronize.call(stream, 0, 0, 0, 0)); err != nil {
		return err
	}
	delete(p.sizes, at)
	p.stats.InUse -= int64(bytes)
	p.stats.Reserved = p.stats.InUse
	return d.check(d.sym().memFree, d.sym().memFree.call(uintptr(at), 0, 0, 0, 0))
}

// Memory returns what is in use.
func (d *Device) Memory() MemoryStats {
	d.pool.mu.Lock()
	defer d.pool.mu.Unlock()
	return d.pool.stats
}

// Trim gives cached memory back to the driver.
func (d *Device) Trim() error { return nil }

// close frees what is left; the device's context is current.
func (p *pool) close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.sizes) == 0 {
		return nil
	}
	left := len(p.sizes)
	for at := range p.sizes {
		if p.d.lost.Load() == nil {
			if err := p.d.check(p.d.sym().memFree, p.d.sym().memFree.call(uintptr(at), 0, 0, 0, 0)); err != nil {
				return err
			}
		}
	}
	clear(p.sizes)
	return fmt.Errorf("GPU %d was closed with %d blocks of device memory in use", p.d.info.Index, left)
}
