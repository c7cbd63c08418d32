package cuda

import (
	"fmt"
	"runtime"
	"strings"
	"sync"
	"unsafe"
)

// Type is the element type of a matrix.
type Type int

// The types of a product: both factors are float32 or both bf16, the result may be float32 in either case.
const (
	F32 Type = iota
	BF16
)

// bytes returns the size of an element.
func (t Type) bytes() int {
	if t == BF16 {
		return 2
	}
	return 4
}

func (t Type) String() string {
	switch t {
	case F32:
		return "f32"
	case BF16:
		return "bf16"
	}
	return fmt.Sprintf("Type(%d)", int(t))
}

// Epilogue is what happens to the product before it is rounded and stored.
type Epilogue int

// The epilogues. Gelu is the one of cuBLASLt, by tanh: kernel.GeluNew, not kernel.Gelu.
const (
	EpilogueNone     Epilogue = iota
	EpilogueBias              // Bias[n] is added to every row
	EpilogueGelu              // Gelu
	EpilogueGeluBias          // Bias[n] is added, then Gelu
)

func (e Epilogue) bias() bool { return e == EpilogueBias || e == EpilogueGeluBias }

// Product says what Multiply computes: C[M,N] = epilogue(Alpha·op(A)[M,K]·op(B)[K,N] + Beta·C), all row-major. A lies
// there as [M,K], or as [K,M] with TransA; B as [K,N], or as [N,K] with TransB. A leading dimension is the elements from
// one row to the next; 0: no gap between rows.
//
// Products accumulate in float32, with f32 as with bf16 factors (whose sums tensor cores cut where others round, so that
// they may be off by three times as much); f32 factors are never shortened to TF32. The result is rounded to Out once.
// With Beta 0 what C held does not count. Addresses need the alignment of an element only, but products are faster where
// addresses and leading dimensions are multiples of 16 bytes. C must not overlap A or B.
//
// A bias should lie on a boundary of 16 bytes, and M and N be 2 or more with one: for other products with a bias the
// library may have no algorithm (CUBLAS_STATUS_NOT_SUPPORTED), and its documentation does not say that an epilogue,
// which loads vectors, looks at where the bias lies; a load that faults loses the device.
type Product struct {
	M, N, K        int
	TransA, TransB bool
	A, B, C        Ptr
	LDA, LDB, LDC  int
	In, Out        Type // of A and B; of C and Bias
	Alpha, Beta    float32
	Epilogue       Epilogue
	Bias           Ptr // [N], with an epilogue that has one
}

// Lt multiplies matrices through libcublasLt on one device. Its methods may be called from any goroutine.
//
// Row-major becomes column-major by reading every matrix as its transpose: the library is asked for
// C'[N,M] = op(B)'·op(A)', with B in the place of its first factor. That keeps the bias where epilogues want it, one
// element for a row of C'.
//
// The search for an algorithm takes the library long, so its answer is kept by shape, types, epilogue and alignment, with
// the descriptors. After the first product of a shape Multiply allocates nothing. The same call gives the same bits on
// the same GPU and library: the algorithm follows from the shape alone, and algorithms whose sums depend on the order of
// atomic additions, or that round partial sums to bf16, are left out.
type Lt struct {
	*handle
	library *ltLibrary

	mu    sync.Mutex // descriptors and call are one set for all goroutines
	raw   uintptr    // the library's handle; 0 once it was destroyed
	plans map[ltKey]*ltPlan
	stats LtStats
	call  ltCall
}

// LtStats counts what Multiply did.
type LtStats struct {
	Products int64 // multiplied
	Searches int64 // for an algorithm: the products whose shape was new
}

// ltCall is what the library reads and writes in calls. It lives in Lt, which is on the heap and stays where it is.
type ltCall struct {
	alpha, beta float32
	args        [16]uintptr
}

