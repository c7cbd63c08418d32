package train

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/secencoder/secencoder/data/batch"
	"github.com/secencoder/secencoder/internal/manifest"
)

func TestFinishedRunIsLeftAlone(t *testing.T) {
	out := filepath.Join(t.TempDir(), "run")
	mustRun(t, small(t, out, 5))
	before := t.TempDir()
	if err := os.CopyFS(before, os.DirFS(out)); err != nil {
		t.Fatal(err)
	}
	o := small(t, out, 5)
	o.Resume = true
	r := mustRun(t, o)
	if !r.Finished || r.Step != 5 || filepath.Base(r.Last) != "step-5" {
		t.Errorf("result %+v", r)
	}
	sameFolder(t, before, out, nil)
	o.Settings = Settings{} // resuming needs no flags
	if r := mustRun(t, o); !r.Finished {
		t.Errorf("result %+v", r)
	}
}

// stopAfter cancels a context after a number of steps.
type stopAfter struct {
	silent
	step   int
	cancel context.CancelFunc
}

func (s *stopAfter) Step(p Progress) {
	if p.Step == s.step {
		s.cancel()
	}
}

func TestResumeGivesTheSameBits(t *testing.T) {
	whole := filepath.Join(t.TempDir(), "whole")
	mustRun(t, small(t, whole, 13))
	for _, stops := range [][]int{{1}, {4}, {7}, {8, 9}, {12}, {3, 4, 5, 6, 10}} {
		out := filepath.Join(t.TempDir(), "run")
		for _, stop := range stops {
			ctx, cancel := context.WithCancel(context.Background())
			o := small(t, out, 13)
			o.Resume = true
			o.Reporter = &stopAfter{step: stop, cancel: cancel}
			_, err := Run(ctx, o)
			if !errors.Is(err, context.Canceled) {
				t.Fatalf("stop after %d: %v", stop, err)
			}
			if steps, err := checkpoints(out); err != nil || steps[len(steps)-1] != stop {
				t.Fatalf("stop after %d: checkpoints %v, %v", stop, steps, err)
			}
			cancel()
		}
		o := small(t, out, 13)
		o.Resume = true
		r := mustRun(t, o)
		sameFolder(t, filepath.Join(whole, checkpointsName, "step-13"), r.Last, nil)
		for _, name := range []string{evalName, configName, modelConfigName, manifest.Name, "checkpoints/best", "checkpoints/last"} {
			a, err := os.ReadFile(filepath.Join(whole, name))
			if err != nil {
				t.Fatal(err)
			}
			if b, err := os.ReadFile(filepath.Join(out, name)); err != nil || string(a) != string(b) {
				t.Errorf("stops %v: %s differs: %v\n%s\n%s", stops, name, err, a, b)
			}
		}
		if a, b := untimed(t, whole), untimed(t, out); a != b {
			t.Errorf("stops %v: metrics.csv differs:\n%s\n%s", stops, a, b)
		}
	}
}

// within cancels before a micro-batch of a step.
type within struct {
	network
	s      *session
	step   uint32
	micro  int
	cancel context.CancelFunc
}

func (w *within) run(ctx context.Context, m *batch.Micro, seed uint64, step uint32, scale float32, accumulate bool) (float64, error) {
	if step == w.step && w.s.loader != nil { // no probe
		if w.micro--; w.micro < 0 {
			w.cancel()
		}
	}
	return w.network.run(ctx, m, seed, step, scale, accumulate)
}

