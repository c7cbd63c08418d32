package cuda

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"
)

// machines are the processors of the ELF header that a person may have libraries for.
var machines = map[uint16]string{3: "386", 21: "ppc64le", 40: "arm", 62: "amd64", 183: "arm64", 243: "riscv64"}

// foreignFile says why the file at path is no library for this process; nil when it may be one. The dynamic linker says
// "no such file" or less of a library for another processor.
func foreignFile(path string) error {
	if runtime.GOOS == "windows" {
		return nil // LoadLibrary has a code for it: see plain
	}
	info, err := os.Stat(path) // before it is opened, because a pipe waits for its writer then
	if err != nil {
		return errors.Unwrap(err)
	}
	if !info.Mode().IsRegular() {
		return errors.New("not a shared library (no regular file)")
	}
	f, err := os.Open(path)
	if err != nil {
		return errors.Unwrap(err)
	}
	defer f.Close() // opened for reading: closing loses nothing
	head := make([]byte, elfHeadBytes)
	n, err := f.ReadAt(head, 0)
	if err != nil && err != io.EOF || n < elfMachineEnd || string(head[:4]) != "\x7fELF" {
		return errors.New("not a shared library (no ELF header)")
	}
	order := binary.ByteOrder(binary.LittleEndian)
	if head[5] == 2 {
		order = binary.BigEndian
	}
	machine := machines[order.Uint16(head[18:])]
	if machine == "" {
		machine = fmt.Sprintf("an unknown processor (ELF machine %d)", order.Uint16(head[18:]))
	}
	if machine != runtime.GOARCH {
		return fmt.Errorf("wrong architecture: the library is for %s, this program for %s", machine, runtime.GOARCH)
	}
	if n < elfHeadBytes {
		return fmt.Errorf("cut short: %d bytes are there", n)
	}
	return elfSegments.within(f, head, uint64(info.Size())) // the dynamic linker maps what is not there, and dies of it
}

const (
	elfHeadBytes  = 64 // of ELF64
	elfMachineEnd = 20 // of the head, where the machine has been named
)

// elfTable is where an ELF64 header says where a table of the file is, and where its entries say where their bytes are.
type elfTable struct {
	start, size, count int // in the header: offset of the table, bytes of an entry, entries
	offset, bytes      int // in an entry
	kind, none         int // in an entry: its kind, and the kind that has no bytes in the file
}

var (
	elfSegments = elfTable{start: 32, size: 54, count: 56, offset: 8, bytes: 32, kind: 0, none: 0}
	elfSections = elfTable{start: 40, size: 58, count: 60, offset: 24, bytes: 32, kind: 4, none: 8}
)

// within says why the file is cut short: the table, or what its entries tell of, lies behind the end.
func (e elfTable) within(f io.ReaderAt, head []byte, end uint64) error {
	start, size, count := binary.LittleEndian.Uint64(head[e.start:]), binary.LittleEndian.Uint16(head[e.size:]), binary.LittleEndian.Uint16(head[e.count:])
	if count == 0 {
		return nil
	}
	table := make([]byte, int(size)*int(count))
	if start > end || uint64(len(table)) > end-start || size < 40 {
		return fmt.Errorf("cut short: %d bytes are there, and a table of %d at %d is not", end, len(table), start)
	}
	if _, err := f.ReadAt(table, int64(start)); err != nil {
		return err
	}
	for entry := range slices.Chunk(table, int(size)) {
		offset, bytes := binary.LittleEndian.Uint64(entry[e.offset:]), binary.LittleEndian.Uint64(entry[e.bytes:])
		if int(binary.LittleEndian.Uint32(entry[e.kind:])) != e.none && (offset > end || bytes > end-offset) {
			return fmt.Errorf("cut short: %d bytes are there, and %d at %d are not", end, bytes, offset)
		}
	}
	return nil
}

// checkCubin says why a cubin cannot be whole. The driver is not told how long it is and reads as far as it says
// itself.
func checkCubin(image []byte) error {
	const nvidia = 190 // the machine of the ELF header
	if len(image) < elfHeadBytes || image[4] != 2 || image[5] != 1 || binary.LittleEndian.Uint16(image[18:]) != nvidia {
		return fmt.Errorf("%w: an ELF file of %d bytes, but no cubin", ErrBadModule, len(image))
	}
	for _, table := range []elfTable{elfSegments, elfSections} {
		if err := table.within(bytes.NewReader(image), image, uint64(len(image))); err != nil {
			return fmt.Errorf("%w: the cubin is %w", ErrBadModule, err)
		}
	}
	return nil
}

// plain takes out of a linker's message what a person needs.
func plain(path string, err error) error {
	text := err.Error()
	if strings.Contains(text, "not a valid Win32 application") || strings.Contains(text, "wrong ELF class") {
		return fmt.Errorf("wrong architecture: the library is not for %s (%s)", runtime.GOARCH, text)
	}
	return errors.New(strings.TrimPrefix(text, path+": "))
}
