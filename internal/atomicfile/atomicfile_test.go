package atomicfile

import (
	"bufio"
	"errors"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
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

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func names(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, e := range entries {
		out = append(out, e.Name())
	}
	return out
}

func TestWriteFileReplacesWhole(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a.txt")
	for _, text := range []string{"first", "second"} {
		if err := WriteFile(path, func(w io.Writer) error {
			_, err := io.WriteString(w, text)
			return err
		}); err != nil {
			t.Fatal(err)
		}
		if got := read(t, path); got != text {
			t.Fatalf("got %q, want %q", got, text)
		}
	}
	boom := errors.New("disk on fire")
	err := WriteFile(path, func(w io.Writer) error {
		if _, err := io.WriteString(w, "half"); err != nil {
			return err
		}
		return boom
	})
	if !errors.Is(err, boom) {
		t.Fatalf("got %v, want the writer's error", err)
	}
	if got := read(t, path); got != "second" {
		t.Fatalf("after a failed write: got %q, want what was there", got)
	}
	if got := names(t, dir); len(got) != 1 {
		t.Fatalf("left behind: %q", got)
	}
}

// Devices, links and folders stay what they are.
func TestWriteFileKeepsWhatIsNoFile(t *testing.T) {
	dir := t.TempDir()
	hello := func(w io.Writer) error {
		_, err := io.WriteString(w, "hello")
		return err
	}
	if runtime.GOOS != "windows" {
		// A socket stands for a device: it is no file, and opening it fails instead of doing harm.
		place, err := os.MkdirTemp("", "s") // a socket's name is short
		if err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(place)
		socket := filepath.Join(place, "socket")
		listener, err := net.Listen("unix", socket)
		if err != nil {
			t.Fatal(err)
		}
		defer listener.Close()
		if err := WriteFile(socket, hello); err == nil {
			t.Error("writing to a socket as a file: want an error")
		}
		if info, err := os.Lstat(socket); err != nil || info.Mode()&os.ModeSocket == 0 {
			t.Fatalf("the socket was replaced: %v, %v", info, err)
		}
		target, link := filepath.Join(dir, "target"), filepath.Join(dir, "link")
		write(t, target, "old")
		if err := os.Symlink(target, link); err != nil {
			t.Fatal(err)
		}
		if err := WriteFile(link, hello); err != nil {
			t.Fatal(err)
		}
		if info, err := os.Lstat(link); err != nil || info.Mode()&os.ModeSymlink == 0 || read(t, target) != "hello" {
			t.Fatalf("the link is %v, %v, and its target holds %q", info, err, read(t, target))
		}
	}
	before := names(t, dir)
	if err := WriteFile(dir, hello); !errors.Is(err, ErrExists) {
		t.Fatalf("over a folder: got %v, want ErrExists", err)
	}
	missing := filepath.Join(dir, "no", "file")
	if err := WriteFile(missing, hello); err == nil || strings.Contains(err.Error(), ".tmp") || !strings.Contains(err.Error(), missing) {
		t.Fatalf("in a missing folder: %v", err)
	}
	file := filepath.Join(dir, "full")
	err := WriteFile(file, func(w io.Writer) error {
		return &fs.PathError{Op: "write", Path: w.(*os.File).Name(), Err: errors.New("disk full")}
	})
	if err == nil || err.Error() != "write "+file+": disk full" {
		t.Fatalf("on a full disk: %v", err)
	}
	if got := names(t, dir); len(got) != len(before) {
		t.Fatalf("left behind: %q", got)
	}
}

func TestCommit(t *testing.T) {
	out := filepath.Join(t.TempDir(), "deep", "out")
	d, err := CreateDir(out)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Abort()
	write(t, d.Path("sub", "x"), "1")
	if _, err := os.Stat(out); !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("before Commit: %v", err)
	}
	if _, err := CreateDir(out); !errors.Is(err, ErrLocked) {
		t.Fatalf("second writer: got %v, want ErrLocked", err)
	}
	if err := d.Commit(); err != nil {
		t.Fatal(err)
	}
	if err := d.Abort(); err != nil {
		t.Fatal(err)
	}
	if got := read(t, filepath.Join(out, "sub", "x")); got != "1" {
		t.Fatalf("got %q", got)
	}
	if got := names(t, out); len(got) != 1 {
		t.Fatalf("folder holds %q, want sub alone", got)
	}
	if got := names(t, filepath.Dir(out)); len(got) != 1 {
		t.Fatalf("parent holds %q, want out alone", got)
	}
	if _, err := CreateDir(out); !errors.Is(err, ErrExists) {
		t.Fatalf("over a finished folder: got %v, want ErrExists", err)
	}
}

