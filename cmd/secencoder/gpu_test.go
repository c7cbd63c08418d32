package main

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/secencoder/secencoder/internal/cuda/kernels/shim"
	"github.com/secencoder/secencoder/internal/cuda/standin"
)

// program runs this test binary as secencoder, on the stand-in of a folder with its settings.
func program(t *testing.T, folder, settings string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "secencoder")
	if err := os.Symlink(self, name); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), "SECENCODER_CUDA_LIB="+folder, "STANDIN="+settings)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

// TestBenchGPUOnStandin runs the whole verb on the stand-in, whose figures mean nothing.
func TestBenchGPUOnStandin(t *testing.T) {
	lib := standin.Build(t)
	shim.Build(t, lib.Path())
	small := []string{"bench", "gpu", "--size", "tiny", "--tokens", "16", "--context", "8", "--bytes", "24KiB", "--duration", "1ms", "--quiet"}
	stdout, stderr, code := program(t, lib.Path(), "", append(small, "--json")...)
	if code != 0 || stderr != "" {
		t.Fatalf("exit code %d: %s", code, stderr)
	}
	var r struct {
		What        string
		GFLOPS      float64
		MBPerSecond float64 `json:"mb_per_second"`
		PeakBytes   int64   `json:"peak_bytes"`
		ShareOfPeak float64 `json:"share_of_peak"`
		Machine     struct{ GPU struct{ Name string } }
		Versions    map[string]string
		Slices      []struct{ Case string }
	}
	if err := json.Unmarshal([]byte(stdout), &r); err != nil {
		t.Fatal(err)
	}
	if r.What != "gpu" || r.GFLOPS <= 0 || r.MBPerSecond <= 0 || r.PeakBytes <= 0 || r.ShareOfPeak <= 0 || r.Machine.GPU.Name == "" || r.Versions["ptx"] == "" || len(r.Slices) < 50 {
		t.Errorf("%s", stdout)
	}
	// The option comes before the environment, for both libraries.
	stdout, stderr, code = program(t, filepath.Join(lib.Path(), "absent"), "", append(small, "--device", "cuda:0", "--cuda-library", lib.Path())...)
	if code != 0 || stderr != "" {
		t.Fatalf("exit code %d: %s", code, stderr)
	}
	for _, want := range []string{"gpu on 0: ", "layer_norm bf16 ", "TFLOP/s", "device copy ", "a graph of 500 kernels of "} {
		if !strings.Contains(stdout, want) {
			t.Errorf("no %q in %s", want, stdout)
		}
	}
	for settings, want := range map[string]string{
		"driver=11040":                       "the kernels need driver 530 (CUDA 12.1) or newer, this one is for CUDA 11.4",
		"devices=0":                          "the driver is there but sees no GPU",
		"memory=30000":                       "; or lower --bytes",
		"fail=cuDevicePrimaryCtxRetain:1:46": "another process holds the GPU in exclusive mode",
		"fail=cuMemcpyDtoDAsync_v2:5:719":    "start the program again",
	} {
		stdout, stderr, code := program(t, lib.Path(), settings, small...)
		if code != 1 || stdout != "" || !strings.Contains(stderr, want) || strings.Count(stderr, "secencoder: ") != 1 {
			t.Errorf("%s: exit code %d, %s", settings, code, stderr)
		}
	}
	if _, stderr, code := program(t, lib.Path(), "", append(small, "--device", "cuda:5")...); code != 1 || !strings.Contains(stderr, "index 5, but the driver sees ") {
		t.Errorf("exit code %d: %s", code, stderr)
	}
}

// TestInfoOnGPUs: info says what was found and what is missing, and fails for none of it.
func TestInfoOnGPUs(t *testing.T) {
	lib := standin.Build(t)
	for settings, wants := range map[string][]string{
		"devices=2":       {"gpu        0: ", "           1: ", "driver " + lib.Path(), "cuBLAS 12.4.5: " + lib.Path(), "need compute capability 8.0 or newer and driver 530"},
		"devices=0":       {"gpu        none found", "the driver is there but sees no GPU"},
		"driver=11040":    {"missing: the driver is for CUDA 11.4, the kernels need 530 or newer"},
		"major=7":         {"cannot be used: the kernels need compute capability 8.0"},
		"exclusive=1":     {"gpu        0: "},
		"fail=cuInit:1:3": {"missing: initialise "},
	} {
		stdout, stderr, code := program(t, lib.Path(), settings, "info")
		if code != 0 || stderr != "" {
			t.Errorf("%s: exit code %d, %s", settings, code, stderr)
		}
		for _, want := range wants {
			if !strings.Contains(stdout, want) {
				t.Errorf("%s: no %q in %s", settings, want, stdout)
			}
		}
	}
	stdout, _, code := program(t, filepath.Join(lib.Path(), "absent"), "", "info", "--json")
	var r struct {
		GPU  string
		CUDA gpuInfo
	}
	if err := json.Unmarshal([]byte(stdout), &r); err != nil || code != 0 {
		t.Fatalf("exit code %d, %v", code, err)
	}
	if _, stderr, code := program(t, filepath.Join(lib.Path(), "absent"), "", "bench", "gpu"); code != 1 || strings.Count(stderr, "\n") != 1 ||
		!strings.Contains(stderr, "install the NVIDIA driver") || !strings.Contains(stderr, "secencoder info lists the places") {
		t.Errorf("exit code %d: %s", code, stderr)
	}
	for _, library := range []string{lib.Path(), filepath.Join(lib.Path(), "libcublasLt.so.12")} { // what stands beside a file is found too
		stdout, stderr, code := program(t, filepath.Join(lib.Path(), "absent"), "", "info", "--cuda-library", library)
		if code != 0 || !strings.Contains(stdout, "driver "+lib.Path()) || !strings.Contains(stdout, "cuBLAS 12.4.5: "+lib.Path()) {
			t.Errorf("--cuda-library %s: exit code %d, %s%s", library, code, stdout, stderr)
		}
	}
	for _, verb := range [][]string{{"info"}, {"bench", "gpu"}} { // and what it names is the only one
		stdout, stderr, _ := program(t, lib.Path(), "", append(verb, "--cuda-library", filepath.Join(lib.Path(), "absent"))...)
		if !strings.Contains(stdout+stderr, "option "+filepath.Join(lib.Path(), "absent")+": there is no such file or folder; install the NVIDIA driver") {
			t.Errorf("%s: %s%s", verb, stdout, stderr)
		}
	}
	if _, stderr, code := program(t, lib.Path(), "", "bench", "infer", "--cuda-library", lib.Path()); code != 2 || !strings.Contains(stderr, "are for bench gpu") {
		t.Errorf("exit code %d: %s", code, stderr)
	}
	if r.GPU == "" || len(r.CUDA.Missing) != 1 || !strings.Contains(r.CUDA.Missing[0].What, "install the NVIDIA driver") || len(r.CUDA.Missing[0].Tried) == 0 {
		t.Errorf("%+v", r)
	}
}

func TestGPUIndex(t *testing.T) {
	for device, want := range map[string]int{"": 0, "cuda": 0, "cuda:0": 0, "cuda:12": 12, "cuda:": -1, "cuda:x": -1, "cuda:-1": -1, "gpu:0": -1, "cpu": -1, ":1": -1} {
		n, err := gpuIndex(device)
		if (err != nil) != (want < 0) || err == nil && n != want {
			t.Errorf("%q: %d, %v", device, n, err)
		}
	}
}
