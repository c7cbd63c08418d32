package batch

import "time"

// Prefetcher draws one step ahead of its reader in a goroutine of its own. Its states and steps are exactly the
// loader's. It is used by one goroutine at a time; Close ends the goroutine.
type Prefetcher struct {
	l       *Loader
	want    chan []*Micro // steps to be filled
	have    chan filled
	spare   []*Micro // not at the goroutine and not at the reader
	current []*Micro // at the reader
	ahead   bool     // one step is being filled or waits in have
	state   State    // after the last step handed out
	counts  Counts
	waited  time.Duration
}

type filled struct {
	step   []*Micro
	state  State
	counts Counts
	err    error
}

// NewPrefetcher takes the loader over: nobody else may use it until Close.
func NewPrefetcher(l *Loader) *Prefetcher {
	p := &Prefetcher{
		l:     l,
		want:  make(chan []*Micro, 1),
		have:  make(chan filled, 1),
		spare: l.newStep(), current: l.newStep(),
		state:  l.State(),
		counts: l.Counts(),
	}
	go func() {
		for step := range p.want {
			err := l.fill(step)
			p.have <- filled{step, l.State(), l.Counts(), err}
		}
		close(p.have)
	}()
	return p
}

// NextStep returns what Loader.NextStep would. The step holds until the next call. After an error the state is the one
// after the last good step, and a further call tries the failed step again.
func (p *Prefetcher) NextStep() ([]*Micro, error) {
	if !p.ahead {
		p.request()
	}
	begin := time.Now()
	f := <-p.have
	p.waited += time.Since(begin)
	p.ahead = false
	p.spare = f.step
	if f.err != nil {
		return nil, f.err
	}
	p.spare, p.current = p.current, f.step
	p.state, p.counts = f.state, f.counts
	p.request()
	return p.current, nil
}

func (p *Prefetcher) request() {
	p.want <- p.spare
	p.spare = nil
	p.ahead = true
}

// drain takes back the step that is being filled, if any.
func (p *Prefetcher) drain() {
	if p.ahead {
		p.spare = (<-p.have).step
		p.ahead = false
	}
}

// State returns the state after the last step handed out: what a checkpoint stores.
func (p *Prefetcher) State() State { return p.state }

// Restore is Loader.Restore; what was drawn ahead is dropped.
func (p *Prefetcher) Restore(s State) error {
	p.drain()
	err := p.l.Restore(s)
	if err != nil {
		s = p.state
		if back := p.l.Restore(s); back != nil {
			return back
		}
		return err
	}
	p.state = s
	return nil
}

// Counts returns the counts of the steps handed out.
func (p *Prefetcher) Counts() Counts { return p.counts }

// Waited returns for how long NextStep has waited for data in all.
func (p *Prefetcher) Waited() time.Duration { return p.waited }

// Close stops the goroutine and puts the loader behind the last step handed out. The steps stay readable. A second call
// does nothing.
func (p *Prefetcher) Close() error {
	if p.want == nil {
		return nil
	}
	p.drain()
	close(p.want)
	<-p.have
	p.want = nil
	return p.l.Restore(p.state)
}
