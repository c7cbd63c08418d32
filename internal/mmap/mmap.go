// Package mmap maps files read-only and gives memory outside Go's heap.
//
// Open maps a whole file. ReadAt is the safe way to its bytes: it copies, and a page that cannot be read (the file was
// cut short behind the mapping, or the disk failed; the operating system says SIGBUS) comes back as an error instead of
// ending the program. Bytes gives the mapping itself, without that guard.
//
// Alloc gives anonymous memory that the garbage collector neither scans, moves nor counts: the home of arenas.
package mmap

import (
	"fmt"
	"io"
	"os"
	"runtime/debug"
)

// File is a file mapped read-only. Its methods may be called concurrently, but none during or after Close.
type File struct {
	path string
	data []byte // nil for an empty file
}

// Open maps the regular file path. Later growth of the file is not seen. An empty file gives an empty File. The mapping
// outlives a removal of the name on Unix.
func Open(path string) (*File, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close() // the mapping holds the file; closing an unwritten file loses nothing
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("map %s: not a regular file", path)
	}
	size := info.Size()
	if size == 0 {
		return &File{path: path}, nil
	}
	if int64(int(size)) != size {
		return nil, fmt.Errorf("map %s: %d bytes do not fit the address space", path, size)
	}
	data, err := mapFile(f, int(size))
	if err != nil {
		return nil, fmt.Errorf("map %s: %w", path, err)
	}
	return &File{path: path, data: data}, nil
}

// Len returns the size of the file, in bytes, when it was opened.
func (f *File) Len() int { return len(f.data) }

// Bytes returns the mapping. It is valid until Close and must not be written. Reading a part of it that the file no
// longer has ends the program; ReadAt does not.
func (f *File) Bytes() []byte { return f.data }

// ReadAt copies bytes from offset off into dst, as io.ReaderAt says. A page that cannot be read is an error that names
// the file and the range.
func (f *File) ReadAt(dst []byte, off int64) (n int, err error) {
	if off < 0 {
		return 0, fmt.Errorf("read %s: negative offset %d", f.path, off)
	}
	if off >= int64(len(f.data)) {
		return 0, io.EOF
	}
	old := debug.SetPanicOnFault(true)
	defer func() {
		debug.SetPanicOnFault(old)
		if r := recover(); r != nil {
			if _, fault := r.(interface{ Addr() uintptr }); !fault {
				panic(r)
			}
			n, err = 0, fmt.Errorf("read %s: bytes %d to %d: the file can no longer be read (was it cut short?)", f.path, off, off+int64(len(dst)))
		}
	}()
	n = copy(dst, f.data[off:])
	if n < len(dst) {
		return n, io.EOF
	}
	return n, nil
}

// Close ends the mapping; Bytes must not be used any more. A second call does nothing.
func (f *File) Close() error {
	data := f.data
	f.data = nil
	if data == nil {
		return nil
	}
	if err := unmapFile(data); err != nil {
		return fmt.Errorf("unmap %s: %w", f.path, err)
	}
	return nil
}

// Alloc returns bytes of zeroed memory outside Go's heap, aligned to a page, or nil for 0. Where the operating system
// has them, large pages are asked for. The memory stays until Free; nothing else gives it back, and it must not hold Go
// pointers.
func Alloc(bytes int) ([]byte, error) {
	if bytes < 0 {
		return nil, fmt.Errorf("allocate %d bytes: negative size", bytes)
	}
	if bytes == 0 {
		return nil, nil
	}
	b, err := alloc(bytes)
	if err != nil {
		return nil, fmt.Errorf("allocate %d bytes: %w", bytes, err)
	}
	return b, nil
}

// Free gives memory back to the operating system. b must be exactly what Alloc returned (nil is allowed), and must not
// be used afterwards.
func Free(b []byte) error {
	if b == nil {
		return nil
	}
	if err := free(b); err != nil {
		return fmt.Errorf("free %d bytes: %w", len(b), err)
	}
	return nil
}
