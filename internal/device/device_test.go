package device

import (
	"errors"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/secencoder/secencoder/internal/kernel"
)

func open(t *testing.T, o Options) *Device {
	t.Helper()
	d, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

func TestOpen(t *testing.T) {
	t.Setenv(KernelsVariable, "")
	d := open(t, Options{})
	if d.Threads() != DefaultThreads() {
		t.Errorf("%d threads, want %d", d.Threads(), DefaultThreads())
	}
	best := Families()[slices.IndexFunc(Families(), func(f Family) bool { return f.Available })]
	if d.Family() != best.Name || d.Kernels().Name() != best.Name || !strings.HasPrefix(d.Why(), "the best available") {
		t.Errorf("family %q (%s), kernels %q, want %q", d.Family(), d.Why(), d.Kernels().Name(), best.Name)
	}
	if c, err := Choose(""); err != nil || (c.Slow != "") != (d.Family() == "portable") {
		t.Errorf("family %s, slow: %q (%v)", d.Family(), c.Slow, err)
	}
	t.Setenv(KernelsVariable, "ref")
	d = open(t, Options{Threads: 3, Device: "cpu"})
	if d.Family() != "ref" || d.Threads() != 3 || !strings.Contains(d.Why(), KernelsVariable) {
		t.Errorf("family %q (%s), %d threads", d.Family(), d.Why(), d.Threads())
	}
	d = open(t, Options{Kernels: "ref"})
	if !strings.HasPrefix(d.Why(), "asked for") {
		t.Errorf("why: %q", d.Why())
	}
}

func TestOpenRefuses(t *testing.T) {
	for _, c := range []struct {
		o    Options
		env  string
		want error
		says string
	}{
		{Options{Kernels: "sse9"}, "", ErrUnknownKernels, "ref"},
		{Options{}, "Ref", ErrUnknownKernels, KernelsVariable},
		{Options{Device: "cuda:0"}, "", ErrUnavailableDevice, "processor only"},
		{Options{Device: "cuda:-1"}, "", ErrUnknownDevice, "cuda:N"},
		{Options{Device: "gpu"}, "", ErrUnknownDevice, `"gpu"`},
	} {
		t.Setenv(KernelsVariable, c.env)
		_, err := Open(c.o)
		var use *UsageError
		if !errors.Is(err, c.want) || !errors.As(err, &use) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%+v: %v", c.o, err)
		}
	}
	t.Setenv(KernelsVariable, "")
	for _, f := range Families() { // a machine may have them all
		if f.Available {
			continue
		}
		_, err := Open(Options{Kernels: f.Name})
		if !errors.Is(err, ErrUnavailableKernels) || !strings.Contains(err.Error(), f.Name) || !strings.Contains(err.Error(), f.Reason) {
			t.Errorf("%s, which is not available: %v", f.Name, err)
		}
	}
	if _, err := Open(Options{Threads: -1}); err == nil {
		t.Error("-1 threads were accepted")
	}
}

func TestFamilies(t *testing.T) {
	list := Families()
	last := list[len(list)-1]
	if last.Name != "ref" || !last.Available {
		t.Errorf("the last family is %+v", last)
	}
	for _, f := range list {
		if f.Reason == "" {
			t.Errorf("%s has no reason", f.Name)
		}
		_, err := Choose(f.Name)
		if (err == nil) != f.Available {
			t.Errorf("%s is available: %v; Choose: %v", f.Name, f.Available, err)
		}
	}
	if why := (family{available: func() (bool, string) { return false, "" }}).missing(); why == "" {
		t.Error("a family that is not available, without a reason, counts as available")
	}
}

// Every family computes what its name says, and on the pool that it is given.
func TestFamiliesOpen(t *testing.T) {
	for _, f := range Families() {
		if !f.Available {
			continue
		}
		d := open(t, Options{Kernels: f.Name, Threads: 2})
		if got := d.Kernels().Name(); got != f.Name || d.Family() != f.Name {
			t.Errorf("family %s opens %s", f.Name, got)
		}
		const n = 1 << 16
		a := slices.Repeat([]float32{3}, n)
		if got := d.Kernels().SumSquares(0, &kernel.SumSquaresArgs{G: kernel.FromF32(a), N: n}); got != 9*n {
			t.Errorf("%s: Σ g² is %v, want %v", f.Name, got, 9*n)
		}
		if err := d.Kernels().Sync(0); err != nil {
			t.Error(err)
		}
	}
}

