package exec

import (
	"errors"
	"fmt"
	"unsafe"

	"github.com/secencoder/secencoder/internal/device"
	"github.com/secencoder/secencoder/internal/kernel"
	"github.com/secencoder/secencoder/internal/op"
)

// Packs are weights in the order in which the products of a device read them, made once and shared by all programs of
// that device: without them every call packs its weight anew, which costs as much as the product where rows are few. They
// follow no update of the weights, so they are for inference. A nil *Packs holds none. Packs are not safe for concurrent
// use.
type Packs struct {
	dev   *device.Device
	held  map[packed]*device.Arena
	bytes int64
}

// packed says what was packed: a weight by where it starts, its shape, and the arithmetic of its products.
type packed struct {
	weight  unsafe.Pointer
	out, in int
	x       kernel.DType
}

// NewPacks returns an empty set for programs of dev. Close it after them.
func NewPacks(dev *device.Device) *Packs { return &Packs{dev: dev, held: map[packed]*device.Arena{}} }

// Bytes returns the memory that is taken.
func (p *Packs) Bytes() int64 {
	if p == nil {
		return 0
	}
	return p.bytes
}

// of returns the packed weight, made now if it is not there; absent where the family has no such form.
func (p *Packs) of(a kernel.PackWeightArgs) (kernel.Buf, error) {
	n := p.dev.Kernels().PackedBytes(a.Out, a.In, a.X, a.Transposed)
	if n == 0 {
		return kernel.Buf{}, nil
	}
	key := packed{a.W.Ptr, a.Out, a.In, a.X}
	arena := p.held[key]
	if arena == nil {
		var err error
		if arena, err = p.dev.NewArena(n); err != nil {
			return kernel.Buf{}, fmt.Errorf("packed weight: %w", err)
		}
		a.Packed = arena.Buf(0, n/4, kernel.F32)
		p.dev.Kernels().PackWeight(0, &a)
		if err := p.dev.Kernels().Sync(0); err != nil {
			return kernel.Buf{}, errors.Join(fmt.Errorf("packed weight: %w", err), arena.Close())
		}
		p.held[key] = arena
		p.bytes += int64(n)
	}
	return arena.Buf(0, n/4, kernel.F32), nil
}

// Close gives the memory back; programs that read it must not run any more.
func (p *Packs) Close() error {
	if p == nil {
		return nil
	}
	var errs []error
	for _, a := range p.held {
		errs = append(errs, a.Close())
	}
	clear(p.held)
	p.bytes = 0
	return errors.Join(errs...)
}

// PackBytes returns the memory that the program's weights take when they are packed, whether they are or not: what Packs
// will hold after the first run, if no other program fills them.
func (p *Program) PackBytes() int64 {
	total := int64(0)
	for _, s := range p.steps {
		if w, ok := s.run.(op.Weighted); ok {
			a := w.Weight()
			total += int64(p.table.PackedBytes(a.Out, a.In, a.X, a.Transposed))
		}
	}
	return total
}

// pack gives a step its packed weight.
func (p *Program) pack(s *step) error {
	w, ok := s.run.(op.Weighted)
	if !ok || p.packs == nil {
		return nil
	}
	b, err := p.packs.of(w.Weight())
	if err == nil {
		w.SetPacked(b)
	}
	return err
}
