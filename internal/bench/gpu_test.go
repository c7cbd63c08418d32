package bench

import (
	"encoding/json"
	"errors"
	"math"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/secencoder/secencoder/internal/cuda"
	"github.com/secencoder/secencoder/internal/cuda/kernels"
	"github.com/secencoder/secencoder/internal/cuda/kernels/shim"
	"github.com/secencoder/secencoder/internal/cuda/standin"
)

// onStandin lets GPU find the stand-in. Its figures mean nothing; what is tried is that every case runs, on memory of
// its own, and that the document is whole.
func onStandin(t *testing.T) *standin.Library {
	t.Helper()
	lib := standin.Build(t)
	shim.Build(t, lib.Path())
	t.Setenv(cuda.EnvLibrary, lib.Path())
	return lib
}

// little is the shortest measurement of a GPU.
func little() Options {
	return Options{Size: "tiny", Tokens: 16, Context: 8, Bytes: 24 << 10, Duration: time.Millisecond}
}

func TestGPUOnStandin(t *testing.T) {
	lib := onStandin(t)
	r, err := GPU(t.Context(), little())
	if err != nil {
		t.Fatal(err)
	}
	if r.What != "gpu" || r.GFLOPS <= 0 || r.MBPerSecond <= 0 || r.PeakBytes <= 24<<10 || r.ShareOfPeak == nil || *r.ShareOfPeak <= 0 || *r.MedianShare <= 0 {
		t.Errorf("a result with a gap: %+v", r)
	}
	var seen []string
	for _, s := range r.Slices {
		if s.Median <= 0 || s.Best < s.Median || s.Runs < leastRuns || s.BestSeconds > s.Seconds || slices.Contains(seen, s.Case) {
			t.Errorf("a slice with a gap: %+v", s)
		}
		if (s.Unit == "launches_per_second") != (s.ShareOfPeak == nil) {
			t.Errorf("%s: a share without a peak, or the other way round", s.Case)
		}
		seen = append(seen, s.Case)
	}
	for _, want := range []string{"convert_f32_bf16", "convert_bf16_f32", "layer_norm f32", "layer_norm bf16", "layer_norm_grad f32", "add_norm bf16",
		"add_norm_grad bf16", "scale f32", "bias_gelu f32", "bias_gelu f32 to bf16",
		"gelu_grad bf16", "dropout bf16", "dropout f32 to bf16", "dropout_mask", "embed f32", "embed_grad bf16", "gather bf16",
		"gather_grad f32", "pool bf16", "pool_grad f32", "add f32", "adamw", "sum_squares", "y 16x128x384 bf16", "dx 16x128x512 f32", "dw 16x512x128 bf16",
		"linear with gelu 16x128x512 bf16", "linear_grad with gelu 16x128x512 f32", "launch from Go"} {
		if !slices.Contains(seen, want) {
			t.Errorf("no case %q in %q", want, seen)
		}
	}
	var peaks []string
	for _, p := range r.Machine.Peaks {
		if p.Median <= 0 || p.Best < p.Median || p.Slices < leastRuns {
			t.Errorf("a peak with a gap: %+v", p)
		}
		peaks = append(peaks, p.Name+" "+p.Unit)
	}
	if want := []string{"device copy GB/s", "host to device GB/s", "device to host GB/s", "bf16 product GFLOP/s", "f32 product GFLOP/s"}; !slices.Equal(peaks, want) {
		t.Errorf("%q", peaks)
	}
	var moved, seconds float64
	for _, s := range r.Slices {
		if s.Unit == "mb_per_second" && s.Case != "dropout_mask" {
			moved, seconds = moved+s.Best*s.BestSeconds, seconds+s.BestSeconds
		}
	}
	if want := moved / seconds / (1e3 * r.Machine.Peaks[0].Best); math.Abs(*r.ShareOfPeak-want) > 1e-9*want {
		t.Errorf("the kernels that memory bounds have a share of %v of the copy's rate, want %v", *r.ShareOfPeak, want)
	}
	if g := r.Machine.GPU; g == nil || g.Name == "" || g.MemoryBytes <= 0 || g.Multiprocessors <= 0 || !strings.HasPrefix(g.Driver, lib.Path()) || g.CublasLt == "" {
		t.Errorf("%+v", g)
	}
	if k := r.Replay; k == nil || k.Nodes != graphNodes || k.KernelBytes < 6*1024 || k.Seconds <= 0 || k.IdleSeconds <= 0 || k.HostSeconds <= 0 || k.SmallSeconds <= 0 {
		t.Errorf("%+v", k)
	}
	if k := r.Replay; k.SumSeconds != float64(k.Nodes)*k.KernelSeconds || k.SumSeconds > 0 && k.TimesOfSum != k.Seconds/k.SumSeconds {
		t.Errorf("a replay that does not add up: %+v", k)
	}
	if r.Versions["cuda_driver"] == "" || r.Versions["cublaslt"] != "12.4.5" || r.Versions["ptx"] == "" {
		t.Errorf("%v", r.Versions)
	}
	if data, err := json.Marshal(r); err != nil || !strings.Contains(string(data), `"mb_per_second":`) {
		t.Errorf("%v", err)
	}
}

