//go:build invariants

package cuda

import (
	"strings"
	"testing"
)

// TestPoolLeaksNameTheirTaker with the build tag invariants.
func TestPoolLeaksNameTheirTaker(t *testing.T) {
	m := newModelMemory(t, 1<<30, 1)
	p := newPoolOn(m, 0)
	if _, err := p.alloc(m.streams[0], 1000); err != nil {
		t.Fatal(err)
	}
	if err := p.close(); err == nil || !strings.Contains(err.Error(), "pool_taker_test.go:") {
		t.Errorf("%v", err)
	}
}
