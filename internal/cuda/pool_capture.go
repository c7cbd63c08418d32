package cuda

import (
	"errors"
	"slices"
)

// held is the memory of one captured graph.
type held struct {
	pool   *pool
	stream *Stream
	free   *chunk // not handed out
	all    []*chunk
}

// beginCapture is called before s begins to capture a graph. It waits for s: what is cached for it can then be used by
// the graph, on whichever stream that will run.
func (p *pool) beginCapture(s *Stream) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return errPoolClosed
	}
	if p.capturing(s) != nil {
		return errors.New("capture a graph: the stream is capturing one already")
	}
	if err := p.mem.synchronize(s); err != nil {
		return err
	}
	p.captures = append(p.captures, &held{pool: p, stream: s})
	return nil
}

// endCapture is called when the capture is over. It returns the graph's memory; nil where s was not capturing.
func (p *pool) endCapture(s *Stream) *held {
	p.mu.Lock()
	defer p.mu.Unlock()
	h := p.capturing(s)
	p.captures = slices.DeleteFunc(p.captures, func(x *held) bool { return x == h })
	return h
}

// capturing returns the memory of the graph that s is capturing; nil where it does not.
func (p *pool) capturing(s *Stream) *held {
	if s == nil {
		return nil
	}
	for _, h := range p.captures {
		if h.stream == s {
			return h
		}
	}
	return nil
}

// hold lets a block belong to the graph. A nil held holds nothing.
func (h *held) hold(b *chunk) {
	if h != nil && !slices.Contains(h.all, b) {
		h.all = append(h.all, b)
		b.graphs++
	}
}

// release is called when the graph is closed, or its capture failed: its memory goes back to the pool when all work is
// over. What is still handed out goes back when it is freed. A nil held has nothing, nor has one that was released.
func (h *held) release() error {
	if h == nil {
		return nil
	}
	p := h.pool
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || len(h.all) == 0 {
		return nil
	}
	p.resting = append(p.resting, &held{all: h.all})
	h.all, h.free = nil, nil
	return p.settle()
}

// settle takes back the memory of closed graphs, unless a capture is in progress: waiting for the device would end it.
func (p *pool) settle() error {
	if len(p.captures) > 0 || len(p.resting) == 0 {
		return nil
	}
	err := p.mem.synchronize(nil)
	for _, h := range p.resting {
		for _, b := range h.all {
			if b.graphs--; b.graphs == 0 && !b.inUse {
				p.cache(nil, b)
			}
		}
	}
	p.resting = nil
	return err
}

// reuse takes a block out of what the capture has freed, the smallest one that fits, newest first.
func (h *held) reuse(size, most int64) *chunk {
	var best **chunk
	for at := &h.free; *at != nil; at = &(*at).next {
		if n := (*at).class.size; n >= size && n <= most && (best == nil || n < (*best).class.size) {
			best = at
		}
	}
	if best == nil {
		return nil
	}
	b := *best
	*best, b.next = b.next, nil
	return b
}

// releaseHeld gives the memory of a graph back to the pool.
func (d *Device) releaseHeld(h *held) error {
	if h == nil {
		return nil
	}
	leave, err := d.enter()
	if err != nil {
		return nil // closed or lost: Close takes everything back
	}
	defer leave()
	return h.release()
}
