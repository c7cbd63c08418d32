package quickstart

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/secencoder/secencoder/data/build"
	"github.com/secencoder/secencoder/data/source"
	"github.com/secencoder/secencoder/internal/filelock"
)

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o666); err != nil {
		t.Fatal(err)
	}
}

func names(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, e := range entries {
		list = append(list, e.Name())
	}
	return list
}

// One Run works in a folder; what it left half-finished is begun anew, and nothing else is.
func TestClaim(t *testing.T) {
	out := filepath.Join(t.TempDir(), "deep", "out")
	first, err := claim(out)
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(out, "logs", "auth.log"), "1")
	write(t, filepath.Join(out, "mine.txt"), "1")
	if _, err := claim(out); !errors.Is(err, filelock.ErrLocked) {
		t.Fatalf("second at once: got %v, want ErrLocked", err)
	}
	if got := names(t, filepath.Join(out, "logs")); len(got) != 1 {
		t.Fatalf("the second took away the logs of the first: %q", got)
	}
	if err := first.release(); err != nil {
		t.Fatal(err)
	}
	for _, theirs := range []string{"logs/added.log", "run/notes.txt", "run/tb/two"} {
		path := filepath.Join(out, filepath.FromSlash(theirs))
		write(t, path, "1")
		write(t, filepath.Join(out, "run", "tb", "one"), "1")
		if _, err := claim(out); !errors.Is(err, ErrTheirs) || len(names(t, filepath.Join(out, "logs"))) == 0 {
			t.Fatalf("with %s of somebody else: got %v", theirs, err)
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
	second, err := claim(out)
	if err != nil {
		t.Fatalf("half-finished: %v", err)
	}
	if got, want := names(t, out), []string{lockName, mark, "mine.txt"}; !slices.Equal(got, want) {
		t.Fatalf("begun anew with %q, want %q", got, want)
	}
	if err := errors.Join(writeMark(out, markDone), second.release()); err != nil {
		t.Fatal(err)
	}
	if _, err := claim(out); !errors.Is(err, ErrFinished) {
		t.Fatalf("finished: got %v, want ErrFinished", err)
	}
	if got, want := names(t, out), []string{mark, "mine.txt"}; !slices.Equal(got, want) {
		t.Fatalf("finished with %q, want %q", got, want)
	}
	foreign := t.TempDir()
	write(t, filepath.Join(foreign, "theirs"), "1")
	if _, err := claim(foreign); !errors.Is(err, ErrForeign) || len(names(t, foreign)) != 1 {
		t.Fatalf("foreign: got %v with %q, want ErrForeign", err, names(t, foreign))
	}
}

// A Run that fails on its input leaves no trace, and takes none of the input.
func TestFailsBeforeAnythingIsMade(t *testing.T) {
	dir := t.TempDir()
	empty, out := filepath.Join(dir, "empty"), filepath.Join(dir, "out")
	if err := os.Mkdir(empty, 0o777); err != nil {
		t.Fatal(err)
	}
	run := func(in string) error {
		return Run(context.Background(), Options{In: []string{in}, Out: out, Threads: 1, Account: io.Discard})
	}
	if err := run(filepath.Join(dir, "absent")); !errors.Is(err, os.ErrNotExist) || names(t, out) != nil {
		t.Errorf("absent input: %v, left %q", err, names(t, out))
	}
	if err := run(empty); !errors.Is(err, build.ErrNothing) || names(t, out) != nil {
		t.Errorf("empty input: %v, left %q", err, names(t, out))
	}
	if err := os.Mkdir(out, 0o777); err != nil {
		t.Fatal(err)
	}
	if err := run(empty); !errors.Is(err, build.ErrNothing) || len(names(t, out)) != 0 {
		t.Errorf("empty input, empty output: %v, left %q", err, names(t, out))
	}
	if _, err := os.Stat(out); err != nil {
		t.Errorf("the empty folder that was there is gone: %v", err)
	}
	inside := filepath.Join(out, "logs", "x.log")
	write(t, filepath.Join(out, mark), markBegun)
	write(t, inside, "one\n")
	if err := run(filepath.Join(out, "logs")); !errors.Is(err, ErrInside) {
		t.Errorf("input in the output: got %v, want ErrInside", err)
	}
	if _, err := os.Stat(inside); err != nil {
		t.Errorf("the input was removed: %v", err)
	}
}

// Logs too few for held-out sets are said to be so; they do not waste the training.
func TestTooFewToEvaluate(t *testing.T) {
	logs := filepath.Join(t.TempDir(), "few.log")
	write(t, logs, "one\ntwo\nthree\n")
	var account, remarks bytes.Buffer
	s := &stages{Options: Options{In: []string{logs}, Out: t.TempDir(), Threads: 1, Account: &account, Remarks: &remarks}, size: sizeOf(true)}
	s.logDirs = s.In
	if err := errors.Join(s.build(context.Background()), s.evaluate(context.Background()), s.learned()); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"too few for a held-out set", "IDTS  not in this data", "ODTS  not in this data"} {
		if !strings.Contains(account.String(), want) {
			t.Errorf("want %q in:\n%s", want, account.String())
		}
	}
	if !strings.Contains(remarks.String(), "cannot be said") {
		t.Errorf("remarks: %q", remarks.String())
	}
}

// Out may lie in the logs: nothing of it is read. Damaged files stop the build, or are passed over.
func TestBuildOverOut(t *testing.T) {
	logs := t.TempDir()
	out := filepath.Join(logs, "out")
	var text strings.Builder
	for i := range 300 {
		fmt.Fprintf(&text, "line \x1b[31m number %d of a log that is long enough to be shown\n", i)
	}
	write(t, filepath.Join(logs, "a.log"), text.String())
	c, err := claim(out)
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(out, "notes.log"), "not to be read\n")
	var account, remarks bytes.Buffer
	s := &stages{Options: Options{In: []string{logs}, Out: out, Threads: 1, Account: &account, Remarks: &remarks}, size: sizeOf(true)}
	s.logDirs = s.In
	if err := s.build(context.Background()); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(account.String(), "data       300 records") {
		t.Errorf("want the 300 records of a.log alone:\n%s", account.String())
	}
	if strings.Contains(account.String(), "\x1b") {
		t.Errorf("the account holds control characters:\n%q", account.String())
	}
	if err := os.RemoveAll(s.path("data")); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(logs, "cut.gz"), "\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff")
	var damaged *source.ReadError
	if err := s.build(context.Background()); !errors.As(err, &damaged) {
		t.Errorf("damaged file: got %v, want a ReadError", err)
	}
	s.KeepGoing = true
	if err := s.build(context.Background()); err != nil || !strings.Contains(remarks.String(), "passed over "+filepath.Join(logs, "cut.gz")) {
		t.Errorf("going on: %v, remarks %q", err, remarks.String())
	}
	if err := c.release(); err != nil {
		t.Fatal(err)
	}
}
