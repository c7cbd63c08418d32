package cuda_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/secencoder/secencoder/internal/cuda"
	"github.com/secencoder/secencoder/internal/cuda/standin"
)

// entry is PTX of one kernel with parameters of these types.
func entry(name string, types []string) []byte {
	var list []string
	for i, kind := range types {
		list = append(list, fmt.Sprintf("\t.param .%s %s_param_%d", kind, name, i))
	}
	return fmt.Appendf(nil, ".version 7.0\n.target sm_80\n.address_size 64\n\n.visible .entry %s(\n%s\n)\n{\n\tret;\n}\n", name, strings.Join(list, ",\n"))
}

// Every value arrives in the kernel as it was given, whatever stands beside it: all types, in all orders that change
// the alignment, with values whose bytes are all different.
func TestStandinArguments(t *testing.T) {
	lib, dev := openStandin(t)
	s := stream(t, dev)
	random := rand.New(rand.NewPCG(1, 2))
	rounds := 400
	if testing.Short() {
		rounds = 40
	}
	special := []uint64{0, 1, math.MaxUint64, 1 << 63, math.Float64bits(math.NaN()), math.Float64bits(math.Inf(-1)), 0x0102030405060708, math.MaxUint32, 1 << 31}
	for round := range rounds {
		n := round % 65 // 0 to the 64 that fit
		kinds := []string{"u64", "u32", "s32", "s64", "b64", "f32", "f64"}
		types := make([]string, n)
		for i := range types {
			types[i] = kinds[random.IntN(len(kinds))]
		}
		m, err := dev.LoadModule(entry("k", types))
		succeed(t, err)
		f, err := m.Function("k")
		succeed(t, err)
		l := f.NewLaunch()
		var want [][]byte
		for _, kind := range types {
			v := random.Uint64()
			if random.IntN(3) == 0 {
				v = special[random.IntN(len(special))]
			}
			eight, four := binary.LittleEndian.AppendUint64(nil, v), binary.LittleEndian.AppendUint32(nil, uint32(v))
			switch kind {
			case "b64":
				v &= 1<<40 - 1 // an address that is not the device's
				l.Ptr(cuda.Ptr(v))
				want = append(want, binary.LittleEndian.AppendUint64(nil, v))
			case "u64":
				l.U64(v)
				want = append(want, eight)
			case "s64":
				l.I64(int64(v))
				want = append(want, eight)
			case "u32":
				l.U32(uint32(v))
				want = append(want, four)
			case "s32":
				l.I32(int32(v))
				want = append(want, four)
			case "f32":
				l.F32(math.Float32frombits(uint32(v)))
				want = append(want, four)
			case "f64":
				l.F64(math.Float64frombits(v))
				want = append(want, eight)
			}
		}
		g, b := cuda.Grid{X: 1 + random.IntN(1000), Y: 1 + random.IntN(9), Z: random.IntN(3)}, cuda.Grid{X: 1 + random.IntN(64), Y: random.IntN(5), Z: 1 + random.IntN(3)}
		shared := random.IntN(48<<10 + 1)
		succeed(t, l.Run(s, g, b, shared))
		got, err := lib.LastLaunch()
		succeed(t, err)
		wantShape := standin.Launch{Name: "k", Grid: [3]int{g.X, max(g.Y, 1), max(g.Z, 1)}, Block: [3]int{b.X, max(b.Y, 1), max(b.Z, 1)}, Shared: shared}
		if got.Name != wantShape.Name || got.Grid != wantShape.Grid || got.Block != wantShape.Block || got.Shared != wantShape.Shared {
			t.Fatalf("%v: got %+v, want %+v", types, got, wantShape)
		}
		if len(got.Args) != n {
			t.Fatalf("%v: %d arguments, want %d", types, len(got.Args), n)
		}
		for i := range want {
			if !slices.Equal(got.Args[i], want[i]) {
				t.Fatalf("%v: argument %d is % x, want % x", types, i, got.Args[i], want[i])
			}
		}
		succeed(t, l.Close())
		succeed(t, m.Close())
	}
}