// OpenLt opens libcublasLt for the device: the first one that its driver can run of those that OpenLibrary finds with the
// option library. Where the first is newer than the driver and no other does, the error wraps ErrDriverTooOld.
func (d *Device) OpenLt(library string) (*Lt, error) {
	lib, err := openLtLibrary(library, d.drv.Version())
	if err != nil {
		return nil, err
	}
	leave, err := d.enter()
	if err != nil {
		return nil, err
	}
	defer leave()
	l := &Lt{library: lib, plans: map[ltKey]*ltPlan{}}
	out := new(uintptr)
	if err := lib.check(lib.create, lib.create.Call(uintptr(unsafe.Pointer(out)))); err != nil {
		return nil, fmt.Errorf("start %s: %w", lib.Path(), err)
	}
	l.raw = *out
	l.handle = d.own(kindLt, *out, l.destroy)
	return l, nil
}

// destroy gives the plans back and, in the device's context, the library's handle; with 0, on a lost device, the plans
// alone, which are memory of the host.
func (l *Lt) destroy(value uintptr) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.raw == 0 {
		return nil
	}
	l.raw = 0
	var errs []error
	for _, p := range l.plans {
		errs = append(errs, p.close(l.library))
	}
	clear(l.plans)
	if value != 0 {
		errs = append(errs, l.library.check(l.library.destroy, l.library.destroy.Call(value)))
	}
	return Join(errs...)
}

// Close gives back what the library holds; products that were given to a stream are still computed. A second Close does
// nothing. It waits as Close of all that a Device has does. On a lost device the library's handle is left to the process's
// end: to destroy it the library calls the driver, on a context that is dead or on none.
func (l *Lt) Close() error {
	err := l.close()
	if err != nil { // on a lost device close leaves all as it is
		err = Join(err, l.destroy(0))
	}
	return err
}

// Path returns the file of the library, see Library.Path.
func (l *Lt) Path() string { return l.library.Path() }

// Version returns the version of the library, 120405 for 12.4.5.
func (l *Lt) Version() int { return l.library.version }

// Stats returns what was done so far.
func (l *Lt) Stats() LtStats {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.stats
}

// Multiply puts a product on the stream. It reads p during the call only. No rows or no columns are nothing to do; K must
// be at least 1. A bias should lie on a boundary of 16 bytes, see Product. While a graph is being captured the product's
// workspace has to be in the cache: multiply the same shape once before.
func (l *Lt) Multiply(s *Stream, p *Product) error {
	err := l.multiply(s, p)
	if err != nil {
		return fmt.Errorf("product %s: %w", p.describe(), err)
	}
	return nil
}

func (l *Lt) multiply(s *Stream, p *Product) error {
	k, err := p.key()
	if err != nil || k.m == 0 || k.n == 0 {
		return err
	}
	value, leave, err := l.enter()
	if err != nil {
		return err
	}
	defer leave()
	stream, err := s.of(l.d)
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.raw == 0 {
		return l.errClosed() // while this call waited for the lock
	}
	plan := l.plans[k]
	if plan == nil {
		if plan, err = l.library.search(value, k); err != nil {
			return err
		}
		l.plans[k] = plan
		l.stats.Searches++
	}
	if p.Epilogue.bias() {
		if err := plan.setBias(l.library, p.Bias); err != nil {
			return err
		}
	}
	workspace := Ptr(0)
	if plan.workspace > 0 {
		if workspace, err = l.d.pool.alloc(s, plan.workspace); err != nil {
			return fmt.Errorf("workspace: %w", err)
		}
	}
	c := &l.call
	c.alpha, c.beta = p.Alpha, p.Beta
	c.args = [16]uintptr{
		value, plan.desc, uintptr(unsafe.Pointer(&c.alpha)), uintptr(p.B), plan.b, uintptr(p.A), plan.a, uintptr(unsafe.Pointer(&c.beta)),
		uintptr(p.C), plan.c, uintptr(p.C), plan.c, uintptr(unsafe.Pointer(&plan.algorithm)), uintptr(workspace), uintptr(plan.workspace), stream,
	}
	r := syscallN(l.library.matmul.addr, c.args[:])
	runtime.KeepAlive(plan)
	if r != 0 {
		err = l.cause(l.library.check(l.library.matmul, r))
	} else {
		l.stats.Products++
	}
	if freed := l.d.pool.free(s, workspace); freed != nil && err == nil {
		err = freed
	}
	return err
}

