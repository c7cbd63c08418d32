package cuda

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
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
	f, err := os.Open(path)
	if err != nil {
		return errors.Unwrap(err)
	}
	defer f.Close() // opened for reading: closing loses nothing
	var head [20]byte
	if _, err := io.ReadFull(f, head[:]); err != nil || string(head[:4]) != "\x7fELF" {
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
	return nil
}

// checkCubin says why a cubin cannot be whole. The driver is not told how long it is and reads as far as it says itself.
func checkCubin(image []byte) error {
	const headBytes, nvidia = 64, 190 // of ELF64; the machine of the ELF header
	if len(image) < headBytes || image[4] != 2 || image[5] != 1 || binary.LittleEndian.Uint16(image[18:]) != nvidia {
		return fmt.Errorf("%w: an ELF file of %d bytes, but no cubin", ErrBadModule, len(image))
	}
	for _, table := range []struct{ start, size, count int }{{32, 54, 56}, {40, 58, 60}} { // program and section headers
		start := binary.LittleEndian.Uint64(image[table.start:])
		bytes := uint64(binary.LittleEndian.Uint16(image[table.size:])) * uint64(binary.LittleEndian.Uint16(image[table.count:]))
		if end := start + bytes; end < start || end > uint64(len(image)) {
			return fmt.Errorf("%w: the cubin ends after %d bytes, and its tables reach to %d", ErrBadModule, len(image), end)
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
