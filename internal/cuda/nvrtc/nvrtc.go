// Package nvrtc is the compiler of the GPU kernels for those who change them: CUDA C to PTX through NVIDIA's run-time
// compiler, and PTX to machine code through its assembler. Neither needs a GPU, a driver or an installed CUDA toolkit:
// both come out of two Python wheels of one fixed version, so that everybody's PTX is the same to the byte.
//
// Begin with Fetch, which finds or downloads the wheels, then Open and Compile. Assemble (ptxas.go) tells how many
// registers and how much memory each kernel takes on one architecture.
//
// The program secencoder does not use this package: the PTX is made ahead of time (internal/cuda/kernels) and carried in
// the binary.
package nvrtc

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// ErrUnavailable is wrapped by errors that say that the compiler cannot be had here: another system, no pip, no registry.
// It is not a statement about the kernels.
var ErrUnavailable = errors.New("the CUDA compiler is not available")

// Program is one source with all that it includes.
type Program struct {
	Name    string            // as in error messages: "norm.cu"
	Source  string            // CUDA C++
	Headers map[string]string // by the name in #include
	Options []string          // "--gpu-architecture=compute_80"
}

// CompileError is a source that the compiler refused.
type CompileError struct {
	Program string
	Code    string // "NVRTC_ERROR_COMPILATION"
	Log     string // what the compiler said, with lines
}

func (e *CompileError) Error() string {
	if log := strings.TrimSpace(e.Log); log != "" {
		return fmt.Sprintf("compile %s: %s\n%s", e.Program, e.Code, log)
	}
	return fmt.Sprintf("compile %s: %s", e.Program, e.Code)
}

// headerNames returns the names of the headers in a fixed order.
func (p *Program) headerNames() []string { return slices.Sorted(maps.Keys(p.Headers)) }
