package build

import (
	"context"
	"sync"
)

// ordered runs work on items in several goroutines and gives the results to sink, one at a time, in the order of the
// items: what comes out is the same for any number of goroutines.
type ordered[I, O any] struct {
	ctx     context.Context
	cancel  context.CancelCauseFunc
	jobs    chan job[I, O]
	pending chan chan O
	workers sync.WaitGroup
	sinks   sync.WaitGroup
}

type job[I, O any] struct {
	in  I
	out chan O
}

// newOrdered starts n goroutines for work, which is given the number of its goroutine, and one for sink. At most 2n
// items are between Submit and the end of their sink. Wait must be called.
func newOrdered[I, O any](ctx context.Context, n int, work func(worker int, in I) (O, error), sink func(O) error) *ordered[I, O] {
	ctx, cancel := context.WithCancelCause(ctx)
	p := &ordered[I, O]{ctx: ctx, cancel: cancel, jobs: make(chan job[I, O]), pending: make(chan chan O, n)}
	for w := range n {
		p.workers.Go(func() {
			for j := range p.jobs {
				if ctx.Err() != nil {
					continue
				}
				out, err := work(w, j.in)
				if err != nil {
					cancel(err)
					continue
				}
				j.out <- out
			}
		})
	}
	p.sinks.Go(func() {
		for out := range p.pending {
			select {
			case o := <-out:
				if ctx.Err() == nil {
					if err := sink(o); err != nil {
						cancel(err)
					}
				}
			case <-ctx.Done():
			}
		}
	})
	return p
}

// Submit hands over one item. It waits while too many are under way, and returns the first error of work or sink.
func (p *ordered[I, O]) Submit(in I) error {
	out := make(chan O, 1)
	select {
	case p.pending <- out:
	case <-p.ctx.Done():
		return context.Cause(p.ctx)
	}
	select {
	case p.jobs <- job[I, O]{in, out}:
	case <-p.ctx.Done():
		return context.Cause(p.ctx)
	}
	return nil
}

// Stop ends the goroutines and forgets the items that are under way. It is called instead of Wait.
func (p *ordered[I, O]) Stop() {
	p.cancel(context.Canceled)
	_ = p.Wait() // says that it was stopped
}

// Wait ends the goroutines after the items that were submitted, and returns the first error of work or sink.
func (p *ordered[I, O]) Wait() error {
	close(p.jobs)
	p.workers.Wait()
	close(p.pending)
	p.sinks.Wait()
	err := context.Cause(p.ctx)
	p.cancel(nil)
	return err
}
