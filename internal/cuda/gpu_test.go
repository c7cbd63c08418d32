package cuda_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/secencoder/secencoder/internal/cuda"
	"github.com/secencoder/secencoder/internal/cuda/standin"
)

// The same tests run on a GPU (TestCUDA…, skipped where there is none) and on the stand-in, with work that is done at
// once and work that is done as late as the rules allow.

// onGPU loads the driver of this machine.
func onGPU(t *testing.T) *cuda.Driver {
	t.Helper()
	drv, err := cuda.Load(cuda.Options{})
	if err == nil {
		var list []cuda.Info
		if list, err = drv.Devices(); err == nil && len(list) == 0 {
			err = cuda.ErrNoDevice
		}
	}
	if errors.Is(err, cuda.ErrNoDriver) || errors.Is(err, cuda.ErrNoDevice) {
		t.Skipf("no GPU here: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return drv
}

// onStandin loads a stand-in.
func onStandin(t *testing.T, delay int) *cuda.Driver {
	t.Helper()
	lib := standin.Build(t)
	lib.Set(standin.Delay, delay)
	drv, err := cuda.Load(cuda.Options{Library: lib.Path()})
	if err != nil {
		t.Fatal(err)
	}
	return drv
}

func TestCUDADriver(t *testing.T) { driver(t, onGPU(t)) }

func TestDriverOnStandin(t *testing.T) {
	for name, delay := range map[string]int{"at once": standin.Immediately, "late": standin.Late, "at random": standin.AtRandom} {
		t.Run(name, func(t *testing.T) { driver(t, onStandin(t, delay)) })
	}
}

func driver(t *testing.T, drv *cuda.Driver) {
	for _, c := range []struct {
		name string
		test func(*testing.T, *cuda.Device)
	}{
		{"devices", devices}, {"copies", copies}, {"pageable", pageable}, {"events", events}, {"launches", launches},
		{"arguments", arguments}, {"shared memory", sharedMemory}, {"graph", graph}, {"failed capture", failedCapture},
		{"modules", modules}, {"goroutines", goroutines}, {"after close", afterClose}, {"leaks", leaks},
	} {
		t.Run(c.name, func(t *testing.T) {
			d, err := drv.Open(0, cuda.DeviceOptions{})
			if err != nil {
				t.Fatal(err)
			}
			c.test(t, d)
			if err := d.Close(); err != nil && c.name != "leaks" {
				t.Errorf("close: %v", err)
			}
		})
	}
	t.Run("no such device", func(t *testing.T) {
		for _, index := range []int{-1, 99} {
			if d, err := drv.Open(index, cuda.DeviceOptions{}); !errors.Is(err, cuda.ErrNoDevice) {
				t.Errorf("index %d: %v, %v; want ErrNoDevice", index, d, err)
			}
		}
	})
	t.Run("loaded once", func(t *testing.T) {
		o := cuda.Options{Library: drv.Path()}
		if !strings.Contains(o.Library, "/") { // a bare name is what the system's own search found, and no file
			o.Library = ""
		}
		if again, err := cuda.Load(o); err != nil || again != drv {
			t.Errorf("a second Load gave %p, %v; want the first driver, %p", again, err, drv)
		}
	})
}

// need and get end the test on an error.
func need(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func get[T any](t *testing.T) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		need(t, err)
		return v
	}
}

func newStream(t *testing.T, d *cuda.Device) *cuda.Stream {
	t.Helper()
	s := get[*cuda.Stream](t)(d.NewStream())
	t.Cleanup(func() { // after the device is closed: does nothing
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func devices(t *testing.T, d *cuda.Device) {
	info := d.Info()
	if info.Name == "" || info.Total <= 0 || info.Free <= 0 || info.Free > info.Total || info.Multiprocessors <= 0 || info.L2 <= 0 ||
		info.SharedPerBlock < 48<<10 || info.SharedOptIn < info.SharedPerBlock || info.WarpSize != 32 || info.Major < 8 {
		t.Errorf("device %+v", info)
	}
	t.Logf("%+v", info)
}

func copies(t *testing.T, d *cuda.Device) {
	s := newStream(t, d)
	defer s.Close()
	const most = 1<<20 + 7
	from, to := get[*cuda.Host](t)(d.NewHost(most)), get[*cuda.Host](t)(d.NewHost(most))
	a, b := get[cuda.Ptr](t)(d.Alloc(s, most)), get[cuda.Ptr](t)(d.Alloc(s, most))
	r := rand.New(rand.NewPCG(1, 2))
	for _, n := range []int{0, 1, 3, 255, 256, 4097, most} {
		for i := range from.Bytes() {
			from.Bytes()[i], to.Bytes()[i] = byte(r.Uint32()), 0xAA
		}
		need(t, s.Fill(b, 0x55, most))
		need(t, s.CopyToDevice(a, from.Bytes()[:n]))
		need(t, s.Copy(b, a, n))
		need(t, s.CopyToHost(to.Bytes(), b))
		need(t, s.Synchronize())
		want := append(bytes.Clone(from.Bytes()[:n]), bytes.Repeat([]byte{0x55}, most-n)...)
		if !bytes.Equal(to.Bytes(), want) {
			t.Errorf("%d bytes came back changed", n)
		}
	}
	if err := s.Fill(0, 1, 4); err == nil || !strings.Contains(err.Error(), "address 0") {
		t.Errorf("fill at 0: %v", err)
	}
	need(t, d.Free(s, a))
	need(t, d.Free(s, b))
	need(t, s.Synchronize())
	need(t, from.Close())
	need(t, to.Close())
	if to.Bytes() != nil {
		t.Error("closed host memory still has bytes")
	}
}

// A Go slice is done with when the call returns, whatever else is in the stream.
func pageable(t *testing.T, d *cuda.Device) {
	s := newStream(t, d)
	defer s.Close()
	p := get[cuda.Ptr](t)(d.Alloc(s, 1<<16))
	src, dst := make([]byte, 1<<16), make([]byte, 1<<16)
	for round := range 20 {
		for i := range src {
			src[i] = byte(i * (round + 1))
		}
		want := bytes.Clone(src)
		need(t, s.CopyToDevice(p, src))
		clear(src)
		need(t, s.CopyToHost(dst, p))
		if !bytes.Equal(dst, want) {
			t.Fatalf("round %d: other bytes came back", round)
		}
	}
	need(t, d.Free(s, p))
}

func events(t *testing.T, d *cuda.Device) {
	one, two := newStream(t, d), newStream(t, d)
	defer one.Close()
	defer two.Close()
	const n = 1 << 20
	p := get[cuda.Ptr](t)(d.Alloc(one, n))
	h := get[*cuda.Host](t)(d.NewHost(n))
	start, filled, done := get[*cuda.Event](t)(d.NewEvent()), get[*cuda.Event](t)(d.NewEvent()), get[*cuda.Event](t)(d.NewEvent())
	for value := range byte(5) {
		need(t, start.Record(one))
		for range 50 {
			need(t, one.Fill(p, 0xEE, n))
		}
		need(t, one.Fill(p, value, n))
		need(t, filled.Record(one))
		need(t, two.Wait(filled)) // without it the copy would run beside the fills
		need(t, two.CopyToHost(h.Bytes(), p))
		need(t, done.Record(two))
		need(t, one.Wait(done))
		need(t, done.Synchronize())
		if ready := get[bool](t)(filled.Done()); !ready {
			t.Error("an event before a done one is not done")
		}
		if !bytes.Equal(h.Bytes(), bytes.Repeat([]byte{value}, n)) {
			t.Fatalf("the copy of %d did not wait for the fill", value)
		}
		if took := get[time.Duration](t)(done.Since(start)); took < 0 || took > time.Minute {
			t.Errorf("the work took %v", took)
		}
	}
	need(t, d.Free(one, p))
	need(t, one.Synchronize())
	for _, c := range []interface{ Close() error }{h, start, filled, done} {
		need(t, c.Close())
	}
}

// toys loads the kernels that both a GPU and the stand-in run.
func toys(t *testing.T, d *cuda.Device, name string) (*cuda.Module, *cuda.Function) {
	t.Helper()
	m := get[*cuda.Module](t)(d.LoadModule([]byte(standin.PTX)))
	return m, get[*cuda.Function](t)(m.Function(name))
}

func words(t *testing.T, s *cuda.Stream, p cuda.Ptr, n int) []uint32 {
	t.Helper()
	raw, list := make([]byte, 4*n), make([]uint32, n)
	need(t, s.CopyToHost(raw, p))
	for i := range list {
		list[i] = binary.LittleEndian.Uint32(raw[4*i:])
	}
	return list
}

func launches(t *testing.T, d *cuda.Device) {
	s := newStream(t, d)
	defer s.Close()
	m, f := toys(t, d, "standin_fill")
	l := f.NewLaunch()
	const n = 1000
	p := get[cuda.Ptr](t)(d.Alloc(s, 4*n+4))
	need(t, s.Fill(p, 0xFF, 4*n+4))
	for i := range uint32(10) { // packed again before the last one has run
		need(t, l.Reset().Ptr(p+cuda.Ptr(4*i)).U32(i).U32(1).Run(s, cuda.Grid{X: 1}, cuda.Grid{X: 1}, 0))
	}
	need(t, l.Reset().Ptr(p+40).U32(77).U32(n-10).Run(s, cuda.Grid{X: 4}, cuda.Grid{X: 256}, 0))
	for i, w := range words(t, s, p, n+1) {
		want := uint32(77)
		if i < 10 {
			want = uint32(i)
		} else if i == n {
			want = 0xFFFFFFFF
		}
		if w != want {
			t.Fatalf("word %d is %d, want %d", i, w, want)
		}
	}
	for want, run := range map[string]func() error{
		"the kernel's parameters [8 4 4]": func() error { return l.Reset().Ptr(p).U32(1).Run(s, cuda.Grid{X: 1}, cuda.Grid{X: 1}, 0) },
		"grid of 0":                       func() error { return l.Reset().Ptr(p).U32(1).U32(1).Run(s, cuda.Grid{}, cuda.Grid{X: 1}, 0) },
		"SetShared allows more":           func() error { return l.Run(s, cuda.Grid{X: 1}, cuda.Grid{X: 1}, 1<<20) },
	} {
		if err := run(); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), `"standin_fill"`) {
			t.Errorf("error %v, want one that names the kernel and says %q", err, want)
		}
	}
	a := get[cuda.Attributes](t)(f.Attributes())
	if a.Registers <= 0 || a.MaxThreads <= 0 || a.PTX <= 0 || a.Binary < 80 {
		t.Errorf("attributes %+v", a)
	}
	need(t, d.Free(s, p))
	need(t, l.Close())
	need(t, m.Close())
}

// Every type of argument arrives with all its bits.
func arguments(t *testing.T, d *cuda.Device) {
	s := newStream(t, d)
	defer s.Close()
	m, f := toys(t, d, "standin_types")
	l := f.NewLaunch()
	p := get[cuda.Ptr](t)(d.Alloc(s, 128))
	need(t, s.Fill(p, 0, 128))
	err := l.Reset().Ptr(p).I32(-2).U64(0x0123456789abcdef).F32(-1.5).F64(1e300).U32(0xfedcba98).I64(-3).F32(0.1).U64(1<<63).U32(9).
		Run(s, cuda.Grid{X: 1}, cuda.Grid{X: 1}, 0)
	need(t, err)
	raw := make([]byte, 72)
	need(t, s.CopyToHost(raw, p))
	want := fmt.Sprint([]uint64{0xfffffffe, 0x0123456789abcdef, 0xbfc00000, 0x7e37e43c8800759c, 0xfedcba98, 0xfffffffffffffffd, 0x3dcccccd, 1 << 63, 9})
	got := make([]uint64, 9)
	for i := range got {
		got[i] = binary.LittleEndian.Uint64(raw[8*i:])
	}
	if fmt.Sprint(got) != want {
		t.Errorf("arguments arrived as %#x, want %s", got, want)
	}
	need(t, d.Free(s, p))
	need(t, l.Close())
	need(t, m.Close())
}

func sharedMemory(t *testing.T, d *cuda.Device) {
	s := newStream(t, d)
	defer s.Close()
	m, f := toys(t, d, "standin_shared")
	l := f.NewLaunch()
	info := d.Info()
	run := func(bytes int) error { return l.Reset().U32(1).Run(s, cuda.Grid{X: 1}, cuda.Grid{X: 32}, bytes) }
	own := get[cuda.Attributes](t)(f.Attributes()).Shared
	atOnce := info.SharedPerBlock - own
	need(t, run(atOnce))
	if err := run(atOnce + 4); err == nil || !strings.Contains(err.Error(), "SetShared") {
		t.Errorf("more than the default: %v", err)
	}
	most := info.SharedOptIn - own
	if err := f.SetShared(most + 1); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("0 to %d", most)) {
		t.Errorf("more than the device has: %v, want the limit %d", err, most)
	}
	need(t, f.SetShared(most))
	need(t, run(most))
	need(t, f.SetShared(0)) // never lowers
	need(t, run(most))
	need(t, s.Synchronize())
	if err := l.Reset().U32(1).Run(s, cuda.Grid{X: 1}, cuda.Grid{X: 257}, 0); err == nil || !strings.Contains(err.Error(), "at most 256") {
		t.Errorf("more threads than the kernel takes: %v", err)
	}
	need(t, l.Close())
	need(t, m.Close())
}

func graph(t *testing.T, d *cuda.Device) {
	s, side := newStream(t, d), newStream(t, d)
	defer s.Close()
	defer side.Close()
	m, add := toys(t, d, "standin_add")
	l := add.NewLaunch()
	const n = 256
	sum, one := get[cuda.Ptr](t)(d.Alloc(s, 4*n)), get[cuda.Ptr](t)(d.Alloc(s, 4*n))
	h := get[*cuda.Host](t)(d.NewHost(4 * n))
	for i := range n {
		binary.LittleEndian.PutUint32(h.Bytes()[4*i:], uint32(i))
	}
	need(t, s.CopyToDevice(one, h.Bytes()))
	need(t, s.Fill(sum, 0, 4*n))
	forked, joined := get[*cuda.Event](t)(d.NewEvent()), get[*cuda.Event](t)(d.NewEvent())
	plus := func(s *cuda.Stream) error {
		return l.Reset().Ptr(sum).Ptr(one).U32(n).Run(s, cuda.Grid{X: 1}, cuda.Grid{X: n}, 0)
	}
	g := get[*cuda.Graph](t)(s.Capture(func() error {
		return errors.Join(plus(s), forked.Record(s), side.Wait(forked), plus(side), joined.Record(side), s.Wait(joined), plus(s))
	}))
	if got := get[int](t)(g.Nodes()); got != 3 {
		t.Errorf("%d nodes, want 3", got)
	}
	for _, w := range words(t, s, sum, n) {
		if w != 0 {
			t.Fatal("the captured work ran")
		}
	}
	for range 100 {
		need(t, g.Launch(s))
	}
	for i, w := range words(t, s, sum, n) {
		if w != uint32(300*i) {
			t.Fatalf("word %d is %d after 100 replays of 3, want %d", i, w, 300*i)
		}
	}
	need(t, g.Close())
	if err := g.Launch(s); !errors.Is(err, cuda.ErrClosed) {
		t.Errorf("launch of a closed graph: %v", err)
	}
	need(t, errors.Join(d.Free(s, sum), d.Free(s, one), s.Synchronize()))
	for _, c := range []interface{ Close() error }{l, m, h, forked, joined} {
		need(t, c.Close())
	}
}

// After a capture that failed, however it did, the stream works and can be captured.
func failedCapture(t *testing.T, d *cuda.Device) {
	s := newStream(t, d)
	defer s.Close()
	side := newStream(t, d)
	defer side.Close()
	p := get[cuda.Ptr](t)(d.Alloc(s, 1024))
	e := get[*cuda.Event](t)(d.NewEvent())
	own := errors.New("our own error")
	for _, c := range []struct {
		name   string
		record func() error
		want   string
	}{
		{"record fails", func() error { return errors.Join(s.Fill(p, 1, 1024), own) }, "our own error"},
		{"record synchronises", func() error { return errors.Join(s.Fill(p, 1, 1024), s.Synchronize()) }, "CUDA_ERROR_STREAM_CAPTURE"},
		{"record synchronises and says nothing", func() error { _ = s.Synchronize(); return nil }, "CUDA_ERROR_STREAM_CAPTURE"},
		{"record copies pageable memory", func() error { return s.CopyToDevice(p, make([]byte, 4)) }, "NewHost"},
		{"record captures", func() error { _, err := s.Capture(func() error { return nil }); return err }, "being captured"},
		{"record closes its stream", s.Close, "being captured"},
		{"record closes the device", d.Close, "being captured"},
		{"record forks and does not join", func() error { return errors.Join(e.Record(s), side.Wait(e), side.Fill(p, 1, 4)) }, "UNJOINED"},
	} {
		g, err := s.Capture(c.record)
		if g != nil || err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, error %v; want one that says %s", c.name, g, err, c.want)
		}
		need(t, s.Fill(p, 7, 1024))
		if words(t, s, p, 1)[0] != 0x07070707 {
			t.Fatalf("%s: the stream does not work any more", c.name)
		}
	}
	func() {
		defer func() {
			if r := recover(); r != "boom" {
				t.Errorf("the panic of record came out as %v", r)
			}
		}()
		_, err := s.Capture(func() error { panic("boom") })
		t.Errorf("a capture that panicked returned: %v", err)
	}()
	g := get[*cuda.Graph](t)(s.Capture(func() error { return s.Fill(p, 9, 1024) }))
	need(t, g.Launch(s))
	if words(t, s, p, 1)[0] != 0x09090909 {
		t.Error("the graph after the failed ones did not run")
	}
	need(t, errors.Join(g.Close(), d.Free(s, p), e.Close()))
}

