package nvrtc

import (
	"context"
	"errors"
	"strings"
	"testing"
)

// tools returns the compiler out of the cache; the test is skipped where go generate never put it there.
func tools(t *testing.T) (*Tools, *Compiler) {
	t.Helper()
	t.Setenv("PATH", t.TempDir()) // a test downloads nothing
	tools, err := Fetch(context.Background(), "", func(string) {})
	if errors.Is(err, ErrUnavailable) {
		t.Skipf("needs the CUDA compiler, which go generate ./internal/cuda/kernels downloads: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	c, err := Open(tools.Library)
	if errors.Is(err, ErrUnavailable) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return tools, c
}

const kernel = `#include "scale.cuh"
extern "C" __global__ void scale(float* x, int n) {
	__shared__ float tile[32];
	int i = blockIdx.x * blockDim.x + threadIdx.x;
	tile[threadIdx.x & 31] = i < n ? x[i] : 0;
	__syncthreads();
	if (i < n) x[i] = FACTOR * tile[(threadIdx.x + 1) & 31];
}
`

func TestCompileAndAssemble(t *testing.T) {
	tools, c := tools(t)
	if major, minor, err := c.Version(); err != nil || major != 12 || minor != 1 {
		t.Errorf("version %d.%d, %v", major, minor, err)
	}
	p := Program{Name: "scale.cu", Source: kernel, Headers: map[string]string{"scale.cuh": "#define FACTOR 3.0f\n"}, Options: []string{"--gpu-architecture=compute_80"}}
	ptx, log, err := c.Compile(p)
	if err != nil || log != "" {
		t.Fatalf("%v\n%s", err, log)
	}
	if text := string(ptx); !strings.Contains(text, ".visible .entry scale(") || strings.Contains(text, "\x00") || !strings.HasSuffix(text, "}\n\n") {
		t.Errorf("PTX:\n%s", text)
	}
	if again, _, err := c.Compile(p); err != nil || string(again) != string(ptx) {
		t.Errorf("compiled again, other bytes: %v", err)
	}
	for _, arch := range []string{"sm_80", "sm_90a"} {
		functions, machine, err := tools.Assemble(context.Background(), "scale.ptx", ptx, arch)
		if err != nil {
			t.Fatal(err)
		}
		if len(functions) != 1 || len(machine) == 0 {
			t.Fatalf("%s: %+v, %d bytes", arch, functions, len(machine))
		}
		f := functions[0]
		if f.Function != "scale" || !f.Entry || f.Registers == 0 || f.Shared != 128 || f.Barriers != 1 || f.Stack != 0 {
			t.Errorf("%s: %+v", arch, f)
		}
	}
	if _, _, err := tools.Assemble(context.Background(), "scale.ptx", []byte("nonsense"), "sm_80"); err == nil || !strings.Contains(err.Error(), "scale.ptx") || strings.Contains(err.Error(), "/tmp") {
		t.Errorf("error of nonsense: %v", err)
	}
}

// A new goroutine has a small stack, which moves when it grows: nothing that C fills in may lie on it. The depth at which it
// grows inside the call is unknown, so many are tried.
func TestStackMayMoveInACall(t *testing.T) {
	_, c := tools(t)
	for depth := range 400 {
		done := make(chan struct{})
		go func() {
			defer close(done)
			var at func(int)
			at = func(depth int) {
				if depth > 0 {
					at(depth - 1)
					return
				}
				if major, minor, err := c.Version(); major != 12 || minor != 1 || err != nil {
					t.Errorf("version %d.%d, %v", major, minor, err)
				}
			}
			at(depth)
		}()
		<-done
	}
}

func TestCompileSaysWhere(t *testing.T) {
	_, c := tools(t)
	for name, p := range map[string]Program{
		"missing header": {Name: "scale.cu", Source: kernel},
		"wrong C":        {Name: "scale.cu", Source: "extern \"C\" __global__ void f() { int x = y; }"},
		"wrong option":   {Name: "scale.cu", Source: "extern \"C\" __global__ void f() {}", Options: []string{"--no-such-option"}},
	} {
		_, _, err := c.Compile(p)
		var refused *CompileError
		if !errors.As(err, &refused) || refused.Code == "" || !strings.Contains(err.Error(), "scale.cu") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestOpenSaysWhat(t *testing.T) {
	if _, err := Open("/no/such/libnvrtc.so.12"); errors.Is(err, ErrUnavailable) {
		t.Skip(err)
	} else if err == nil || !strings.Contains(err.Error(), "/no/such/libnvrtc.so.12") {
		t.Errorf("error %v", err)
	}
}
