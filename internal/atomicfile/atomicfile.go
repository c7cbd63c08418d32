// Package atomicfile makes files and folders appear whole or not at all.
//
// WriteFile writes one file: a temporary name in the same folder, fsync, rename, fsync of the folder. CreateDir begins a
// folder: everything is written below a sibling named .NAME.partial, which Commit syncs and renames to NAME. A reader
// never sees half of either, and what was there before stays until the new one is complete.
//
// A folder under construction is locked by its writer (package filelock), so a second writer is refused at its start, and
// what a killed one left is replaced by the next.
package atomicfile

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"
)

// serial tells temporary files of one process apart.
var serial atomic.Uint64

// WriteFile replaces the file path by what write writes, or leaves everything as it was and returns the error. The
// writer passed to write is buffered nowhere; callers that write in small portions wrap it. Errors of write are returned
// as they are, others name the file. It may run concurrently; with the same path the last one to finish stays. A link is
// followed; a device or pipe (/dev/stdout) is never replaced but written to as it is; a folder is refused with ErrExists.
func WriteFile(path string, write func(io.Writer) error) (err error) {
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
	}
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		return writeThrough(path, info, write)
	}
	f, err := createTemp(path)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			var place *fs.PathError
			if errors.As(err, &place) && place.Path == f.Name() {
				place.Path = path // people know the file by its name, not by the temporary one
			}
			// The first error is what the caller needs; a temporary file that cannot be removed is named beside it.
			if rm := os.Remove(f.Name()); rm != nil {
				err = errors.Join(err, rm)
			}
		}
	}()
	err = write(f)
	if err == nil {
		err = f.Sync()
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// writeThrough writes to what has a name but is no file that could be replaced.
func writeThrough(path string, info os.FileInfo, write func(io.Writer) error) error {
	if info.IsDir() {
		return fmt.Errorf("%s: %w and is a folder", path, ErrExists)
	}
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	return errors.Join(write(f), f.Close())
}

// createTemp opens a new file beside path with the permissions that a file of the user has (os.CreateTemp's are
// narrower, which surprises whoever shares a folder).
func createTemp(path string) (*os.File, error) {
	dir, base := filepath.Split(path)
	for {
		n := serial.Add(1)
		name := dir + "." + base + "." + strconv.Itoa(os.Getpid()) + "." + strconv.FormatUint(n, 10) + ".tmp"
		f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
		if errors.Is(err, os.ErrExist) {
			continue
		}
		if err != nil {
			var place *fs.PathError // names the temporary file, which tells nobody anything
			if errors.As(err, &place) {
				err = place.Err
			}
			return nil, fmt.Errorf("create %s: %w", path, err)
		}
		return f, nil
	}
}
