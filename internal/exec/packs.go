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
// are made when a program first runs, and follow no update by themselves: who changes a weight calls Refresh before the
// next run. A nil *Packs holds none. Packs are not safe for concurrent use.
type Packs struct {
	dev   *device.Device
	held  map[packed]*packedWeight
	all   []*packedWeight // in the order in which they were made
	bytes int64
}

// packed says what was packed: a weight by where it starts, its shape, which way round, and the arithmetic of its products.
type packed struct {
	weight     unsafe.Pointer
	out, in    int
	x          kernel.DType
	transposed bool
}

// packedWeight is one weight and its memory.
type packedWeight struct {
	args  kernel.PackWeightArgs
	arena *device.Arena
}

// NewPacks returns an empty set for programs of dev. Close it after them.
func NewPacks(dev *device.Device) *Packs { return &Packs{dev: dev, held: map[packed]*packedWeight{}} }

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
	if n == 0 || a.W.Absent() {
		return kernel.Buf{}, nil
	}
	key := packed{a.W.Ptr, a.Out, a.In, a.X, a.Transposed}
	w := p.held[key]
	if w == nil {
		arena, err := p.dev.NewArena(n)
		if err != nil {
			return kernel.Buf{}, fmt.Errorf("packed weight: %w", err)
		}
		a.Packed = arena.Buf(0, n/4, kernel.F32)
		w = &packedWeight{a, arena}
		p.dev.Kernels().PackWeight(0, &w.args)
		if err := p.dev.Kernels().Sync(0); err != nil {
			return kernel.Buf{}, errors.Join(fmt.Errorf("packed weight: %w", err), arena.Close())
		}
		p.held[key] = w
		p.all = append(p.all, w)
		p.bytes += int64(n)
	}
	return w.args.Packed, nil
}

// Refresh packs all weights that are held again, after an update. It allocates nothing.
func (p *Packs) Refresh() error {
	if p == nil || len(p.all) == 0 {
		return nil
	}
	k := p.dev.Kernels()
	for _, w := range p.all {
		k.PackWeight(0, &w.args)
	}
	if err := k.Sync(0); err != nil {
		return fmt.Errorf("packed weights: %w", err)
	}
	return nil
}

// Close gives the memory back; programs that read it must not run any more.
func (p *Packs) Close() error {
	if p == nil {
		return nil
	}
	var errs []error
	for _, w := range p.all {
		errs = append(errs, w.arena.Close())
	}
	clear(p.held)
	p.all, p.bytes = nil, 0
	return errors.Join(errs...)
}

// PackBytes returns the memory that the program's weights take when they are packed, whether they are or not: what Packs
// will hold after the first run, if no other program fills them.
func (p *Program) PackBytes() int64 {
	total := int64(0)
	counted := map[*unit]bool{} // what is recomputed has two steps and one weight
	for _, s := range p.steps {
		w, ok := s.run.(op.Weighted)
		if !ok || counted[s.unit] {
			continue
		}
		counted[s.unit] = true
		for _, a := range w.Weights() {
			total += int64(p.table.PackedBytes(a.Out, a.In, a.X, a.Transposed))
		}
	}
	return total
}

// pack gives a step its packed weights.
func (p *Program) pack(s *step) error {
	w, ok := s.run.(op.Weighted)
	if !ok || p.packs == nil {
		return nil
	}
	for i, a := range w.Weights() {
		b, err := p.packs.of(a)
		if err != nil {
			return err
		}
		w.SetPacked(i, b)
	}
	return nil
}
