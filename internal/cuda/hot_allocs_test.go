//go:build !race

package cuda_test

import (
	"testing"

	"github.com/secencoder/secencoder/internal/alloctest"
)

// Not under the race detector, which lets every sync.Pool forget at random.
func TestHotCallsAllocateNothing(t *testing.T) {
	_, b := newBench(t)
	for _, c := range b.calls() {
		allocs := alloctest.Fewest(func() {
			for range 100 {
				if err := c.call(); err != nil {
					t.Fatalf("%s: %v", c.name, err)
				}
			}
		})
		if allocs > 0 {
			t.Errorf("100 × %s allocated %v times", c.name, allocs)
		}
	}
}
