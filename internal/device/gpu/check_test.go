package gpu

import (
	"errors"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/secencoder/secencoder/internal/cuda"
	"github.com/secencoder/secencoder/internal/cuda/kernels"
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

// The tests of a GPU skip where there is none, and fail where there is one that does not work.
func TestSkippedOnlyWithoutGPU(t *testing.T) {
	library := standin.Build(t)
	for settings, want := range map[string]string{
		"devices=0": "SKIP", "fail=cuInit:1:100": "SKIP", "fail=cuInit:1:999": "FAIL", "fail=cuDeviceGetCount:1:999": "FAIL",
	} {
		cmd := exec.Command(os.Args[0], "-test.run=^TestCUDANotBuilt$", "-test.v")
		cmd.Env = append(os.Environ(), cuda.EnvLibrary+"="+library.Path(), "STANDIN="+settings)
		out, err := cmd.CombinedOutput()
		if !strings.Contains(string(out), "--- "+want+": TestCUDANotBuilt") || (err != nil) != (want == "FAIL") {
			t.Errorf("with %s: %v, want %s:\n%s", settings, err, want, out)
		}
	}
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
func TestCUDASanitize(t *testing.T) { onGPU(t).sanitize(t, 40) }

func TestStandinSanitize(t *testing.T) {
	m := onStandin(t)
	for products, want := range map[string]bool{"": true, "1": true, "0": false} {
		t.Setenv(withProducts, products)
		before := m.standin.Calls()["cublasLtMatmul"]
		if m.sanitize(t, 200); (m.standin.Calls()["cublasLtMatmul"] > before) != want {
			t.Errorf("with %s=%q: products were made or not, want %v", withProducts, products, want)
		}
	}
}

// withProducts is 0 where no group that multiplies is to run.
const withProducts = "SECENCODER_CUDA_PRODUCTS"

func (m *machine) sanitize(t *testing.T, every int) {
	c := devicetest.Selection{Every: count(t, "SECENCODER_CUDA_EVERY", every)}
	if os.Getenv(withProducts) != "0" {
		m.conformance(t, c)
		return
	}
	m.some(t, c, func(group string) bool {
		return group != "PackWeight" && !strings.HasPrefix(methodFor(group), "Linear")
	})
}

// The names by which compute-sanitizer is to know our kernels are in the name of each.
func TestCheckScriptKnowsKernels(t *testing.T) {
	script, err := os.ReadFile("../../../scripts/gpu/check")
	if err != nil {
		t.Fatal(err)
	}
	list := regexp.MustCompile(`(?m)^ours='([a-z0-9_ ]+)'$`).FindSubmatch(script)
	image, err := kernels.PTX(8, 0)
	if list == nil || err != nil {
		t.Fatalf("the script's list is %q; %v", list, err)
	}
	parts, used := strings.Fields(string(list[1])), map[string]bool{}
	entries := regexp.MustCompile(`\.entry (\w+)`).FindAllSubmatch(image, -1)
	if len(entries) < 40 {
		t.Fatalf("the module has %d kernels", len(entries))
	}
	for _, e := range entries {
		at := slices.IndexFunc(parts, func(part string) bool { return strings.Contains(string(e[1]), part) })
		if at < 0 {
			t.Errorf("no part of %q is in %s", parts, e[1])
			continue
		}
		used[parts[at]] = true
	}
	for _, part := range parts {
		if !used[part] {
			t.Errorf("%s is in the name of no kernel", part)
		}
	}
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
	for step, want := range map[string]string{"environment": "pass ", "info": "absent ", "memory": "pass 2 tests"} {
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
	tool := filepath.Join(folder, "compute-sanitizer", "compute-sanitizer")
	// Without cuBLASLt one step fails, and those that need it are not run. secencoder is a script here, that tells of it.
	program := filepath.Join(folder, "secencoder")
	for says, want := range map[string]map[string]string{
		"gpu 0: X\n missing: CUDA library not found: libcublasLt.so.12 could not be opened: pip install nvidia-cublas-cu12": {
			"info": "FAIL missing: CUDA library not found: libcublasLt.so.12", "memory": "skipped no cuBLASLt: see info",
			"basics": "skipped no cuBLASLt", "bits": "skipped no cuBLASLt", "memcheck": "skipped no cuBLASLt"},
		"gpu none found\n missing: no CUDA driver":      {"info": "FAIL missing: no CUDA driver", "memory": "pass"},
		"gpu 0: X; cannot be used: too old\n 1: Y":      {"info": "FAIL gpu 0: X; cannot be used", "memory": "pass"},
		"gpu 0: X\n cuBLAS 12.4.5: libcublasLt.so.12\n": {"info": "pass 0: X", "memory": "pass"},
	} {
		text := "#!/bin/sh\ncat <<'END'\n" + says + "\nEND\n"
		if err := errors.Join(os.WriteFile(program, []byte(text), 0o777), os.MkdirAll(filepath.Dir(tool), 0o777), os.WriteFile(tool, []byte("#!/bin/sh\n"), 0o777)); err != nil {
			t.Fatal(err)
		}
		steps := slices.Sorted(maps.Keys(want))
		code := 0
		if strings.HasPrefix(want["info"], "FAIL") {
			code = 1
		}
		table, out := run(code, here, "run", "--only", strings.Join(steps, ","), folder)
		for step, row := range want {
			if !strings.HasPrefix(table[step], row) {
				t.Errorf("%s is %q, want %q:\n%s", step, table[step], row, out)
			}
		}
	}
	// One that lies in the folder is found there.
	text := "#!/bin/sh\n[ \"$SECENCODER_CUDA_LIB\" = '" + folder + "' ] && echo 'gpu 0: X'\n"
	if err := errors.Join(os.WriteFile(program, []byte(text), 0o777), os.WriteFile(filepath.Join(folder, "libcublasLt.so.12"), nil, 0o666),
		os.Mkdir(filepath.Join(folder, "bin"), 0o777), os.WriteFile(filepath.Join(folder, "bin", "nvidia-smi"), []byte("#!/bin/sh\necho GPU 0\n"), 0o777)); err != nil {
		t.Fatal(err)
	}
	smi := []string{"OUT=", cuda.EnvLibrary + "=", "PATH=" + filepath.Join(folder, "bin") + string(filepath.ListSeparator) + os.Getenv("PATH")}
	if table, out := run(0, smi, "run", "--only", "info", folder); !strings.HasPrefix(table["info"], "pass") {
		t.Errorf("with a cuBLASLt in the folder info is %q:\n%s", table["info"], out)
	}
	if err := errors.Join(os.Remove(program), os.Remove(filepath.Join(folder, "libcublasLt.so.12"))); err != nil {
		t.Fatal(err)
	}
	// A GPU of which nvidia-smi cannot tell more, with no library named.
	if err := os.WriteFile(filepath.Join(folder, "bin", "nvidia-smi"), []byte("#!/bin/sh\n[ \"$1\" != -L ] || echo GPU 0\n"), 0o777); err != nil {
		t.Fatal(err)
	}
	if table, out := run(0, smi, "run", "--only", "environment", folder); table["environment"] != "pass nvidia-smi names no GPU" {
		t.Errorf("where nvidia-smi names no GPU the environment is %q:\n%s", table["environment"], out)
	}
	// compute-sanitizer is a script here: what counts is what it says at its end.
	for want, says := range map[string]string{
		"skipped time: stopped after the limit of time; nothing was found":           "echo '========= COMPUTE-SANITIZER'; exit 124",
		"FAIL it gave no summary: stopped after the limit of time; it found Invalid": "echo '========= Invalid __global__ read of size 4'; exit 124",
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
	// What it is told: racecheck watches our kernels alone, by the name that the option has in its release.
	for _, option := range []string{"--kernel-name", "--kernel-regex", ""} {
		text := "#!/bin/sh\necho \"told $* products $SECENCODER_CUDA_PRODUCTS\"; echo '========= ERROR SUMMARY: 0 errors'\ncase $1 in --help) echo \"  " + option + " arg\"; esac\n"
		if err := os.WriteFile(tool, []byte(text), 0o777); err != nil {
			t.Fatal(err)
		}
		for step, want := range map[string][2]bool{"memcheck": {false, true}, "racecheck": {option != "", true}, "initcheck": {false, false}, "synccheck": {option != "", true}} {
			log := filepath.Join(t.TempDir(), "out")
			run(0, here, "run", "--only", step, "--out", log, folder)
			told, err := os.ReadFile(filepath.Join(log, step+".log"))
			if err != nil {
				t.Fatal(err)
			}
			filter, products := strings.Contains(string(told), option+" kns=add_ ") && option != "", strings.Contains(string(told), "products 1")
			if got := [2]bool{filter, products}; got != want {
				t.Errorf("%s with the option %q: filter and products are %v, want %v: %s", step, option, got, want, told)
			}
		}
	}
	// Without a tool it would say something wrong of the machine.
	for _, without := range []string{"grep", "sed", "awk", "timeout"} {
		bin := t.TempDir()
		for _, name := range []string{"bash", "grep", "sed", "awk", "timeout", "mktemp", "head", "tail", "tr", "cut", "wc", "dirname", "mkdir", "rm", "cat"} {
			path, err := exec.LookPath(name)
			if err != nil {
				t.Fatal(err)
			}
			if name != without {
				if err := os.Symlink(path, filepath.Join(bin, name)); err != nil {
					t.Fatal(err)
				}
			}
		}
		if _, out := run(2, append(here, "PATH="+bin), only...); out != "check: there is no "+without+" in PATH: grep, sed, awk and coreutils are needed\n" {
			t.Errorf("without %s it says %q", without, out)
		}
	}
	for _, args := range [][]string{{"fly"}, {"run", "--fast"}, {"run", "--only", "nothing", folder}, {"run", "--out"}, {"run", folder, folder}} {
		if _, out := run(2, here, args...); !strings.HasPrefix(out, "check: ") {
			t.Errorf("check %q says %q", args, out)
		}
	}
}
