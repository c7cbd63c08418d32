package source

import (
	"context"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/secencoder/secencoder/data"
)

func TestName(t *testing.T) {
	for _, c := range []struct {
		rel   string
		depth int
		want  string
	}{
		{"auth.log", 1, "auth"}, {"auth.log.1.gz", 1, "auth"}, {"auth.1.log", 1, "auth"}, {"syslog", 1, "syslog"}, {"syslog.12", 1, "syslog"},
		{"auth-20240131.log.zst", 1, "auth"}, {"AUTH.LOG", 1, "AUTH"}, {"events.jsonl.gz", 1, "events"}, {"a.json.log", 1, "a"},
		{"10.0.0.1.log", 1, "10.0.0.1"}, {"web01.log", 1, "web01"}, {"web01.1", 1, "web01"}, {"10.0", 1, "10.0"}, {".log", 1, ".log"}, {"log.csv", 1, "log"},
		{"2024.log", 1, "2024"}, {"v1.2.log", 1, "v1"}, {"-20240131", 1, "-20240131"}, {"x.tar.gz", 1, "x.tar"},
		{"loghub/OpenSSH/x.log", 1, "loghub"}, {"loghub/OpenSSH/x.log", 2, "loghub/OpenSSH"}, {"loghub/OpenSSH/x.log", 9, "loghub/OpenSSH"},
		{"k8s/x.log", 2, "k8s"}, {"x.log", 2, "x"},
	} {
		if got := Name(c.rel, c.depth); got != c.want {
			t.Errorf("%s at depth %d: got %q, want %q", c.rel, c.depth, got, c.want)
		}
	}
}

func makeTree(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		p := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(p), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func rels(files []data.File) []string {
	var out []string
	for _, f := range files {
		out = append(out, f.Source+":"+f.Rel)
	}
	return out
}

func TestList(t *testing.T) {
	dir := makeTree(t, map[string]string{"b/x.log": "1", "a/z": "1", "a/B": "1", "a-b/y": "1", "top.log": "1", "out/y": "1", "n/README.md": "1"})
	o := ListOptions{In: []string{dir, filepath.Join(dir, "a"), Stdin, Stdin}, Exclude: []string{"*.md"}, Omit: []string{filepath.Join(dir, "out")}}
	list, err := List(context.Background(), o)
	if err != nil || len(list.Skipped) != 0 {
		t.Fatal(list.Skipped, err)
	}
	files := list.Files
	want := []string{"a:a/B", "a:a/z", "a-b:a-b/y", "b:b/x.log", "stdin:stdin", "top:top.log"}
	if got := rels(files); !slices.Equal(got, want) {
		t.Fatalf("got  %q\nwant %q", got, want)
	}
	if files[0].Size != 1 {
		t.Errorf("size %d, want 1", files[0].Size)
	}
	// The order of --in does not change the order of files.
	o.In = []string{filepath.Join(dir, "b", "x.log"), dir}
	if list, err = List(context.Background(), o); err != nil {
		t.Fatal(err)
	}
	files = list.Files
	if got := rels(files); !slices.Equal(got, []string{"a:a/B", "a:a/z", "a-b:a-b/y", "top:top.log", "x:x.log"}) {
		t.Fatalf("got %q", got)
	}
	if _, err := List(context.Background(), ListOptions{In: []string{filepath.Join(dir, "missing")}}); !os.IsNotExist(err) && (err == nil || !strings.Contains(err.Error(), "missing")) {
		t.Errorf("missing: got %v", err)
	}
	if _, err := List(context.Background(), ListOptions{In: []string{dir}, Exclude: []string{"[a"}}); err == nil {
		t.Error("malformed pattern: want an error")
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := List(ctx, ListOptions{In: []string{dir}}); err == nil {
		t.Error("cancelled: want an error")
	}
}

func TestListLinks(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("links need rights on Windows")
	}
	dir := makeTree(t, map[string]string{"a/x": "1"})
	for link, to := range map[string]string{"a/loop": "..", "a/same": "x", "a/dead": "gone"} {
		if err := os.Symlink(to, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	list, err := List(context.Background(), ListOptions{In: []string{dir}})
	if err != nil {
		t.Fatal(err)
	}
	if len(list.Files) != 1 || len(list.Skipped) != 2 {
		t.Fatalf("got files %q, skipped %+v; want one file, and two links left out", rels(list.Files), list.Skipped)
	}
}

func TestListUnreadableFolder(t *testing.T) {
	if runtime.GOOS == "windows" || os.Getuid() == 0 {
		t.Skip("this user can read every folder")
	}
	dir := makeTree(t, map[string]string{"a/x": "1", "b/y": "1"})
	locked := filepath.Join(dir, "a")
	if err := os.Chmod(locked, 0); err != nil {
		t.Fatal(err)
	}
	defer os.Chmod(locked, 0o777)
	if _, err := List(context.Background(), ListOptions{In: []string{dir}}); err == nil || !strings.Contains(err.Error(), locked) {
		t.Fatalf("got %v, want an error that names %s", err, locked)
	}
	list, err := List(context.Background(), ListOptions{In: []string{dir}, KeepGoing: true})
	if err != nil || len(list.Files) != 1 || len(list.Failed) != 1 || list.Failed[0].Path != locked {
		t.Fatalf("got %+v, %v", list, err)
	}
}

// A link to a folder that is named itself is entered, and the output below it is still left out.
func TestListLinkedRoot(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("links need a privilege on Windows")
	}
	dir := makeTree(t, map[string]string{"a/x.log": "1", "out/y.log": "1"})
	link := filepath.Join(t.TempDir(), "logs")
	if err := os.Symlink(dir, link); err != nil {
		t.Fatal(err)
	}
	list, err := List(context.Background(), ListOptions{In: []string{link}, Omit: []string{filepath.Join(dir, "out"), filepath.Join(link, ".out.partial")}})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := rels(list.Files), []string{"a:a/x.log"}; !slices.Equal(got, want) {
		t.Fatalf("got %q, want %q", got, want)
	}
	if got, want := list.Files[0].Path, filepath.Join(link, "a", "x.log"); got != want {
		t.Errorf("path %s, want %s", got, want)
	}
}
