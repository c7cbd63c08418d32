//go:build unix

package source

import (
	"context"
	"errors"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/secencoder/secencoder/data"
)

// A named pipe that nobody writes to can be left with Ctrl-C.
func TestOpenWaitingPipe(t *testing.T) {
	pipe := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Skipf("no named pipes here: %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		_, err := Open(ctx, data.File{Path: pipe}, Options{})
		done <- err
	}()
	cancel()
	select {
	case err := <-done:
		if !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, want cancelled", err)
		}
	case <-time.After(10 * time.Second):
		t.Error("still waiting after ten seconds")
	}
}
