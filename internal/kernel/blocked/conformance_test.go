package blocked_test

import (
	"testing"

	"github.com/secencoder/secencoder/internal/device/devicetest"
	"github.com/secencoder/secencoder/internal/kernel"
	"github.com/secencoder/secencoder/internal/kernel/blocked"
)

// TestConformance holds the portable loops, and those that this machine can run, against the suite of all families. Package
// device's TestRequiredKernels finds families that should run here and do not.
func TestConformance(t *testing.T) {
	for _, p := range families() {
		t.Run(p.Name, func(t *testing.T) {
			devicetest.Run(t, func(pool kernel.Pool) kernel.Kernels { return blocked.New(p, pool) })
		})
	}
}

// TestHalfConformance is TestConformance for activations of BF16.
func TestHalfConformance(t *testing.T) {
	for _, p := range families() {
		t.Run(p.Name, func(t *testing.T) {
			devicetest.RunHalf(t, func(pool kernel.Pool) kernel.Kernels { return blocked.New(p, pool) })
		})
	}
}