// A kernel that stores its arguments tells the same. On a GPU it would be the proof.
func TestStandinArgumentsInKernel(t *testing.T) {
	_, dev := openStandin(t)
	s := stream(t, dev)
	l := kernel(t, dev, "standin_types")
	p := memory(t, dev, s, 9*8)
	succeed(t, l.Reset().Ptr(p).I32(-2).U64(1<<63+5).F32(float32(math.Pi)).F64(-math.E).U32(0xdeadbeef).I64(-7).F32(float32(math.Inf(1))).
		Ptr(p+8).U32(9).Run(s, grid(1), grid(1), 0))
	raw := make([]byte, 9*8)
	succeed(t, s.CopyToHost(raw, p))
	minus2, minus7 := int32(-2), int64(-7)
	for i, want := range []uint64{uint64(uint32(minus2)), 1<<63 + 5, uint64(math.Float32bits(float32(math.Pi))), math.Float64bits(-math.E), 0xdeadbeef,
		uint64(minus7), uint64(math.Float32bits(float32(math.Inf(1)))), uint64(p) + 8, 9} {
		if got := binary.LittleEndian.Uint64(raw[8*i:]); got != want {
			t.Errorf("argument %d is %#x, want %#x", i+1, got, want)
		}
	}
}

// The arguments are the launch's own when it returns: the next one may be packed at once, also while the work waits.
func TestStandinArgumentsAreCopied(t *testing.T) {
	lib, dev := openStandin(t)
	lib.Set(standin.Delay, standin.Late)
	s := stream(t, dev)
	l := kernel(t, dev, "standin_fill")
	const n, words = 50, 64
	p := memory(t, dev, s, 4*n*words)
	for i := range n {
		succeed(t, l.Reset().Ptr(p+cuda.Ptr(4*i*words)).U32(uint32(i)).U32(words).Run(s, grid(1), grid(words), 0))
	}
	got := u32s(t, s, p, n*words)
	for i := range n {
		allAre(t, got[i*words:(i+1)*words], uint32(i))
	}
}

// What does not fit the kernel or the device is refused with a sentence, and the driver never sees it.
func TestStandinLaunchRefused(t *testing.T) {
	lib, dev := openStandin(t)
	s := stream(t, dev)
	fill := kernel(t, dev, "standin_fill")
	shared := kernel(t, dev, "standin_shared") // at most 256 threads, 1 KB of its own
	p := memory(t, dev, s, 4096)
	before := lib.Launches()
	good := func() *cuda.Launch { return fill.Reset().Ptr(p).U32(1).U32(1) }
	for name, run := range map[string]func() error{
		"no arguments": func() error { return fill.Reset().Run(s, grid(1), grid(1), 0) },
		"too few":      func() error { return fill.Reset().Ptr(p).U32(1).Run(s, grid(1), grid(1), 0) },
		"too many":     func() error { return good().U32(1).Run(s, grid(1), grid(1), 0) },
		"wrong size":   func() error { return fill.Reset().Ptr(p).U64(1).U32(1).Run(s, grid(1), grid(1), 0) },
		"hundreds": func() error {
			l := fill.Reset()
			for range 300 {
				l.U64(1)
			}
			return l.Run(s, grid(1), grid(1), 0)
		},
		"no blocks":             func() error { return good().Run(s, cuda.Grid{}, grid(1), 0) },
		"no threads":            func() error { return good().Run(s, grid(1), cuda.Grid{}, 0) },
		"negative":              func() error { return good().Run(s, grid(-1), grid(1), 0) },
		"negative z":            func() error { return good().Run(s, cuda.Grid{X: 1, Z: -1}, grid(1), 0) },
		"1,025 threads":         func() error { return good().Run(s, grid(1), grid(1025), 0) },
		"32 × 33 threads":       func() error { return good().Run(s, grid(1), cuda.Grid{X: 32, Y: 33}, 0) },
		"65 deep":               func() error { return good().Run(s, grid(1), cuda.Grid{X: 1, Z: 65}, 0) },
		"overflow":              func() error { return good().Run(s, grid(1<<32), grid(1), 0) },
		"rows of blocks":        func() error { return good().Run(s, cuda.Grid{X: 1, Y: 65536}, grid(1), 0) },
		"shared memory":         func() error { return good().Run(s, grid(1), grid(1), 48<<10+1) },
		"negative shared":       func() error { return good().Run(s, grid(1), grid(1), -1) },
		"the kernel's threads":  func() error { return shared.Reset().U32(1).Run(s, grid(1), grid(257), 0) },
		"shared with its own":   func() error { return shared.Reset().U32(1).Run(s, grid(1), grid(1), 47<<10+1) },
		"of a block's product":  func() error { return good().Run(s, grid(1), cuda.Grid{X: 1 << 31, Y: 1 << 33, Z: 1}, 0) },
		"shared beyond an int":  func() error { return good().Run(s, grid(1), grid(1), 1<<40) },
		"a grid of many blocks": func() error { return good().Run(s, grid(math.MaxInt64), grid(1), 0) },
	} {
		err := run()
		if err == nil {
			t.Errorf("%s: no error", name)
		} else if text := err.Error(); !strings.Contains(text, "standin_") {
			t.Errorf("%s: the error does not name the kernel: %v", name, err)
		}
	}
	if n := lib.Launches() - before; n != 0 {
		t.Errorf("the driver saw %d launches", n)
	}
	succeed(t, good().Run(s, grid(1), grid(1), 48<<10))
	succeed(t, shared.Reset().U32(1).Run(s, grid(1), grid(256), 47<<10))
}

