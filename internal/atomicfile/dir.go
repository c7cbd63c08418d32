package atomicfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/secencoder/secencoder/internal/filelock"
)

// ErrExists says that the folder to be written is there and not empty, or is a file.
var ErrExists = errors.New("already exists")

// ErrLocked says that another process is writing the same folder. It is filelock.ErrLocked.
var ErrLocked = filelock.ErrLocked

const lockName = ".lock"

// Dir is a folder under construction. It is not safe for concurrent use, but the files below it may be written by many
// goroutines.
type Dir struct {
	out     string
	partial string
	lock    *filelock.Lock // nil after Commit or Abort
}

// CreateDir begins the folder out: it makes missing parents and the sibling .NAME.partial, and locks it. The error
// wraps ErrExists when out is a file or a folder that is not empty, and ErrLocked when another process is writing it.
// When out is a link to a folder, that folder is meant.
// What a killed writer left in .NAME.partial is removed. Nothing is at out before Commit.
func CreateDir(out string) (*Dir, error) {
	abs, err := filepath.Abs(out)
	if err != nil {
		return nil, err
	}
	if real, err := filepath.EvalSymlinks(abs); err == nil {
		abs = real // a link stays, and the folder is made where it leads
	} else if _, err := os.Readlink(abs); err == nil {
		return nil, fmt.Errorf("%s: link to a folder that is not there", out)
	}
	if filepath.Dir(abs) == abs {
		return nil, fmt.Errorf("%s: %w", out, ErrExists)
	}
	partial := filepath.Join(filepath.Dir(abs), "."+filepath.Base(abs)+".partial")
	for {
		if err := vacant(abs); err != nil {
			return nil, err
		}
		if err := os.MkdirAll(partial, 0o777); err != nil {
			return nil, err
		}
		lock, err := filelock.TryLock(filepath.Join(partial, lockName))
		if errors.Is(err, fs.ErrNotExist) {
			continue // another writer finished, or gave up, between the two calls
		}
		if errors.Is(err, ErrLocked) {
			return nil, fmt.Errorf("%s: %w", out, ErrLocked)
		}
		if err != nil {
			return nil, err
		}
		d := &Dir{out: abs, partial: partial, lock: lock}
		// The one that finished in between may have left its folder at out.
		if err := vacant(abs); err != nil {
			return nil, errors.Join(err, d.Abort())
		}
		if err := d.clear(); err != nil {
			return nil, errors.Join(err, d.Abort())
		}
		return d, nil
	}
}

// vacant reports whether a folder may be made at path.
func vacant(path string) error {
	entries, err := os.ReadDir(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		if info, statErr := os.Stat(path); statErr == nil && !info.IsDir() {
			return fmt.Errorf("%s: %w and is a file", path, ErrExists)
		}
		return err
	case len(entries) > 0:
		return fmt.Errorf("%s: %w and is not empty", path, ErrExists)
	}
	return nil
}

// clear removes what an earlier writer left.
func (d *Dir) clear() error {
	entries, err := os.ReadDir(d.partial)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.Name() == lockName {
			continue
		}
		if err := os.RemoveAll(filepath.Join(d.partial, e.Name())); err != nil {
			return err
		}
	}
	return nil
}

// Path returns the place below the folder under construction for the elements name; without elements the folder itself.
// Parent folders are the caller's to make.
func (d *Dir) Path(name ...string) string {
	return filepath.Join(append([]string{d.partial}, name...)...)
}

// Out returns the absolute path at which the folder appears on Commit.
func (d *Dir) Out() string { return d.out }

// Commit syncs every file and folder, renames the folder to its name and syncs the parent. After an error nothing is at
// the name, and Abort removes what was written; when only the last sync failed, the folder is complete at its name.
// Commit or Abort may be called once more without effect, so `defer d.Abort()` is right.
func (d *Dir) Commit() error {
	if d.lock == nil {
		return errors.New("internal error: commit of a folder that was committed or aborted")
	}
	err := filepath.WalkDir(d.partial, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if e.IsDir() {
			return syncDir(path)
		}
		return syncFile(path)
	})
	if err != nil {
		return err
	}
	if !canRenameLocked {
		if err := d.unlock(); err != nil {
			return err
		}
		if err := os.Remove(filepath.Join(d.partial, lockName)); err != nil {
			return err
		}
	}
	// os.Rename does not replace a folder, and an empty one is allowed; os.Remove refuses one that is not empty, but would
	// take away a file.
	if info, err := os.Lstat(d.out); err == nil && !info.IsDir() {
		return fmt.Errorf("%s: %w and is a file", d.out, ErrExists)
	}
	if err := os.Remove(d.out); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s: %w: %w", d.out, ErrExists, err)
	}
	if err := os.Rename(d.partial, d.out); err != nil {
		return err
	}
	if canRenameLocked {
		// The lock travelled with the folder, so that no other writer could take it for a leftover.
		if err := errors.Join(os.Remove(filepath.Join(d.out, lockName)), d.unlock(), syncDir(d.out)); err != nil {
			return err
		}
	}
	return syncDir(filepath.Dir(d.out))
}

// Abort removes everything that was written. After Commit, or called again, it does nothing.
func (d *Dir) Abort() error {
	if d.lock == nil {
		return nil
	}
	if !canRenameLocked {
		return errors.Join(d.unlock(), os.RemoveAll(d.partial))
	}
	return errors.Join(os.RemoveAll(d.partial), d.unlock())
}

func (d *Dir) unlock() error {
	l := d.lock
	d.lock = nil
	return l.Unlock()
}

func syncFile(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if errors.Is(err, fs.ErrPermission) {
		f, err = os.Open(path) // a file that was made read only
	}
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
