package blocked

import (
	"runtime"
	"testing"
	"time"
	"unsafe"

	"github.com/secencoder/secencoder/internal/kernel"
)

// TestPages wants scratch of all sizes to be usable and on cache lines, and what lies outside Go's heap to be given back:
// what is outgrown at once, the rest with its Kernels.
func TestPages(t *testing.T) {
	k := New(Portable(), onePool{})
	p, m := &k.workers[0].a, k.mapped
	for _, n := range []int{0, 1, 1000, fewestBytes/4 - 1, fewestBytes / 4, 1 << 20, 100, 1<<20 + 1} {
		x := p.grow(m, n)
		if len(x) != n {
			t.Fatalf("%d elements, want %d", len(x), n)
		}
		if uintptr(unsafe.Pointer(unsafe.SliceData(x)))%64 != 0 && 4*n >= fewestBytes {
			t.Errorf("%d elements do not begin on a cache line", n)
		}
		for i := range x {
			x[i] = float32(i)
		}
	}
	if len(m.all) != 1 {
		t.Fatalf("%d mappings, want the last one", len(m.all))
	}
	k, p = nil, nil
	for range 100 {
		runtime.GC()
		m.mu.Lock()
		n := len(m.all)
		m.mu.Unlock()
		if n == 0 {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Error("the mapping outlives its kernels by a second")
}

// onePool has one worker.
type onePool struct{}

func (onePool) Workers() int { return 1 }

func (onePool) Run(n int, t kernel.Task) {
	for i := range n {
		t.Part(i, 0)
	}
}
