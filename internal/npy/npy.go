// Package npy writes matrices of float32 as NumPy's .npy files (format version 1.0), row by row, without knowing their
// number beforehand.
//
// Begin with Create. The header has room for any number of rows and is written last; the file appears at its name when
// Close succeeds, whole or not at all. The package does not read.
package npy

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strings"
)

// headerBytes is a multiple of 64, as the format asks, with room for 20 digits of rows.
const headerBytes = 128

// Writer writes one file. It is used by one goroutine.
type Writer struct {
	name    string
	file    *os.File
	out     *bufio.Writer
	columns int
	rows    int64
	scratch []byte
}

// Create begins a file with rows of columns values. Nothing stands at name before Close; a file that is there stays until
// then.
func Create(name string, columns int) (*Writer, error) {
	if columns < 1 {
		return nil, fmt.Errorf("%s: %d columns, want 1 or more", name, columns)
	}
	f, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+".tmp-*")
	if err != nil {
		var place *fs.PathError
		if errors.As(err, &place) { // the temporary name means nothing to anybody
			err = &fs.PathError{Op: "create", Path: name, Err: place.Err}
		}
		return nil, err
	}
	w := &Writer{name: name, file: f, out: bufio.NewWriterSize(f, 1<<20), columns: columns, scratch: make([]byte, 4*columns)}
	if _, err := w.out.Write(make([]byte, headerBytes)); err != nil {
		return nil, errors.Join(err, w.Abort())
	}
	return w, nil
}

// Append writes one row, whose length must be columns.
func (w *Writer) Append(row []float32) error {
	if len(row) != w.columns {
		return fmt.Errorf("%s: row %d has %d values, want %d", w.name, w.rows, len(row), w.columns)
	}
	for i, v := range row {
		binary.LittleEndian.PutUint32(w.scratch[4*i:], math.Float32bits(v))
	}
	w.rows++
	_, err := w.out.Write(w.scratch)
	return err
}

// Close writes the header, syncs, and puts the file at its name.
func (w *Writer) Close() error {
	text := fmt.Sprintf("{'descr': '<f4', 'fortran_order': False, 'shape': (%d, %d), }", w.rows, w.columns)
	const prefix = 10
	head := append([]byte("\x93NUMPY\x01\x00"), 0, 0)
	binary.LittleEndian.PutUint16(head[8:], headerBytes-prefix)
	head = append(head, text+strings.Repeat(" ", headerBytes-prefix-1-len(text))+"\n"...)
	err := w.out.Flush()
	if err == nil {
		_, err = w.file.WriteAt(head, 0)
	}
	if err == nil {
		err = w.file.Chmod(0o644)
	}
	if err == nil {
		err = w.file.Sync()
	}
	if err != nil {
		return errors.Join(err, w.Abort())
	}
	if err := w.file.Close(); err != nil {
		return errors.Join(err, os.Remove(w.file.Name()))
	}
	if err := os.Rename(w.file.Name(), w.name); err != nil {
		return errors.Join(err, os.Remove(w.file.Name()))
	}
	return nil
}

// Abort leaves nothing behind. It does nothing after a successful Close.
func (w *Writer) Abort() error {
	err := w.file.Close()
	if errors.Is(err, fs.ErrClosed) {
		return nil
	}
	return errors.Join(err, os.Remove(w.file.Name()))
}
