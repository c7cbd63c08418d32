package devicetest

import (
	"testing"

	"github.com/secencoder/secencoder/internal/kernel"
	"github.com/secencoder/secencoder/internal/kernel/ref"
)

// The reference against itself: what is left to fail are guards, unused rows, stale scratch, allocations and the suite.
func TestReference(t *testing.T) {
	Run(t, func(kernel.Pool) kernel.Kernels { return ref.New() })
}
