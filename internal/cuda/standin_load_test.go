package cuda_test

import (
	"debug/elf"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/secencoder/secencoder/internal/cuda"
	"github.com/secencoder/secencoder/internal/cuda/standin"
)

// A driver that lacks a function that is needed is too old: the error names the function and the version that has it.
// And every function that is needed is used by the tests of errors, so that each is made to fail there.
func TestStandinMissingSymbol(t *testing.T) {
	lib, drv := loadStandin(t)
	succeed(t, everything(drv))
	used := lib.Calls()
	names, err := lib.Symbols()
	succeed(t, err)
	needed := 0
	for _, name := range names {
		old, err := lib.Without(name)
		succeed(t, err)
		_, err = cuda.Load(cuda.Options{Library: old.Path()})
		if err == nil {
			continue // another library's, or not needed
		}
		needed++
		kind := cuda.ErrDriverTooOld
		if name == "cuInit" { // which the oldest has: without it a library is no driver
			kind = cuda.ErrNoDriver
		}
		if !errors.Is(err, kind) || !strings.Contains(err.Error(), name) || !strings.Contains(err.Error(), old.Path()) {
			t.Errorf("without %s: %v", name, err)
		}
		onErrors := name == "cuGetErrorName" || name == "cuGetErrorString"
		if used[name] == 0 && !onErrors {
			t.Errorf("%s is needed, but no test calls it", name)
		}
	}
	if needed < 40 {
		t.Errorf("only %d of %d functions are needed", needed, len(names))
	}
	t.Logf("%d of the stand-in's %d functions are needed", needed, len(names))
}

// The same file gives the same driver, another copy another one.
func TestStandinLoadsOnce(t *testing.T) {
	lib, drv := loadStandin(t)
	for _, library := range []string{lib.Path(), filepath.Join(lib.Path(), "libcuda.so.1")} {
		again, err := cuda.Load(cuda.Options{Library: library})
		succeed(t, err)
		if again != drv {
			t.Errorf("%s is opened a second time", library)
		}
	}
	if n := lib.Calls()["cuInit"]; n != 1 {
		t.Errorf("cuInit was called %d times", n)
	}
	_, other := loadStandin(t)
	if other == drv {
		t.Error("two libraries are one driver")
	}
}

// Nothing of a GPU is touched before a device is opened, and afterwards nothing of it is left.
func TestStandinLoadTakesNothing(t *testing.T) {
	lib, drv := loadStandin(t)
	calls := lib.Calls()
	for call := range calls {
		if call != "cuInit" && call != "cuDriverGetVersion" {
			t.Errorf("Load calls %s", call)
		}
	}
	if drv.Version() != 12040 || !strings.HasPrefix(drv.Path(), lib.Path()) {
		t.Errorf("version %d, path %s", drv.Version(), drv.Path())
	}
}

func TestStandinNoDriver(t *testing.T) {
	lib, _ := loadStandin(t)
	library := filepath.Join(lib.Path(), "libcuda.so.1")
	image, err := os.ReadFile(library)
	succeed(t, err)
	write := func(name string, content []byte) string {
		t.Helper()
		folder := filepath.Join(t.TempDir(), name)
		succeed(t, os.MkdirAll(folder, 0o700))
		succeed(t, os.WriteFile(filepath.Join(folder, "libcuda.so.1"), content, 0o755))
		return folder
	}
	foreign := slices.Clone(image)
	foreign[18], foreign[19] = byte(elf.EM_PPC64), 0
	if foreign[18] == image[18] {
		t.Fatal("this is the other machine")
	}
	for name, c := range map[string]struct {
		path string
		say  string
	}{
		"no such folder":     {filepath.Join(t.TempDir(), "nothing"), ""},
		"a text":             {write("text", []byte("not a library\n")), "ELF"},
		"an empty file":      {write("empty", nil), "ELF"},
		"cut short":          {write("short", image[:len(image)/3]), "cut short"},
		"another processor":  {write("foreign", foreign), "architecture"},
		"another's library":  {write("other", renamed(t, image)), "not a CUDA driver: it has no function cuInit"},
		"file, not a folder": {filepath.Join(write("file", []byte("no")), "libcuda.so.1"), "ELF"},
	} {
		_, err := cuda.Load(cuda.Options{Library: c.path})
		if err == nil {
			t.Errorf("%s: no error", name)
			continue
		}
		if !errors.Is(err, cuda.ErrNoDriver) {
			t.Errorf("%s: the error does not wrap ErrNoDriver: %v", name, err)
		}
		if text := err.Error(); !strings.Contains(text, c.path) || !strings.Contains(text, c.say) {
			t.Errorf("%s: the error lacks %q or the path: %v", name, c.say, err)
		}
		t.Logf("%s: %v", name, err)
	}
}

// renamed is a library that has none of the driver's names.
func renamed(t *testing.T, image []byte) []byte {
	t.Helper()
	out := slices.Clone(image)
	for at := 0; ; {
		i := strings.Index(string(out[at:]), "\x00cu")
		if i < 0 {
			return out
		}
		at += i + 1
		out[at] = 'x'
	}
}