// More shared memory than 48 KB must be asked for; the device's limit is in the error.
func TestStandinSharedMemory(t *testing.T) {
	lib, dev := openStandin(t)
	lib.Set(standin.OptIn, 163<<10)
	s := stream(t, dev)
	m, err := dev.LoadModule([]byte(standin.PTX))
	succeed(t, err)
	f, err := m.Function("standin_shared")
	succeed(t, err)
	l := f.NewLaunch()
	if err := l.U32(0).Run(s, grid(1), grid(1), 100<<10); err == nil {
		t.Error("100 KB without asking: no error")
	}
	succeed(t, f.SetShared(100<<10))
	succeed(t, l.Run(s, grid(1), grid(1), 100<<10))
	succeed(t, f.SetShared(162<<10))
	succeed(t, l.Run(s, grid(1), grid(1), 162<<10))
	err = f.SetShared(162<<10 + 1)
	if err == nil || !strings.Contains(err.Error(), fmt.Sprint(162<<10)) {
		t.Errorf("more than the device has: %v", err)
	}
	if err := f.SetShared(-1); err == nil {
		t.Error("a negative size: no error")
	}
	a, err := f.Attributes()
	succeed(t, err)
	if want := (cuda.Attributes{Registers: 32, Shared: 1024, MaxThreads: 256, PTX: 80, Binary: 80}); a != want {
		t.Errorf("attributes %+v, want %+v", a, want)
	}
	succeed(t, l.Close())
	succeed(t, m.Close())
}

// Corrupt PTX, PTX of another time, PTX for another device: each one clear error, and nothing left.
func TestStandinModules(t *testing.T) {
	_, dev := openStandin(t)
	ptx := standin.PTX
	for name, c := range map[string]struct {
		image string
		want  error
		say   string
	}{
		"nothing":           {"", cuda.ErrBadModule, ""},
		"a text":            {"hello", cuda.ErrBadModule, ""},
		"cut in the middle": {ptx[:len(ptx)/2], cuda.ErrBadModule, ""},
		"cut in the head":   {ptx[:20], cuda.ErrBadModule, ""},
		"a wrong opcode":    {strings.Replace(ptx, "mad.lo.s32", "mda.lo.s32", 1), cuda.ErrBadModule, "known instruction"},
		"a flipped byte":    {strings.Replace(ptx, "cvta", "cv\x94a", 1), cuda.ErrBadModule, ""},
		"too new":           {strings.Replace(ptx, ".version 7.0", ".version 8.7", 1), cuda.ErrDriverTooOld, "12.8"},
		"far too new":       {strings.Replace(ptx, ".version 7.0", ".version 99.9", 1), cuda.ErrDriverTooOld, ""},
		"another device":    {strings.Replace(ptx, "sm_80", "sm_90", 1), cuda.ErrBadModule, ""},
		"an empty cubin":    {"\x7fELF", cuda.ErrBadModule, ""},
		"a host's library":  {"\x7fELF\x02\x01\x01" + strings.Repeat("\x00", 100), cuda.ErrBadModule, ""},
	} {
		m, err := dev.LoadModule([]byte(c.image))
		if err == nil {
			t.Errorf("%s: no error", name)
			succeed(t, m.Close())
			continue
		}
		if !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.say) {
			t.Errorf("%s: want %v and %q, got: %v", name, c.want, c.say, err)
		}
		t.Logf("%s: %v", name, err)
	}

	// The driver reads PTX up to a zero, which is not there: what follows the slice in memory must not be read.
	m, err := dev.LoadModule(append([]byte(ptx), "}}} and more"...)[:len(ptx)])
	succeed(t, err)
	if _, err := m.Function("nothing_of_that_name"); err == nil || !strings.Contains(err.Error(), "nothing_of_that_name") {
		t.Errorf("a kernel that is not there: %v", err)
	}
	succeed(t, m.Close())
	if _, err := m.Function("standin_fill"); !errors.Is(err, cuda.ErrClosed) {
		t.Errorf("a kernel of a closed module: %v", err)
	}
}

