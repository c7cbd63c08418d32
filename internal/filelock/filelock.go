// Package filelock gives one process at a time the right to write a folder, by an advisory lock on an opened file.
//
// The lock belongs to the opened file, so the operating system drops it when the process ends, however it ends: a killed
// writer leaves nothing that has to be cleaned up by hand. On Unix it is flock(2), on Windows LockFileEx. Network file
// systems that do not carry flock between machines protect against a second writer on the same machine only.
//
// The package never waits: a second writer is told so at once.
package filelock

import (
	"errors"
	"fmt"
	"os"
	"sync"
)

// ErrLocked says that another process (or another Lock of this process) holds the lock.
var ErrLocked = errors.New("locked by another process")

// Lock is a lock that is held until Unlock or the end of the process. It is not safe for concurrent use.
type Lock struct {
	file *os.File
}

// held keeps every lock that was taken and not given back. Without it a Lock that nobody refers to any more would be
// collected, its file closed, and the lock dropped while the process still writes.
var held sync.Map

// TryLock opens path, creating it when it is not there, and takes an exclusive lock on it without waiting. It returns an
// error that wraps ErrLocked when somebody else holds it. The file's content is neither read nor changed. A file that
// was removed or renamed while the lock was taken is not locked for others; then the lock is taken anew on the file that
// now has the name.
func TryLock(path string) (*Lock, error) {
	for {
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o666)
		if err != nil {
			return nil, fmt.Errorf("lock: %w", err)
		}
		if err := lock(f); err != nil {
			closeErr := f.Close()
			if errors.Is(err, ErrLocked) {
				return nil, fmt.Errorf("%s: %w", path, ErrLocked)
			}
			return nil, errors.Join(fmt.Errorf("lock %s: %w", path, err), closeErr)
		}
		mine, err := f.Stat()
		if err != nil {
			return nil, errors.Join(fmt.Errorf("lock: %w", err), f.Close())
		}
		named, err := os.Stat(path)
		if err == nil && os.SameFile(mine, named) {
			l := &Lock{file: f}
			held.Store(l, nil)
			return l, nil
		}
		if err := f.Close(); err != nil {
			return nil, fmt.Errorf("lock: %w", err)
		}
	}
}

// Unlock gives the lock back and closes the file; the file stays. A second call does nothing.
func (l *Lock) Unlock() error {
	if l.file == nil {
		return nil
	}
	f := l.file
	l.file = nil
	held.Delete(l)
	if err := errors.Join(unlock(f), f.Close()); err != nil {
		return fmt.Errorf("unlock %s: %w", f.Name(), err)
	}
	return nil
}
