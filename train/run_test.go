package train

import (
	"context"
	"errors"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/secencoder/secencoder/data/batch"
	"github.com/secencoder/secencoder/eval"
	"github.com/secencoder/secencoder/internal/filelock"
	"github.com/secencoder/secencoder/internal/manifest"
	"github.com/secencoder/secencoder/model"
)

func mustRun(t *testing.T, o Options) *Result {
	t.Helper()
	r, err := Run(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// sameFolder compares two folders byte by byte; names for which skip says so are left out.
func sameFolder(t *testing.T, a, b string, skip func(name string) bool) {
	t.Helper()
	list := func(root string) map[string]string {
		files := map[string]string{}
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			name, err := filepath.Rel(root, path)
			if err != nil || skip != nil && skip(filepath.ToSlash(name)) {
				return err
			}
			text, err := os.ReadFile(path)
			files[name] = string(text)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return files
	}
	fa, fb := list(a), list(b)
	if len(fa) == 0 {
		t.Fatalf("%s: no files to compare", a)
	}
	for name, text := range fa {
		if other, ok := fb[name]; !ok {
			t.Errorf("%s is missing in %s", name, b)
		} else if other != text {
			t.Errorf("%s differs between %s and %s", name, a, b)
		}
	}
	for name := range fb {
		if _, ok := fa[name]; !ok {
			t.Errorf("%s is only in %s", name, b)
		}
	}
}

// clockFree leaves out what depends on time.
func clockFree(name string) bool {
	return name == metricsName || name == lockName || strings.HasPrefix(name, curvesName+"/")
}

// untimed returns metrics.csv without the columns that depend on time.
func untimed(t *testing.T, run string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(run, metricsName))
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	for _, line := range strings.Split(strings.TrimSpace(string(text)), "\n") {
		cells := strings.Split(line, ",")
		if len(cells) != 8 {
			t.Fatalf("%d cells in %q", len(cells), line)
		}
		out.WriteString(strings.Join(append(cells[:5:5], cells[7]), ",") + "\n")
	}
	return out.String()
}

func TestRunWritesItsFolder(t *testing.T) {
	out := filepath.Join(t.TempDir(), "run")
	r := mustRun(t, small(t, out, 10))
	if r.Step != 10 || r.Steps != 10 || r.Finished || r.Skipped != 0 || r.Tokens == 0 {
		t.Errorf("result %+v", r)
	}
	rows := strings.Split(strings.TrimSpace(untimed(t, out)), "\n")
	if len(rows) != 11 {
		t.Fatalf("%d rows in metrics.csv, want a header and 10", len(rows))
	}
	first, _ := strconv.ParseFloat(strings.Split(rows[1], ",")[2], 64)
	last, _ := strconv.ParseFloat(strings.Split(rows[10], ",")[2], 64)
	if math.Abs(first-math.Log(300)) > 0.1 || last >= first-0.1 {
		t.Errorf("loss from %v to %v, want from about ln 300 down", first, last)
	}
	evals, err := os.ReadFile(filepath.Join(out, evalName))
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(evals), "\n"); n != 1+3*3 { // steps 4, 8 and 10, three sets each
		t.Errorf("%d lines in eval.csv:\n%s", n, evals)
	}
	for _, name := range []string{"config.json", "model.safetensors", "tokenizer.json", optimizerName, stateName} {
		if _, err := os.Stat(filepath.Join(r.Last, name)); err != nil {
			t.Error(err)
		}
	}
	if err := manifest.Verify(r.Last); err != nil {
		t.Error(err)
	}
	if filepath.Base(r.Last) != "step-10" || r.Best == "" {
		t.Errorf("last %s, best %s", r.Last, r.Best)
	}
	f, err := model.ReadFolder(out, model.ReadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if p := f.Provenance; p.Slot0Trained || p.Context != 32 || p.Mask != "content" || p.Data == "" || p.Steps == 0 {
		t.Errorf("provenance %+v", p)
	}
}

func TestUsedFolderIsRefused(t *testing.T) {
	out := filepath.Join(t.TempDir(), "run")
	mustRun(t, small(t, out, 2))
	_, err := Run(context.Background(), small(t, out, 2))
	if !errors.Is(err, ErrUsed) || !errors.Is(err, ErrUsage) {
		t.Errorf("got %v", err)
	}
	other := t.TempDir()
	if err := os.WriteFile(filepath.Join(other, "notes.txt"), nil, 0o666); err != nil {
		t.Fatal(err)
	}
	o := small(t, other, 2)
	o.Resume = true
	if _, err := Run(context.Background(), o); !errors.Is(err, ErrUsage) || errors.Is(err, ErrUsed) {
		t.Errorf("a folder with other files: got %v", err)
	}
}

func TestTwoRunsOnOneFolder(t *testing.T) {
	out := t.TempDir()
	lock, err := filelock.TryLock(filepath.Join(out, lockName))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Run(context.Background(), small(t, out, 2)); !errors.Is(err, filelock.ErrLocked) {
		t.Errorf("got %v", err)
	}
	if err := lock.Unlock(); err != nil {
		t.Fatal(err)
	}
	mustRun(t, small(t, out, 2))
}

func TestRetention(t *testing.T) {
	out := filepath.Join(t.TempDir(), "run")
	o := small(t, out, 13)
	o.CheckpointEvery, o.EvalEvery, o.Keep = new(2), new(0), new(2)
	mustRun(t, o)
	if steps, err := checkpoints(out); err != nil || !slices.Equal(steps, []int{10, 12, 13}) {
		t.Errorf("without evaluation: checkpoints %v, %v", steps, err)
	}
	if _, err := os.Stat(filepath.Join(out, checkpointsName, bestName)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("best without evaluation: %v", err)
	}
	// A learning rate that ruins the model after the first evaluation makes that one the best.
	out = filepath.Join(t.TempDir(), "run")
	o = small(t, out, 13)
	o.CheckpointEvery, o.EvalEvery, o.Keep, o.LearningRate, o.Warmup = new(1), new(2), new(1), new(3.0), new(12)
	mustRun(t, o)
	best, err := os.ReadFile(filepath.Join(out, checkpointsName, bestName))
	if err != nil {
		t.Fatal(err)
	}
	steps, err := checkpoints(out)
	if err != nil {
		t.Fatal(err)
	}
	at, err := strconv.Atoi(strings.TrimPrefix(strings.TrimSpace(string(best)), stepPrefix))
	if err != nil || at >= 12 {
		t.Fatalf("best is %s: %v", best, err)
	}
	if !slices.Equal(steps, []int{at, 12, 13}) {
		t.Errorf("checkpoints %v, want best %d, one more, and the last", steps, at)
	}
	if st, err := readState(filepath.Join(out, checkpointsName, "step-13")); err != nil || st.Best == nil || st.Best.Step != at {
		t.Errorf("state %+v, %v", st, err)
	}
}

func TestBadBatchIsSkipped(t *testing.T) {
	out := filepath.Join(t.TempDir(), "run")
	o := small(t, out, 8)
	bad := map[int]float32{3: float32(math.NaN()), 5: float32(math.Inf(1)), 6: float32(math.Inf(-1))}
	o.hooks.gradients = func(step int, grads []float32) {
		if v, ok := bad[step]; ok {
			grads[len(grads)/2] = v
		}
	}
	r := mustRun(t, o)
	if r.Skipped != 3 {
		t.Errorf("%d skipped, want 3", r.Skipped)
	}
	st, err := readState(r.Last)
	if err != nil || st.Updates != 5 || st.Bad != 3 || st.BadInARow != 0 {
		t.Errorf("state %+v, %v", st, err)
	}
	if rows := strings.Split(untimed(t, out), "\n"); !strings.HasSuffix(rows[3], ",,1") || !strings.HasSuffix(rows[6], ",inf,3") {
		t.Errorf("rows %q and %q", rows[3], rows[6])
	}
}

func TestThreeBadBatchesStopTheRun(t *testing.T) {
	out := filepath.Join(t.TempDir(), "run")
	o := small(t, out, 12)
	o.hooks.gradients = func(step int, grads []float32) {
		if step >= 5 {
			grads[0] = float32(math.NaN())
		}
	}
	_, err := Run(context.Background(), o)
	if !errors.Is(err, ErrDiverged) || !strings.Contains(err.Error(), "step 7") {
		t.Fatalf("got %v", err)
	}
	steps, err := checkpoints(out)
	if err != nil || len(steps) == 0 || steps[len(steps)-1] >= 7 {
		t.Fatalf("checkpoints %v, %v", steps, err)
	}
	if err := manifest.Verify(filepath.Join(out, checkpointsName, stepPrefix+strconv.Itoa(steps[len(steps)-1]))); err != nil {
		t.Error(err)
	}
	// The gradients were the hook's fault: without it the run goes on to its end.
	o = small(t, out, 12)
	o.Resume = true
	if r := mustRun(t, o); r.Step != 12 || r.Skipped != 2 { // steps 5 and 6, which a checkpoint holds
		t.Errorf("result %+v", r)
	}
}

func TestInitStartsFromWeights(t *testing.T) {
	first := filepath.Join(t.TempDir(), "first")
	r := mustRun(t, small(t, first, 4))
	second := filepath.Join(t.TempDir(), "second")
	o := small(t, second, 2)
	o.Size, o.Init = nil, &r.Last
	var losses []float64
	o.Reporter = lossesOf{silent{}, &losses}
	mustRun(t, o)
	if len(losses) != 2 || losses[0] > math.Log(300)-0.1 {
		t.Errorf("losses %v: want to begin below ln 300 = %.2f", losses, math.Log(300))
	}
	st, err := readState(filepath.Join(second, checkpointsName, "step-2"))
	if err != nil || st.Updates != 2 {
		t.Errorf("state %+v, %v: an optimizer that starts anew", st, err)
	}
	m, err := manifest.Read(second)
	if err != nil || m.Parents["init"] == "" || m.Parents["data"] == "" {
		t.Errorf("parents %v, %v", m.Parents, err)
	}
	o = small(t, filepath.Join(t.TempDir(), "third"), 2)
	o.Init, o.Size = &r.Last, new("mini")
	if _, err := Run(context.Background(), o); !errors.Is(err, ErrUsage) {
		t.Errorf("--init with the --size of another model: %v", err)
	}
	// Its config.yaml names both, and repeats the run.
	o = Options{Out: filepath.Join(t.TempDir(), "fourth"), ConfigFile: filepath.Join(second, configName), hooks: hooks{network: newToy}}
	mustRun(t, o)
	sameFolder(t, filepath.Join(second, checkpointsName), filepath.Join(o.Out, checkpointsName), func(string) bool { return false })
}

type lossesOf struct {
	silent
	to *[]float64
}

func (l lossesOf) Step(p Progress) { *l.to = append(*l.to, p.Loss) }

func TestTimeFixesTheSteps(t *testing.T) {
	out := filepath.Join(t.TempDir(), "run")
	o := small(t, out, 1)
	o.Steps, o.Time = nil, new(Duration)
	if err := o.Time.UnmarshalText([]byte("0.3s")); err != nil {
		t.Fatal(err)
	}
	o.EvalEvery, o.CheckpointEvery = nil, nil
	ctx, cancel := context.WithCancel(context.Background())
	o.Reporter = &stopAfter{step: 1, cancel: cancel}
	_, err := Run(ctx, o)
	if err != nil && !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	c, err := readConfigFile(filepath.Join(out, configName))
	if err != nil || c.Steps == nil || *c.Steps < 2 || c.Time == nil {
		t.Fatalf("config %+v, %v: want steps and time", c, err)
	}
	o.Resume, o.Reporter = true, nil
	if r := mustRun(t, o); r.Steps != *c.Steps || r.Step != r.Steps {
		t.Errorf("result %+v, want %d steps", r, *c.Steps)
	}
	// The stored configuration repeats the run, in another folder and without a probe.
	again := Options{Out: filepath.Join(t.TempDir(), "again"), ConfigFile: filepath.Join(out, configName), hooks: o.hooks}
	r := mustRun(t, again)
	sameFolder(t, filepath.Join(out, checkpointsName, filepath.Base(r.Last)), r.Last, nil)
}

func TestNothingMaskedIsSkipped(t *testing.T) {
	out := filepath.Join(t.TempDir(), "run")
	o := small(t, out, 6)
	o.Draw, o.MaskRate, o.EvalEvery = new("bernoulli"), new(1e-9), new(0)
	r := mustRun(t, o)
	st, err := readState(r.Last)
	if err != nil || st.Empty != 6 || st.Updates != 0 || r.Skipped != 6 || st.Loss != nil {
		t.Errorf("state %+v, %v", st, err)
	}
	if rows := strings.Split(untimed(t, out), "\n"); !strings.HasSuffix(rows[6], ",,6") {
		t.Errorf("row %q", rows[6])
	}
}

func TestFirstLookChangesNothing(t *testing.T) {
	out := filepath.Join(t.TempDir(), "run")
	for name, spoil := range map[string]func(o *Options){
		"steps 0":       func(o *Options) { o.Steps = new(0) },
		"steps, time":   func(o *Options) { o.Time = new(Duration(1)) },
		"schedule":      func(o *Options) { o.Schedule = new("triangle") },
		"warm-up":       func(o *Options) { o.Warmup = new(5) },
		"dtype":         func(o *Options) { o.DType = new("f16") },
		"device":        func(o *Options) { o.Device = new("cuda:0") },
		"memory":        func(o *Options) { o.Memory = new("much") },
		"rate":          func(o *Options) { o.LearningRate = new(math.NaN()) },
		"size":          func(o *Options) { o.Size = new("huge") },
		"no data":       func(o *Options) { o.Data = nil },
		"no run":        func(o *Options) { o.Out = "" },
		"context":       func(o *Options) { o.Context = new(2) },
		"mask":          func(o *Options) { o.Mask = new("none") },
		"beta":          func(o *Options) { o.Beta2 = new(1.0) },
		"delimiters":    func(o *Options) { o.Delimiters = new("é") },
		"unknown model": func(o *Options) { o.Size = new("nowhere/config.json") },
	} {
		o := small(t, out, 5)
		spoil(&o)
		if _, err := Run(context.Background(), o); !errors.Is(err, ErrUsage) {
			t.Errorf("%s: got %v", name, err)
		}
		if _, err := os.Stat(out); !errors.Is(err, fs.ErrNotExist) {
			t.Fatalf("%s: the run folder was made: %v", name, err)
		}
	}
	o := small(t, out, 5)
	o.Memory = new("1KB")
	if _, err := Run(context.Background(), o); err == nil || !strings.Contains(err.Error(), "memory") {
		t.Errorf("a limit of 1 kB: got %v", err)
	}
}

func TestTextReporter(t *testing.T) {
	var b strings.Builder
	o := small(t, filepath.Join(t.TempDir(), "run"), 5)
	o.Reporter = &TextReporter{W: &b}
	mustRun(t, o)
	for _, want := range []string{"parameters", "memory", "tokens a step", "5 steps", "expected time", "step 5/5", "valid perplexity", "(best)"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in\n%s", want, b.String())
		}
	}
	var _ eval.Scorer = (*toy)(nil)
}

