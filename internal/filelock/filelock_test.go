package filelock

import (
	"bufio"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
	"time"
)

func TestSecondLockFailsAtOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), ".lock")
	first, err := TryLock(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := TryLock(path); !errors.Is(err, ErrLocked) {
		t.Fatalf("second lock: got %v, want ErrLocked", err)
	}
	if err := first.Unlock(); err != nil {
		t.Fatal(err)
	}
	if err := first.Unlock(); err != nil {
		t.Fatalf("second Unlock: %v", err)
	}
	again, err := TryLock(path)
	if err != nil {
		t.Fatalf("after Unlock: %v", err)
	}
	if err := again.Unlock(); err != nil {
		t.Fatal(err)
	}
}

func TestLockKeepsContent(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte("kept"), 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := TryLock(path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Unlock()
	if got, err := os.ReadFile(path); err != nil || string(got) != "kept" {
		t.Fatalf("got %q, %v; want kept", got, err)
	}
}

func TestNoFolder(t *testing.T) {
	if _, err := TryLock(filepath.Join(t.TempDir(), "missing", "x")); !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("got %v, want not exist", err)
	}
}

// A killed holder must leave nothing: the test starts itself as a child that takes the lock, and kills it.
func TestKilledHolder(t *testing.T) {
	if path := os.Getenv("FILELOCK_TEST_PATH"); path != "" {
		if _, err := TryLock(path); err != nil {
			t.Fatal(err)
		}
		os.Stdout.WriteString("locked\n")
		time.Sleep(time.Hour) // select {} would be a deadlock, which ends the process
	}
	path := filepath.Join(t.TempDir(), ".lock")
	cmd := exec.Command(os.Args[0], "-test.run=^TestKilledHolder$")
	cmd.Env = append(os.Environ(), "FILELOCK_TEST_PATH="+path)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "locked\n" {
		t.Fatalf("child said %q, %v", line, err)
	}
	if _, err := TryLock(path); !errors.Is(err, ErrLocked) {
		t.Fatalf("while the child holds it: got %v, want ErrLocked", err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err == nil {
		t.Fatal("the child ended by itself")
	}
	l, err := TryLock(path)
	if err != nil {
		t.Fatalf("after the kill: %v", err)
	}
	if err := l.Unlock(); err != nil {
		t.Fatal(err)
	}
}

// A lock that nobody refers to any more stays until it is given back or the process ends.
func TestForgottenLockStays(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	func() {
		if _, err := TryLock(path); err != nil {
			t.Fatal(err)
		}
	}()
	for range 3 {
		runtime.GC()
	}
	time.Sleep(10 * time.Millisecond) // the file's cleanup would run in a goroutine of its own
	if _, err := TryLock(path); !errors.Is(err, ErrLocked) {
		t.Errorf("after a collection: got %v, want ErrLocked", err)
	}
}
