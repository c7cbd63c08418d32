// Package device is where kernels meet a machine: it opens a device, chooses the family of kernels by what the processor
// and the operating system offer, keeps the workers that kernels run on, and gives memory outside Go's heap.
//
// Begin with Open. A Device is a kernel table (Kernels), a pool of workers and an allocator (NewArena); everything above
// it, the executor and the model, knows no more than that. Families tells which families there are and why one is not
// available; AvailableMemory tells what the process may use.
//
// The package devicetest below holds the suite that every family has to pass against the reference.
package device

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/secencoder/secencoder/internal/kernel"
)

// KernelsVariable is the environment variable that names the family of kernels.
const KernelsVariable = "SECENCODER_KERNELS"

// The decisions that a caller may take on a refused Open; each is wrapped in a *UsageError.
var (
	ErrUnknownKernels     = errors.New("unknown kernels")
	ErrUnavailableKernels = errors.New("kernels not available")
	ErrUnknownDevice      = errors.New("unknown device")
	ErrUnavailableDevice  = errors.New("device not available")
)

// UsageError says that an option or variable names something that is not there: wrong use, exit code 2.
type UsageError struct {
	Err error // one of the sentinels
	msg string
}

// Error returns the whole sentence.
func (e *UsageError) Error() string { return e.msg }

// Unwrap returns the sentinel.
func (e *UsageError) Unwrap() error { return e.Err }

func usage(err error, format string, args ...any) error {
	return &UsageError{Err: err, msg: err.Error() + ": " + fmt.Sprintf(format, args...)}
}

// Options says which device to open; the zero value is the processor with all its cores and its best kernels.
type Options struct {
	Threads int    // workers; 0: DefaultThreads
	Kernels string // family; "": the environment variable, then the best that is available
	Device  string // "cpu", "cuda:N"; "": "cpu"
}

// Device is an opened device. Its methods may be called concurrently; calls of its kernels run one after the other.
type Device struct {
	kernels kernel.Kernels
	choice  Choice
	pool    *pool
}

// Open opens a device. A name that is unknown or not available is a *UsageError. Close it when its kernels are done.
func Open(o Options) (*Device, error) {
	if err := checkDevice(o.Device); err != nil {
		return nil, err
	}
	if o.Threads < 0 {
		return nil, fmt.Errorf("open device: %d threads", o.Threads)
	}
	if o.Threads == 0 {
		o.Threads = DefaultThreads()
	}
	choice, err := Choose(o.Kernels)
	if err != nil {
		return nil, err
	}
	p := newPool(o.Threads)
	return &Device{kernels: choice.make(p), choice: choice, pool: p}, nil
}

func checkDevice(name string) error {
	if name == "" || name == "cpu" {
		return nil
	}
	if number, ok := strings.CutPrefix(name, "cuda:"); ok {
		if n, err := strconv.Atoi(number); err == nil && n >= 0 {
			return usage(ErrUnavailableDevice, "%q: models run on the processor only; the GPU is used by bench gpu alone", name)
		}
	}
	return usage(ErrUnknownDevice, "%q, want cpu or cuda:N", name)
}

// Kernels returns the kernel table. Stream is always 0 on a processor.
func (d *Device) Kernels() kernel.Kernels { return d.kernels }

// Family returns the name of the kernels in use.
func (d *Device) Family() string { return d.choice.Family }

// Why returns the reason for the family, as a half-sentence for people.
func (d *Device) Why() string { return d.choice.Why }

// Threads returns the number of workers.
func (d *Device) Threads() int { return d.pool.Workers() }

// Pool returns the workers that the kernels run on, for other work that is cut by size. Run must not be called while a
// kernel runs.
func (d *Device) Pool() kernel.Pool { return d.pool }

// ScratchBytes bounds what the kernels come to keep beside their operands: 20 MB a thread and 15 MB for all hold every preset.
func (d *Device) ScratchBytes() int64 {
	const each, shared = 20e6, 15e6
	return shared + each*int64(d.Threads())
}

// Close ends the workers. Arenas stay with who made them. The kernels must not be called any more.
func (d *Device) Close() error {
	d.pool.close()
	return nil
}