// A step that is interrupted is left: the checkpoint holds the step before, and the resumed run does it again, with the same
// bits. Before the first step is done there is no checkpoint, and the run begins anew.
func TestInterruptedStepIsLeft(t *testing.T) {
	for name, inner := range map[string]func(*session) (network, error){"toy": newToy, "plans": compiled} {
		t.Run(name, func(t *testing.T) {
			whole := filepath.Join(t.TempDir(), "whole")
			o := small(t, whole, 5)
			o.hooks.network = inner
			mustRun(t, o)
			for _, at := range []struct{ step, micro int }{{1, 1}, {3, 0}, {3, 1}, {5, 1}} {
				out := filepath.Join(t.TempDir(), "run")
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				o := small(t, out, 5)
				o.hooks.network = func(s *session) (network, error) {
					n, err := inner(s)
					return &within{n, s, uint32(at.step), at.micro, cancel}, err
				}
				_, err := Run(ctx, o)
				if want := fmt.Sprintf("interrupted after step %d", at.step-1); !errors.Is(err, context.Canceled) ||
					at.step > 1 && !strings.Contains(err.Error(), want) {
					t.Fatalf("%v, want %s", err, want)
				}
				steps, err := checkpoints(out)
				if err != nil || at.step > 1 && (len(steps) == 0 || steps[len(steps)-1] != at.step-1) || at.step == 1 && len(steps) > 0 {
					t.Fatalf("interrupted in step %d: checkpoints %v, %v", at.step, steps, err)
				}
				o = small(t, out, 5)
				o.Resume, o.hooks.network = true, inner
				r := mustRun(t, o)
				sameFolder(t, filepath.Join(whole, checkpointsName, "step-5"), r.Last, nil)
				if a, b := untimed(t, whole), untimed(t, out); a != b {
					t.Errorf("interrupted in step %d: metrics.csv differs:\n%s\n%s", at.step, a, b)
				}
			}
		})
	}
}

// TestResumeCutsWhatLiesBehind resumes from an older checkpoint than the rows reach, as after kill -9.
func TestResumeCutsWhatLiesBehind(t *testing.T) {
	whole := filepath.Join(t.TempDir(), "whole")
	o := small(t, whole, 9)
	mustRun(t, o)
	out := filepath.Join(t.TempDir(), "run")
	if err := os.CopyFS(out, os.DirFS(whole)); err != nil {
		t.Fatal(err)
	}
	steps, err := checkpoints(out)
	if err != nil || len(steps) < 2 {
		t.Fatalf("checkpoints %v, %v", steps, err)
	}
	if err := os.RemoveAll(filepath.Join(out, checkpointsName, stepPrefix+strconv.Itoa(steps[len(steps)-1]))); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(filepath.Join(out, metricsName), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString("10,99"); err != nil { // torn
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	for _, left := range []string{".metrics.csv.1.2.tmp", "checkpoints/.last.1.2.tmp", "checkpoints/.step-7.partial/x", "checkpoints/.removed-step-1/x"} {
		path := filepath.Join(out, filepath.FromSlash(left))
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o777), os.WriteFile(path, nil, 0o666)); err != nil {
			t.Fatal(err)
		}
	}
	o.Out, o.Resume = out, true
	mustRun(t, o)
	sameFolder(t, whole, out, clockFree)
	if a, b := untimed(t, whole), untimed(t, out); a != b {
		t.Errorf("metrics.csv differs:\n%s\n%s", a, b)
	}
}

// What somebody took out of a run folder is told; a changed config.yaml is refused before anything is written.
func TestResumeTellsWhatIsGone(t *testing.T) {
	out := filepath.Join(t.TempDir(), "run")
	o := small(t, out, 9)
	mustRun(t, o)
	steps, err := checkpoints(out)
	if err != nil || len(steps) < 2 {
		t.Fatalf("checkpoints %v, %v", steps, err)
	}
	for _, gone := range []string{filepath.Join(checkpointsName, stepPrefix+strconv.Itoa(steps[len(steps)-1])), metricsName, curvesName} {
		if err := os.RemoveAll(filepath.Join(out, gone)); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(out, configName)
	config, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, bytes.Replace(config, []byte("mask_rate: 0.15"), []byte("mask_rate: 0.55"), 1), 0o666); err != nil {
		t.Fatal(err)
	}
	resume := o
	resume.Settings, resume.Out, resume.Resume = Settings{}, out, true
	if _, err := Run(context.Background(), resume); !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), configName) {
		t.Fatalf("a changed %s: %v", configName, err)
	}
	if err := os.WriteFile(path, config, 0o666); err != nil {
		t.Fatal(err)
	}
	var told bytes.Buffer
	resume.Reporter = &TextReporter{W: &told}
	mustRun(t, resume)
	for _, want := range []string{"metrics.csv has 0 of the", "tb is gone"} {
		if !strings.Contains(told.String(), want) {
			t.Errorf("the report does not say %q:\n%s", want, told.String())
		}
	}
}

