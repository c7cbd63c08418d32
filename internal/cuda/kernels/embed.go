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
	"bytes"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
)

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
// run, where there are any. Each call returns a new slice. A capability below 8.0 is an error.
func PTX(major, minor int) ([]byte, error) {
	if 10*major+minor < Capability {
		return nil, fmt.Errorf("the kernels need a GPU of compute capability 8.0 or newer (Ampere), this one has %d.%d: use the CPU", major, minor)
	}
	return image(files, major == 9 && minor == 0)
}

// Names returns the names of all kernels, sorted; none when they are not built in.
func Names() []string {
	ptx, err := image(files, false)
	if err != nil {
		return nil
	}
	names := entries(ptx)
	slices.Sort(names)
	return names
}

// image joins the files of a folder to one module: one head, the bodies of all. What several files declare alike (the
// shared memory of dynamic size, the tables of a header) stays once.
func image(folder fs.FS, variants bool) ([]byte, error) {
	names, err := fs.Glob(folder, "*.ptx")
	if err != nil {
		return nil, err
	}
	target := "sm_80"
	var body bytes.Buffer
	declared := map[string]bool{}
	for _, name := range names {
		base := strings.TrimSuffix(name, ".ptx")
		if path.Ext(base) != "" {
			continue // a variant
		}
		if v := base + "." + hopper + ".ptx"; variants && slices.Contains(names, v) {
			name, target = v, hopper
		}
		text, err := fs.ReadFile(folder, name)
		if err != nil {
			return nil, err
		}
		for line := range strings.Lines(string(text)) {
			switch {
			case hasAny(line, "//", ".version", ".target", ".address_size") || line == "\n":
				continue
			case hasAny(line, ".extern", ".const", ".global"):
				if declared[line] {
					continue
				}
				declared[line] = true
			}
			body.WriteString(line)
		}
	}
	if body.Len() == 0 {
		return nil, fmt.Errorf("no GPU kernels are built into this binary: build it without -tags nocuda")
	}
	head := fmt.Sprintf(".version %s\n.target %s\n.address_size 64\n", ISA, target)
	return append([]byte(head), body.Bytes()...), nil
}

func hasAny(line string, prefixes ...string) bool {
	return slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(line, p) })
}

// entries returns the names of the kernels in PTX, in its order.
func entries(ptx []byte) []string {
	var names []string
	for line := range strings.Lines(string(ptx)) {
		if rest, ok := strings.CutPrefix(line, ".visible .entry "); ok {
			name, _, _ := strings.Cut(strings.TrimSpace(rest), "(")
			names = append(names, name)
		}
	}
	return names
}
