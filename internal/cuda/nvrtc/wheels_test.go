package nvrtc

import (
	"archive/zip"
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// registry puts a python3 into the path whose pip gives a wheel, or fails as it does without a network; it returns the
// wheel and a file that each call of pip makes longer.
func registry(t *testing.T, works bool) (*wheel, string) {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("the stand-in for pip is a shell script")
	}
	dir := t.TempDir()
	w := &wheel{project: "some-compiler", file: "some_compiler-1-py3-none-any.whl", members: []string{"nvidia/some/lib/some.so"}}
	whole := filepath.Join(dir, w.file)
	f, err := os.Create(whole)
	if err != nil {
		t.Fatal(err)
	}
	z := zip.NewWriter(f)
	for _, name := range []string{"nvidia/some/lib/some.so", "nvidia/some/lib/other.so"} {
		m, err := z.Create(name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := m.Write([]byte(strings.Repeat(name, 1000))); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(z.Close(), f.Close()); err != nil {
		t.Fatal(err)
	}
	if w.sha256, err = hashOf(whole); err != nil {
		t.Fatal(err)
	}
	calls := filepath.Join(dir, "calls")
	script := "#!/bin/sh\necho \"$*\" >> " + calls + "\n"
	if works {
		script += "while [ $# -gt 1 ]; do [ \"$1\" = --dest ] && cp " + whole + " \"$2\"; shift; done\n"
	} else {
		script += "echo 'ERROR: No matching distribution found for some-compiler' >&2\nexit 1\n"
	}
	bin := filepath.Join(dir, "bin")
	if err := errors.Join(os.Mkdir(bin, 0o777), os.WriteFile(filepath.Join(bin, "python3"), []byte(script), 0o777)); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	return w, calls
}

func callsOf(t *testing.T, file string) int {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	return strings.Count(string(b), "\n")
}

func TestWheelIsDownloadedOnce(t *testing.T) {
	w, calls := registry(t, true)
	cache := t.TempDir()
	member := filepath.Join(cache, "some.so")
	var said []string
	get := func() {
		t.Helper()
		if err := w.get(context.Background(), cache, func(line string) { said = append(said, line) }); err != nil {
			t.Fatal(err)
		}
		if b, err := os.ReadFile(member); err != nil || string(b) != strings.Repeat("nvidia/some/lib/some.so", 1000) {
			t.Fatalf("the member holds %d bytes: %v", len(b), err)
		}
	}
	get()
	get()
	if n := callsOf(t, calls); n != 1 {
		t.Errorf("pip was called %d times", n)
	}
	// Damage to what was unpacked is repaired from the wheel, damage to the wheel by another download.
	if err := os.WriteFile(member, []byte("short"), 0o666); err != nil {
		t.Fatal(err)
	}
	get()
	if n := callsOf(t, calls); n != 1 {
		t.Errorf("pip was called %d times for a damaged member", n)
	}
	if err := os.WriteFile(filepath.Join(cache, w.file), []byte("short"), 0o666); err != nil {
		t.Fatal(err)
	}
	get()
	if n := callsOf(t, calls); n != 2 {
		t.Errorf("pip was called %d times after a damaged wheel", n)
	}
	if len(said) != 3 || !strings.Contains(said[1], "damaged") {
		t.Errorf("said %q", said)
	}
	left, err := filepath.Glob(filepath.Join(cache, "*-*[0-9]"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %q %v", left, err)
	}
}

func TestWheelOfAnotherHashIsRefused(t *testing.T) {
	w, _ := registry(t, true)
	w.sha256 = strings.Repeat("0", 64)
	cache := t.TempDir()
	err := w.get(context.Background(), cache, func(string) {})
	if err == nil || errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), w.sha256) {
		t.Errorf("error %v", err)
	}
	if _, err := os.Stat(filepath.Join(cache, w.file)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the wheel was kept: %v", err)
	}
}

func TestNoRegistryIsSaidPlainly(t *testing.T) {
	w, _ := registry(t, false)
	err := w.get(context.Background(), t.TempDir(), func(string) {})
	if !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), "No matching distribution") {
		t.Errorf("error %v", err)
	}
	t.Setenv("PATH", t.TempDir())
	err = w.get(context.Background(), t.TempDir(), func(string) {})
	if !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), "python3") {
		t.Errorf("error without python3 %v", err)
	}
}
