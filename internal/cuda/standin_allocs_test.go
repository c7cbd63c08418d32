//go:build !race

// The race detector makes the pool of argument lists forget at random, so allocations are counted without it.

package cuda_test

import (
	"testing"

	"github.com/secencoder/secencoder/internal/alloctest"
)

// What runs in every step of a training takes nothing from Go's heap.
func TestStandinHotCallsAllocateNothing(t *testing.T) {
	_, dev := openStandin(t)
	s, other := stream(t, dev), stream(t, dev)
	p := memory(t, dev, s, 4096)
	l := kernel(t, dev, "standin_types")
	e := event(t, dev)
	host := pinned(t, dev, 4096)
	g, err := s.Capture(func() error { return s.Fill(p, 1, 64) })
	succeed(t, err)
	t.Cleanup(func() { succeed(t, g.Close()) })
	succeed(t, e.Record(s))
	calls := map[string]func() error{
		"launch": func() error {
			return l.Reset().Ptr(p).I32(-2).U64(5).F32(1).F64(2).U32(3).I64(-7).F32(4).Ptr(p).U32(9).Run(s, grid(1), grid(1), 0)
		},
		"graph":       func() error { return g.Launch(s) },
		"synchronize": s.Synchronize,
		"record":      func() error { return e.Record(s) },
		"wait":        func() error { return other.Wait(e) },
		"event":       e.Synchronize,
		"copy":        func() error { return s.CopyToDevice(p, host) },
		"copy back":   func() error { return s.CopyToHost(host, p) },
		"copy on it":  func() error { return s.Copy(p+2048, p, 1024) },
		"fill":        func() error { return s.Fill(p, 1, 4096) },
		"memory": func() error {
			q, err := dev.Alloc(s, 3000)
			if err != nil {
				return err
			}
			return dev.Free(s, q)
		},
	}
	for name, call := range calls {
		succeed(t, call())
		if n := alloctest.Fewest(func() {
			for range 100 {
				if err := call(); err != nil {
					t.Error(err)
				}
			}
		}); n > 0 {
			t.Errorf("%s: %v allocations in 100 calls", name, n)
		}
	}
}
