//go:build (linux || darwin) && !nocuda

package shim

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"unsafe"

	"github.com/ebitengine/purego"
)

// library is a shim with the kernels of testdata/faulty.cuh.
type library struct{ launch, order, problem, has uintptr }

func faulty(t *testing.T) *library {
	compiler, err := exec.LookPath("c++")
	if err != nil {
		t.Skip("no C++ compiler (c++), so kernels cannot run on the CPU")
	}
	out := filepath.Join(t.TempDir(), "libfaulty.so")
	if err := compile(".", compiler, out, `-DEXTRA="testdata/faulty.cuh"`); err != nil {
		t.Fatal(err)
	}
	lib, err := purego.Dlopen(out, purego.RTLD_NOW|purego.RTLD_LOCAL)
	if err != nil {
		t.Fatal(err)
	}
	l := &library{}
	for name, at := range map[string]*uintptr{"shim_launch": &l.launch, "shim_order": &l.order, "shim_error": &l.problem, "shim_has": &l.has} {
		if *at, err = purego.Dlsym(lib, name); err != nil {
			t.Fatal(err)
		}
	}
	return l
}

func (l *library) run(kernel string, blocks, threads int, out []float32) (int, string) {
	name, at := append([]byte(kernel), 0), unsafe.Pointer(unsafe.SliceData(out))
	params := []unsafe.Pointer{unsafe.Pointer(&at)}
	rc, _, _ := purego.SyscallN(l.launch, uintptr(unsafe.Pointer(&name[0])), uintptr(blocks), 1, 1, uintptr(threads), 1, 1, 0, uintptr(unsafe.Pointer(&params[0])))
	runtime.KeepAlive(out)
	runtime.KeepAlive(params)
	runtime.KeepAlive(name)
	if rc == 0 {
		return 0, ""
	}
	text, _, _ := purego.SyscallN(l.problem)
	var b []byte
	for p := *(*unsafe.Pointer)(unsafe.Pointer(&text)); *(*byte)(p) != 0; p = unsafe.Add(p, 1) {
		b = append(b, *(*byte)(p))
	}
	return int(rc), string(b)
}

// TestShim compiles the shim once for both.
func TestShim(t *testing.T) {
	l := faulty(t)
	t.Run("faults", func(t *testing.T) { faultsAreSeen(t, l) })
	t.Run("orders", func(t *testing.T) { orders(t, l) })
}

// faultsAreSeen: each kind of wrong kernel, and after each a right one, because threads of the wrong one were left
// in the middle.
func faultsAreSeen(t *testing.T, l *library) {
	for _, c := range []struct {
		kernel  string
		threads int
		code    int
		says    string
	}{
		{"half_barrier", 64, 2, "which has ended"},
		{"two_barriers", 64, 2, "and others at"},
		{"half_shuffle", 32, 2, "which has ended"},
		{"wide_mask", 40, 2, "does not fit lane 0 of a warp of 8"},
		{"right", 2048, 3, "no GPU launches"},
		{"nothing", 32, 1, "there is no kernel nothing"},
	} {
		out := make([]float32, 4096)
		code, text := l.run(c.kernel, 1, c.threads, out)
		if code != c.code || !strings.Contains(text, c.says) {
			t.Errorf("%s: code %d, %q; want %d and %q", c.kernel, code, text, c.code, c.says)
		}
		if code, text = l.run("right", 3, 96, out); code != 0 {
			t.Fatalf("after %s: %s", c.kernel, text)
		}
		for i, v := range out[:96] {
			if v != 96*97/2 {
				t.Fatalf("after %s: thread %d has %v", c.kernel, i, v)
			}
		}
	}
}

// orders: what depends on the order of threads or blocks changes with it; shared memory that nobody wrote is NaN.
func orders(t *testing.T, l *library) {
	run := func(kernel string, blocks int, b, th uintptr) []float32 {
		purego.SyscallN(l.order, b, th, 7)
		defer purego.SyscallN(l.order, 0, 0, 0)
		out := make([]float32, 64)
		if code, text := l.run(kernel, blocks, 64, out); code != 0 {
			t.Fatal(text)
		}
		return out
	}
	sum := func(v []float32) (s float32) {
		for _, x := range v {
			s += x
		}
		return s
	}
	if a, b := sum(run("no_barrier", 1, 0, 0)), sum(run("no_barrier", 1, 0, 1)); a == b {
		t.Errorf("a missing barrier gives %v in both orders of threads", a)
	}
	if a, b, c := run("block_order", 9, 0, 0)[0], run("block_order", 9, 1, 0)[0], run("block_order", 9, 2, 0)[0]; a == b || a == c || b == c {
		t.Errorf("results of blocks that read each other: %v, %v, %v", a, b, c)
	}
	if v := run("unwritten", 2, 0, 0); v[0] == v[0] || v[1] != 1 {
		t.Errorf("unwritten shared memory is %v, want NaN; written is %v, want 1", v[0], v[1])
	}
	for order := range uintptr(3) {
		if v := run("right", 4, order, order); v[0] != 64*65/2 {
			t.Errorf("a right kernel gives %v in order %d", v[0], order)
		}
	}
}

// TestBuildKeeps: the second build of the same sources is the first one's bytes, and a broken compiler is an error that shows
// what it said.
func TestBuildKeeps(t *testing.T) {
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	t.Setenv("HOME", t.TempDir())
	one, err := os.ReadFile(Build(t, t.TempDir()))
	if err != nil {
		t.Fatal(err)
	}
	two, err := os.ReadFile(Build(t, t.TempDir()))
	if err != nil {
		t.Fatal(err)
	}
	if string(one) != string(two) || len(one) == 0 {
		t.Error("a second build differs")
	}
	bad := filepath.Join(t.TempDir(), "c++")
	if err := os.WriteFile(bad, []byte("#!/bin/sh\necho no such thing >&2\nexit 1\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := compile(".", bad, filepath.Join(t.TempDir(), "x.so")); err == nil || !strings.Contains(err.Error(), "no such thing") {
		t.Errorf("a compiler that fails: %v", err)
	}
}
