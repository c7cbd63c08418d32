package emulator

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"os/signal"
	"sync"
	"syscall"
	"testing"
	"time"
)

// A child without a tile instruction does what it would do alone: many threads, every signal, SIGILL from outside too.
func TestChildIsUndisturbed(t *testing.T) {
	if !Test(t) {
		return
	}
	for _, s := range []syscall.Signal{syscall.SIGUSR1, syscall.SIGILL, syscall.SIGCHLD, syscall.SIGTERM} {
		c := make(chan os.Signal, 1)
		signal.Notify(c, s)
		for range 20 {
			if err := syscall.Kill(syscall.Getpid(), s); err != nil {
				t.Fatal(err)
			}
			select {
			case <-c:
			case <-time.After(10 * time.Second):
				t.Fatalf("%v did not arrive", s)
			}
		}
		signal.Stop(c)
	}
	var wait sync.WaitGroup
	for range 50 {
		wait.Go(func() { // blocking calls, so that the runtime makes threads
			d := syscall.Timespec{Nsec: 1e6}
			if err := syscall.Nanosleep(&d, nil); err != nil && !errors.Is(err, syscall.EINTR) {
				t.Error(err)
			}
		})
	}
	wait.Wait()
	if out, err := exec.Command("/bin/sh", "-c", "echo a child of the child").Output(); err != nil || !bytes.HasPrefix(out, []byte("a child")) {
		t.Errorf("%q, %v", out, err)
	}
}

// However a child ends, Run says so.
func TestChildFails(t *testing.T) {
	shell := func(script string) error {
		_, err := Run(exec.Command("/bin/sh", "-c", script))
		if errors.Is(err, ErrNotPermitted) {
			t.Skip(err)
		}
		return err
	}
	if err := shell("exit 0"); err != nil {
		t.Errorf("exit 0: %v", err)
	}
	if err := shell("exit 3"); err == nil || err.Error() != "the child ended with exit code 3" {
		t.Errorf("exit 3: %v", err)
	}
	if err := shell("kill -ABRT $$"); err == nil || err.Error() != "the child ended with signal aborted" {
		t.Errorf("abort: %v", err)
	}
	if _, err := Run(exec.Command("/there/is/no/such/program")); err == nil {
		t.Error("a program that is not there ran")
	}
}
