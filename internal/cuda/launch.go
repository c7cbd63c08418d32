package cuda

import (
	"bytes"
	"fmt"
	"math"
	"unsafe"
)

// Grid counts blocks of a launch or threads of a block. A zero Y or Z means 1.
type Grid struct{ X, Y, Z int }

// maxParameters and maxParameterBytes bound the arguments of a launch; CUDA's own bound is 4,096 bytes.
const (
	maxParameters     = 64
	maxParameterBytes = 512
)

// block is the argument block that the driver reads: the table of addresses that cuLaunchKernel takes, and the values
// that they point to, laid out as a C compiler would lay out a struct of them. It stands outside Go's heap, because it
// holds addresses of itself, and the driver reads it through them.
type block struct {
	table  [maxParameters]uintptr
	values [maxParameterBytes]byte
}

// Launch packs the arguments of one kernel and starts it. It is made once and used many times, by one goroutine at a
// time; using it allocates nothing:
//
//	l.Reset().Ptr(x).Ptr(y).I32(n).F32(alpha).Run(s, cuda.Grid{X: blocks}, cuda.Grid{X: 256}, 0)
//
// The driver copies the arguments when it takes the launch, so the next Reset may follow at once.
type Launch struct {
	*handle
	f     *Function
	block *block
	n     int // arguments
	at    int // bytes of values in use
	full  bool
	sizes [maxParameters]uint8
	args  [11]uintptr // of cuLaunchKernel
}

// NewLaunch makes a launch without arguments.
func (f *Function) NewLaunch() *Launch {
	d := f.m.d
	b, err := d.slabs.take()
	l := &Launch{f: f, block: b, handle: &handle{d: d, kind: kindLaunch}}
	if err != nil { // the handle's value stays 0: Run says that the launch cannot be used
		return l
	}
	l.handle = d.own(kindLaunch, uintptr(unsafe.Pointer(b)), func(uintptr) error { d.slabs.give(b); return nil })
	return l
}

// Reset forgets the arguments.
func (l *Launch) Reset() *Launch {
	l.n, l.at, l.full = 0, 0, false
	return l
}

// Ptr appends a device address.
func (l *Launch) Ptr(p Ptr) *Launch { return l.put64(uint64(p)) }

// I32 appends an int.
func (l *Launch) I32(v int32) *Launch { return l.put32(uint32(v)) }

// U32 appends an unsigned int.
func (l *Launch) U32(v uint32) *Launch { return l.put32(v) }

// I64 appends a long long.
func (l *Launch) I64(v int64) *Launch { return l.put64(uint64(v)) }

// U64 appends an unsigned long long.
func (l *Launch) U64(v uint64) *Launch { return l.put64(v) }

// F32 appends a float.
func (l *Launch) F32(v float32) *Launch { return l.put32(math.Float32bits(v)) }

// F64 appends a double.
func (l *Launch) F64(v float64) *Launch { return l.put64(math.Float64bits(v)) }

func (l *Launch) put32(v uint32) *Launch {
	if p := l.next(4); p != nil {
		*(*uint32)(p) = v
	}
	return l
}

func (l *Launch) put64(v uint64) *Launch {
	if p := l.next(8); p != nil {
		*(*uint64)(p) = v
	}
	return l
}

// next makes room for an argument of that many bytes, aligned to its size as in C, and enters it in the table.
func (l *Launch) next(size int) unsafe.Pointer {
	at := (l.at + size - 1) &^ (size - 1)
	if l.block == nil || l.n == maxParameters || at+size > maxParameterBytes {
		l.full = true
		return nil
	}
	p := unsafe.Pointer(&l.block.values[at])
	l.block.table[l.n] = uintptr(p)
	l.sizes[l.n] = uint8(size)
	l.n++
	l.at = at + size
	return p
}

// Run starts the kernel behind the stream's earlier work, with shared bytes of dynamic shared memory for each block.
// Arguments that do not fit the kernel's parameters are an error before anything is started. An error of the kernel
// itself comes with a later call, at the latest with Synchronize.
func (l *Launch) Run(s *Stream, grid, block Grid, shared int) error {
	_, leave, err := l.enter()
	if err != nil {
		return l.wrap(err)
	}
	defer leave()
	stream, err := s.of(l.d)
	if err != nil {
		return l.wrap(err)
	}
	if l.f.m.value.Load() == 0 {
		return l.wrap(l.f.m.errClosed())
	}
	grid, block = grid.ones(), block.ones()
	if err := l.fits(grid, block, shared); err != nil {
		return l.wrap(err)
	}
	l.args = [...]uintptr{l.f.value, uintptr(grid.X), uintptr(grid.Y), uintptr(grid.Z), uintptr(block.X), uintptr(block.Y), uintptr(block.Z),
		uintptr(shared), stream, uintptr(unsafe.Pointer(&l.block.table)), 0}
	launch := l.d.sym().launchKernel
	if r := syscallN(launch.addr, l.args[:]); r != 0 {
		return l.wrap(fmt.Errorf("grid %v, block %v, %d bytes of shared memory: %w", grid, block, shared, l.d.check(launch, r)))
	}
	return nil
}

func (l *Launch) wrap(err error) error { return fmt.Errorf("kernel %q: %w", l.f.name, err) }

// fits checks what the driver does not (it reads as many arguments as the kernel has, whatever is there) or says in one
// word for everything.
func (l *Launch) fits(grid, block Grid, shared int) error {
	switch {
	case l.full:
		return fmt.Errorf("more than %d arguments or %d bytes of them", maxParameters, maxParameterBytes)
	case l.f.parameters != nil && !bytes.Equal(l.sizes[:l.n], l.f.parameters):
		return fmt.Errorf("arguments of %d bytes each were given, the kernel takes parameters of %d", l.sizes[:l.n], l.f.parameters)
	case grid.X < 1 || grid.Y < 1 || grid.Z < 1 || grid.X > math.MaxInt32 || grid.Y > 65535 || grid.Z > 65535:
		return fmt.Errorf("grid %v: want 1 to 2147483647, 65535 and 65535 blocks", grid)
	case block.X < 1 || block.Y < 1 || block.Z < 1 || block.X > 1024 || block.Y > 1024 || block.Z > 64 || block.X*block.Y*block.Z > 1024:
		return fmt.Errorf("block %v: want 1 to 1024, 1024 and 64 threads, and 1024 in all", block)
	case shared < 0 || int64(shared) > l.f.dynamic.Load():
		return fmt.Errorf("%d bytes of dynamic shared memory: at most %d without SetShared for more", shared, l.f.dynamic.Load())
	}
	return nil
}

// ones makes a dimension that was left out 1.
func (g Grid) ones() Grid {
	if g.Y == 0 {
		g.Y = 1
	}
	if g.Z == 0 {
		g.Z = 1
	}
	return g
}

// Close gives the argument block back. A second Close does nothing.
func (l *Launch) Close() error { return l.close() }
