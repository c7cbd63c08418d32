package device

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"

	"github.com/secencoder/secencoder/internal/kernel"
)

// pool is a kernel.Pool of persistent goroutines. The caller of Run is worker 0. Parts are handed out one by one by a
// counter, so a slow worker takes fewer; which worker computes a part must not matter to the task.
//
// Waking a sleeping thread took 73 µs in the median (channel send to first part; virtual machine, 2 processors), as long
// as many kernels run. Workers therefore look for the next Run for about 100 µs before they sleep, and the caller as long
// for the end of the last part; and a Run never waits for a worker that has not begun when all parts are taken. Linear
// [512, 128]·[128, 128]ᵀ and LayerNorm in turn, avx512, mean of a kernel: 49 µs with one worker, 36 with two that sleep at
// once, 27 with two that look. On a machine whose processors are taken by others looking costs more than it gives (60 µs
// asleep, 70 to 100 looking, at a load of 9 on 2): the better case was preferred.
type pool struct {
	helpers []helper // all workers but the first
	spin    int      // rounds of looking before sleeping
	done    chan struct{}
	busy    atomic.Bool
	closed  atomic.Bool
	end     sync.WaitGroup

	// Of the Run in progress; written before the gate opens, read by those inside:
	task kernel.Task
	n    int64
	_    [128]byte // the words below have cache lines for themselves
	gate atomic.Uint64
	_    [128]byte
	next atomic.Int64
	_    [128]byte
	lost atomic.Pointer[failure]
}

// The gate: the number of the Run in the upper half, whether workers may still come in, whether the caller sleeps until
// the last one leaves, and how many helpers are inside.
const (
	gateRun    = 1 << 32
	gateOpen   = 1 << 31
	gateSleep  = 1 << 30
	gateInside = gateSleep - 1
)

// helper is the bed of one worker.
type helper struct {
	asleep atomic.Bool
	wake   chan struct{}
	_      [128]byte
}

// failure is the first panic of a part.
type failure struct {
	value any
	stack []byte
}

// newPool starts a pool of the given number of workers, at least 1.
func newPool(workers int) *pool {
	p := &pool{helpers: make([]helper, workers-1), done: make(chan struct{}, 1)}
	if workers <= runtime.GOMAXPROCS(0) { // else looking would keep another worker from running
		p.spin = 800
	}
	for i := range p.helpers {
		p.helpers[i].wake = make(chan struct{}, 1)
		p.end.Go(func() { p.help(i) })
	}
	return p
}

// Workers returns the number of workers.
func (p *pool) Workers() int { return len(p.helpers) + 1 }

// Run calls task.Part(i, worker) for every i in [0, n) and returns when all are done. It allocates nothing. It panics,
// an internal error, when called while another Run of the pool is in progress, from a part or from elsewhere, and when a
// part panicked.
func (p *pool) Run(n int, task kernel.Task) {
	if !p.busy.CompareAndSwap(false, true) {
		panic("internal error: Run of a pool that is running")
	}
	p.task, p.n = task, int64(n)
	p.next.Store(0)
	wanted := min(n-1, len(p.helpers))
	if wanted > 0 {
		p.gate.Store((p.gate.Load()/gateRun+1)*gateRun | gateOpen)
		for i := range p.helpers[:wanted] {
			if h := &p.helpers[i]; h.asleep.CompareAndSwap(true, false) {
				h.wake <- struct{}{}
			}
		}
	}
	p.work(0)
	if wanted > 0 {
		p.shut()
	}
	p.task = nil
	lost := p.lost.Swap(nil)
	p.busy.Store(false)
	if lost != nil {
		panic(fmt.Sprintf("%v\n\nin a part of a kernel:\n%s", lost.value, lost.stack))
	}
}

// shut closes the gate and waits until all helpers have left.
func (p *pool) shut() {
	p.gate.And(^uint64(gateOpen))
	for range p.spin {
		for range 64 {
			if p.gate.Load()&gateInside == 0 {
				return
			}
		}
		runtime.Gosched()
	}
	for {
		g := p.gate.Load()
		if g&gateInside == 0 {
			return
		}
		if p.gate.CompareAndSwap(g, g|gateSleep) {
			<-p.done
			return
		}
	}
}

// help is the life of a helper: it looks for a Run that it has not seen, comes in, works, leaves.
func (p *pool) help(i int) {
	h, seen := &p.helpers[i], uint64(0)
	for !p.closed.Load() {
		if run, ok := p.enter(seen); ok {
			seen = run
			p.work(i + 1)
			if p.gate.Add(^uint64(0))&(gateOpen|gateSleep|gateInside) == gateSleep {
				p.done <- struct{}{}
			}
			continue
		}
		if p.look(seen) {
			continue
		}
		h.asleep.Store(true)
		if p.news(seen) && h.asleep.CompareAndSwap(true, false) {
			continue // nobody has sent a token, and nobody will
		}
		<-h.wake
	}
}

// news says whether there is a reason not to sleep: an open Run other than the one seen, or the end.
func (p *pool) news(seen uint64) bool {
	g := p.gate.Load()
	return g&gateOpen != 0 && g/gateRun != seen || p.closed.Load()
}

// look waits a while for news.
func (p *pool) look(seen uint64) bool {
	for range p.spin {
		for range 64 {
			if p.news(seen) {
				return true
			}
		}
		runtime.Gosched() // whoever else can run goes first
	}
	return false
}

// enter comes in to an open Run other than the one seen, and returns its number.
func (p *pool) enter(seen uint64) (run uint64, ok bool) {
	for {
		g := p.gate.Load()
		if g&gateOpen == 0 || g/gateRun == seen {
			return 0, false
		}
		if p.gate.CompareAndSwap(g, g+1) {
			return g / gateRun, true
		}
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

// close ends the workers and waits for them; Run must not be called any more. A second call does nothing.
func (p *pool) close() {
	if p.closed.Swap(true) {
		return
	}
	for i := range p.helpers {
		close(p.helpers[i].wake)
	}
	p.end.Wait()
}
