package train

import (
	"context"
	"errors"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/secencoder/secencoder/data/build"
	"github.com/secencoder/secencoder/data/synth"
	"github.com/secencoder/secencoder/internal/device"
	"github.com/secencoder/secencoder/internal/manifest"
	"github.com/secencoder/secencoder/model"
)

// half returns options of a run of the real model in BF16.
func half(t *testing.T, out string, steps int) Options {
	t.Helper()
	o := small(t, out, steps)
	o.hooks = hooks{}
	o.DType = new("bf16")
	return o
}

// A run in BF16 says so, keeps to it, and gives the same bits for any number of threads and with an interruption.
func TestRunsInHalf(t *testing.T) {
	whole := filepath.Join(t.TempDir(), "whole")
	mustRun(t, half(t, whole, 8))
	text, err := os.ReadFile(filepath.Join(whole, configName))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(text), "\ndtype: \"bf16\"\n") {
		t.Errorf("config.yaml:\n%s", text)
	}
	m, err := manifest.Read(whole)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(m.Config), `"dtype": "bf16"`) {
		t.Errorf("manifest: %s", m.Config)
	}

	threads := filepath.Join(t.TempDir(), "threads")
	o := half(t, threads, 8)
	o.Threads = new(3)
	mustRun(t, o)
	sameFolder(t, filepath.Join(whole, checkpointsName), filepath.Join(threads, checkpointsName), nil)

	stopped := filepath.Join(t.TempDir(), "stopped")
	ctx, cancel := context.WithCancel(context.Background())
	o = half(t, stopped, 8)
	o.Reporter = &stopAfter{step: 5, cancel: cancel}
	if _, err := Run(ctx, o); !errors.Is(err, context.Canceled) {
		t.Fatalf("interrupted: %v", err)
	}
	o = half(t, stopped, 8)
	o.Resume, o.DType = true, new("f32")
	if _, err := Run(context.Background(), o); !errors.Is(err, ErrUsage) || !strings.Contains(err.Error(), "--dtype is f32, the run was begun with bf16") {
		t.Errorf("resumed in another type: %v", err)
	}
	o.DType = nil
	mustRun(t, o)
	if a, b := untimed(t, whole), untimed(t, stopped); a != b {
		t.Errorf("metrics differ after an interruption:\n%s\n%s", a, b)
	}

	single := filepath.Join(t.TempDir(), "single")
	o = half(t, single, 8)
	o.DType = nil
	mustRun(t, o)
	if untimed(t, whole) == untimed(t, single) {
		t.Error("f32 and bf16 give the same losses: was it BF16?")
	}
	o = half(t, filepath.Join(t.TempDir(), "run"), 8)
	o.DType = new("f16")
	if _, err := Run(context.Background(), o); !errors.Is(err, ErrUsage) || !strings.Contains(err.Error(), "want f32 or bf16") {
		t.Errorf("f16: %v", err)
	}
}

// skipInPlainGo skips a test that needs vectorised kernels to end in seconds.
func skipInPlainGo(t *testing.T) {
	t.Helper()
	kernels, err := device.Choose("")
	if err != nil {
		t.Fatal(err)
	}
	if kernels.Family == "ref" || kernels.Family == "portable" {
		t.Skipf("takes minutes with %s kernels", kernels.Family)
	}
}

// curve returns a column of a run's metrics.csv.
func curve(t *testing.T, run string, column int) []float64 {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(run, metricsName))
	if err != nil {
		t.Fatal(err)
	}
	var values []float64
	for _, line := range strings.Split(strings.TrimSpace(string(text)), "\n")[1:] {
		v, err := strconv.ParseFloat(strings.Split(line, ",")[column], 64)
		if err != nil {
			t.Fatal(err)
		}
		values = append(values, v)
	}
	return values
}

// The curves of f32 and bf16 over the same batches, masks and dropout on generated logs, at the preset's learning rate. At
// equal weights the roundings of one forward pass move a step's loss by at most 2^-8 (model's TestParityHalf); the weights
// part as the gradients of each step do, by some 2^-6 of them in directions that have nothing to do with each other, which
// AdamW's averages take the mean of. 2^-5 holds every step and 2^-7 the means over 50 (measured: up to 1.3e-3 and 3.4e-4); a wrong
// gradient misses both within the first hundred steps. At twice the learning rate, where runs of different seeds part by
// tenths, the means part by 9e-3: that is the learning rate's doing, not the type's.
func TestLossCurvesOfBothTypes(t *testing.T) {
	if testing.Short() {
		t.Skip("two runs of some hundred steps")
	}
	skipInPlainGo(t)
	const (
		steps, window = 300, 50
		boundStep     = 0x1p-5
		boundMean     = 0x1p-7
	)
	dir := t.TempDir()
	if _, err := synth.Write(context.Background(), filepath.Join(dir, "made"), synth.Options{Bytes: 1_000_000, Seed: 5}); err != nil {
		t.Fatal(err)
	}
	logs, folder := filepath.Join(dir, "made", "logs"), filepath.Join(dir, "data")
	if _, err := build.Run(context.Background(), build.Options{In: []string{logs}, Out: folder, Tokenizer: "train:1000"}); err != nil {
		t.Fatal(err)
	}
	c, _, err := model.Preset("tiny", 1000)
	if err != nil {
		t.Fatal(err)
	}
	c.HiddenSize, c.IntermediateSize = 64, 256
	size := filepath.Join(dir, "config.json")
	if err := os.WriteFile(size, c.JSON(), 0o666); err != nil {
		t.Fatal(err)
	}
	var losses, valid [2][]float64
	for i, dtype := range []string{"f32", "bf16"} {
		out := filepath.Join(dir, dtype)
		r := mustRun(t, Options{Out: out, Settings: Settings{
			Data: &folder, Size: &size, Steps: new(steps), Context: new(64), TokensPerStep: new(512), EvalEvery: new(steps), DType: &dtype,
		}})
		losses[i] = curve(t, out, 2)
		for _, s := range r.Evaluations {
			valid[i] = append(valid[i], s.CrossEntropy)
		}
	}
	var worst, worstMean float64
	for at := 0; at < steps; at += window {
		var mean float64
		for i := at; i < at+window; i++ {
			d := losses[1][i] - losses[0][i]
			worst = max(worst, math.Abs(d))
			mean += d / window
		}
		worstMean = max(worstMean, math.Abs(mean))
	}
	if !(worst <= boundStep) || !(worstMean <= boundMean) || worst == 0 {
		t.Errorf("the losses of a step differ by up to %.1e, bound %.1e; means over %d by %.1e, bound %.1e", worst, boundStep, window, worstMean, boundMean)
	}
	for i, f32 := range valid[0] {
		if d := math.Abs(valid[1][i] - f32); !(d <= boundMean) {
			t.Errorf("evaluation %d: cross-entropy %v in f32, %v in bf16", i, f32, valid[1][i])
		}
	}
	if first, last := losses[0][0], losses[0][steps-1]; last > first-1 {
		t.Errorf("from %.2f to %.2f: nothing was learnt", first, last)
	}
	t.Logf("largest difference of a step %.1e, of a mean over %d %.1e", worst, window, worstMean)
}