func TestResumeRefusesOtherSettings(t *testing.T) {
	out := filepath.Join(t.TempDir(), "run")
	ctx, cancel := context.WithCancel(context.Background())
	o := small(t, out, 9)
	o.Reporter = &stopAfter{step: 3, cancel: cancel}
	if _, err := Run(ctx, o); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	o = small(t, out, 9)
	o.Resume, o.LearningRate, o.Mask = true, new(0.5), new("all")
	_, err := Run(context.Background(), o)
	if !errors.Is(err, ErrUsage) || !strings.Contains(err.Error(), "--learning-rate is 0.5, the run was begun with 0.05") ||
		!strings.Contains(err.Error(), "--mask is all") {
		t.Errorf("got %v", err)
	}
	moved := filepath.Join(t.TempDir(), "data")
	if err := os.CopyFS(moved, os.DirFS(*o.Data)); err != nil {
		t.Fatal(err)
	}
	o = Options{Out: out, Resume: true, Settings: Settings{Keep: new(0), Threads: new(2), Memory: new("layer"), Data: &moved}, hooks: o.hooks}
	mustRun(t, o)
	if steps, err := checkpoints(out); err != nil || len(steps) > 2 {
		t.Errorf("--keep 0 leaves checkpoints %v, %v", steps, err)
	}
}

func TestResumeRefusesOtherData(t *testing.T) {
	out := filepath.Join(t.TempDir(), "run")
	ctx, cancel := context.WithCancel(context.Background())
	o := small(t, out, 9)
	o.Reporter = &stopAfter{step: 3, cancel: cancel}
	if _, err := Run(ctx, o); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	other := filepath.Join(t.TempDir(), "data")
	if err := os.CopyFS(other, os.DirFS(*o.Data)); err != nil {
		t.Fatal(err)
	}
	m, err := manifest.Read(other)
	if err != nil {
		t.Fatal(err)
	}
	m.Tool = "another"
	if err := manifest.Write(other, m); err != nil {
		t.Fatal(err)
	}
	o = small(t, out, 9)
	o.Resume, o.Data = true, &other
	if _, err := Run(context.Background(), o); err == nil || !strings.Contains(err.Error(), "the run was begun with data of") {
		t.Errorf("got %v", err)
	}
}

