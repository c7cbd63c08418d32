package cuda

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"unsafe"
)

// Grid counts blocks of a launch or threads of a block. A zero Y or Z means 1.
type Grid struct{ X, Y, Z int }

// maxParameters bounds the arguments of a launch; the kernels here have up to about twenty.
const maxParameters = 64

// block is what the driver reads when it takes a launch: the table of addresses that cuLaunchKernel wants, and the values
// that they point to. It stands outside Go's heap, because it holds addresses of itself.
type block struct {
	table  [maxParameters]uintptr
	values [maxParameters]uint64
}

// Launch packs the arguments of one kernel and starts it. It is made once and used many times, by one goroutine at a
// time; using it allocates nothing:
//
//	err := l.Reset().Ptr(x).Ptr(y).I32(n).F32(alpha).Run(s, cuda.Grid{X: blocks}, cuda.Grid{X: 256}, 0)
//
// The driver copies the arguments when it takes the launch, so the next Reset may follow at once.
type Launch struct {
	*handle
	f      *Function
	block  *block                // valid while the device is entered and the handle is open
	err    error                 // of NewLaunch
	n      int                   // arguments
	end    int                   // bytes of values in use
	full   bool                  // there were more than fit
	values [maxParameters]uint64 // laid out as a C compiler lays out a struct of them
	starts [maxParameters]uint16 // where each argument begins in values, in bytes
	sizes  [maxParameters]uint8
	args   [11]uintptr // of cuLaunchKernel, kept here so that a launch allocates none
}

// NewLaunch makes a launch without arguments. What goes wrong is said by Run.
func (f *Function) NewLaunch() *Launch {
	d := f.m.d
	l := &Launch{handle: &handle{d: d, kind: kindLaunch}, f: f}
	_, leave, err := f.m.enter()
	if err != nil {
		l.err = err
		return l
	}
	defer leave()
	if l.block, l.err = d.slabs.take(); l.err != nil {
		return l
	}
	l.handle = d.own(kindLaunch, uintptr(unsafe.Pointer(l.block)), func(uintptr) error { d.slabs.give(l.block); return nil })
	return l
}

// Reset forgets the arguments.
func (l *Launch) Reset() *Launch {
	l.n, l.end, l.full = 0, 0, false
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

// next makes room for an argument of that many bytes, aligned to its size as in C.
func (l *Launch) next(size int) unsafe.Pointer {
	start := (l.end + size - 1) &^ (size - 1)
	if l.n == maxParameters { // as many values of 8 bytes fit, so n alone decides
		l.full = true
		return nil
	}
	l.starts[l.n], l.sizes[l.n] = uint16(start), uint8(size)
	l.n++
	l.end = start + size
	return unsafe.Add(unsafe.Pointer(&l.values), start)
}

// Run starts the kernel behind the stream's earlier work, with shared bytes of dynamic shared memory for each block.
// Arguments that do not fit the kernel's parameters are an error before anything is started. An error of the kernel
// itself comes with a later call, at the latest with Synchronize.
func (l *Launch) Run(s *Stream, grid, threads Grid, shared int) error {
	if l.err != nil {
		return l.wrap(l.err)
	}
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
	grid, threads = grid.ones(), threads.ones()
	if err := l.fits(grid, threads, shared); err != nil {
		return l.wrap(err)
	}
	l.block.values = l.values
	base := uintptr(unsafe.Pointer(&l.block.values))
	for i, start := range l.starts[:l.n] {
		l.block.table[i] = base + uintptr(start)
	}
	l.args = [...]uintptr{l.f.value, uintptr(grid.X), uintptr(grid.Y), uintptr(grid.Z),
		uintptr(threads.X), uintptr(threads.Y), uintptr(threads.Z),
		uintptr(shared), stream, uintptr(unsafe.Pointer(&l.block.table)), 0}
	launch := &l.d.sym().launchKernel
	if r := syscallN(launch.addr, l.args[:]); int32(r) != 0 {
		return l.wrap(l.d.check(*launch, r))
	}
	return nil
}

// wrap names the kernel, but not for a lost device: that is an error of earlier work, and always the same one.
func (l *Launch) wrap(err error) error {
	if errors.Is(err, ErrDeviceLost) {
		return err
	}
	return fmt.Errorf("kernel %q: %w", l.f.name, err)
}

// fits checks what the driver does not (it reads as many arguments as the kernel has, whatever is there) or calls
// "invalid argument" whichever it was.
func (l *Launch) fits(grid, threads Grid, shared int) error {
	switch {
	case l.full:
		return fmt.Errorf("more than %d arguments", maxParameters)
	case l.f.parameters != nil && !bytes.Equal(l.sizes[:l.n], l.f.parameters):
		return fmt.Errorf("the arguments have %d bytes, the kernel's parameters %d", l.sizes[:l.n], l.f.parameters)
	case grid.X < 1 || grid.Y < 1 || grid.Z < 1 || grid.X > math.MaxInt32 || grid.Y > 65535 || grid.Z > 65535:
		return fmt.Errorf("grid of %d × %d × %d blocks: want 1 to 2147483647, 65535 and 65535", grid.X, grid.Y, grid.Z)
	case threads.X < 1 || threads.Y < 1 || threads.Z < 1 || threads.X > 1024 || threads.Y > 1024 || threads.Z > 64 || threads.X*threads.Y*threads.Z > l.f.maxThreads:
		return fmt.Errorf("block of %d × %d × %d threads: want 1 to 1024, 1024 and 64, and at most %d in all, which the kernel's registers allow",
			threads.X, threads.Y, threads.Z, l.f.maxThreads)
	case shared < 0 || int64(shared) > l.f.dynamic.Load():
		return fmt.Errorf("%d bytes of dynamic shared memory: at most %d are allowed; SetShared allows more", shared, l.f.dynamic.Load())
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

// Close gives the argument block back. A second Close does nothing. It waits as Close of all that a Device has does.
func (l *Launch) Close() error { return l.close() }
