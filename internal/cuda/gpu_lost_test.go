package cuda_test

import (
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/secencoder/secencoder/internal/cuda"
	"github.com/secencoder/secencoder/internal/cuda/standin"
)

// The tests of a GPU skip where there is none, and fail where there is one that does not work.
func TestSkippedOnlyWithoutGPU(t *testing.T) {
	lib := standin.Build(t)
	for _, c := range []struct{ settings, want string }{
		{"devices=0", "SKIP"}, {"fail=cuInit:1:100", "SKIP"}, {"fail=cuDeviceGetCount:1:100", "SKIP"},
		{"fail=cuInit:1:999", "FAIL"}, {"fail=cuDeviceGetCount:1:999", "FAIL"},
	} {
		for _, name := range []string{"TestCUDADriver", "TestCUDADeviceLost", "TestCUDAPoolTraffic", "TestCUDALtProducts", "TestCUDALtBias"} {
			cmd := exec.Command(os.Args[0], "-test.run=^"+name+"$", "-test.v")
			cmd.Env = append(os.Environ(), "SECENCODER_CUDA_LIB="+lib.Path(), "STANDIN="+c.settings)
			out, err := cmd.CombinedOutput()
			if !strings.Contains(string(out), "--- "+c.want+": "+name) || (err != nil) != (c.want == "FAIL") {
				t.Errorf("%s with %s: %v, want %s:\n%s", name, c.settings, err, c.want, out)
			}
		}
	}
}

// A fault in a kernel: everything returns the first error at once, and Close gives back what can be given back. It runs
// in a process of its own, because on a GPU nothing else of the process may be trusted after it.
func TestCUDADeviceLost(t *testing.T) {
	const child = "SECENCODER_TEST_LOSES_THE_DEVICE"
	drv := onGPU(t)
	if os.Getenv(child) != "" {
		lost(t, drv)
		return
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestCUDADeviceLost$", "-test.timeout=60s")
	cmd.Env = append(os.Environ(), child+"=1")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestDeviceLostOnStandin(t *testing.T) {
	for name, delay := range map[string]int{"at once": standin.Immediately, "late": standin.Late} {
		t.Run(name, func(t *testing.T) { lost(t, onStandin(t, delay)) })
	}
}

func lost(t *testing.T, drv *cuda.Driver) {
	d := get[*cuda.Device](t)(drv.Open(0, cuda.DeviceOptions{}))
	s := get[*cuda.Stream](t)(d.NewStream())
	m, f := toys(t, d, "standin_trap")
	l, e := f.NewLaunch(), get[*cuda.Event](t)(d.NewEvent())
	p, h := get[cuda.Ptr](t)(d.Alloc(s, 64)), get[*cuda.Host](t)(d.NewHost(64))
	g := get[*cuda.Graph](t)(s.Capture(func() error { return s.Fill(p, 1, 64) }))
	started := l.Run(s, cuda.Grid{X: 1}, cuda.Grid{X: 1}, 0) // the fault may show with this call already, or later
	first := errors.Join(started, s.Synchronize())
	if !errors.Is(first, cuda.ErrDeviceLost) {
		t.Fatalf("the trap gave %v, want ErrDeviceLost", first)
	}
	t.Log(first)
	again := s.Synchronize()
	_, errAlloc := d.Alloc(s, 64)
	_, errStream := d.NewStream()
	_, errHost := d.NewHost(64)
	_, errModule := d.LoadModule([]byte(standin.PTX))
	_, errCapture := s.Capture(func() error { return nil })
	from := time.Now()
	for i, err := range []error{again, errAlloc, errStream, errHost, errModule, l.Run(s, cuda.Grid{X: 1}, cuda.Grid{X: 1}, 0), g.Launch(s), e.Record(s),
		s.Wait(e), s.CopyToDevice(p, h.Bytes()), s.Fill(p, 0, 64), d.Free(s, p), d.Trim(), f.SetShared(1), g.Close(), h.Close(), m.Close(), e.Close(), s.Close(), d.Close()} {
		if err == nil || errors.Unwrap(again) != cuda.ErrDeviceLost || !strings.Contains(err.Error(), again.Error()) || !errors.Is(err, cuda.ErrDeviceLost) {
			t.Errorf("call %d after the loss: %v\nwant %v", i, err, again)
		}
	}
	errCaptureIs := errors.Is(errCapture, cuda.ErrDeviceLost)
	if !errCaptureIs {
		t.Errorf("capture after the loss: %v", errCapture)
	}
	if took := time.Since(from); took > 5*time.Second {
		t.Errorf("calls after the loss took %v", took)
	}
	need(t, l.Close())
}

// A context that cannot even be entered to be closed: Close says so once, and what was on it is closed with it.
func TestCloseWithoutContext(t *testing.T) {
	lib := standin.Build(t)
	drv := get[*cuda.Driver](t)(cuda.Load(cuda.Options{Library: lib.Path()}))
	d := get[*cuda.Device](t)(drv.Open(0, cuda.DeviceOptions{}))
	s, h := get[*cuda.Stream](t)(d.NewStream()), get[*cuda.Host](t)(d.NewHost(64))
	m, f := toys(t, d, "standin_nothing")
	l := f.NewLaunch()
	lib.Fail("cuCtxSetCurrent", 1, 201)
	err := d.Close()
	if !errors.Is(err, cuda.ErrDeviceLost) || strings.Count(err.Error(), "cuCtxSetCurrent") != 1 {
		t.Errorf("close: %v, want the error of cuCtxSetCurrent once", err)
	}
	for _, c := range []interface{ Close() error }{s, h, l, m, d} {
		need(t, c.Close())
	}
	if err := l.Reset().Ptr(0).Run(s, cuda.Grid{X: 1}, cuda.Grid{X: 1}, 0); !errors.Is(err, cuda.ErrClosed) {
		t.Errorf("a launch after Close: %v", err)
	}
	if h.Bytes() != nil {
		t.Error("host memory of the closed device still has bytes")
	}
	_ = lib.Leaks() // what the context held went with it
}
