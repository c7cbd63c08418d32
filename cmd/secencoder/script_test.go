package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestMain lets scripts call secencoder as a program of its own: testscript runs this test binary again under that name.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"secencoder": main})
}

// TestScripts runs testdata/script: what a person types, what comes back, which files stand afterwards.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		Setup: func(env *testscript.Env) error {
			return oddFiles(env.WorkDir)
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"exits": exits,
			"flip":  flip,
			"chop":  chop,
		},
	})
}

// oddFiles makes what a txtar archive cannot hold, where a script has a place for it: a gzip stream that was cut short,
// control characters in names and logs.
func oddFiles(work string) error {
	cut := filepath.Join(work, "cut", "cut.log.gz")
	if _, err := os.Stat(cut); err != nil {
		return nil // another script
	}
	odd := filepath.Join(work, "odd")
	return errors.Join(
		os.WriteFile(cut, []byte("\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"), 0o666),
		os.Mkdir(odd, 0o777),
		os.WriteFile(filepath.Join(odd, "esc\x1b[31m.log"), []byte("red \x1b[31m and nul \x00 end\n"), 0o666),
		os.WriteFile(filepath.Join(odd, "plain.log"), []byte("a plain line\n"), 0o666),
	)
}

// exits runs a command and checks its exit code: exits 2 secencoder --nonsense.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE PROGRAM [ARG…]")
	}
	path, err := exec.LookPath(args[1])
	if err != nil {
		path = args[1]
	}
	cmd := exec.Command(path, args[2:]...)
	cmd.Dir = ts.Getenv("WORK")
	if dir := ts.MkAbs("."); dir != "" {
		cmd.Dir = dir
	}
	cmd.Env = append(os.Environ(), "HOME="+ts.Getenv("HOME"), "SECENCODER_KERNELS="+ts.Getenv("SECENCODER_KERNELS"))
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err = cmd.Run()
	code := cmd.ProcessState.ExitCode()
	ts.Check(os.WriteFile(ts.MkAbs("stdout.txt"), stdout.Bytes(), 0o666))
	ts.Check(os.WriteFile(ts.MkAbs("stderr.txt"), stderr.Bytes(), 0o666))
	if got, want := code, args[0]; want != strconv.Itoa(got) {
		ts.Fatalf("exit code %d, want %s (%v)\nstdout: %s\nstderr: %s", got, want, err, stdout.String(), stderr.String())
	}
	if code != 0 && bytes.Count(stderr.Bytes(), []byte("secencoder: ")) != 1 {
		ts.Fatalf("want one sentence on stderr, got:\n%s", stderr.String())
	}
}

// flip inverts one bit in the middle of a file.
func flip(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: flip FILE")
	}
	name := ts.MkAbs(args[0])
	text, err := os.ReadFile(name)
	ts.Check(err)
	text[len(text)/2] ^= 0x10
	ts.Check(os.WriteFile(name, text, 0o666))
}

// chop cuts a file in half.
func chop(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: chop FILE")
	}
	name := ts.MkAbs(args[0])
	info, err := os.Stat(name)
	ts.Check(err)
	ts.Check(os.Truncate(name, info.Size()/2))
}

// TestDocsAreProduced holds docs/cli.md to the flag table.
func TestDocsAreProduced(t *testing.T) {
	var want bytes.Buffer
	if err := writeDocs(&want); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(filepath.Join("..", "..", "docs", "cli.md"))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want.Bytes()) {
		t.Error("docs/cli.md differs from the flag table; remake it: go run ./cmd/secencoder docs > docs/cli.md")
	}
}

// TestEveryVerbShowsTwoExamples holds --help to its promise.
func TestEveryVerbShowsTwoExamples(t *testing.T) {
	parser, err := newParser(&commands{}, &streams{})
	if err != nil {
		t.Fatal(err)
	}
	for _, leaf := range parser.Model.Leaves(true) {
		var out bytes.Buffer
		words := append(strings.Fields(leaf.Path()), "--help")
		if code := run(context.Background(), words, &streams{out: &out, err: &out}); code != 0 {
			t.Errorf("%s --help: exit code %d", leaf.Path(), code)
		}
		if n := bytes.Count(out.Bytes(), []byte("secencoder "+leaf.Path())); n < 2 {
			t.Errorf("%s --help shows %d calls, want two examples:\n%s", leaf.Path(), n, out.String())
		}
	}
}