func TestCorruptCheckpointIsNamed(t *testing.T) {
	out := filepath.Join(t.TempDir(), "run")
	ctx, cancel := context.WithCancel(context.Background())
	o := small(t, out, 9)
	o.Reporter = &stopAfter{step: 3, cancel: cancel}
	if _, err := Run(ctx, o); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	for _, name := range []string{"model.safetensors", optimizerName, stateName, "tokenizer.json"} {
		path := filepath.Join(out, checkpointsName, "step-3", name)
		good, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		bad := slices.Clone(good)
		bad[len(bad)/2] ^= 1
		for what, content := range map[string][]byte{"a flipped bit": bad, "a cut": good[:len(good)-1]} {
			if err := os.WriteFile(path, content, 0o666); err != nil {
				t.Fatal(err)
			}
			o := small(t, out, 9)
			o.Resume = true
			if _, err := Run(context.Background(), o); !errors.As(err, new(*CheckpointError)) || !strings.Contains(err.Error(), name) {
				t.Errorf("%s with %s: %v", name, what, err)
			}
		}
		if err := os.WriteFile(path, good, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	o = small(t, out, 9)
	o.Resume = true
	mustRun(t, o)
}

func TestInterruptedEvaluationIsMadeUpFor(t *testing.T) {
	whole, out := filepath.Join(t.TempDir(), "whole"), filepath.Join(t.TempDir(), "run")
	for _, steps := range []int{6, 4} { // in the middle, and at the last step
		for _, dir := range []string{whole, out} {
			if err := os.RemoveAll(dir); err != nil {
				t.Fatal(err)
			}
		}
		mustRun(t, small(t, whole, steps))
		ctx, cancel := context.WithCancel(context.Background())
		o := small(t, out, steps)
		o.hooks.network = func(s *session) (network, error) {
			n, err := newToy(s)
			return &cancelling{n, cancel}, err
		}
		if _, err := Run(ctx, o); !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
		if st, err := readState(filepath.Join(out, checkpointsName, "step-4")); err != nil || st.Evaluated != 0 {
			t.Fatalf("state %+v, %v", st, err)
		}
		o = small(t, out, steps)
		o.Resume = true
		if r := mustRun(t, o); r.Finished || filepath.Base(r.Best) != bestOf(t, whole) {
			t.Errorf("result %+v, want best %s", r, bestOf(t, whole))
		}
		a, err := os.ReadFile(filepath.Join(whole, evalName))
		if err != nil {
			t.Fatal(err)
		}
		if b, err := os.ReadFile(filepath.Join(out, evalName)); err != nil || string(a) != string(b) {
			t.Errorf("eval.csv differs: %v\n%s\n%s", err, a, b)
		}
		if r := mustRun(t, o); !r.Finished {
			t.Errorf("a second resume does something: %+v", r)
		}
		if _, err := Check(out); err != nil {
			t.Error(err)
		}
	}
}

func bestOf(t *testing.T, run string) string {
	t.Helper()
	line, err := os.ReadFile(filepath.Join(run, checkpointsName, bestName))
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(line))
}

// cancelling cancels in the middle of the first evaluation.
type cancelling struct {
	network
	cancel context.CancelFunc
}

func (c *cancelling) Score(ctx context.Context, m *batch.Micro) (nll, hit []float32, err error) {
	c.cancel()
	return c.network.Score(ctx, m)
}

// An error that comes with an interruption is no interruption.
func TestErrorBesideInterruption(t *testing.T) {
	o := small(t, filepath.Join(t.TempDir(), "run"), 5)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	o.hooks.network = func(s *session) (network, error) {
		n, err := newToy(s)
		return &within{&failing{n, 5}, s, 5, 0, cancel}, err
	}
	if _, err := Run(ctx, o); !errors.Is(err, errFails) || !strings.Contains(err.Error(), "step 5") {
		t.Errorf("%v, want the error of step 5", err)
	}
}

// What computes a step or an evaluation looks at the context.
func TestPlansAreCancelled(t *testing.T) {
	o := small(t, filepath.Join(t.TempDir(), "run"), 2)
	o.hooks.network = compiled
	s, err := open(context.Background(), &o)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.close(); err != nil {
			t.Error(err)
		}
	}()
	micros, err := s.loader.NextStep()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := s.net.Score(ctx, micros[0]); err != context.Canceled {
		t.Errorf("Score: %v", err)
	}
	if _, err := s.net.run(ctx, micros[0], 0, 1, 1, false); err != context.Canceled {
		t.Errorf("run: %v", err)
	}
}

// failing fails the micro-batches of a step.
type failing struct {
	network
	step uint32
}

var errFails = errors.New("fails")

func (f *failing) run(ctx context.Context, m *batch.Micro, seed uint64, step uint32, scale float32, accumulate bool) (float64, error) {
	if step == f.step {
		return 0, errFails
	}
	return f.network.run(ctx, m, seed, step, scale, accumulate)
}