func TestAbortLeavesNothing(t *testing.T) {
	parent := t.TempDir()
	d, err := CreateDir(filepath.Join(parent, "out"))
	if err != nil {
		t.Fatal(err)
	}
	write(t, d.Path("x"), "1")
	if err := d.Abort(); err != nil {
		t.Fatal(err)
	}
	if got := names(t, parent); len(got) != 0 {
		t.Fatalf("left behind: %q", got)
	}
	if err := d.Commit(); err == nil {
		t.Fatal("Commit after Abort: want an error")
	}
}

func TestEmptyFolderIsFree(t *testing.T) {
	out := t.TempDir()
	d, err := CreateDir(out)
	if err != nil {
		t.Fatal(err)
	}
	write(t, d.Path("x"), "1")
	if err := d.Commit(); err != nil {
		t.Fatal(err)
	}
	if got := read(t, filepath.Join(out, "x")); got != "1" {
		t.Fatalf("got %q", got)
	}
}

func TestFolderFilledMeanwhile(t *testing.T) {
	out := filepath.Join(t.TempDir(), "out")
	d, err := CreateDir(out)
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(out, "theirs"), "1")
	if err := d.Commit(); !errors.Is(err, ErrExists) {
		t.Fatalf("got %v, want ErrExists", err)
	}
	if err := d.Abort(); err != nil {
		t.Fatal(err)
	}
	if got := read(t, filepath.Join(out, "theirs")); got != "1" {
		t.Fatalf("got %q", got)
	}
}

// A link to an empty folder stays, and the folder it leads to is made; a file that came meanwhile is not taken away.
func TestOutIsLink(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("links need a privilege on Windows")
	}
	disk, place := t.TempDir(), t.TempDir()
	real, link := filepath.Join(disk, "real"), filepath.Join(place, "out")
	if err := errors.Join(os.Mkdir(real, 0o777), os.Symlink(real, link)); err != nil {
		t.Fatal(err)
	}
	d, err := CreateDir(link)
	if err != nil {
		t.Fatal(err)
	}
	write(t, d.Path("x"), "1")
	if err := d.Commit(); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Lstat(link); err != nil || info.Mode()&os.ModeSymlink == 0 || read(t, filepath.Join(real, "x")) != "1" {
		t.Fatalf("the link is %v, %v", info, err)
	}
	dangling := filepath.Join(place, "dangling")
	if err := os.Symlink(filepath.Join(disk, "absent"), dangling); err != nil {
		t.Fatal(err)
	}
	if _, err := CreateDir(dangling); err == nil || !strings.Contains(err.Error(), "link") {
		t.Fatalf("dangling link: got %v", err)
	}
	out := filepath.Join(place, "late")
	if d, err = CreateDir(out); err != nil {
		t.Fatal(err)
	}
	write(t, out, "theirs")
	if err := d.Commit(); !errors.Is(err, ErrExists) || read(t, out) != "theirs" {
		t.Fatalf("a file that came meanwhile: %v", err)
	}
	if err := d.Abort(); err != nil {
		t.Fatal(err)
	}
}

func TestOutIsFile(t *testing.T) {
	out := filepath.Join(t.TempDir(), "out")
	write(t, out, "file")
	if _, err := CreateDir(out); !errors.Is(err, ErrExists) {
		t.Fatalf("got %v, want ErrExists", err)
	}
	if _, err := CreateDir("/"); !errors.Is(err, ErrExists) {
		t.Fatalf("root: got %v, want ErrExists", err)
	}
}

// What a killed writer left is replaced. The test starts itself as the writer.
func TestLeftover(t *testing.T) {
	if out := os.Getenv("ATOMICFILE_TEST_OUT"); out != "" {
		d, err := CreateDir(out)
		if err != nil {
			t.Fatal(err)
		}
		write(t, d.Path("half"), "written")
		os.Stdout.WriteString("writing\n")
		time.Sleep(time.Hour) // select {} would be a deadlock, which ends the process
	}
	parent := t.TempDir()
	out := filepath.Join(parent, "out")
	cmd := exec.Command(os.Args[0], "-test.run=^TestLeftover$")
	cmd.Env = append(os.Environ(), "ATOMICFILE_TEST_OUT="+out)
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(pipe).ReadString('\n'); err != nil || line != "writing\n" {
		t.Fatalf("child said %q, %v", line, err)
	}
	if _, err := CreateDir(out); !errors.Is(err, ErrLocked) {
		t.Fatalf("while it writes: got %v, want ErrLocked", err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err == nil {
		t.Fatal("the child ended by itself")
	}
	d, err := CreateDir(out)
	if err != nil {
		t.Fatal(err)
	}
	if got := names(t, d.Path()); len(got) != 1 || got[0] != ".lock" {
		t.Fatalf("leftover stayed: %q", got)
	}
	if err := d.Abort(); err != nil {
		t.Fatal(err)
	}
}