// Without this a broken dispatch would skip the suites of the vectorised families silently. SECENCODER_REQUIRE_KERNELS is 1
// for all families but amx, or names with commas; a family whose features the processor does not report is excused.
func TestRequiredKernels(t *testing.T) {
	required := os.Getenv("SECENCODER_REQUIRE_KERNELS")
	if required == "" {
		t.Skip("SECENCODER_REQUIRE_KERNELS is not set: families that are missing are not an error")
	}
	for _, f := range families() {
		asked := required == "1" || slices.Contains(strings.Split(required, ","), f.name)
		if missing := f.missing(); asked && missing != "" && (f.name != "amx" || required != "1") && reported(t, f) {
			t.Errorf("the processor reports %s, but %s", f.name, missing)
		}
	}
}

// reported says whether /proc/cpuinfo lists what a family needs: a source of its own, beside package cpu. Elsewhere than
// on Linux every family that is asked for counts.
func reported(t *testing.T, f family) bool {
	data, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return true
	}
	flags, ok := field(data, "flags")
	if !ok {
		return len(f.features) == 0
	}
	have := strings.Fields(flags)
	for _, n := range f.features {
		if !slices.Contains(have, strings.ReplaceAll(strings.ToLower(n.name), "-", "_")) {
			t.Logf("%s: /proc/cpuinfo does not list %s", f.name, n.name)
			return false
		}
	}
	return true
}

func TestDescribeProcessor(t *testing.T) {
	p := DescribeProcessor()
	if p.Architecture != runtime.GOARCH || p.Threads < 1 {
		t.Errorf("%+v", p)
	}
	if runtime.GOOS == "linux" && runtime.GOARCH == "amd64" && p.Name == "" {
		t.Error("the processor has no name")
	}
	for i, f := range p.Features {
		if slices.Contains(p.Features[:i], f) {
			t.Errorf("%s is listed twice", f)
		}
	}
}

func TestArena(t *testing.T) {
	d := open(t, Options{Kernels: "ref", Threads: 1})
	a, err := d.NewArena(4 << 20)
	if err != nil {
		t.Fatal(err)
	}
	if a.Bytes() != 4<<20 || uintptr(a.Buf(0, 1, kernel.F32).Ptr)%Align != 0 {
		t.Errorf("%d bytes at %p", a.Bytes(), a.Buf(0, 1, kernel.F32).Ptr)
	}
	all := a.F32(0, 1<<20)
	for i, v := range all {
		if v != 0 {
			t.Fatalf("element %d is %v", i, v)
		}
	}
	all[16], all[17] = 1, 2
	if b := a.Buf(64, 2, kernel.F32); b.Len() != 2 || b.F32()[1] != 2 || cap(b.F32()) != 2 {
		t.Errorf("Buf shows %v", b.F32())
	}
	a.I32(4, 1)[0] = 7
	if a.Buf(4, 2, kernel.I16).I16()[0] != 7 {
		t.Error("views do not share memory")
	}
	for _, f := range []func(){
		func() { a.F32(0, 1<<20+1) }, func() { a.F32(-4, 1) }, func() { a.F32(2, 1) }, func() { a.F32(4<<20, 1) }, func() { a.F32(0, -1) },
	} {
		if !panics(f) {
			t.Error("a view outside the arena was given")
		}
	}
	if a.F32(4<<20, 0) == nil {
		t.Log("an empty view at the end is nil")
	}
	for range 2 {
		if err := a.Close(); err != nil {
			t.Error(err)
		}
	}
	if _, err := d.NewArena(-1); err == nil {
		t.Error("an arena of −1 bytes was given")
	}
}

func panics(f func()) (yes bool) {
	defer func() { yes = recover() != nil }()
	f()
	return false
}
