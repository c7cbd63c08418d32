package npy

import (
	"bytes"
	"encoding/binary"
	"math"
	"os"
	"path/filepath"
	"testing"
)

func TestFile(t *testing.T) {
	name := filepath.Join(t.TempDir(), "v.npy")
	w, err := Create(name, 3)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Append([]float32{1, 2}); err == nil {
		t.Error("a short row: want an error")
	}
	for i := range 5 {
		if err := w.Append([]float32{float32(i), -0.5, 1e-3}); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	// NumPy's format description, version 1.0: magic, version, header length, header padded to 64 bytes with a line end.
	if !bytes.HasPrefix(got, []byte("\x93NUMPY\x01\x00\x76\x00{'descr': '<f4', 'fortran_order': False, 'shape': (5, 3), }")) || got[127] != '\n' {
		t.Errorf("header %q", got[:128])
	}
	if len(got) != 128+5*3*4 {
		t.Fatalf("%d bytes", len(got))
	}
	if v := math.Float32frombits(binary.LittleEndian.Uint32(got[128+12*4:])); v != 4 {
		t.Errorf("row 4 begins with %v", v)
	}
}

func TestAbortLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	w, err := Create(filepath.Join(dir, "v.npy"), 2)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Abort(); err != nil {
		t.Fatal(err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 0 {
		t.Errorf("left %v, %v", entries, err)
	}
}

func TestErrorNamesTheFile(t *testing.T) {
	name := filepath.Join(t.TempDir(), "absent", "v.npy")
	if _, err := Create(name, 2); err == nil || err.Error() != "create "+name+": no such file or directory" {
		t.Errorf("got %v", err)
	}
}
