package standin

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

//go:embed *.c *.h
var files embed.FS

func sources(t testing.TB) Source {
	t.Helper()
	s := Source{
		Output: "libcuda.so.1",
		Args:   []string{"-std=gnu11", "-shared", "-fPIC", "-O1", "-g", "-Wall", "-fvisibility=hidden", "-pthread"},
		Libs:   []string{"-ldl", "-lm"},
		Files:  map[string][]byte{},
	}
	names, err := fs.Glob(files, "*")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if s.Files[name], err = files.ReadFile(name); err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(name, ".c") {
			s.Main = append(s.Main, name)
		}
	}
	return s
}

// Source is what Compile compiles.
type Source struct {
	Output string            // name of the file that is made
	CPlus  bool              // C++ instead of C
	Args   []string          // flags
	Files  map[string][]byte // all files, headers too
	Main   []string          // those that are given to the compiler
	Libs   []string          // flags that stand after the files
}

// compiler finds a C or C++ compiler: CC or CXX, else what the system has. "" when there is none.
func compiler(plus bool) string {
	names := []string{os.Getenv("CC"), "cc", "gcc", "clang"}
	if plus {
		names = []string{os.Getenv("CXX"), "c++", "g++", "clang++"}
	}
	for _, name := range names {
		if name == "" {
			continue
		}
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	return ""
}

var compiling sync.Mutex

// Compile compiles and returns the file, from the user's cache when the same was compiled before (by content, flags and
// compiler). It skips the test where there is no compiler and fails it with the compiler's words when there is an error.
// The file is shared: copy it before changing it.
func Compile(t testing.TB, s Source) string {
	t.Helper()
	cc := compiler(s.CPlus)
	if cc == "" {
		t.Skip("no C or C++ compiler here (cc, gcc, clang): the stand-in for libcuda cannot be built")
	}
	hash := sha256.New()
	info, err := os.Stat(cc)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintln(hash, cc, info.Size(), info.ModTime(), runtime.GOOS, runtime.GOARCH, s.Output, s.Args, s.Main, s.Libs)
	for _, name := range slices.Sorted(maps.Keys(s.Files)) {
		fmt.Fprintf(hash, "%s %d\n%s", name, len(s.Files[name]), s.Files[name])
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = os.TempDir()
	}
	cache = filepath.Join(cache, "secencoder-standin")
	if err := os.MkdirAll(cache, 0o700); err != nil { // a home that cannot be written
		cache = t.TempDir()
	}
	folder := filepath.Join(cache, hex.EncodeToString(hash.Sum(nil)[:12]))
	output := filepath.Join(folder, s.Output)

	compiling.Lock()
	defer compiling.Unlock()
	if _, err := os.Stat(output); err == nil {
		return output
	}
	prune(cache)
	work, err := os.MkdirTemp(cache, "new-*")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(work)
	for name, content := range s.Files {
		if err := os.WriteFile(filepath.Join(work, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	done := filepath.Join(work, "done")
	if err := os.Mkdir(done, 0o700); err != nil {
		t.Fatal(err)
	}
	args := append(slices.Clone(s.Args), "-o", filepath.Join(done, s.Output))
	args = append(append(args, s.Main...), s.Libs...)
	command := exec.Command(cc, args...)
	command.Dir = work
	if out, err := command.CombinedOutput(); err != nil {
		t.Fatalf("%s %s: %v\n%s", cc, strings.Join(args, " "), err, out)
	}
	if err := os.Rename(done, folder); err != nil { // another process was first: its file is the same
		if _, missing := os.Stat(output); missing != nil {
			t.Fatal(err)
		}
	}
	return output
}

// prune removes what was built from sources of another time: a month old, and made again when it is wanted.
func prune(cache string) {
	entries, err := os.ReadDir(cache)
	if err != nil {
		return // nothing to remove
	}
	for _, e := range entries {
		if info, err := e.Info(); err == nil && time.Since(info.ModTime()) > 30*24*time.Hour {
			os.RemoveAll(filepath.Join(cache, e.Name()))
		}
	}
}

func copyFile(t testing.TB, from, to string) {
	t.Helper()
	content, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, content, 0o755); err != nil {
		t.Fatal(err)
	}
}
