package device

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
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
	if n := testing.AllocsPerRun(1, func() {
		for range 100 {
			p.Run(64, c)
		}
	}); n != 0 {
		t.Errorf("%v allocations in 100 runs", n)
	}
}

func BenchmarkPoolRun(b *testing.B) {
	p := newPool(2)
	defer p.close()
	c := taskFunc(func(int, int) {})
	for b.Loop() {
		p.Run(2, c)
	}
}
