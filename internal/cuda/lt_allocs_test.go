//go:build !race

package cuda

import (
	"testing"

	"github.com/secencoder/secencoder/internal/alloctest"
)

// TestLtAllocatesNothing after the first product of a shape. Not under the race detector, which lets every sync.Pool
// forget at random.
func TestLtAllocatesNothing(t *testing.T) {
	m, _ := ltOnStandin(t)
	p, done := m.product(ltCase{m: 8, n: 16, k: 128, in: BF16, out: BF16, epilogue: EpilogueBias})
	defer done()
	multiply := func() {
		if err := m.lt.Multiply(m.s, p); err != nil {
			t.Fatal(err)
		}
	}
	multiply()
	if n := alloctest.Fewest(func() {
		for range 100 {
			multiply()
		}
	}); n > 0 {
		t.Errorf("%d allocations in 100 products", n)
	}
}
