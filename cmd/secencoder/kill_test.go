package main

import (
	"bytes"
	"encoding/csv"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// TestKilledRunsEndInTheSameBits kills the real binary with SIGKILL at random moments, goes on with --resume until it is
// done, and compares with a run that nobody disturbed: weights, optimizer, state of the loader, every metric that does
// not measure time.
func TestKilledRunsEndInTheSameBits(t *testing.T) {
	if testing.Short() {
		t.Skip("builds and kills a real binary: not with -short")
	}
	dir := t.TempDir()
	binary := filepath.Join(dir, "secencoder.exe")
	build := exec.Command("go", "build", "-o", binary, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	call := func(args ...string) *exec.Cmd {
		cmd := exec.Command(binary, append(args, "--quiet")...)
		cmd.Dir = dir
		return cmd
	}
	must := func(args ...string) {
		t.Helper()
		if out, err := call(args...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", args, err, out)
		}
	}
	must("data", "synth", "--out", "made", "--bytes", "1MB")
	must("data", "build", "--in", "made/logs", "--out", "data", "--tokenizer", "train:500")
	const steps = "120"
	begin := []string{"pretrain", "--data", "data", "--steps", steps, "--checkpoint-every", "13", "--eval-every", "29", "--eval-pieces", "30", "--accumulate", "2"}
	begun := time.Now()
	must(append(begin, "--out", "whole")...)
	whole := time.Since(begun)

	seed := uint64(time.Now().UnixNano())
	random := rand.New(rand.NewPCG(seed, 0))
	t.Logf("moments drawn with seed %d; an undisturbed run takes %v", seed, whole)
	args := append(begin, "--out", "killed")
	kills, missed := 0, 0
	for {
		cmd := call(args...)
		var out bytes.Buffer
		cmd.Stderr = &out
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if kills < 6 {
			time.Sleep(time.Duration(random.Float64() * 0.8 / float64(1+missed) * float64(whole)))
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
		if err := cmd.Wait(); err == nil {
			if missed++; kills > 0 || missed > 10 {
				break
			}
			// Over before the kill came: the undisturbed run was slow. Begin anew and strike earlier.
			if err := os.RemoveAll(filepath.Join(dir, "killed")); err != nil {
				t.Fatal(err)
			}
			continue
		} else if kills >= 6 {
			t.Fatalf("seed %d: after %d kills: %v\n%s", seed, kills, err, out.String())
		}
		kills++
		args = []string{"pretrain", "--out", "killed", "--resume"}
		if _, err := os.Stat(filepath.Join(dir, "killed", "config.yaml")); err != nil {
			args = append(begin, "--out", "killed") // killed before the run folder stood
		}
	}
	if kills == 0 {
		t.Fatalf("seed %d: no kill of %d hit; nothing was shown", seed, missed)
	}
	last := filepath.Join("checkpoints", "step-"+steps)
	for _, name := range []string{"model.safetensors", "optimizer.safetensors", "state.json", "config.json"} {
		a, err := os.ReadFile(filepath.Join(dir, "whole", last, name))
		if err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(filepath.Join(dir, "killed", last, name))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(a, b) {
			t.Errorf("seed %d: %s differs after %d kills", seed, name, kills)
		}
	}
	for _, name := range []string{"metrics.csv", "eval.csv"} {
		a, b := withoutTimes(t, filepath.Join(dir, "whole", name)), withoutTimes(t, filepath.Join(dir, "killed", name))
		if !slices.EqualFunc(a, b, slices.Equal) {
			t.Errorf("seed %d: %s differs after %d kills", seed, name, kills)
		}
	}
	must("verify", "killed")
}

// withoutTimes reads a CSV file and blanks the columns that measure time.
func withoutTimes(t *testing.T, path string) [][]string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	rows, err := csv.NewReader(bytes.NewReader(text)).ReadAll()
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	for i, name := range rows[0] {
		if name == "tokens_per_second" || name == "data_wait" || name == "seconds" {
			for _, row := range rows[1:] {
				row[i] = ""
			}
		}
	}
	return rows
}
