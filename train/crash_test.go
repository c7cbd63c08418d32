package train

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"
)

// crashOptions are the options of a run of the compiled model, dropout included, that is killed and resumed.
func crashOptions(out, dir, size string, steps int) Options {
	return Options{
		Out: out,
		Settings: Settings{
			Data: &dir, Size: &size, Steps: &steps, Context: new(32), TokensPerStep: new(128), Accumulate: new(2),
			EvalEvery: new(7), CheckpointEvery: new(3), Keep: new(1), EvalPieces: new(20), LearningRate: new(0.01), Threads: new(1),
		},
	}
}

// TestKilledRunsEndWithTheSameBits kills a training process with SIGKILL at random moments, starting it again until the
// run is finished, and compares its folder with that of a run that was left alone. The processes are this test binary
// (see TestMain), so what dies is a real process with open files.
func TestKilledRunsEndWithTheSameBits(t *testing.T) {
	dir, size := fixture(t)
	const steps, minKills = 60, 5
	whole := filepath.Join(t.TempDir(), "whole")
	begun := time.Now()
	mustRun(t, crashOptions(whole, dir, size, steps))
	length := time.Since(begun)

	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d, a whole run takes %v", seed, length)
	r := rand.New(rand.NewPCG(seed, 0))
	out := filepath.Join(t.TempDir(), "killed")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	kills, starts := 0, 0
	for deadline := time.Now().Add(90 * time.Second); ; {
		child := exec.Command(self)
		child.Env = append(os.Environ(), childVariable+"="+out, "SECENCODER_TEST_DATA="+dir, "SECENCODER_TEST_SIZE="+size,
			"SECENCODER_TEST_STEPS="+strconv.Itoa(steps))
		var stderr bytes.Buffer
		child.Stderr = &stderr
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		starts++
		done := make(chan error, 1)
		go func() { done <- child.Wait() }()
		// The kills fall anywhere from the start of the process on; after some, the run is let go to its end.
		wait := time.Duration(r.Float64() * 0.45 * float64(length))
		if kills >= minKills {
			wait = time.Minute
		}
		var ended error
		select {
		case ended = <-done:
		case <-time.After(wait):
			if err := child.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
				t.Fatal(err)
			}
			ended = <-done
		}
		if ended == nil {
			break
		}
		var exit *exec.ExitError
		if !errors.As(ended, &exit) || exit.ExitCode() != -1 { // −1: killed by a signal
			t.Fatalf("start %d: %v\n%s", starts, ended, stderr.String())
		}
		kills++
		if time.Now().After(deadline) {
			t.Fatalf("the run did not end after %d kills", kills)
		}
	}
	t.Logf("%d starts, %d kills", starts, kills)
	if kills == 0 {
		t.Error("no kill hit the run: nothing was shown")
	}
	sameFolder(t, whole, out, func(name string) bool {
		// What lies beside last and best may differ: a killed run may leave a temporary name.
		return clockFree(name) || filepath.Base(name)[0] == '.'
	})
	if a, b := untimed(t, whole), untimed(t, out); a != b {
		t.Errorf("metrics.csv differs:\n%s\n%s", a, b)
	}
	if t.Failed() {
		kept, err := os.MkdirTemp("", "killed-run-")
		if err == nil {
			err = errors.Join(os.CopyFS(filepath.Join(kept, "whole"), os.DirFS(whole)), os.CopyFS(filepath.Join(kept, "killed"), os.DirFS(out)))
		}
		t.Logf("both runs are kept in %s (%v)", kept, err)
	}
}

func TestThreadsDoNotChangeBits(t *testing.T) {
	dir, size := fixture(t)
	one, two := filepath.Join(t.TempDir(), "one"), filepath.Join(t.TempDir(), "two")
	o := crashOptions(one, dir, size, 8)
	mustRun(t, o)
	o.Out, o.Threads = two, new(2)
	mustRun(t, o)
	sameFolder(t, one, two, func(name string) bool { return clockFree(name) || name == configName })
	if a, b := untimed(t, one), untimed(t, two); a != b {
		t.Errorf("metrics.csv differs:\n%s\n%s", a, b)
	}
}

// TestCompiledModelLearns trains the compiled model, dropout on, for some steps on logs that have few different tokens.
func TestCompiledModelLearns(t *testing.T) {
	dir, size := fixture(t)
	o := crashOptions(filepath.Join(t.TempDir(), "run"), dir, size, 80)
	o.TokensPerStep, o.EvalEvery = new(256), new(0)
	var losses []float64
	o.Reporter = lossesOf{silent{}, &losses}
	if _, err := Run(context.Background(), o); err != nil {
		t.Fatal(err)
	}
	mean := func(v []float64) (sum float64) {
		for _, x := range v {
			sum += x / float64(len(v))
		}
		return sum
	}
	if first, last := mean(losses[:5]), mean(losses[75:]); !(last < first-1) {
		t.Errorf("loss from %.3f to %.3f, want a fall of more than 1 nat", first, last)
	}
}
