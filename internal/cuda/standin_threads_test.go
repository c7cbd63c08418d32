package cuda_test

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/secencoder/secencoder/internal/cuda"
	"github.com/secencoder/secencoder/internal/cuda/standin"
)

// Many goroutines on two devices, wandering between threads: each call finds the right context. The stand-in notes every
// call on a thread without one, or with another device's.
func TestStandinManyGoroutines(t *testing.T) {
	lib, drv := loadStandin(t)
	lib.Set(standin.Devices, 2)
	var devs [2]*cuda.Device
	for i := range devs {
		var err error
		devs[i], err = drv.Open(i, cuda.DeviceOptions{})
		succeed(t, err)
		t.Cleanup(func() { succeed(t, devs[i].Close()) })
	}
	goroutines, rounds := 32, 40
	if testing.Short() {
		rounds = 8
	}
	failed := make(chan error, goroutines)
	err := within(t, 50*time.Second, "goroutines", func() error {
		var all sync.WaitGroup
		for g := range goroutines {
			all.Go(func() {
				for round := range rounds {
					if err := smallJob(devs[(g+round)%2], uint32(1000*g+round)); err != nil {
						failed <- fmt.Errorf("goroutine %d, round %d: %w", g, round, err)
						return
					}
				}
			})
		}
		all.Wait()
		return nil
	})
	succeed(t, err)
	select {
	case err := <-failed:
		t.Fatal(err)
	default:
	}
	if v := lib.Violations(); v != nil {
		t.Errorf("rules were broken: %q", v)
	}
}

// smallJob is a little work on objects of its own, with chances for the goroutine to change its thread in between.
func smallJob(dev *cuda.Device, value uint32) (err error) {
	keep := func(e error) { err = errors.Join(err, e) }
	s, err := dev.NewStream()
	if err != nil {
		return err
	}
	defer func() { keep(s.Close()) }()
	m, err := dev.LoadModule([]byte(standin.PTX))
	if err != nil {
		return err
	}
	defer func() { keep(m.Close()) }()
	f, err := m.Function("standin_fill")
	if err != nil {
		return err
	}
	l := f.NewLaunch()
	defer func() { keep(l.Close()) }()
	const n = 333
	p, err := dev.Alloc(s, 4*n)
	if err != nil {
		return err
	}
	defer func() { keep(dev.Free(s, p)) }()
	e, err := dev.NewEvent()
	if err != nil {
		return err
	}
	defer func() { keep(e.Close()) }()
	runtime.Gosched()
	if err := l.Ptr(p).U32(value).U32(n).Run(s, cuda.Grid{X: 2}, cuda.Grid{X: 256}, 0); err != nil {
		return err
	}
	if err := e.Record(s); err != nil {
		return err
	}
	time.Sleep(time.Microsecond)
	if err := e.Synchronize(); err != nil {
		return err
	}
	out := make([]byte, 4*n)
	if err := s.CopyToHost(out, p); err != nil {
		return err
	}
	for i := range n {
		if got := uint32(out[4*i]) | uint32(out[4*i+1])<<8 | uint32(out[4*i+2])<<16 | uint32(out[4*i+3])<<24; got != value {
			return fmt.Errorf("element %d is %d, want %d", i, got, value)
		}
	}
	return nil
}

// One goroutine captures while others work: a capture is its thread's own affair, and what the others do does not end it.
func TestStandinCaptureBesideOthers(t *testing.T) {
	lib, dev := openStandin(t)
	s := stream(t, dev)
	p := memory(t, dev, s, 4096)
	stop := make(chan struct{})
	var others sync.WaitGroup
	failed := make(chan error, 4)
	for g := range 4 {
		others.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				// While a graph is captured no memory can be taken from the driver: that is an error of its own.
				if err := smallJob(dev, uint32(g)); err != nil && !strings.Contains(err.Error(), "captured") {
					failed <- err
					return
				}
			}
		})
	}
	rounds := 200
	if testing.Short() {
		rounds = 30
	}
	for range rounds {
		g, err := s.Capture(func() error {
			runtime.Gosched()
			return errors.Join(s.Fill(p, 1, 4096), s.Fill(p, 2, 4096))
		})
		if err != nil {
			t.Error(err)
			break
		}
		succeed(t, g.Launch(s))
		succeed(t, g.Close())
	}
	close(stop)
	others.Wait()
	select {
	case err := <-failed:
		t.Error(err)
	default:
	}
	if v := lib.Violations(); v != nil {
		t.Errorf("rules were broken: %q", v)
	}
}

// Close waits for calls that are under way on other goroutines; those that come later are refused.
func TestStandinCloseWhileUsed(t *testing.T) {
	rounds := 20
	if testing.Short() {
		rounds = 5
	}
	for round := range rounds {
		lib, drv := loadStandin(t)
		dev, err := drv.Open(0, cuda.DeviceOptions{})
		succeed(t, err)
		begun := make(chan struct{}, 8)
		var all sync.WaitGroup
		wrong := make(chan error, 8)
		for range 8 {
			all.Go(func() {
				s, err := dev.NewStream()
				begun <- struct{}{}
				for err == nil {
					var e *cuda.Event
					if e, err = dev.NewEvent(); err == nil {
						err = errors.Join(e.Record(s), e.Close())
					}
				}
				if !errors.Is(err, cuda.ErrClosed) {
					wrong <- err
				}
			})
		}
		for range 8 {
			<-begun
		}
		time.Sleep(time.Duration(round) * 50 * time.Microsecond)
		err = within(t, 20*time.Second, "Close", dev.Close)
		if err == nil || !strings.Contains(err.Error(), "still open") {
			t.Errorf("close: %v", err)
		}
		all.Wait()
		select {
		case err := <-wrong:
			t.Errorf("after Close: %v", err)
		default:
		}
		clean(t, lib, "closed while used")
	}
}

// After a call the goroutine may go to any thread, and threads end while they hold the context: that hurts nobody.
func TestStandinThreadsEnd(t *testing.T) {
	lib, dev := openStandin(t)
	s := stream(t, dev)
	for range 50 {
		done := make(chan error)
		go func() {
			runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
			e, err := dev.NewEvent()
			if err == nil {
				err = errors.Join(e.Record(s), e.Synchronize(), e.Close())
			}
			done <- err
		}()
		succeed(t, <-done)
	}
	if v := lib.Violations(); v != nil {
		t.Errorf("rules were broken: %q", v)
	}
}