// TestSkippedStepIsNoUpdate looks at the one update of two steps: AdamW's first update moves each bias by the learning
// rate, whatever the gradient; counted as a second one it would move it by 0.74 of that.
func TestSkippedStepIsNoUpdate(t *testing.T) {
	o := small(t, filepath.Join(t.TempDir(), "run"), 2)
	o.Schedule, o.Warmup, o.DecaySteps, o.EvalEvery, o.Clip = new("wsd"), new(0), new(0), new(0), new(0.0)
	o.hooks.gradients = func(step int, grads []float32) {
		if step == 1 {
			grads[0] = float32(math.NaN())
		}
	}
	f, err := model.ReadFolder(mustRun(t, o).Last, model.ReadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	largest := 0.0
	for _, b := range f.Params.Weight("cls.predictions.bias") {
		largest = max(largest, math.Abs(float64(b)))
	}
	// epsilon against gradients of about 1/300 takes less than 1 %.
	if math.Abs(largest-*o.LearningRate) > 0.01**o.LearningRate {
		t.Errorf("a bias moved by %v, want %v", largest, *o.LearningRate)
	}
}

// stopping is a toy that cancels its context in the first micro-batch.
type stopping struct {
	network
	cancel context.CancelFunc
	runs   int
}

func (n *stopping) run(ctx context.Context, m *batch.Micro, seed uint64, step uint32, scale float32, accumulate bool) (float64, error) {
	n.runs++
	n.cancel()
	return n.network.run(ctx, m, seed, step, scale, accumulate)
}

func TestInterruptedProbeLeavesAtOnce(t *testing.T) {
	out := filepath.Join(t.TempDir(), "run")
	o := small(t, out, 5)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var n *stopping
	o.hooks.network = func(s *session) (network, error) {
		inner, err := newToy(s)
		n = &stopping{network: inner, cancel: cancel}
		return n, err
	}
	if _, err := Run(ctx, o); !errors.Is(err, context.Canceled) || n.runs != 1 {
		t.Errorf("%v after %d micro-batches, want a cancelled context after 1", err, n.runs)
	}
	if _, err := os.Stat(filepath.Join(out, configName)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the run has begun: %v", err)
	}
	mustRun(t, small(t, out, 2))
}

func TestCorruptionIsCheckedFirst(t *testing.T) {
	for name, set := range map[string]func(*Options){
		"shares above 1": func(o *Options) { o.MaskShare, o.RandomShare = new(0.9), new(0.9) },
		"no share":       func(o *Options) { o.MaskShare = new(math.NaN()) },
		"no run":         func(o *Options) { o.MaxNgram = new(0) },
		"long runs":      func(o *Options) { o.MaxNgram = new(65) },
		"runs, one draw": func(o *Options) { o.MaxNgram, o.Draw = new(3), new("bernoulli") },
	} {
		o := small(t, filepath.Join(t.TempDir(), "run"), 2)
		set(&o)
		if _, err := Run(context.Background(), o); !errors.Is(err, ErrUsage) || !strings.Contains(err.Error(), "--") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A size limits the process, so micro-batches count: 2^20 of 128 tokens are 2 GiB, drawn ahead.
func TestMicroBatchesCountAsMemory(t *testing.T) {
	o := small(t, filepath.Join(t.TempDir(), "run"), 2)
	o.Accumulate, o.TokensPerStep, o.Memory = new(1<<20), new(1<<27), new("1GiB")
	if _, err := Run(context.Background(), o); err == nil || !strings.Contains(err.Error(), "1.1 GB may be used") {
		t.Errorf("got %v", err)
	}
}

func TestContextBeyondAbsolutePositions(t *testing.T) {
	o := small(t, filepath.Join(t.TempDir(), "run"), 2)
	c, err := model.ReadConfig(*o.Size)
	if err != nil {
		t.Fatal(err)
	}
	c.PositionBiasedInput, c.MaxPositionEmbeddings = true, 31
	size := filepath.Join(t.TempDir(), "absolute.json")
	if err := os.WriteFile(size, c.JSON(), 0o666); err != nil {
		t.Fatal(err)
	}
	o.Size = &size
	if _, err := Run(context.Background(), o); !errors.Is(err, ErrUsage) || !strings.Contains(err.Error(), "--context 32") {
		t.Errorf("got %v", err)
	}
}