func modules(t *testing.T, d *cuda.Device) {
	for name, c := range map[string]struct {
		image string
		kind  error
		says  string
	}{
		"no PTX":         {"hello", cuda.ErrBadModule, "neither PTX"},
		"empty":          {"", cuda.ErrBadModule, "neither PTX"},
		"cut in mid-way": {standin.PTX[:len(standin.PTX)/2], cuda.ErrBadModule, "compiler said"},
		"of the future":  {strings.Replace(standin.PTX, ".version 7.0", ".version 99.0", 1), cuda.ErrDriverTooOld, "PTX 99.0"},
		"for a newer":    {strings.Replace(standin.PTX, "sm_80", "sm_999", 1), cuda.ErrBadModule, "compute capability 99.9"},
		"a short cubin":  {"\x7fELF\x02\x01", cuda.ErrBadModule, "6 bytes, but no cubin"},
		"a cut cubin":    {string(cutCubin(1<<20, 200)), cuda.ErrBadModule, "cut short: 200 bytes are there"},
		"a wild cubin":   {string(cutCubin(1<<63, 200)), cuda.ErrBadModule, "cut short: 200 bytes are there"},
		"a CPU's":        {string(append([]byte("\x7fELF\x02\x01"), make([]byte, 100)...)), cuda.ErrBadModule, "no cubin"},
	} {
		if m, err := d.LoadModule([]byte(c.image)); !errors.Is(err, c.kind) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, error %v; want %v saying %q", name, m, err, c.kind, c.says)
		}
	}
	m := get[*cuda.Module](t)(d.LoadModule([]byte(standin.PTX)))
	if _, err := m.Function("no_such_kernel"); !errors.Is(err, cuda.ErrBadModule) || !strings.Contains(err.Error(), `"no_such_kernel"`) {
		t.Errorf("no such kernel: %v", err)
	}
	f := get[*cuda.Function](t)(m.Function("standin_nothing"))
	l := f.NewLaunch()
	need(t, m.Close())
	s := newStream(t, d)
	defer s.Close()
	if err := l.Reset().Ptr(0).Run(s, cuda.Grid{X: 1}, cuda.Grid{X: 1}, 0); !errors.Is(err, cuda.ErrClosed) {
		t.Errorf("a kernel of a closed module: %v", err)
	}
	if _, err := f.Attributes(); !errors.Is(err, cuda.ErrClosed) {
		t.Errorf("attributes of a closed module: %v", err)
	}
	if err := f.NewLaunch().Run(s, cuda.Grid{X: 1}, cuda.Grid{X: 1}, 0); !errors.Is(err, cuda.ErrClosed) {
		t.Errorf("a launch made after its module was closed: %v", err)
	}
	need(t, l.Close())
}