// TestGPUFailsWhole: an error in the middle is that error, and all is given back.
func TestGPUFailsWhole(t *testing.T) {
	for call, nth := range map[string]int{"cuMemAlloc_v2": 9, "cuModuleLoadDataEx": 2, "cublasLtMatmulAlgoGetHeuristic": 5, "cuStreamBeginCapture_v2": 1, "cuEventElapsedTime": 40} {
		lib := onStandin(t)
		lib.Fail(call, nth, 2)
		if _, err := GPU(t.Context(), little()); err == nil || !strings.Contains(err.Error(), call) {
			t.Errorf("%s: %v", call, err)
		}
	}
	// A GPU that is lost in the middle fails every call after it, and is told once.
	for call, code := range map[string]int{"cuLaunchKernel": 719, "cuEventRecord": 700, "cuMemcpyDtoDAsync_v2": 719, "cuGraphLaunch": 719, "cuStreamSynchronize": 999} {
		lib := onStandin(t)
		lib.Fail(call, 3, code)
		if _, err := GPU(t.Context(), little()); err == nil || strings.Count(err.Error(), call) != 1 || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s fails with %d: %v", call, code, err)
		}
	}
}

// opened returns the cases on a stand-in, closed when the test ends.
func opened(t *testing.T, lib *standin.Library, o Options) *gpuBench {
	t.Helper()
	driver, err := cuda.Load(cuda.Options{Library: lib.Path()})
	if err != nil {
		t.Fatal(err)
	}
	dev, err := driver.Open(0, cuda.DeviceOptions{})
	if err != nil {
		t.Fatal(err)
	}
	b, err := newGPUBench(driver, dev, o)
	if err != nil {
		t.Fatal(cuda.Join(err, dev.Close()))
	}
	t.Cleanup(func() {
		if err := cuda.Join(b.close(), dev.Close()); err != nil {
			t.Error(err)
		}
	})
	return b
}

// TestGPUWork counts the work of some cases anew, by operands and by hand: the shares of the peak follow from it.
func TestGPUWork(t *testing.T) {
	lib := onStandin(t)
	o := little()
	o.Bytes = 24<<10 + 6 // rounded down
	b := opened(t, lib, o)
	const call, W, I = 24 << 10, 128, 512 // bytes of a call, widths of tiny
	least := func(bytes int) int { return max(8, call/bytes) }
	want := map[string]float64{
		"convert_f32_bf16":      6 * (call / 6),                              // 4 read, 2 written
		"convert_bf16_f32":      6 * (call / 6),                              //
		"layer_norm f32":        float64(least(2*4*W+8) * (2*4*W + 8)),       // x, out, two statistics
		"add_norm bf16":         float64(least(3*2*W+8) * (3*2*W + 8)),       // x, residual, out, two statistics
		"bias_gelu f32 to bf16": float64(least((4+2+2)*I) * (4 + 2 + 2) * I), // sums in float32, out, pre
		"gelu_grad f32 to bf16": float64(least((4+4+2)*I) * (4 + 4 + 2) * I), // dy and pre in float32, dz
		"dropout f32 to bf16":   float64(least((4+2)*W) * (4 + 2) * W),
		"dropout_mask":          float64(least(W) * W),
		"scale f32":             8 * (call / 8),
		"gather f32":            float64(least(2*4*W) * 2 * 4 * W),                                          //
		"adamw":                 28 * (call / 28),                                                           // w, m, v read and written, g read
		"sum_squares":           4 * (call / 4),                                                             //
		"y 16x128x384 bf16":     2 * 16 * 128 * 384 * 1e-3, "dw 16x512x128 bf16": 2 * 16 * 128 * 512 * 1e-3, // a multiplication and an addition; GFLOP·1e6
	}
	for _, c := range b.cases {
		if n, ok := want[c.name]; ok {
			if got := 1e6 * c.work; math.Abs(got-n) > 1e-6*n {
				t.Errorf("%s: work %v, want %v", c.name, got, n)
			}
			delete(want, c.name)
		}
	}
	if len(want) > 0 {
		t.Errorf("no case of %v", want)
	}
}

// TestGPUCasesOfKernels: every kernel of the image is launched by a case.
func TestGPUCasesOfKernels(t *testing.T) {
	lib := onStandin(t)
	b := opened(t, lib, little())
	lib.Launched()            // while the bench was made
	cases := map[string]int{} // by kernel
	for _, c := range b.cases {
		if err := cuda.Join(c.call(), b.table.Sync(b.on)); err != nil {
			t.Fatal(err)
		}
		for _, name := range lib.Launched() {
			cases[name]++
		}
	}
	image, err := kernels.PTX(8, 0)
	if err != nil {
		t.Fatal(err)
	}
	entries := regexp.MustCompile(`\.entry (\w+)`).FindAllSubmatch(image, -1)
	for _, e := range entries {
		if name := string(e[1]); cases[name] == 0 {
			t.Errorf("no case launches %s", name)
		}
	}
	if len(entries) < 42 || len(cases) > len(entries) {
		t.Errorf("%d kernels in the image, %d launched", len(entries), len(cases))
	}
}

func TestGPUAbsent(t *testing.T) {
	t.Setenv(cuda.EnvLibrary, t.TempDir())
	if _, err := GPU(t.Context(), little()); err == nil {
		t.Skip("there is a GPU")
	} else if !errors.Is(err, cuda.ErrNoDriver) && !errors.Is(err, cuda.ErrNoDevice) {
		t.Errorf("%v", err)
	}
	onStandin(t)
	o := little()
	o.GPU = 7
	if _, err := GPU(t.Context(), o); !errors.Is(err, cuda.ErrNoDevice) {
		t.Errorf("%v", err)
	}
	onStandin(t).Set(standin.Driver, 12000)
	if _, err := GPU(t.Context(), little()); !errors.Is(err, cuda.ErrDriverTooOld) || !strings.Contains(err.Error(), "need driver 530 (CUDA 12.1) or newer, this one is for CUDA 12.0") {
		t.Errorf("%v", err)
	}
}
