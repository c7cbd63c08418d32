package cuda_test

import (
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/secencoder/secencoder/internal/cuda"
	"github.com/secencoder/secencoder/internal/cuda/standin"
)

// What is closed while others use it is freed after the calls that are under way; the calls that come later say that it
// was closed. The stand-in notes every use of what is not there any more.
func TestStandinCloseBesideUse(t *testing.T) {
	lib, dev := openStandin(t)
	rounds := 200
	if testing.Short() {
		rounds = 40
	}
	s, e := stream(t, dev), event(t, dev)
	p := memory(t, dev, s, 4096)
	m, err := dev.LoadModule([]byte(standin.PTX))
	succeed(t, err)
	t.Cleanup(func() { succeed(t, m.Close()) })
	f, err := m.Function("standin_fill")
	succeed(t, err)
	for name, open := range map[string]func() (use, shut func() error){
		"stream": func() (use, shut func() error) {
			x, err := dev.NewStream()
			succeed(t, err)
			return func() error { return e.Record(x) }, x.Close
		},
		"stream with memory": func() (use, shut func() error) {
			x, err := dev.NewStream()
			succeed(t, err)
			return func() error {
				q, err := dev.Alloc(x, 8192)
				if err != nil {
					return err
				}
				if err := dev.Free(x, q); errors.Is(err, cuda.ErrClosed) {
					return errors.Join(err, dev.Free(nil, q))
				} else if err != nil {
					return err
				}
				return nil
			}, x.Close
		},
		"event": func() (use, shut func() error) {
			x, err := dev.NewEvent()
			succeed(t, err)
			return func() error { return errors.Join(x.Record(s), s.Wait(x)) }, x.Close
		},
		"module": func() (use, shut func() error) {
			x, err := dev.LoadModule([]byte(standin.PTX))
			succeed(t, err)
			return func() error { _, err := x.Function("standin_fill"); return err }, x.Close
		},
		"graph": func() (use, shut func() error) {
			x, err := s.Capture(func() error { return s.Fill(p, 1, 64) })
			succeed(t, err)
			return func() error { return x.Launch(s) }, func() error { return errors.Join(s.Synchronize(), x.Close()) }
		},
	} {
		for range rounds {
			use, shut := open()
			var all sync.WaitGroup
			for range 4 {
				all.Go(func() {
					for {
						if err := use(); err != nil {
							if !errors.Is(err, cuda.ErrClosed) {
								t.Errorf("%s: %v", name, err)
							}
							return
						}
					}
				})
			}
			all.Go(func() { succeed(t, shut()) })
			all.Wait()
			if t.Failed() {
				return
			}
		}
	}
	for range rounds { // a launch is one goroutine's
		l := f.NewLaunch()
		var all sync.WaitGroup
		all.Go(func() {
			for {
				if err := l.Reset().Ptr(p).U32(1).U32(1).Run(s, grid(1), grid(1), 0); err != nil {
					if !errors.Is(err, cuda.ErrClosed) {
						t.Errorf("launch: %v", err)
					}
					return
				}
			}
		})
		all.Go(func() { succeed(t, l.Close()) })
		all.Wait()
	}
	succeed(t, s.Synchronize())
	if v := lib.Violations(); v != nil {
		t.Errorf("rules were broken: %q", v)
	}
}

// Pinned memory and streams that are closed while a graph is being captured, by whomever, do not end the capture: they stay
// open, which is an error.
func TestStandinCloseBesideCapture(t *testing.T) {
	lib, dev := openStandin(t)
	s := stream(t, dev)
	p := memory(t, dev, s, 4096)
	h, err := dev.NewHost(4096)
	succeed(t, err)
	g, err := s.Capture(func() error {
		for _, shut := range []func() error{h.Close, s.Close} {
			if err := shut(); err == nil || !strings.Contains(err.Error(), "captured") {
				t.Errorf("closed during a capture: %v", err)
			}
			done := make(chan error)
			go func() { done <- shut() }()
			if err := <-done; err == nil || !strings.Contains(err.Error(), "captured") {
				t.Errorf("closed during a capture by another goroutine: %v", err)
			}
		}
		return s.CopyToDevice(p, h.Bytes()) // both are open still
	})
	succeed(t, err)
	succeed(t, g.Launch(s))
	succeed(t, s.Synchronize())
	succeed(t, g.Close())
	succeed(t, h.Close())
	if h.Bytes() != nil {
		t.Error("memory that was closed is still there")
	}
	if v := lib.Violations(); v != nil {
		t.Errorf("rules were broken: %q", v)
	}
}

// Memory that is cached for a stream into which a capture forked goes to nobody else meanwhile: waiting for that stream
// would draw the one that waits into the capture.
func TestStandinMemoryOfForkedStream(t *testing.T) {
	lib, dev := openStandin(t)
	one, two, three := stream(t, dev), stream(t, dev), stream(t, dev)
	p := memory(t, dev, one, 4096)
	q, err := dev.Alloc(two, 1<<20)
	succeed(t, err)
	succeed(t, dev.Free(two, q))
	fork, join := event(t, dev), event(t, dev)
	g, err := one.Capture(func() error {
		succeed(t, errors.Join(fork.Record(one), two.Wait(fork), two.Fill(p, 1, 64)))
		done := make(chan error)
		go func() { _, err := dev.Alloc(three, 1<<20); done <- err }()
		if err := <-done; err == nil || !strings.Contains(err.Error(), "captured") {
			t.Errorf("memory of a stream in a capture: %v", err)
		}
		return errors.Join(join.Record(two), one.Wait(join))
	})
	succeed(t, err)
	succeed(t, g.Close())
	if got, err := dev.Alloc(three, 1<<20); err != nil || got != q {
		t.Errorf("after the capture: %#x, %v, want %#x", got, err, q)
	} else {
		succeed(t, dev.Free(three, got))
	}
	if v := lib.Violations(); v != nil {
		t.Errorf("rules were broken: %q", v)
	}
}