// cutCubin is a header of a cubin whose section headers begin at that place, and zeros to the length.
func cutCubin(sections uint64, length int) []byte {
	image := make([]byte, length)
	copy(image, "\x7fELF\x02\x01")
	binary.LittleEndian.PutUint16(image[18:], 190)
	binary.LittleEndian.PutUint64(image[40:], sections)
	binary.LittleEndian.PutUint16(image[58:], 64)
	binary.LittleEndian.PutUint16(image[60:], 5)
	return image
}

// Any goroutine may call: each finds its context, whichever thread it is on.
func goroutines(t *testing.T, d *cuda.Device) {
	m, f := toys(t, d, "standin_fill")
	var all sync.WaitGroup
	failed := make(chan error, 16)
	for g := range uint32(16) {
		all.Go(func() { failed <- work(d, f, g) })
	}
	all.Wait()
	for range 16 {
		need(t, <-failed)
	}
	need(t, m.Close())
}

func work(d *cuda.Device, f *cuda.Function, g uint32) (err error) {
	s, err := d.NewStream()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	l := f.NewLaunch()
	defer func() { err = errors.Join(err, l.Close()) }()
	out := make([]byte, 4000)
	for i := range uint32(20) {
		p, err := d.Alloc(s, 4000)
		if err != nil {
			return err
		}
		if err := l.Reset().Ptr(p).U32(1000*g+i).U32(1000).Run(s, cuda.Grid{X: 4}, cuda.Grid{X: 256}, 0); err != nil {
			return err
		}
		if err := errors.Join(s.CopyToHost(out, p), d.Free(s, p)); err != nil {
			return err
		}
		for at := 0; at < len(out); at += 4 {
			if w := binary.LittleEndian.Uint32(out[at:]); w != 1000*g+i {
				return fmt.Errorf("goroutine %d found %d of another one", g, w)
			}
		}
	}
	return nil
}