// cause adds the driver's own error to one of the library, which has no code for a device that is lost.
func (l *Lt) cause(err error) error {
	found := l.d.pool.idle()
	if found == errCapturing {
		return err
	}
	return Join(err, found)
}

// key checks the product and returns what decides about its algorithm.
func (p *Product) key() (ltKey, error) {
	k := ltKey{m: p.M, n: p.N, k: p.K, transA: p.TransA, transB: p.TransB, in: p.In, out: p.Out, epilogue: p.Epilogue}
	switch {
	case p.M < 0 || p.N < 0 || p.K < 1:
		return k, fmt.Errorf("sizes: want M and N of 0 or more and K of 1 or more")
	case p.M == 0 || p.N == 0:
		return k, nil
	case p.In != F32 && p.In != BF16 || p.Out != F32 && p.Out != BF16:
		return k, fmt.Errorf("types: want f32 or bf16")
	case p.In == F32 && p.Out == BF16:
		return k, fmt.Errorf("types: factors of f32 have a result of f32")
	case p.Epilogue < EpilogueNone || p.Epilogue > EpilogueGeluBias:
		return k, fmt.Errorf("there is no epilogue %d", p.Epilogue)
	case p.Epilogue.bias() && p.Bias == 0:
		return k, fmt.Errorf("the epilogue needs a bias")
	}
	for _, x := range [...]struct {
		name          byte
		at            Ptr
		ld, low, size int
		to            *int
		alignment     *uint8
	}{
		{'A', p.A, p.LDA, pick(p.TransA, p.M, p.K), p.In.bytes(), &k.lda, &k.alignA},
		{'B', p.B, p.LDB, pick(p.TransB, p.K, p.N), p.In.bytes(), &k.ldb, &k.alignB},
		{'C', p.C, p.LDC, p.N, p.Out.bytes(), &k.ldc, &k.alignC},
	} {
		if *x.to = x.ld; x.ld == 0 {
			*x.to = x.low
		}
		if *x.to < x.low {
			return k, fmt.Errorf("the leading dimension %d of %c is less than its rows are long, %d", x.ld, x.name, x.low)
		}
		if x.at == 0 {
			return k, fmt.Errorf("%c is at address 0", x.name)
		}
		if *x.alignment = alignment(x.at); int(*x.alignment) < x.size {
			return k, fmt.Errorf("%c at %#x is not on a boundary of its elements of %d bytes", x.name, uintptr(x.at), x.size)
		}
	}
	if p.Epilogue.bias() {
		if k.alignBias = alignment(p.Bias); int(k.alignBias) < p.Out.bytes() {
			return k, fmt.Errorf("the bias at %#x is not on a boundary of its elements of %d bytes", uintptr(p.Bias), p.Out.bytes())
		}
	}
	return k, nil
}

// alignment returns the power of two that an address is a multiple of. Beyond 16 it makes no difference to an algorithm,
// the widest load of a thread, so that where a matrix lies decides as little as possible about the bits of a product.
func alignment(p Ptr) uint8 { return uint8(min(p&-p, 16)) }

func pick(first bool, a, b int) int {
	if first {
		return a
	}
	return b
}

// describe names the product for errors.
func (p *Product) describe() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d×%d×%d (M×N×K) of %v to %v", p.M, p.N, p.K, p.In, p.Out)
	for _, x := range []struct {
		is   bool
		text string
	}{
		{p.TransA, "A transposed"}, {p.TransB, "B transposed"}, {p.Epilogue.bias(), "with bias"},
		{p.Epilogue == EpilogueGelu || p.Epilogue == EpilogueGeluBias, "with GELU"},
	} {
		if x.is {
			b.WriteString(", " + x.text)
		}
	}
	return b.String()
}
