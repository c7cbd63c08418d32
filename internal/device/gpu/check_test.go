package gpu

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/secencoder/secencoder/internal/cuda"
	"github.com/secencoder/secencoder/internal/cuda/kernels/shim"
	"github.com/secencoder/secencoder/internal/cuda/standin"
	"github.com/secencoder/secencoder/internal/device/devicetest"
)

// What scripts/gpu/check asks of this package beside the tests of their own names.

// count returns how much of something a test does: its own number, or what the variable says.
func count(t testing.TB, variable string, usual int) int {
	t.Helper()
	text := os.Getenv(variable)
	if text == "" {
		return usual
	}
	n, err := strconv.Atoi(text)
	if err != nil || n <= 0 {
		t.Fatalf("%s=%q is no number above 0", variable, text)
	}
	return n
}

// TestCUDASameBits says what the program leaves, so that two processes, today and tomorrow, can be compared.
func TestCUDASameBits(t *testing.T) { onGPU(t).sayBits(t, 3, 60) }

func TestStandinSameBits(t *testing.T) {
	m := onStandin(t)
	if one, two := m.sayBits(t, 1, 8), m.sayBits(t, 1, 9); one == two {
		t.Errorf("two programs left the same bits, %s", one)
	}
}

func (m *machine) sayBits(t *testing.T, times, longest int) string {
	bits := strings.ReplaceAll(m.hashes(t, times, longest), " ", "")
	t.Logf("bits: %s", bits)
	return bits
}

// TestCUDASanitize runs every kernel on few shapes: compute-sanitizer makes each launch many times slower.
func TestCUDASanitize(t *testing.T) {
	onGPU(t).conformance(t, devicetest.Selection{Every: count(t, "SECENCODER_CUDA_EVERY", 40)})
}

// The script that checks a machine runs here on the stand-in: what works passes, what fails fails, and what shows nothing
// is no pass.
func TestCheckScript(t *testing.T) {
	script, err := filepath.Abs("../../../scripts/gpu/check")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := exec.LookPath("bash"); err != nil {
		t.Skip("no bash here")
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	library := standin.Build(t)
	shim.Build(t, library.Path())
	folder := t.TempDir()
	if err := errors.Join(os.Symlink(self, filepath.Join(folder, "gpu.test")), os.WriteFile(filepath.Join(folder, "BUILD"), []byte("commit none\n"), 0o666)); err != nil {
		t.Fatal(err)
	}
	// run returns the table by step and what was printed.
	run := func(code int, more []string, args ...string) (map[string]string, string) {
		t.Helper()
		cmd := exec.Command("bash", append([]string{script}, args...)...)
		cmd.Dir, cmd.Env = t.TempDir(), append(os.Environ(), more...)
		out, err := cmd.CombinedOutput()
		if got := cmd.ProcessState.ExitCode(); got != code {
			t.Errorf("check %q: exit code %d (%v), want %d:\n%s", args, got, err, code, out)
		}
		summary, err := os.ReadFile(filepath.Join(cmd.Dir, "gpu-check", "summary.txt"))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
		table := map[string]string{}
		for line := range strings.Lines(string(summary)) {
			if f := strings.Fields(line); len(f) > 2 {
				table[f[0]] = f[1] + " " + strings.Join(f[3:], " ")
			}
		}
		return table, string(out)
	}
	here := []string{"OUT=", cuda.EnvLibrary + "=" + library.Path()}
	only := []string{"run", "--only", "environment,info,memory", folder}

	table, out := run(0, here, only...)
	for step, want := range map[string]string{"environment": "pass ", "info": "absent ", "memory": "pass 1 test"} {
		if !strings.HasPrefix(table[step], want) {
			t.Errorf("%s is %q, want %q:\n%s", step, table[step], want, out)
		}
	}
	table, out = run(1, append(here, "STANDIN=fail=cuStreamCreate:1:2"), only...)
	if !strings.HasPrefix(table["memory"], "FAIL exit code 1: ") {
		t.Errorf("with a call that fails: %v\n%s", table, out)
	}
	if gpus, err := filepath.Glob("/dev/nvidia[0-9]*"); err == nil && len(gpus) == 0 {
		table, out = run(1, []string{"OUT=", cuda.EnvLibrary + "=" + t.TempDir()}, only...)
		if row := table["memory"]; !strings.HasPrefix(row, "FAIL nothing ran: ") || !strings.Contains(row, "no GPU here") {
			t.Errorf("with tests that skip themselves: %v\n%s", table, out)
		}
		if _, out := run(1, []string{"OUT=", cuda.EnvLibrary + "="}, only...); !strings.Contains(out, "no GPU") {
			t.Errorf("without a GPU it says %q", out)
		}
	}
	// compute-sanitizer is a script here: what counts is what it says at its end.
	tool := filepath.Join(folder, "compute-sanitizer", "compute-sanitizer")
	if err := os.Mkdir(filepath.Dir(tool), 0o777); err != nil {
		t.Fatal(err)
	}
	for want, says := range map[string]string{
		"pass 0 errors":  "echo '========= ERROR SUMMARY: 0 errors'",
		"pass 0 errors ": "echo '========= RACECHECK SUMMARY: 0 hazards displayed (0 errors, 0 warnings)'",
		"FAIL it found 2: Invalid __global__ read":   "echo '========= Invalid __global__ read of size 4'; echo '========= ERROR SUMMARY: 2 errors'; exit 99",
		"FAIL exit code 1":                           "echo '========= ERROR SUMMARY: 0 errors'; exit 1",
		"FAIL it gave no summary":                    "echo ok",
		"skipped it does not work on this machine: ": "echo '========= Error: Device not supported'; echo '========= ERROR SUMMARY: 1 error'; exit 1",
	} {
		if err := os.WriteFile(tool, []byte("#!/bin/sh\n"+says+"\n"), 0o777); err != nil {
			t.Fatal(err)
		}
		code := 0
		if !strings.HasPrefix(want, "pass") {
			code = 1 // a step that was skipped is none that passed
		}
		if table, out := run(code, here, "run", "--only", "memcheck", folder); !strings.HasPrefix(table["memcheck"], strings.TrimSpace(want)) {
			t.Errorf("memcheck is %q, want %q:\n%s", table["memcheck"], want, out)
		}
	}
	for _, args := range [][]string{{"fly"}, {"run", "--fast"}, {"run", "--only", "nothing", folder}, {"run", "--out"}, {"run", folder, folder}} {
		if _, out := run(2, here, args...); !strings.HasPrefix(out, "check: ") {
			t.Errorf("check %q says %q", args, out)
		}
	}
}