func afterClose(t *testing.T, d *cuda.Device) {
	s := get[*cuda.Stream](t)(d.NewStream())
	m, f := toys(t, d, "standin_nothing")
	l := f.NewLaunch()
	e, h := get[*cuda.Event](t)(d.NewEvent()), get[*cuda.Host](t)(d.NewHost(64))
	g := get[*cuda.Graph](t)(s.Capture(func() error { return e.Record(s) }))
	p := get[cuda.Ptr](t)(d.Alloc(s, 64))
	need(t, d.Free(s, p))
	everything := []interface{ Close() error }{g, l, m, h, e, s}
	check := func(when string) {
		t.Helper()
		b := make([]byte, 4)
		_, errFunction := m.Function("standin_nothing")
		_, errDone := e.Done()
		_, errNodes := g.Nodes()
		_, errCapture := s.Capture(func() error { return nil })
		_, errAlloc := d.Alloc(s, 4)
		for i, err := range []error{s.Synchronize(), s.Wait(e), e.Record(s), errDone, s.CopyToDevice(p, b), s.CopyToHost(b, p), s.Copy(p, p, 1),
			s.Fill(p, 0, 1), l.Reset().Ptr(p).Run(s, cuda.Grid{X: 1}, cuda.Grid{X: 1}, 0), g.Launch(s), errNodes, errFunction, errCapture, errAlloc, f.SetShared(0)} {
			if !errors.Is(err, cuda.ErrClosed) {
				t.Errorf("%s: call %d: %v, want ErrClosed", when, i, err)
			}
		}
		for _, c := range everything {
			need(t, c.Close()) // again
		}
	}
	for _, c := range everything {
		need(t, c.Close())
	}
	check("closed one by one")
	need(t, d.Close())
	check("device closed")
	if _, err := d.NewStream(); !errors.Is(err, cuda.ErrClosed) {
		t.Errorf("a stream of a closed device: %v", err)
	}
}

// What is left open is freed by Close, named by it, and then as good as closed.
func leaks(t *testing.T, d *cuda.Device) {
	s, side := get[*cuda.Stream](t)(d.NewStream()), get[*cuda.Stream](t)(d.NewStream())
	m, f := toys(t, d, "standin_nothing")
	l := f.NewLaunch()
	e, h := get[*cuda.Event](t)(d.NewEvent()), get[*cuda.Host](t)(d.NewHost(64))
	g := get[*cuda.Graph](t)(s.Capture(func() error { return e.Record(s) }))
	p := get[cuda.Ptr](t)(d.Alloc(side, 1000))
	need(t, side.Fill(p, 1, 1000))
	err := d.Close()
	for _, want := range []string{"2 × stream", "1 × module", "1 × event", "1 × block of host memory", "1 × launch", "1 × graph", "never freed"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v does not say %q", err, want)
		}
	}
	for _, c := range []interface{ Close() error }{g, l, m, h, e, s, side, d} {
		need(t, c.Close())
	}
	if err := l.Reset().Ptr(p).Run(s, cuda.Grid{X: 1}, cuda.Grid{X: 1}, 0); !errors.Is(err, cuda.ErrClosed) {
		t.Errorf("a launch after Close: %v", err)
	}
}