// The driver's compiler refuses what passes our own look at the text: its words are in the error.
func TestStandinCompilerLog(t *testing.T) {
	lib, drv := loadStandin(t)
	dev, err := drv.Open(0, cuda.DeviceOptions{})
	succeed(t, err)
	_, err = dev.LoadModule([]byte(strings.Replace(standin.PTX, "trap;", "tarp;", 1)))
	if err == nil || !errors.Is(err, cuda.ErrBadModule) || !strings.Contains(err.Error(), "tarp") {
		t.Errorf("the log is not in the error: %v", err)
	}
	for _, code := range []int{200, 209, 218, 221, 222, 999} {
		lib.Fail("cuModuleLoadDataEx", 1, code)
		_, err := dev.LoadModule([]byte(standin.PTX))
		var e *cuda.Error
		if !errors.As(err, &e) || e.Code != code {
			t.Errorf("code %d: %v", code, err)
		}
	}
	if err := dev.Close(); !errors.Is(err, cuda.ErrDeviceLost) { // by 999
		t.Errorf("close: %v", err)
	}
}

// An older driver takes the PTX it knows and says what it lacks for newer.
func TestStandinOlderDriver(t *testing.T) {
	for driver, newest := range map[int]string{11000: "7.0", 11080: "7.8", 12010: "8.1", 12080: "8.7", 13000: "9.0"} {
		t.Setenv("STANDIN", fmt.Sprintf("driver=%d", driver))
		lib, drv := loadStandin(t)
		dev, err := drv.Open(0, cuda.DeviceOptions{})
		succeed(t, err)
		for _, version := range []string{"7.0", "7.8", "8.1", "8.7", "9.0"} {
			m, err := dev.LoadModule([]byte(strings.Replace(standin.PTX, ".version 7.0", ".version "+version, 1)))
			if version <= newest {
				succeed(t, err)
				succeed(t, m.Close())
			} else if !errors.Is(err, cuda.ErrDriverTooOld) || !strings.Contains(err.Error(), fmt.Sprintf("%d.%d", driver/1000, driver%1000/10)) {
				t.Errorf("PTX %s on a driver %d: %v", version, driver, err)
			}
		}
		succeed(t, dev.Close())
		clean(t, lib, "an older driver")
	}
}

// Used after Close, everything is an error of ours; the driver does not see a dead handle.
func TestStandinUseAfterClose(t *testing.T) {
	lib, dev := openStandin(t)
	s := stream(t, dev)
	p := memory(t, dev, s, 4096)
	m, err := dev.LoadModule([]byte(standin.PTX))
	succeed(t, err)
	f, err := m.Function("standin_fill")
	succeed(t, err)
	closedLaunch, launch := f.NewLaunch(), f.NewLaunch()
	succeed(t, closedLaunch.Close())
	closedStream, err := dev.NewStream()
	succeed(t, err)
	succeed(t, closedStream.Close())
	closedEvent, err := dev.NewEvent()
	succeed(t, err)
	succeed(t, closedEvent.Close())
	host, err := dev.NewHost(64)
	succeed(t, err)
	succeed(t, host.Close())
	succeed(t, launch.Ptr(p).U32(7).U32(3).Run(s, grid(1), grid(32), 0))
	graph, err := s.Capture(func() error { return s.Fill(p, 1, 64) })
	succeed(t, err)
	succeed(t, graph.Close())
	succeed(t, m.Close())
	for name, use := range map[string]func() error{
		"stream":        closedStream.Synchronize,
		"fill":          func() error { return closedStream.Fill(p, 0, 8) },
		"copy":          func() error { return closedStream.CopyToDevice(p, make([]byte, 8)) },
		"wait":          func() error { return s.Wait(closedEvent) },
		"record":        func() error { return closedEvent.Record(s) },
		"event":         closedEvent.Synchronize,
		"record on":     func() error { e := event(t, dev); return e.Record(closedStream) },
		"launch":        func() error { return closedLaunch.Run(s, grid(1), grid(1), 0) },
		"launch on":     func() error { return launch.Run(closedStream, grid(1), grid(1), 0) },
		"of the module": func() error { return launch.Run(s, grid(1), grid(1), 0) },
		"attributes":    func() error { _, err := f.Attributes(); return err },
		"graph":         func() error { return graph.Launch(s) },
		"nodes":         func() error { _, err := graph.Nodes(); return err },
		"capture":       func() error { _, err := closedStream.Capture(func() error { return nil }); return err },
	} {
		if err := use(); !errors.Is(err, cuda.ErrClosed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if host.Bytes() != nil {
		t.Error("host memory can be had after Close")
	}
	for name, again := range map[string]func() error{"launch": closedLaunch.Close, "stream": closedStream.Close, "event": closedEvent.Close, "host": host.Close, "graph": graph.Close, "module": m.Close} {
		if err := again(); err != nil {
			t.Errorf("a second Close of a %s: %v", name, err)
		}
	}
	succeed(t, launch.Close())
	if v := lib.Violations(); v != nil {
		t.Errorf("the driver saw it: %q", v)
	}
}
