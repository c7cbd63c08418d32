package blocked_test

import (
	"runtime"
	"runtime/debug"
	"testing"

	"github.com/secencoder/secencoder/internal/kernel"
	"github.com/secencoder/secencoder/internal/kernel/blocked"
)

// turning is a pool without goroutines that gives the parts of each run to other workers than the run before.
type turning struct{ workers, turn int }

func (p *turning) Workers() int { return p.workers }

func (p *turning) Run(n int, task kernel.Task) {
	p.turn++
	for i := range n {
		task.Part(i, (i*p.turn+p.turn)%p.workers)
	}
}

// After the first step no step takes memory, of Go's heap or beside it, whichever worker makes which part, and how much is
// taken does not depend on that.
func TestScratchIsThereAfterOneStep(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	for _, p := range families() {
		if p.Name == "portable" && testing.Short() {
			continue
		}
		for _, workers := range []int{2, 7} {
			var taken [2]int64
			for turn := range taken {
				allocations := uint64(1)
				for try := 0; try < 3 && allocations > 0; try++ { // the runtime's own do not come every time
					allocations, taken[turn] = twenty(t, p, &turning{workers: workers, turn: 3 * turn})
				}
				if allocations > 0 {
					t.Errorf("%s, %d workers: steps 2 to 21 make %d allocations", p.Name, workers, allocations)
				}
			}
			if taken[0] != taken[1] || taken[0] == 0 {
				t.Errorf("%s, %d workers: scratch of %d bytes, or of %d", p.Name, workers, taken[0], taken[1])
			}
		}
	}
}

// twenty runs a step and twenty more, and returns the allocations of these and the scratch that the first one took.
func twenty(t *testing.T, p blocked.Prims, pool *turning) (allocations uint64, scratch int64) {
	t.Helper()
	k := blocked.New(p, pool)
	f := step(k, size{layers: 1, h: 64, heads: 2, i: 128, v: 300, tokens: 400, piece: 150}, 0.1)
	f(nil)
	scratch = k.ScratchBytes()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range 20 {
		f(nil)
	}
	runtime.ReadMemStats(&after)
	if now := k.ScratchBytes(); now != scratch {
		t.Errorf("%s, %d workers: scratch grows from %d to %d bytes after the first step", p.Name, pool.workers, scratch, now)
	}
	return after.Mallocs - before.Mallocs, scratch
}