// A run that made up for an evaluation and died before its next checkpoint makes up for it again: its rows stand once.
func TestMadeUpEvaluationIsNotCountedTwice(t *testing.T) {
	whole, out := filepath.Join(t.TempDir(), "whole"), filepath.Join(t.TempDir(), "run")
	mustRun(t, small(t, whole, 9))
	ctx, cancel := context.WithCancel(context.Background())
	o := small(t, out, 9)
	o.hooks.network = func(s *session) (network, error) {
		n, err := newToy(s)
		return &cancelling{n, cancel}, err
	}
	if _, err := Run(ctx, o); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	o = small(t, out, 9)
	o.Resume = true
	o.hooks.network = func(s *session) (network, error) {
		n, err := newToy(s)
		return &failing{n, 5}, err
	}
	if _, err := Run(context.Background(), o); !errors.Is(err, errFails) || !strings.Contains(err.Error(), "step 5") {
		t.Fatalf("got %v", err)
	}
	if made, err := hasRow(filepath.Join(out, evalName), 4); err != nil || !made {
		t.Fatalf("the evaluation of step 4 was not made up for: %v", err)
	}
	o = small(t, out, 9)
	o.Resume = true
	mustRun(t, o)
	a, err := os.ReadFile(filepath.Join(whole, evalName))
	if err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(filepath.Join(out, evalName)); err != nil || string(a) != string(b) {
		t.Errorf("eval.csv differs: %v\n%s\n%s", err, a, b)
	}
}

// A run killed while it wrote the files that describe it has not begun: it starts at 0, asked to resume or not.
func TestHalfBegunRunStarts(t *testing.T) {
	whole := filepath.Join(t.TempDir(), "whole")
	mustRun(t, small(t, whole, 3))
	for _, resume := range []bool{false, true} {
		out := t.TempDir()
		if err := os.Mkdir(filepath.Join(out, checkpointsName), 0o777); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{lockName, modelConfigName, manifest.Name} {
			if err := os.WriteFile(filepath.Join(out, name), []byte("{"), 0o666); err != nil {
				t.Fatal(err)
			}
		}
		o := small(t, out, 3)
		o.Resume = resume
		mustRun(t, o)
		sameFolder(t, whole, out, clockFree)
	}
}

// A run that was begun and has no checkpoint starts at 0 with the settings it was begun with.
func TestResumeWithoutCheckpointStartsAnew(t *testing.T) {
	whole, out := filepath.Join(t.TempDir(), "whole"), filepath.Join(t.TempDir(), "run")
	o := small(t, whole, 3)
	mustRun(t, o)
	o.Out = out
	o.hooks.network = func(s *session) (network, error) {
		n, err := newToy(s)
		return &failingLate{failing{n, 2}, s}, err
	}
	if _, err := Run(context.Background(), o); !errors.Is(err, errFails) {
		t.Fatalf("got %v", err)
	}
	mustRun(t, Options{Out: out, Resume: true, hooks: hooks{network: newToy}})
	sameFolder(t, whole, out, clockFree)
}

// failingLate fails after the probe only.
type failingLate struct {
	failing
	s *session
}

func (f *failingLate) run(ctx context.Context, m *batch.Micro, seed uint64, step uint32, scale float32, accumulate bool) (float64, error) {
	if f.s.loader == nil {
		return f.network.run(ctx, m, seed, step, scale, accumulate)
	}
	return f.failing.run(ctx, m, seed, step, scale, accumulate)
}

// The evaluation that is made up for at the end may give another best checkpoint: the one before is not kept for nothing.
func TestMadeUpEvaluationRetains(t *testing.T) {
	out := filepath.Join(t.TempDir(), "run")
	ctx, cancel := context.WithCancel(context.Background())
	o := small(t, out, 4)
	o.EvalEvery, o.Keep, o.CheckpointEvery = new(2), new(0), new(2)
	o.Reporter = &stopAfter{step: 4, cancel: cancel}
	if _, err := Run(ctx, o); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if steps, err := checkpoints(out); err != nil || !slices.Equal(steps, []int{2, 4}) {
		t.Fatalf("checkpoints %v, %v", steps, err)
	}
	o.Resume, o.Reporter = true, nil
	mustRun(t, o)
	if best := bestOf(t, out); best != "step-4" {
		t.Fatalf("best is %s", best)
	}
	if steps, err := checkpoints(out); err != nil || !slices.Equal(steps, []int{4}) {
		t.Errorf("checkpoints %v, %v: want the last one, which is the best", steps, err)
	}
	if _, err := Check(out); err != nil {
		t.Error(err)
	}
}
