package mmap

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"unsafe"
)

func TestReadAt(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	want := bytes.Repeat([]byte("0123456789"), 1000)
	if err := os.WriteFile(path, want, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(f.Bytes(), want) || f.Len() != len(want) {
		t.Fatal("mapped bytes differ from the file's")
	}
	buf := make([]byte, 7)
	if n, err := f.ReadAt(buf, 13); n != 7 || err != nil || string(buf) != "3456789" {
		t.Fatalf("got %d %v %q", n, err, buf)
	}
	if n, err := f.ReadAt(buf, 9998); n != 2 || err != io.EOF {
		t.Fatalf("across the end: got %d %v, want 2 EOF", n, err)
	}
	if n, err := f.ReadAt(buf, 10000); n != 0 || err != io.EOF {
		t.Fatalf("behind the end: got %d %v, want 0 EOF", n, err)
	}
	if _, err := f.ReadAt(buf, -1); err == nil {
		t.Fatal("negative offset: want an error")
	}
	if err := errors.Join(f.Close(), f.Close()); err != nil {
		t.Fatal(err)
	}
}

func TestCutShortBehindTheMapping(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("Windows does not cut a mapped file")
	}
	path := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(path, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := os.Truncate(path, 4096); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 100)
	if _, err := f.ReadAt(buf, 0); err != nil {
		t.Fatalf("what is left: %v", err)
	}
	if _, err := f.ReadAt(buf, 1<<19); err == nil || !strings.Contains(err.Error(), path) {
		t.Fatalf("what is gone: got %v, want an error that names the file", err)
	}
}

func TestEmptyAndMissing(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "empty")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	if f.Len() != 0 {
		t.Fatalf("length %d", f.Len())
	}
	if _, err := f.ReadAt(make([]byte, 1), 0); err != io.EOF {
		t.Fatalf("got %v, want EOF", err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(filepath.Join(dir, "missing")); !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("got %v, want not exist", err)
	}
	if _, err := Open(dir); err == nil {
		t.Fatal("a folder: want an error")
	}
}

func TestAlloc(t *testing.T) {
	for _, n := range []int{1, 4096, 5<<20 + 3} {
		b, err := Alloc(n)
		if err != nil {
			t.Fatal(err)
		}
		if len(b) != n || uintptr(unsafe.Pointer(&b[0]))%4096 != 0 {
			t.Fatalf("%d bytes: got %d at %p", n, len(b), &b[0])
		}
		for i, v := range b {
			if v != 0 {
				t.Fatalf("byte %d is %d, want 0", i, v)
			}
		}
		b[n-1] = 1
		if err := Free(b); err != nil {
			t.Fatal(err)
		}
	}
	if b, err := Alloc(0); b != nil || err != nil || Free(b) != nil {
		t.Fatalf("0 bytes: %v %v", b, err)
	}
	if _, err := Alloc(-1); err == nil {
		t.Fatal("negative: want an error")
	}
	if _, err := Alloc(1 << 60); err == nil {
		t.Fatal("2^60 bytes: want an error")
	}
}
