//go:build !linux || !(amd64 || arm64) || nocuda

package nvrtc

import (
	"fmt"
	"runtime"
)

// Compiler is an opened libnvrtc; there is none on this system.
type Compiler struct{}

// Open says that this build cannot open the compiler.
func Open(path string) (*Compiler, error) {
	return nil, fmt.Errorf("%w in this build (%s/%s): use Linux on amd64 or arm64, without -tags nocuda", ErrUnavailable, runtime.GOOS, runtime.GOARCH)
}

// Version is never reached: Open gives no Compiler.
func (c *Compiler) Version() (major, minor int, err error) { return 0, 0, ErrUnavailable }

// Compile is never reached: Open gives no Compiler.
func (c *Compiler) Compile(p Program) (ptx []byte, log string, err error) {
	return nil, "", ErrUnavailable
}
