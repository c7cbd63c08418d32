//go:build invariants

package cuda

import (
	"fmt"
	"runtime"
	"strings"
)

// taker remembers where memory was asked for.
type taker struct {
	pcs [16]uintptr
	n   int
}

func (t *taker) note() { t.n = runtime.Callers(2, t.pcs[:]) }

// String names the first caller outside of this package's allocator.
func (t *taker) String() string {
	frames := runtime.CallersFrames(t.pcs[:t.n])
	for {
		f, more := frames.Next()
		if !strings.HasSuffix(f.Function, ".(*pool).alloc") && !strings.HasSuffix(f.Function, ".(*Device).Alloc") {
			return fmt.Sprintf(" (%s:%d)", f.File, f.Line)
		}
		if !more {
			return ""
		}
	}
}
