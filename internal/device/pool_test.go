package device

import (
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/secencoder/secencoder/internal/alloctest"
	"github.com/secencoder/secencoder/internal/rng"
)

// counting counts how often each part runs and which workers run at once.
type counting struct {
	parts   []atomic.Int32
	workers []atomic.Int32 // parts in progress by worker
	wrong   atomic.Int32
}

func (c *counting) Part(i, worker int) {
	if c.workers[worker].Add(1) != 1 {
		c.wrong.Add(1)
	}
	c.parts[i].Add(1)
	c.workers[worker].Add(-1)
}

func TestPoolRunsEveryPartOnce(t *testing.T) {
	for _, workers := range []int{1, 2, 3, 7, 16} {
		p := newPool(workers)
		if p.Workers() != workers {
			t.Errorf("%d workers, want %d", p.Workers(), workers)
		}
		for _, n := range []int{0, 1, 2, 6, 7, 8, 100, 5000} {
			for range 20 {
				c := &counting{parts: make([]atomic.Int32, n), workers: make([]atomic.Int32, workers)}
				p.Run(n, c)
				for i := range c.parts {
					if got := c.parts[i].Load(); got != 1 {
						t.Fatalf("%d workers, %d parts: part %d ran %d times", workers, n, i, got)
					}
				}
				if c.wrong.Load() != 0 {
					t.Fatalf("%d workers, %d parts: a worker ran two parts at once", workers, n)
				}
			}
		}
		p.close()
	}
}

// meeting makes each part wait for all others, so that they end only when all workers take part.
type meeting struct{ wait sync.WaitGroup }

func (m *meeting) Part(int, int) {
	m.wait.Done()
	m.wait.Wait()
}

func TestPoolUsesAllWorkers(t *testing.T) {
	p := newPool(4)
	defer p.close()
	for range 50 {
		m := &meeting{}
		m.wait.Add(4)
		p.Run(4, m)
	}
}

type taskFunc func(i, worker int)

func (f taskFunc) Part(i, worker int) { f(i, worker) }

func TestPoolPanics(t *testing.T) {
	p := newPool(3)
	defer p.close()
	message := func(task kernelTask) (text string) {
		defer func() { text = fmt.Sprint(recover()) }()
		p.Run(8, task)
		return ""
	}
	nested := message(taskFunc(func(int, int) { p.Run(1, taskFunc(func(int, int) {})) }))
	if !strings.Contains(nested, "internal error: Run of a pool that is running") {
		t.Errorf("nested Run: %q", nested)
	}
	broken := message(taskFunc(func(i, _ int) {
		if i == 5 {
			panic("part five")
		}
	}))
	if !strings.Contains(broken, "part five") || !strings.Contains(broken, "pool_test.go") {
		t.Errorf("a part's panic: %q", broken)
	}
	c := &counting{parts: make([]atomic.Int32, 100), workers: make([]atomic.Int32, 3)}
	p.Run(100, c) // the pool goes on
	for i := range c.parts {
		if c.parts[i].Load() != 1 {
			t.Fatalf("after a panic part %d ran %d times", i, c.parts[i].Load())
		}
	}
}

type kernelTask = interface{ Part(i, worker int) }

func TestPoolDoesNotAllocate(t *testing.T) {
	p := newPool(4)
	defer p.close()
	c := &counting{parts: make([]atomic.Int32, 64), workers: make([]atomic.Int32, 4)}
	p.Run(64, c)
	if n := alloctest.Fewest(func() {
		for range 100 {
			p.Run(64, c)
		}
	}); n != 0 {
		t.Errorf("%v allocations in 100 runs", n)
	}
}

// Runs follow one another at every distance, so that workers are met looking, falling asleep and sleeping.
func TestPoolWakesSleepers(t *testing.T) {
	for _, workers := range []int{2, 5} {
		p := newPool(workers)
		r := rng.NewStream(5, rng.Probe, 0, 0, 0)
		for i := range 300 {
			time.Sleep(time.Duration(r.Intn(400)) * time.Microsecond)
			for range r.Intn(4) {
				n := r.Intn(2 * workers)
				c := &counting{parts: make([]atomic.Int32, n), workers: make([]atomic.Int32, workers)}
				p.Run(n, c)
				for j := range c.parts {
					if got := c.parts[j].Load(); got != 1 || c.wrong.Load() != 0 {
						t.Fatalf("round %d, %d workers, %d parts: part %d ran %d times", i, workers, n, j, got)
					}
				}
			}
		}
		m := &meeting{} // they still all come
		m.wait.Add(workers)
		p.Run(workers, m)
		p.close()
		p.close()
	}
}

// BenchmarkPoolRun runs as many parts of 40 µs as there are workers, after the caller worked alone for a while: 40 µs is
// the best that can be.
func BenchmarkPoolRun(b *testing.B) {
	work := func(d time.Duration) {
		for t := time.Now(); time.Since(t) < d; {
		}
	}
	for _, gap := range []time.Duration{0, 20 * time.Microsecond, 500 * time.Microsecond} {
		b.Run("gap="+gap.String(), func(b *testing.B) {
			p := newPool(runtime.GOMAXPROCS(0))
			defer p.close()
			task := taskFunc(func(int, int) { work(40 * time.Microsecond) })
			var total time.Duration
			for b.Loop() {
				work(gap)
				start := time.Now()
				p.Run(p.Workers(), task)
				total += time.Since(start)
			}
			b.ReportMetric(float64(total.Microseconds())/float64(b.N), "µs/run")
		})
	}
}
