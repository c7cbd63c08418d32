package cuda_test

import (
	"encoding/binary"
	"errors"
	"strings"
	"testing"

	"github.com/secencoder/secencoder/internal/cuda"
	"github.com/secencoder/secencoder/internal/cuda/standin"
)

// A graph does what was recorded, as often as it is launched, with what its memory holds then; the recording itself
// does nothing.
func TestStandinGraph(t *testing.T) {
	delays(t, func(t *testing.T, delay, seed int) {
		_, dev := delayed(t, delay, seed)
		s := stream(t, dev)
		const n = 300
		a, b := memory(t, dev, s, 4*n), memory(t, dev, s, 4*n)
		add := kernel(t, dev, "standin_add")
		host := pinned(t, dev, 4*n)
		for i := range n {
			binary.LittleEndian.PutUint32(host[4*i:], 3)
		}
		succeed(t, s.Fill(b, 0, 4*n))
		g, err := s.Capture(func() error {
			if err := s.CopyToDevice(a, host); err != nil { // reads the host's memory at each replay
				return err
			}
			for range 5 {
				if err := add.Reset().Ptr(b).Ptr(a).U32(n).Run(s, grid(2), grid(256), 0); err != nil {
					return err
				}
			}
			return nil
		})
		succeed(t, err)
		if nodes, err := g.Nodes(); err != nil || nodes != 6 {
			t.Errorf("%d nodes, want 6 (%v)", nodes, err)
		}
		allAre(t, u32s(t, s, b, n), 0)
		succeed(t, g.Launch(s))
		allAre(t, u32s(t, s, b, n), 15)
		for i := range n {
			binary.LittleEndian.PutUint32(host[4*i:], 4)
		}
		other := stream(t, dev)
		for range 3 {
			succeed(t, g.Launch(other))
		}
		allAre(t, u32s(t, other, b, n), 15+3*20)
		succeed(t, g.Close())
	})
}

// A capture forks into a second stream by an event and joins it again; without the joining wait it is refused.
func TestStandinGraphForks(t *testing.T) {
	delays(t, func(t *testing.T, delay, seed int) {
		_, dev := delayed(t, delay, seed)
		one, two := stream(t, dev), stream(t, dev)
		const n = 100
		a, b := memory(t, dev, one, 4*n), memory(t, dev, one, 4*n)
		fill, add := kernel(t, dev, "standin_fill"), kernel(t, dev, "standin_add")
		fork, join := event(t, dev), event(t, dev)
		record := func(joined bool) func() error {
			return func() error {
				for _, step := range []func() error{
					func() error { return fill.Reset().Ptr(a).U32(1).U32(n).Run(one, grid(1), grid(n), 0) },
					func() error { return fork.Record(one) },
					func() error { return two.Wait(fork) },
					func() error { return fill.Reset().Ptr(b).U32(10).U32(n).Run(two, grid(1), grid(n), 0) },
					func() error { return join.Record(two) },
					func() error {
						if joined {
							return one.Wait(join)
						}
						return nil
					},
					func() error { return add.Reset().Ptr(a).Ptr(b).U32(n).Run(one, grid(1), grid(n), 0) },
				} {
					if err := step(); err != nil {
						return err
					}
				}
				return nil
			}
		}
		g, err := one.Capture(record(true))
		succeed(t, err)
		succeed(t, g.Launch(one))
		allAre(t, u32s(t, one, a, n), 11)
		succeed(t, g.Close())
		if _, err := one.Capture(record(false)); err == nil || !strings.Contains(err.Error(), "UNJOINED") {
			t.Errorf("a fork that is not joined: %v", err)
		}
		// Both streams work again.
		succeed(t, one.Fill(a, 0, 4*n))
		succeed(t, two.Synchronize())
		allAre(t, u32s(t, one, a, n), 0)
	})
}

// What does not belong into a capture ends it with an error that says so; the stream, the device and the next capture
// work again, and nothing is left.
func TestStandinCaptureRefused(t *testing.T) {
	lib, dev := openStandin(t)
	s, other := stream(t, dev), stream(t, dev)
	p := memory(t, dev, s, 4096)
	outside := event(t, dev)
	succeed(t, outside.Record(other))
	own := errors.New("the program's own error")
	for name, record := range map[string]func() error{
		"synchronize":    s.Synchronize,
		"pageable copy":  func() error { return s.CopyToDevice(p, make([]byte, 16)) },
		"copy back":      func() error { return s.CopyToHost(make([]byte, 16), p) },
		"outside event":  func() error { return s.Wait(outside) },
		"capture again":  func() error { _, err := s.Capture(func() error { return nil }); return err },
		"more memory":    func() error { _, err := dev.Alloc(s, 64<<20); return err },
		"an own error":   func() error { return own },
		"host memory":    func() error { _, err := dev.NewHost(4096); return err },
		"another module": func() error { _, err := dev.LoadModule([]byte(standin.PTX)); return err },
	} {
		g, err := s.Capture(func() error {
			if err := s.Fill(p, 1, 64); err != nil {
				return err
			}
			return record()
		})
		if err == nil {
			t.Errorf("%s: no error", name)
			succeed(t, g.Close())
		}
		if name == "an own error" && !errors.Is(err, own) {
			t.Errorf("the program's error is lost: %v", err)
		}
		succeed(t, s.Fill(p, 2, 64))
		succeed(t, s.Synchronize())
		g, err = s.Capture(func() error { return s.Fill(p, 3, 64) })
		if err != nil {
			t.Errorf("a capture after %s: %v", name, err)
			continue
		}
		succeed(t, g.Launch(s))
		succeed(t, s.Synchronize())
		succeed(t, g.Close())
	}
	if v := lib.Violations(); v != nil {
		t.Errorf("rules were broken: %q", v)
	}
}

