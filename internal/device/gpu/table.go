// Package gpu is the kernel table of an NVIDIA GPU: it turns every call of kernel.Kernels into launches of the kernels
// in internal/cuda/kernels and into products of cublasLt.
//
// Begin with New. The operands of a call are those of kernel.Kernels with one difference: Buf.Ptr is a device address,
// as Operand makes it, the step header included. Calls are put on a stream and return at once; Sync waits. What is not
// built is an error that Sync returns; Has tells beforehand.
//
// linear.go is the part with thoughts of its own: what stands around a matrix product. The others hand their operands
// to one kernel or two.
package gpu

import (
	"errors"
	"sync"

	"github.com/secencoder/secencoder/internal/cuda"
	"github.com/secencoder/secencoder/internal/cuda/kernels"
	"github.com/secencoder/secencoder/internal/kernel"
)

// ErrNotBuilt says that a method of the table has no kernel for CUDA.
var ErrNotBuilt = errors.New("not built for CUDA")

// Options says how to open a table; the zero value looks for everything where it usually lies.
type Options struct {
	// CublasLt is the option of (*cuda.Device).OpenLt: a folder or a file, "" for none.
	CublasLt string
}

// Table is the kernel table of one device. Calls may come from any goroutine; those of several run one after the other.
// After a call that failed, calls do nothing until Sync has returned its error.
//
// What a call needs for itself beyond its Work operand it takes from the device's pool and gives back when it is put on
// the stream, behind itself. Calls may be captured into a graph (cuda.Stream.Capture) once one of the same sizes has
// run, which lets cublasLt choose. SumSquares cannot, because it waits for its result.
type Table struct {
	mu       sync.Mutex
	device   *cuda.Device
	lt       *cuda.Lt
	module   *cuda.Module
	launches [entries]*cuda.Launch
	streams  []*cuda.Stream // by their names; nil where one was released
	err      error

	cores   int          // multiprocessors
	product cuda.Product // of the call that is being put on a stream
	taken   []cuda.Ptr   // by it, for itself
	packed  entry        // the kernel whose parameters were packed last
	sum     *cuda.Host   // what SumSquares reads
}

var _ kernel.Kernels = (*Table)(nil)

// New opens the table on a device: it loads the kernels and opens cublasLt. The device must stay open longer than the
// table. It is an error when the device cannot run the kernels, or cublasLt is not there.
func New(device *cuda.Device, o Options) (*Table, error) {
	t := &Table{device: device}
	if err := t.open(o); err != nil {
		return nil, cuda.Join(err, t.Close())
	}
	return t, nil
}

func (t *Table) open(o Options) error {
	info := t.device.Info()
	image, err := kernels.PTX(info.Major, info.Minor)
	if err != nil {
		return err
	}
	if t.module, err = t.device.LoadModule(image); err != nil {
		return err
	}
	for i, name := range entryNames {
		function, err := t.module.Function(name)
		if err != nil {
			return err
		}
		t.launches[i] = function.NewLaunch()
	}
	t.cores = info.Multiprocessors
	if t.lt, err = t.device.OpenLt(o.CublasLt); err != nil {
		return err
	}
	if t.sum, err = t.device.NewHost(8); err != nil {
		return err
	}
	own, err := t.device.NewStream()
	if err != nil {
		return err
	}
	t.streams = []*cuda.Stream{own}
	return nil
}

// Close waits for the calls and gives back all that the table took from its device. It returns the first error that
// Sync has not returned. A second Close does nothing.
func (t *Table) Close() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	errs := []error{t.err}
	for i, s := range t.streams {
		if s == nil {
			continue // released
		}
		errs = append(errs, s.Synchronize())
		if i == 0 {
			errs = append(errs, s.Close())
		}
	}
	for _, l := range t.launches {
		if l != nil {
			errs = append(errs, l.Close())
		}
	}
	if t.sum != nil {
		errs = append(errs, t.sum.Close())
	}
	if t.lt != nil {
		errs = append(errs, t.lt.Close())
	}
	if t.module != nil {
		errs = append(errs, t.module.Close())
	}
	t.streams, t.launches, t.sum, t.lt, t.module, t.err = nil, [entries]*cuda.Launch{}, nil, nil, nil, nil
	return cuda.Join(errs...)
}

// Name returns "cuda".
func (t *Table) Name() string { return "cuda" }

// Device returns the device that the table was opened on.
func (t *Table) Device() *cuda.Device { return t.device }

// fail keeps the first error.
func (t *Table) fail(err error) {
	if t.err == nil {
		t.err = err
	}
}
