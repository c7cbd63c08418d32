package blocked_test

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/secencoder/secencoder/internal/device/devicetest"
	"github.com/secencoder/secencoder/internal/kernel"
	"github.com/secencoder/secencoder/internal/kernel/blocked"
)

// TestConformance holds the portable loops, and those that this machine can run, against the suite of all families.
// SECENCODER_REQUIRE_KERNELS (names with commas) says which of them must be among these.
func TestConformance(t *testing.T) {
	for _, name := range strings.FieldsFunc(os.Getenv("SECENCODER_REQUIRE_KERNELS"), func(r rune) bool { return r == ',' }) {
		if name != "ref" && !slices.ContainsFunc(families(), func(p blocked.Prims) bool { return p.Name == name }) {
			t.Errorf("%s is required and cannot run here", name)
		}
	}
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
