package device

import (
	"fmt"
	"runtime/debug"
	"sync"
	"sync/atomic"

	"github.com/secencoder/secencoder/internal/kernel"
)

// pool is a kernel.Pool of persistent goroutines. The caller of Run is worker 0. Parts are handed out one by one by a
// counter, so a slow worker takes fewer; which worker computes a part must not matter to the task.
type pool struct {
	wake []chan struct{} // one for each worker but the first
	done chan struct{}
	busy atomic.Bool

	ended sync.Once

	// Of the Run in progress:
	task kernel.Task
	n    int64
	_    [128]byte // the counter has its cache lines for itself
	next atomic.Int64
	_    [128]byte
	left atomic.Int32 // workers that have not finished
	lost atomic.Pointer[failure]
}

// failure is the first panic of a part.
type failure struct {
	value any
	stack []byte
}

// newPool starts a pool of the given number of workers, at least 1.
func newPool(workers int) *pool {
	p := &pool{wake: make([]chan struct{}, workers-1), done: make(chan struct{}, 1)}
	for i := range p.wake {
		wake := make(chan struct{}, 1)
		p.wake[i] = wake
		go func() {
			for range wake {
				p.work(i + 1)
				if p.left.Add(-1) == 0 {
					p.done <- struct{}{}
				}
			}
		}()
	}
	return p
}

// Workers returns the number of workers.
func (p *pool) Workers() int { return len(p.wake) + 1 }

// Run calls task.Part(i, worker) for every i in [0, n) and returns when all are done. It allocates nothing. It panics,
// an internal error, when called while another Run of the pool is in progress, from a part or from elsewhere, and when a
// part panicked.
func (p *pool) Run(n int, task kernel.Task) {
	if !p.busy.CompareAndSwap(false, true) {
		panic("internal error: Run of a pool that is running")
	}
	helpers := min(n-1, len(p.wake))
	p.task, p.n = task, int64(n)
	p.next.Store(0)
	if helpers > 0 {
		p.left.Store(int32(helpers))
		for _, w := range p.wake[:helpers] {
			w <- struct{}{}
		}
	}
	p.work(0)
	if helpers > 0 {
		<-p.done
	}
	p.task = nil
	lost := p.lost.Swap(nil)
	p.busy.Store(false)
	if lost != nil {
		panic(fmt.Sprintf("%v\n\nin a part of a kernel:\n%s", lost.value, lost.stack))
	}
}

// work takes parts until there are none. After a panic the worker stops; the others finish what is left.
func (p *pool) work(worker int) {
	defer func() {
		if r := recover(); r != nil {
			p.lost.CompareAndSwap(nil, &failure{r, debug.Stack()})
		}
	}()
	for {
		i := p.next.Add(1) - 1
		if i >= p.n {
			return
		}
		p.task.Part(int(i), worker)
	}
}

// close ends the workers; Run must not be called any more. A second call does nothing.
func (p *pool) close() {
	p.ended.Do(func() {
		for _, w := range p.wake {
			close(w)
		}
	})
}