// A record that panics leaves the stream as it was.
func TestStandinCapturePanics(t *testing.T) {
	_, dev := openStandin(t)
	s := stream(t, dev)
	p := memory(t, dev, s, 4096)
	func() {
		defer func() {
			if recover() != "out" {
				t.Error("the panic did not come through")
			}
		}()
		_, err := s.Capture(func() error {
			succeed(t, s.Fill(p, 1, 64))
			panic("out")
		})
		t.Errorf("Capture returned: %v", err)
	}()
	succeed(t, s.Fill(p, 2, 64))
	succeed(t, s.Synchronize())
}

// Memory that a graph uses stays its own after the program freed it, until the graph is closed.
func TestStandinGraphKeepsMemory(t *testing.T) {
	delays(t, func(t *testing.T, delay, seed int) {
		_, dev := delayed(t, delay, seed)
		s := stream(t, dev)
		const n = 512
		add := kernel(t, dev, "standin_add")
		out := memory(t, dev, s, 4*n)
		warm, err := dev.Alloc(s, 4*n)
		succeed(t, err)
		succeed(t, dev.Free(s, warm))
		succeed(t, s.Fill(out, 0, 4*n))
		fill := kernel(t, dev, "standin_fill")
		g, err := s.Capture(func() error {
			p, err := dev.Alloc(s, 4*n)
			if err != nil {
				return err
			}
			return errors.Join(
				fill.Reset().Ptr(p).U32(6).U32(n).Run(s, grid(2), grid(256), 0),
				add.Reset().Ptr(out).Ptr(p).U32(n).Run(s, grid(2), grid(256), 0),
				dev.Free(s, p))
		})
		succeed(t, err)
		mine := memory(t, dev, s, 4*n)
		succeed(t, s.Fill(mine, 9, 4*n))
		succeed(t, g.Launch(s))
		succeed(t, g.Launch(s))
		allAre(t, u32s(t, s, out, n), 12)
		allAre(t, u32s(t, s, mine, n), 0x09090909)
		succeed(t, g.Close())
		succeed(t, dev.Trim())
	})
}

// A graph with memory of its own may be closed while it runs: the memory is anybody's only afterwards. What the program
// took in a capture and still holds stays its own.
func TestStandinGraphClosedWhileRunning(t *testing.T) {
	delays(t, func(t *testing.T, delay, seed int) {
		_, dev := delayed(t, delay, seed)
		s, other := stream(t, dev), stream(t, dev)
		const n = 512
		fill, add := kernel(t, dev, "standin_fill"), kernel(t, dev, "standin_add")
		out := memory(t, dev, s, 4*n)
		var warm [2]cuda.Ptr
		for i := range warm {
			var err error
			warm[i], err = dev.Alloc(s, 4*n)
			succeed(t, err)
		}
		for _, p := range warm {
			succeed(t, dev.Free(s, p))
		}
		succeed(t, s.Fill(out, 0, 4*n))
		var kept cuda.Ptr
		g, err := s.Capture(func() (err error) {
			if kept, err = dev.Alloc(s, 4*n); err != nil {
				return err
			}
			p, err := dev.Alloc(s, 4*n)
			if err != nil {
				return err
			}
			return errors.Join(
				fill.Reset().Ptr(kept).U32(3).U32(n).Run(s, grid(2), grid(256), 0),
				fill.Reset().Ptr(p).U32(6).U32(n).Run(s, grid(2), grid(256), 0),
				add.Reset().Ptr(out).Ptr(p).U32(n).Run(s, grid(2), grid(256), 0),
				dev.Free(s, p))
		})
		succeed(t, err)
		succeed(t, g.Launch(s))
		succeed(t, g.Close())
		var mine [2]cuda.Ptr // one of them where the graph had its memory, none where kept is
		for i := range mine {
			mine[i] = memory(t, dev, other, 4*n)
			succeed(t, fill.Reset().Ptr(mine[i]).U32(50).U32(n).Run(other, grid(2), grid(256), 0))
		}
		succeed(t, other.Synchronize())
		allAre(t, u32s(t, s, out, n), 6)
		allAre(t, u32s(t, s, kept, n), 3)
		for _, p := range mine {
			allAre(t, u32s(t, other, p, n), 50)
		}
		succeed(t, dev.Free(s, kept))
	})
}

// Graphs made and closed many times leave nothing; an open one at Close of the device is named.
func TestStandinGraphLeft(t *testing.T) {
	lib, drv := loadStandin(t)
	dev, err := drv.Open(0, cuda.DeviceOptions{})
	succeed(t, err)
	s, err := dev.NewStream()
	succeed(t, err)
	p, err := dev.Alloc(s, 64)
	succeed(t, err)
	for range 100 {
		g, err := s.Capture(func() error { return s.Fill(p, 1, 64) })
		succeed(t, err)
		succeed(t, g.Launch(s))
		succeed(t, g.Close())
	}
	if _, err = s.Capture(func() error { return s.Fill(p, 1, 64) }); err != nil {
		t.Fatal(err)
	}
	err = dev.Close()
	if err == nil || !strings.Contains(err.Error(), "1 × graph") || !strings.Contains(err.Error(), "1 × stream") {
		t.Errorf("left open: %v", err)
	}
	clean(t, lib, "closed with things open") // freed all the same
}
