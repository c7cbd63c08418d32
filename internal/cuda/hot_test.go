package cuda_test

import (
	"testing"

	"github.com/secencoder/secencoder/internal/cuda"
	"github.com/secencoder/secencoder/internal/cuda/standin"
)

// bench is a device of the stand-in whose launches do nothing, with what hot calls need.
type bench struct {
	d      *cuda.Device
	s      *cuda.Stream
	e      *cuda.Event
	h      *cuda.Host
	p      cuda.Ptr
	launch *cuda.Launch
	graph  *cuda.Graph
}

func (b *bench) run() error {
	return b.launch.Reset().Ptr(b.p).U32(42).U32(1024).Run(b.s, cuda.Grid{X: 4}, cuda.Grid{X: 256}, 0)
}

func newBench(t testing.TB) (*standin.Library, *bench) {
	lib := standin.Build(t)
	lib.Set(standin.Null, 1)
	drv, err := cuda.Load(cuda.Options{Library: lib.Path()})
	if err != nil {
		t.Fatal(err)
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	b := &bench{}
	b.d, err = drv.Open(0, cuda.DeviceOptions{})
	must(err)
	b.s, err = b.d.NewStream()
	must(err)
	b.e, err = b.d.NewEvent()
	must(err)
	b.h, err = b.d.NewHost(4096)
	must(err)
	b.p, err = b.d.Alloc(b.s, 4096)
	must(err)
	m, err := b.d.LoadModule([]byte(standin.PTX))
	must(err)
	f, err := m.Function("standin_fill")
	must(err)
	b.launch = f.NewLaunch()
	b.graph, err = b.s.Capture(b.run)
	must(err)
	t.Cleanup(func() {
		must(b.s.Synchronize())
		must(b.d.Free(b.s, b.p))
		for _, c := range []interface{ Close() error }{b.graph, b.launch, m, b.h, b.e, b.s, b.d} {
			must(c.Close())
		}
	})
	return lib, b
}

// calls are those of a training step.
func (b *bench) calls() []struct {
	name string
	call func() error
} {
	return []struct {
		name string
		call func() error
	}{
		{"Launch.Run", b.run},
		{"Graph.Launch", func() error { return b.graph.Launch(b.s) }},
		{"Event.Record", func() error { return b.e.Record(b.s) }},
		{"Event.Done", func() error { _, err := b.e.Done(); return err }},
		{"Stream.Wait", func() error { return b.s.Wait(b.e) }},
		{"Stream.Synchronize", b.s.Synchronize},
		{"Stream.CopyToDevice", func() error { return b.s.CopyToDevice(b.p, b.h.Bytes()) }},
		{"Stream.CopyToHost", func() error { return b.s.CopyToHost(b.h.Bytes(), b.p) }},
		{"Stream.Copy", func() error { return b.s.Copy(b.p, b.p+2048, 2048) }},
		{"Stream.Fill", func() error { return b.s.Fill(b.p, 0, 4096) }},
	}
}

// On some systems the driver gives a copy of pageable memory back before it is done with it, so each is waited for; one of
// pinned memory is not.
func TestPageableCopiesAreWaitedFor(t *testing.T) {
	lib, b := newBench(t)
	waits := func() int { return lib.Calls()["cuStreamSynchronize"] }
	slice := make([]byte, 64)
	for _, c := range []struct {
		name string
		copy func() error
		want int
	}{
		{"to the device, pageable", func() error { return b.s.CopyToDevice(b.p, slice) }, 1},
		{"from the device, pageable", func() error { return b.s.CopyToHost(slice, b.p) }, 1},
		{"to the device, pinned", func() error { return b.s.CopyToDevice(b.p, b.h.Bytes()[64:128]) }, 0},
		{"from the device, pinned", func() error { return b.s.CopyToHost(b.h.Bytes()[4032:], b.p) }, 0},
		{"of nothing", func() error { return b.s.CopyToHost(nil, b.p) }, 0},
	} {
		before := waits()
		if err := c.copy(); err != nil {
			t.Fatal(err)
		}
		if got := waits() - before; got != c.want {
			t.Errorf("a copy %s waited %d times, want %d", c.name, got, c.want)
		}
	}
}

// What a call costs on our side: with a driver that does next to nothing.
func BenchmarkHotCalls(b *testing.B) {
	_, d := newBench(b)
	for _, c := range d.calls() {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := c.call(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