// Without an option the driver is looked for in the environment.
func TestStandinEnvironment(t *testing.T) {
	lib := standin.Build(t)
	t.Setenv("SECENCODER_CUDA_LIB", lib.Path())
	drv, err := cuda.Load(cuda.Options{})
	succeed(t, err)
	if !strings.HasPrefix(drv.Path(), lib.Path()) {
		t.Errorf("the driver is %s", drv.Path())
	}
	succeed(t, everything(drv))
	t.Setenv("SECENCODER_CUDA_LIB", filepath.Join(lib.Path(), "nothing"))
	if _, err := cuda.Load(cuda.Options{}); !errors.Is(err, cuda.ErrNoDriver) {
		t.Errorf("a path that is not there: %v", err)
	}
}

func TestStandinDevices(t *testing.T) {
	lib, drv := loadStandin(t)
	lib.Set(standin.Devices, 3)
	lib.Set(standin.Memory, 5<<30)
	lib.Set(standin.Major, 9)
	lib.Set(standin.OptIn, 227<<10)
	infos, err := drv.Devices()
	succeed(t, err)
	if len(infos) != 3 {
		t.Fatalf("%d devices, want 3", len(infos))
	}
	want := cuda.Info{Index: 2, Name: "Stand-in GPU 2", Major: 9, Minor: 0, Total: 5 << 30, Free: 5 << 30, Multiprocessors: 108,
		L2: 40 << 20, SharedPerBlock: 48 << 10, SharedOptIn: 227 << 10, WarpSize: 32}
	if infos[2] != want {
		t.Errorf("device 2 is %+v, want %+v", infos[2], want)
	}
	for _, index := range []int{-1, 3, 1 << 40} {
		_, err := drv.Open(index, cuda.DeviceOptions{})
		if !errors.Is(err, cuda.ErrNoDevice) {
			t.Errorf("device %d: %v", index, err)
		} else {
			t.Logf("device %d: %v", index, err)
		}
	}
	lib.Set(standin.Devices, 0)
	if infos, err := drv.Devices(); err != nil || len(infos) != 0 {
		t.Errorf("no device: %v, %v", infos, err)
	}
	if _, err := drv.Open(0, cuda.DeviceOptions{}); !errors.Is(err, cuda.ErrNoDevice) {
		t.Errorf("open without a device: %v", err)
	}
}

// Two devices at once: what belongs to one is refused on the other, before the driver sees it.
func TestStandinTwoDevices(t *testing.T) {
	lib, drv := loadStandin(t)
	lib.Set(standin.Devices, 2)
	var dev [2]*cuda.Device
	for i := range dev {
		var err error
		dev[i], err = drv.Open(i, cuda.DeviceOptions{})
		succeed(t, err)
		t.Cleanup(func() { succeed(t, dev[i].Close()) })
	}
	s0, s1 := stream(t, dev[0]), stream(t, dev[1])
	e1 := event(t, dev[1])
	succeed(t, e1.Record(s1))
	l0 := kernel(t, dev[0], "standin_fill")
	p0 := memory(t, dev[0], s0, 4096)
	succeed(t, l0.Reset().Ptr(p0).U32(3).U32(1024).Run(s0, grid(4), grid(256), 0))
	allAre(t, u32s(t, s0, p0, 1024), 3)
	for name, err := range map[string]error{
		"launch": l0.Reset().Ptr(p0).U32(3).U32(1024).Run(s1, grid(4), grid(256), 0),
		"wait":   s0.Wait(e1),
		"record": e1.Record(s0),
	} {
		if err == nil {
			t.Errorf("%s across devices: no error", name)
		}
	}
	if v := lib.Violations(); v != nil {
		t.Errorf("the driver saw it: %q", v)
	}
}

// The index opens the device of that index, and a device may be opened twice: the context goes with the last.
func TestStandinOpenTwice(t *testing.T) {
	lib, drv := loadStandin(t)
	one, err := drv.Open(0, cuda.DeviceOptions{})
	succeed(t, err)
	two, err := drv.Open(0, cuda.DeviceOptions{})
	succeed(t, err)
	succeed(t, one.Close())
	succeed(t, one.Close())
	s, err := two.NewStream()
	succeed(t, err)
	succeed(t, s.Synchronize())
	succeed(t, s.Close())
	if _, err := one.NewStream(); !errors.Is(err, cuda.ErrClosed) {
		t.Errorf("a stream on a closed device: %v", err)
	}
	succeed(t, two.Close())
	clean(t, lib, "opened twice")
}

// The environment of the process configures a stand-in that another program loads.
func TestStandinConfiguredByEnvironment(t *testing.T) {
	t.Setenv("STANDIN", "devices=2,memory=1048576,driver=11040,fail=cuStreamCreate:1:2")
	lib, drv := loadStandin(t)
	infos, err := drv.Devices()
	succeed(t, err)
	if len(infos) != 2 || infos[0].Total != 1<<20 || drv.Version() != 11040 {
		t.Errorf("%+v, version %d", infos, drv.Version())
	}
	dev, err := drv.Open(0, cuda.DeviceOptions{})
	succeed(t, err)
	if _, err := dev.NewStream(); !errors.Is(err, cuda.ErrOutOfMemory) {
		t.Errorf("the first stream: %v", err)
	}
	succeed(t, dev.Close())
	clean(t, lib, "configured")
}
