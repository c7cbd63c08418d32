package cuda_test

import (
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/secencoder/secencoder/internal/cuda"
	"github.com/secencoder/secencoder/internal/cuda/standin"
)

// resident returns the process's memory in bytes.
func resident(t testing.TB) int64 {
	t.Helper()
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		t.Skip("no /proc here to read the process's memory from")
	}
	pages, err := strconv.ParseInt(strings.Fields(string(text))[1], 10, 64)
	succeed(t, err)
	return pages * int64(os.Getpagesize())
}

// heap returns live bytes of Go's heap.
func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// grows runs f(n) twice and compares the memory between and after: what the first pass needed is there, the second must
// need no more.
func grows(t *testing.T, n int, f func(n int)) {
	t.Helper()
	f(n / 4)
	h, r := heap(), resident(t)
	f(n)
	dh, dr := heap()-h, resident(t)-r
	t.Logf("%d rounds: heap %+d bytes, resident %+d bytes", n, dh, dr)
	const noise = 64 << 10 // of the runtime and the test itself; a leak of a byte a round is more for the large counts
	if dh > noise {
		t.Errorf("Go's heap grew by %d bytes in %d rounds", dh, n)
	}
	if dr > 16<<20 {
		t.Errorf("the process grew by %d bytes in %d rounds", dr, n)
	}
}

// A million launches, with packing, leave no memory behind, in Go or outside.
func TestStandinMillionLaunches(t *testing.T) {
	lib, dev := openStandin(t)
	n := 1_000_000
	if testing.Short() {
		n = 50_000
	}
	lib.Set(standin.Hide, 0) // saves the time of half a million changes of access
	s := stream(t, dev)
	p := memory(t, dev, s, 4096)
	fill, add := kernel(t, dev, "standin_fill"), kernel(t, dev, "standin_add")
	before := lib.Launches()
	grows(t, n, func(n int) {
		for i := range n / 2 {
			succeed(t, fill.Reset().Ptr(p).U32(uint32(i)).U32(4).Run(s, grid(1), grid(32), 0))
			succeed(t, add.Reset().Ptr(p).Ptr(p+2048).U32(4).Run(s, grid(1), grid(32), 0))
		}
		succeed(t, s.Synchronize())
	})
	if got := lib.Launches() - before; got != n+n/4 {
		t.Errorf("the driver saw %d launches, want %d", got, n+n/4)
	}
}

// Using and dropping everything else leaves nothing either.
func TestStandinNothingGrows(t *testing.T) {
	n := 4000
	if testing.Short() {
		n = 400
	}
	for name, f := range map[string]func(*testing.T, *cuda.Driver, *cuda.Device, *cuda.Stream){
		"streams": func(t *testing.T, _ *cuda.Driver, dev *cuda.Device, _ *cuda.Stream) {
			s, err := dev.NewStream()
			succeed(t, err)
			p, err := dev.Alloc(s, 100)
			succeed(t, err)
			succeed(t, dev.Free(s, p))
			succeed(t, s.Close())
		},
		"events": func(t *testing.T, _ *cuda.Driver, dev *cuda.Device, s *cuda.Stream) {
			e, err := dev.NewEvent()
			succeed(t, err)
			succeed(t, e.Record(s))
			succeed(t, s.Wait(e))
			succeed(t, e.Close())
		},
		"memory": func(t *testing.T, _ *cuda.Driver, dev *cuda.Device, s *cuda.Stream) {
			p, err := dev.Alloc(s, 10000)
			succeed(t, err)
			succeed(t, dev.Free(s, p))
			succeed(t, dev.Trim())
		},
		"host": func(t *testing.T, _ *cuda.Driver, dev *cuda.Device, _ *cuda.Stream) {
			h, err := dev.NewHost(10000)
			succeed(t, err)
			succeed(t, h.Close())
		},
		"modules": func(t *testing.T, _ *cuda.Driver, dev *cuda.Device, _ *cuda.Stream) {
			m, err := dev.LoadModule([]byte(standin.PTX))
			succeed(t, err)
			f, err := m.Function("standin_fill")
			succeed(t, err)
			succeed(t, f.NewLaunch().Close())
			succeed(t, m.Close())
		},
		"launches": func(t *testing.T, _ *cuda.Driver, dev *cuda.Device, s *cuda.Stream) {
			m, err := dev.LoadModule(entry("k", nil))
			succeed(t, err)
			f, err := m.Function("k")
			succeed(t, err)
			for range 10 {
				l := f.NewLaunch()
				succeed(t, l.Run(s, grid(1), grid(1), 0))
				succeed(t, l.Close())
			}
			succeed(t, m.Close())
		},
		"graphs": func(t *testing.T, _ *cuda.Driver, dev *cuda.Device, s *cuda.Stream) {
			p, err := dev.Alloc(s, 64)
			succeed(t, err)
			g, err := s.Capture(func() error { return s.Fill(p, 1, 64) })
			succeed(t, err)
			succeed(t, g.Launch(s))
			succeed(t, g.Close())
			succeed(t, dev.Free(s, p))
		},
		"errors": func(t *testing.T, _ *cuda.Driver, dev *cuda.Device, s *cuda.Stream) {
			if _, err := dev.Alloc(s, 1<<50); err == nil {
				t.Error("a petabyte: no error")
			}
			if _, err := dev.LoadModule([]byte("no")); err == nil {
				t.Error("no module: no error")
			}
		},
		"devices": func(t *testing.T, drv *cuda.Driver, _ *cuda.Device, _ *cuda.Stream) { // a second handle on the context
			dev, err := drv.Open(0, cuda.DeviceOptions{})
			succeed(t, err)
			succeed(t, dev.Close())
		},
	} {
		t.Run(name, func(t *testing.T) {
			_, drv := loadStandin(t)
			dev, err := drv.Open(0, cuda.DeviceOptions{})
			succeed(t, err)
			t.Cleanup(func() { succeed(t, dev.Close()) })
			s := stream(t, dev)
			grows(t, n, func(n int) {
				for range n {
					f(t, drv, dev, s)
				}
			})
		})
	}
}
