package devicetest

import (
	"sync"
	"sync/atomic"

	"github.com/secencoder/secencoder/internal/kernel"
)

// pool is a kernel.Pool that hands out parts in an order of its own: from the front with one worker, else alternating
// from the end, so that a result that depends on the order shows.
type pool struct {
	workers int
	busy    atomic.Bool
}

// Workers returns the number of workers.
func (p *pool) Workers() int { return p.workers }

// Run runs all parts. With one worker it allocates nothing.
func (p *pool) Run(n int, task kernel.Task) {
	if !p.busy.CompareAndSwap(false, true) {
		panic("internal error: Run of a pool that is running")
	}
	defer p.busy.Store(false)
	if p.workers == 1 {
		for i := range n {
			task.Part(i, 0)
		}
		return
	}
	var next atomic.Int64
	var wait sync.WaitGroup
	for w := range min(p.workers, n) {
		wait.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= n {
					return
				}
				part := n - 1 - i/2 // i = 0, 1, 2, 3 … gives n−1, 0, n−2, 1 …
				if i%2 == 1 {
					part = i / 2
				}
				task.Part(part, w)
			}
		})
	}
	wait.Wait()
}
