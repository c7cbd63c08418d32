// Package kernels carries the GPU kernels: their source in CUDA C beside the PTX that was made of it, which is built into
// the binary. README.md lists every kernel with its parameters, RESOURCES.md what each takes of the GPU.
//
// Begin with PTX, which gives a driver all kernels in one image, and Names. The PTX is made ahead of time, by
//
//	go generate ./internal/cuda/kernels
//
// which needs no GPU (package nvrtc); run it after every change of a .cu or .cuh file, and commit what it changes. A test
// compares the hashes in each PTX with the sources, so that an old one fails everywhere.
//
// The package does not launch anything: package cuda does.
package kernels

import (
	"fmt"
	"io/fs"
	"slices"

	"github.com/secencoder/secencoder/internal/cuda/kernels/ptx"
)

//go:generate go run ./generate

// What the PTX asks of the machine. It follows from the compiler's version; a test compares it with the PTX.
const (
	ISA        = "8.1" // version of the PTX language
	Driver     = 12010 // the least that cuDriverGetVersion may return
	Release    = 530   // the driver release that brought it
	Capability = 80    // the least compute capability, 10·major + minor
)

// hopper is the variant of compute capability 9.0: its instructions run nowhere else.
const hopper = "sm_90a"

// PTX returns all kernels as one image for a device of a compute capability: for 9.0 with the variants that only it can
// run, where there are any. Each call returns a new slice. A capability below 8.0 is an error, and so is a binary that was
// built without GPU support.
func PTX(major, minor int) ([]byte, error) {
	if 10*major+minor < Capability {
		return nil, fmt.Errorf("the kernels need a GPU of compute capability 8.0 or newer (Ampere), this one has %d.%d: use the CPU", major, minor)
	}
	variant := ""
	if major == 9 && minor == 0 {
		variant = hopper
	}
	texts, err := read(files)
	if err != nil {
		return nil, err
	}
	if len(texts) == 0 {
		return nil, fmt.Errorf("no GPU kernels are built into this binary: build it without -tags nocuda")
	}
	return ptx.Join(texts, variant)
}

// Names returns the names of all kernels, sorted; none in a binary that was built without GPU support.
func Names() ([]string, error) {
	texts, err := read(files)
	if err != nil {
		return nil, err
	}
	seen := map[string]bool{}
	var names []string
	for _, text := range texts {
		for _, name := range ptx.Entries([]byte(text)) {
			if !seen[name] { // else a variant of it
				seen[name] = true
				names = append(names, name)
			}
		}
	}
	slices.Sort(names)
	return names, nil
}

// read returns the files of PTX by name.
func read(folder fs.FS) (map[string]string, error) {
	names, err := fs.Glob(folder, "*"+ptx.Extension)
	if err != nil {
		return nil, err
	}
	texts := map[string]string{}
	for _, name := range names {
		text, err := fs.ReadFile(folder, name)
		if err != nil {
			return nil, err
		}
		texts[name] = string(text)
	}
	return texts, nil
}
