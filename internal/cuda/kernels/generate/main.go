// Command generate makes the PTX of the GPU kernels and the table of what each takes of the GPU. It runs as
//
//	go generate ./internal/cuda/kernels
//
// and needs neither a GPU nor an installed CUDA: package nvrtc fetches compiler and assembler, of one fixed release. Every
// run gives the same bytes. With -check it writes nothing and exits 1 when a file is not what it would have written; it
// exits 3 when the compiler cannot be had here.
//
// Begin with build (build.go): each .cu file is compiled, all are joined to the module that a driver loads, and that is
// assembled for three architectures. A kernel that spills registers or keeps anything in local memory is an error.
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"

	"github.com/secencoder/secencoder/internal/atomicfile"
	"github.com/secencoder/secencoder/internal/cuda/kernels/ptx"
	"github.com/secencoder/secencoder/internal/cuda/nvrtc"
)

func main() {
	dir := flag.String("dir", ".", "folder of the .cu files, which is also written to")
	check := flag.Bool("check", false, "compare with what is there instead of writing")
	cache := flag.String("cache", "", "folder for the downloaded compiler; by default below the user's cache folder")
	flag.Parse()
	if flag.NArg() > 0 {
		fmt.Fprintf(os.Stderr, "generate: it takes no arguments, got %q\n", flag.Args())
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	err := run(ctx, *dir, *cache, *check)
	switch {
	case errors.Is(err, nvrtc.ErrUnavailable):
		fmt.Fprintf(os.Stderr, "generate: %v\n", err)
		os.Exit(3)
	case err != nil:
		fmt.Fprintf(os.Stderr, "generate: %v\n", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, dir, cache string, check bool) error {
	tools, err := nvrtc.Fetch(ctx, cache, func(line string) { fmt.Fprintln(os.Stderr, "generate:", line) })
	if err != nil {
		return err
	}
	want, err := build(ctx, tools, dir)
	if err != nil {
		return err
	}
	stale, err := surplus(dir, want)
	if err != nil {
		return err
	}
	if check {
		return compare(dir, want, stale)
	}
	for _, name := range stale {
		if err := os.Remove(filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	return write(dir, want)
}

// surplus returns the files of PTX in a folder whose source is gone.
func surplus(dir string, want map[string][]byte) ([]string, error) {
	there, err := fs.Glob(os.DirFS(dir), "*"+ptx.Extension)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(there, func(name string) bool { return want[name] != nil }), nil
}

// write writes the files that differ, so that a run that changes nothing touches nothing.
func write(dir string, want map[string][]byte) error {
	for _, name := range slices.Sorted(maps.Keys(want)) {
		path := filepath.Join(dir, name)
		got, err := os.ReadFile(path)
		if err == nil && bytes.Equal(got, want[name]) {
			continue
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		err = atomicfile.WriteFile(path, func(w io.Writer) error {
			_, err := w.Write(want[name])
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// compare reports every file that is not what it should be.
func compare(dir string, want map[string][]byte, stale []string) error {
	var wrong []string
	for _, name := range stale {
		wrong = append(wrong, name+": its source is gone")
	}
	for _, name := range slices.Sorted(maps.Keys(want)) {
		got, err := os.ReadFile(filepath.Join(dir, name))
		switch {
		case errors.Is(err, fs.ErrNotExist):
			wrong = append(wrong, name+": it is missing")
		case err != nil:
			return err
		case !bytes.Equal(got, want[name]):
			wrong = append(wrong, fmt.Sprintf("%s: line %d differs from what the compiler makes", name, firstDifference(got, want[name])))
		}
	}
	if len(wrong) > 0 {
		return fmt.Errorf("run go generate ./internal/cuda/kernels and commit what it changes:\n\t%s", strings.Join(wrong, "\n\t"))
	}
	return nil
}

// firstDifference returns the number of the first line that differs.
func firstDifference(a, b []byte) int {
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	return 1 + bytes.Count(a[:n], []byte("\n"))
}
