package cuda_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/secencoder/secencoder/internal/cuda"
	"github.com/secencoder/secencoder/internal/cuda/standin"
)

// The tests named TestStandin… run this package against the stand-in for libcuda, which checks every call. What breaks
// one of its rules, or is not given back, fails the test at its end.

// loadStandin builds a stand-in of the test's own and opens it as the driver.
func loadStandin(t testing.TB) (*standin.Library, *cuda.Driver) {
	t.Helper()
	lib := standin.Build(t)
	drv, err := cuda.Load(cuda.Options{Library: lib.Path()})
	if err != nil {
		t.Fatal(err)
	}
	return lib, drv
}

// openStandin opens device 0 too. The device is closed at the end of the test, which must find nothing left on it.
func openStandin(t testing.TB) (*standin.Library, *cuda.Device) {
	t.Helper()
	lib, drv := loadStandin(t)
	dev, err := drv.Open(0, cuda.DeviceOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { succeed(t, dev.Close()) })
	return lib, dev
}

func succeed(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// kernel takes a kernel of the stand-in's own, for the length of the test.
func kernel(t testing.TB, dev *cuda.Device, name string) *cuda.Launch {
	t.Helper()
	m, err := dev.LoadModule([]byte(standin.PTX))
	succeed(t, err)
	t.Cleanup(func() { succeed(t, m.Close()) })
	f, err := m.Function(name)
	succeed(t, err)
	l := f.NewLaunch()
	t.Cleanup(func() { succeed(t, l.Close()) })
	return l
}

// stream, event and memory take one for the length of the test.
func stream(t testing.TB, dev *cuda.Device) *cuda.Stream {
	t.Helper()
	s, err := dev.NewStream()
	succeed(t, err)
	t.Cleanup(func() { succeed(t, s.Close()) })
	return s
}

func event(t testing.TB, dev *cuda.Device) *cuda.Event {
	t.Helper()
	e, err := dev.NewEvent()
	succeed(t, err)
	t.Cleanup(func() { succeed(t, e.Close()) })
	return e
}

func memory(t testing.TB, dev *cuda.Device, s *cuda.Stream, bytes int) cuda.Ptr {
	t.Helper()
	p, err := dev.Alloc(s, bytes)
	succeed(t, err)
	t.Cleanup(func() { succeed(t, dev.Free(s, p)) })
	return p
}

func pinned(t testing.TB, dev *cuda.Device, bytes int) []byte {
	t.Helper()
	h, err := dev.NewHost(bytes)
	succeed(t, err)
	t.Cleanup(func() { succeed(t, h.Close()) })
	return h.Bytes()
}

// u32s reads n words of device memory.
func u32s(t testing.TB, s *cuda.Stream, p cuda.Ptr, n int) []uint32 {
	t.Helper()
	raw := make([]byte, 4*n)
	succeed(t, s.CopyToHost(raw, p))
	succeed(t, s.Synchronize())
	out := make([]uint32, n)
	for i := range out {
		out[i] = binary.LittleEndian.Uint32(raw[4*i:])
	}
	return out
}

func allAre(t testing.TB, got []uint32, want uint32) {
	t.Helper()
	for i, v := range got {
		if v != want {
			t.Fatalf("element %d is %d (%#x), want %d", i, v, v, want)
		}
	}
}

func grid(blocks int) cuda.Grid { return cuda.Grid{X: blocks} }

// everything uses each function of the driver that this package has, checks what it computes, and gives everything back
// whatever goes wrong. It is the program that the tests of errors run.
func everything(drv *cuda.Driver) (err error) {
	keep := func(e error) {
		if errors.Is(err, cuda.ErrDeviceLost) && errors.Is(e, cuda.ErrDeviceLost) {
			return // a lost device says so at every call; once is enough
		}
		err = errors.Join(err, e)
	}
	infos, err := drv.Devices()
	if err != nil {
		return err
	}
	for _, info := range infos {
		keep(info.Err)
	}
	if len(infos) == 0 {
		return cuda.ErrNoDevice
	}
	if err != nil {
		return err
	}
	dev, err := drv.Open(0, cuda.DeviceOptions{})
	if err != nil {
		return err
	}
	defer func() { keep(dev.Close()) }()
	module, err := dev.LoadModule([]byte(standin.PTX))
	if err != nil {
		return err
	}
	defer func() { keep(module.Close()) }()
	f, err := module.Function("standin_add")
	if err != nil {
		return err
	}
	if err := f.SetShared(64 << 10); err != nil {
		return err
	}
	if _, err := f.Attributes(); err != nil {
		return err
	}
	add := f.NewLaunch()
	defer func() { keep(add.Close()) }()
	one, err := dev.NewStream()
	if err != nil {
		return err
	}
	defer func() { keep(one.Close()) }()
	two, err := dev.NewStream()
	if err != nil {
		return err
	}
	defer func() { keep(two.Close()) }()
	before, err := dev.NewEvent()
	if err != nil {
		return err
	}
	defer func() { keep(before.Close()) }()
	after, err := dev.NewEvent()
	if err != nil {
		return err
	}
	defer func() { keep(after.Close()) }()
	const n = 1000
	host, err := dev.NewHost(4 * n)
	if err != nil {
		return err
	}
	defer func() { keep(host.Close()) }()
	a, err := dev.Alloc(one, 4*n)
	if err != nil {
		return err
	}
	defer func() { keep(dev.Free(one, a)) }()
	b, err := dev.Alloc(one, 4*n)
	if err != nil {
		return err
	}
	defer func() { keep(dev.Free(one, b)) }()

	for i := range n {
		binary.LittleEndian.PutUint32(host.Bytes()[4*i:], uint32(i))
	}
	run := func(s *cuda.Stream) error { // b += a
		return add.Reset().Ptr(b).Ptr(a).U32(n).Run(s, grid(4), grid(256), 50<<10)
	}
	result := make([]byte, 4*n)
	steps := []func() error{
		func() error { return before.Record(one) },
		func() error { return one.CopyToDevice(a, host.Bytes()) }, // a = i
		func() error { return one.Fill(b, 0, 4*n) },
		func() error { return run(one) }, // b = i
		func() error { return after.Record(one) },
		func() error { return two.Wait(after) },
		func() error { return two.Copy(a, b, 4*n) }, // a = i
		func() error { return run(two) },            // b = 2i
		func() error { return after.Record(two) },
		func() error {
			for {
				if done, err := after.Done(); done || err != nil {
					return err
				}
			}
		},
		func() error { return after.Synchronize() },
		func() error { _, err := after.Since(before); return err },
		func() error { return one.Wait(after) },
		func() error {
			g, err := one.Capture(func() error { // b += a twice
				if err := run(one); err != nil {
					return err
				}
				return run(one)
			})
			if err != nil {
				return err
			}
			defer func() { keep(g.Close()) }()
			if nodes, err := g.Nodes(); err != nil || nodes != 2 {
				return errors.Join(err, fmt.Errorf("the graph has %d nodes, want 2", nodes))
			}
			if err := g.Launch(one); err != nil { // b = 4i
				return err
			}
			return one.Synchronize()
		},
		func() error { return one.CopyToHost(result, b) },
		func() error { return one.Synchronize() },
		func() error { // memory that goes back to the driver at once
			p, err := dev.Alloc(one, 1<<20)
			if err != nil {
				return err
			}
			keep(dev.Free(one, p))
			keep(dev.Trim())
			return err
		},
	}
	for _, step := range steps {
		if e := step(); e != nil {
			keep(e)
			return err
		}
	}
	for i := range n {
		if got := binary.LittleEndian.Uint32(result[4*i:]); got != uint32(4*i) {
			keep(fmt.Errorf("element %d is %d, want %d", i, got, 4*i))
			break
		}
	}
	return err
}

// within runs f and fails the test with all stacks when it takes longer.
func within(t testing.TB, limit time.Duration, what string, f func() error) error {
	t.Helper()
	done := make(chan error, 1)
	go func() { done <- f() }()
	select {
	case err := <-done:
		return err
	case <-time.After(limit):
		stacks := make([]byte, 1<<20)
		t.Fatalf("%s: nothing came back after %v\n%s", what, limit, bytes.TrimSpace(stacks[:runtime.Stack(stacks, true)]))
		return nil
	}
}

// clean fails the test for rules broken and things left, and forgets them. It reports whether there were none.
func clean(t testing.TB, lib *standin.Library, what string) bool {
	t.Helper()
	violations, leaks := lib.Violations(), lib.Leaks()
	for _, v := range violations {
		t.Errorf("%s: %s", what, v)
	}
	for _, v := range leaks {
		t.Errorf("%s: leak: %s", what, v)
	}
	return len(violations)+len(leaks) == 0
}
