package cuda_test

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/secencoder/secencoder/internal/cuda"
	"github.com/secencoder/secencoder/internal/cuda/standin"
)

// A device that dies in mid-run: each later call returns that one error at once, Close too; nothing hangs, nothing is
// left, and a new context works.
func TestStandinDeviceLost(t *testing.T) {
	for _, code := range []int{4, 214, 220, 700, 702, 709, 716, 719, 999} {
		for _, delay := range []int{standin.Immediately, standin.Late} {
			lib, drv := loadStandin(t)
			lib.Set(standin.Delay, delay)
			what := fmt.Sprintf("lost by %d", code)
			err := within(t, 20*time.Second, what, func() error { return lose(t, lib, drv, code) })
			succeed(t, err)
			clean(t, lib, what)
			succeed(t, everything(drv))
		}
	}
}

func lose(t *testing.T, lib *standin.Library, drv *cuda.Driver, code int) error {
	dev, err := drv.Open(0, cuda.DeviceOptions{})
	if err != nil {
		return err
	}
	s, err := dev.NewStream()
	if err != nil {
		return err
	}
	e, err := dev.NewEvent()
	if err != nil {
		return err
	}
	h, err := dev.NewHost(4096)
	if err != nil {
		return err
	}
	m, err := dev.LoadModule([]byte(standin.PTX))
	if err != nil {
		return err
	}
	f, err := m.Function("standin_fill")
	if err != nil {
		return err
	}
	l := f.NewLaunch()
	p, err := dev.Alloc(s, 4096)
	if err != nil {
		return err
	}
	g, err := s.Capture(func() error { return s.Fill(p, 1, 4096) })
	if err != nil {
		return err
	}
	if err := l.Ptr(p).U32(1).U32(1024).Run(s, grid(4), grid(256), 0); err != nil {
		return err
	}
	lib.Lose(code)
	var first *cuda.Error
	for name, use := range map[string]func() error{
		"synchronize": s.Synchronize,
		"fill":        func() error { return s.Fill(p, 0, 16) },
		"copy":        func() error { return s.CopyToDevice(p, h.Bytes()) },
		"copy back":   func() error { return s.CopyToHost(make([]byte, 16), p) },
		"launch":      func() error { return l.Run(s, grid(4), grid(256), 0) },
		"record":      func() error { return e.Record(s) },
		"wait":        func() error { return s.Wait(e) },
		"event":       e.Synchronize,
		"done":        func() error { _, err := e.Done(); return err },
		"graph":       func() error { return g.Launch(s) },
		"capture":     func() error { _, err := s.Capture(func() error { return s.Fill(p, 1, 16) }); return err },
		"module":      func() error { _, err := dev.LoadModule([]byte(standin.PTX)); return err },
		"function":    func() error { _, err := m.Function("standin_add"); return err },
		"stream":      func() error { _, err := dev.NewStream(); return err },
		"new event":   func() error { _, err := dev.NewEvent(); return err },
		"host":        func() error { _, err := dev.NewHost(16); return err },
		"memory":      func() error { _, err := dev.Alloc(s, 64<<20); return err },
	} {
		err := use()
		var e *cuda.Error
		if !errors.Is(err, cuda.ErrDeviceLost) || !errors.As(err, &e) || e.Code != code {
			t.Errorf("%s on a device lost by %d: %v", name, code, err)
			continue
		}
		if first == nil {
			first = e
		}
		if e != first {
			t.Errorf("%s: %v, but the first error was %v", name, e, first)
		}
	}
	calls := 0
	for _, n := range lib.Calls() {
		calls += n
	}
	for name, end := range map[string]func() error{"graph": g.Close, "launch": l.Close, "module": m.Close, "host": h.Close, "event": e.Close, "stream": s.Close,
		"memory": func() error { return dev.Free(s, p) }, "trim": dev.Trim} {
		if err := end(); err != nil && !errors.Is(err, cuda.ErrDeviceLost) {
			t.Errorf("giving back a %s: %v", name, err)
		}
	}
	if err := dev.Close(); !errors.Is(err, cuda.ErrDeviceLost) {
		t.Errorf("close: %v", err)
	}
	return nil
}

// A fault of a kernel comes with a later call, and names it.
func TestStandinKernelFault(t *testing.T) {
	for _, delay := range []int{standin.Immediately, standin.Late} {
		lib, drv := loadStandin(t)
		lib.Set(standin.Delay, delay)
		dev, err := drv.Open(0, cuda.DeviceOptions{})
		succeed(t, err)
		s, err := dev.NewStream()
		succeed(t, err)
		m, err := dev.LoadModule([]byte(standin.PTX))
		succeed(t, err)
		f, err := m.Function("standin_trap")
		succeed(t, err)
		err = f.NewLaunch().Run(s, grid(1), grid(1), 0)
		if err == nil {
			err = s.Synchronize()
		}
		if !errors.Is(err, cuda.ErrDeviceLost) {
			t.Errorf("a kernel that faults: %v", err)
		}
		if err := dev.Close(); !errors.Is(err, cuda.ErrDeviceLost) {
			t.Errorf("close: %v", err)
		}
		clean(t, lib, "a kernel that faults")
	}
}

// The device dies while many goroutines use it: all of them come back with that error.
func TestStandinLostWhileUsed(t *testing.T) {
	for round := range 10 {
		lib, drv := loadStandin(t)
		dev, err := drv.Open(0, cuda.DeviceOptions{})
		succeed(t, err)
		begun := make(chan struct{}, 8)
		ended := make(chan error, 8)
		for g := range 8 {
			go func() {
				err := smallJob(dev, uint32(g))
				begun <- struct{}{}
				for err == nil {
					err = smallJob(dev, uint32(g))
				}
				ended <- err
			}()
		}
		for range 8 {
			<-begun
		}
		time.Sleep(time.Duration(round) * 100 * time.Microsecond)
		lib.Lose(719)
		var all sync.WaitGroup
		all.Add(1)
		succeed(t, within(t, 20*time.Second, "goroutines on a lost device", func() error {
			defer all.Done()
			for range 8 {
				if err := <-ended; !errors.Is(err, cuda.ErrDeviceLost) {
					return fmt.Errorf("on a lost device: %w", err)
				}
			}
			return nil
		}))
		all.Wait()
		if err := dev.Close(); !errors.Is(err, cuda.ErrDeviceLost) {
			t.Errorf("close: %v", err)
		}
		clean(t, lib, "lost while used")
	}
}
