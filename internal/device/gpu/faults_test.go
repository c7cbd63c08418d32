package gpu

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/secencoder/secencoder/internal/alloctest"
	"github.com/secencoder/secencoder/internal/cuda"
	"github.com/secencoder/secencoder/internal/cuda/standin"
	"github.com/secencoder/secencoder/internal/kernel"
)

// No call of the program allocates once it has run. The suite looks for that too, in some of its problems.
func TestStandinAllocations(t *testing.T) {
	if raceDetector {
		t.Skip("the race detector makes sync.Pool forget")
	}
	m := onStandin(t)
	for _, half := range []bool{false, true} {
		s := stage(t, m.device, m.table, 1)
		p := newProgram(half, small(7))
		if _, err := p.run(s); err != nil {
			t.Fatal(err)
		}
		for i, call := range p.calls {
			if n := alloctest.Fewest(func() {
				for range 4 {
					call()
				}
			}); n > 0 {
				t.Errorf("half %v: 4 calls of number %d of the program allocate %v times", half, i, n)
			}
		}
		if err := s.Sync(0); err != nil {
			t.Error(err)
		}
	}
}

// layer is a call with all that a call can have: scratch memory, kernels before and behind, a product.
func (m *machine) layer(mem *memory) *kernel.LinearArgs {
	const rows, in, out = 8, 24, 40
	return &kernel.LinearArgs{
		X: mem.new(filled(rows*in, 1)), W: mem.new(filled(in*out, 0.5)), B: mem.new(filled(out, 1)), Y: mem.room(kernel.BF16, rows*out),
		N: rows, In: in, Out: out, Act: kernel.Relu,
	}
}

// ones wants a layer to have its result: 24 · 0.5 + 1.
func (m *machine) ones(mem *memory, a *kernel.LinearArgs) error {
	half := make([]byte, a.Y.Bytes)
	if err := mem.stream.CopyToHost(half, address(a.Y)); err != nil {
		return err
	}
	for i := 0; i < len(half); i += 2 {
		if x := math.Float32frombits(uint32(half[i])<<16 | uint32(half[i+1])<<24); x != 13 {
			return fmt.Errorf("element %d of the layer is %v, want 13", i/2, x)
		}
	}
	return nil
}

// mayFail says whether a function of the driver or of cublasLt may fail while the device lives on: a context that cannot be
// made current is lost.
func mayFail(name string) bool { return strings.HasPrefix(name, "cu") && name != "cuCtxSetCurrent" }

