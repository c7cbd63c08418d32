//go:build !race

package cuda_test

import "testing"

// Not under the race detector, which lets every sync.Pool forget at random.
func TestHotCallsAllocateNothing(t *testing.T) {
	_, b := newBench(t)
	for _, c := range b.calls() {
		allocs := testing.AllocsPerRun(1, func() {
			for range 100 {
				if err := c.call(); err != nil {
					t.Fatalf("%s: %v", c.name, err)
				}
			}
		})
		if allocs > 2 { // a collection in between empties the pools of lent argument lists, ours and purego's
			t.Errorf("100 × %s allocated %v times", c.name, allocs)
		}
	}
}