// Each call of the driver that a layer needs fails once: Sync returns that error and no other, and the next layer works.
func TestStandinFaults(t *testing.T) {
	m := onStandin(t)
	mem := m.memory(t)
	a := m.layer(mem)
	run := func() error {
		m.table.Linear(mem.on, a)
		return m.table.Sync(mem.on)
	}
	if err := run(); err != nil {
		t.Fatal(err)
	}
	before := m.standin.Calls()
	if err := run(); err != nil {
		t.Fatal(err)
	}
	var names []string
	for name, n := range m.standin.Calls() {
		if n > before[name] && mayFail(name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	if !slices.Contains(names, "cuLaunchKernel") || !slices.ContainsFunc(names, func(n string) bool { return strings.HasPrefix(n, "cublasLtMatmul") }) {
		t.Fatalf("a layer calls %v", names)
	}
	for _, name := range names {
		times := m.standin.Calls()[name]
		if err := run(); err != nil {
			t.Fatal(err)
		}
		times = m.standin.Calls()[name] - times
		for nth := 1; nth <= times; nth++ {
			code := 1 // CUDA_ERROR_INVALID_VALUE; the context stays alive
			if strings.HasPrefix(name, "cublasLt") {
				code = 13 // CUBLAS_STATUS_EXECUTION_FAILED
			}
			m.standin.Fail(name, nth, code)
			if err := run(); err == nil {
				t.Errorf("call %d of %s fails, and Sync returns nothing", nth, name)
			} else if text := err.Error(); !strings.Contains(text, name) || strings.Contains(text, "\n") {
				t.Errorf("call %d of %s fails, and Sync returns %q", nth, name, text)
			}
			if err := mem.stream.Fill(address(a.Y), 0, a.Y.Bytes); err != nil {
				t.Fatal(err)
			}
			if err := run(); err != nil {
				t.Errorf("the layer after a failure of %s: %v", name, err)
			}
			if err := m.ones(mem, a); err != nil {
				t.Errorf("after a failure of %s: %v", name, err)
			}
		}
	}
}

// A device that is lost in mid-run: every Sync says so, nothing hangs, SumSquares gives no number.
func TestStandinLost(t *testing.T) {
	library := standin.Build(t)
	library.KeepOpen() // what a lost device still holds is nobody's
	driver, err := cuda.Load(cuda.Options{Library: library.Path()})
	if err != nil {
		t.Fatal(err)
	}
	library.Set(standin.Null, 1)
	device, err := driver.Open(0, cuda.DeviceOptions{})
	if err != nil {
		t.Fatal(err)
	}
	table, err := New(device, Options{CublasLt: library.Path()})
	if err != nil {
		t.Fatal(err)
	}
	p, err := device.Alloc(nil, 4000)
	if err != nil {
		t.Fatal(err)
	}
	a := Operand(p, 4000, kernel.F32)
	table.Add(0, &kernel.AddArgs{A: a, B: a, Out: a, N: 1000})
	if err := table.Sync(0); err != nil {
		t.Fatal(err)
	}
	library.Lose(719)
	for range 2 {
		table.Add(0, &kernel.AddArgs{A: a, B: a, Out: a, N: 1000})
		if err := table.Sync(0); !errors.Is(err, cuda.ErrDeviceLost) {
			t.Errorf("Sync on a lost device returns %v", err)
		}
	}
	if sum := table.SumSquares(0, &kernel.SumSquaresArgs{G: a, N: 1000}); !math.IsNaN(sum) {
		t.Errorf("the sum of squares on a lost device is %v", sum)
	}
	if err := table.Close(); !errors.Is(err, cuda.ErrDeviceLost) {
		t.Errorf("Close on a lost device returns %v", err)
	}
	if err := device.Close(); err == nil {
		t.Log("the device closes without an error")
	}
}

// Every call of the driver that opening a table needs fails once: New returns one error, and holds nothing.
func TestStandinNewFails(t *testing.T) {
	m := onStandin(t)
	before, living := m.standin.Calls(), m.standin.Leaks()
	open := func() error {
		table, err := New(m.device, Options{CublasLt: m.standin.Path()})
		if err != nil {
			return err
		}
		return table.Close()
	}
	if err := open(); err != nil {
		t.Fatal(err)
	}
	for name, n := range m.standin.Calls() {
		times := min(n-before[name], 3)
		if !mayFail(name) {
			continue
		}
		for nth := 1; nth <= times; nth++ {
			m.standin.Fail(name, nth, 1)
			if err := open(); err == nil || strings.Count(err.Error(), "\n") > 0 {
				t.Errorf("call %d of %s fails, and New returns %v", nth, name, err)
			}
			if err := open(); err != nil {
				t.Fatalf("New after a failure of %s: %v", name, err)
			}
		}
	}
	if left := m.standin.Leaks(); len(left) != len(living) {
		t.Errorf("what lives after the failures is %q, before them it was %q", left, living)
	}
}

// What keeps a table from being opened is said in one sentence that tells what to do.
func TestStandinCannotOpen(t *testing.T) {
	m := onStandin(t)
	if _, err := New(m.device, Options{CublasLt: t.TempDir()}); !errors.Is(err, cuda.ErrNoLibrary) {
		t.Errorf("without cublasLt: %v", err)
	}
	old := standin.Build(t)
	old.Set(standin.Major, 7)
	driver, err := cuda.Load(cuda.Options{Library: old.Path()})
	if err != nil {
		t.Fatal(err)
	}
	device, err := driver.Open(0, cuda.DeviceOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := device.Close(); err != nil {
			t.Error(err)
		}
	}()
	if _, err := New(device, Options{CublasLt: old.Path()}); err == nil || !strings.Contains(err.Error(), "8.0") {
		t.Errorf("on a GPU of compute capability 7: %v", err)
	}
}
