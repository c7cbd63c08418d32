package cuda

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"math/bits"
	"slices"
	"strings"
	"sync"

	"github.com/secencoder/secencoder/internal/units"
)

// pool hands out device memory in stream order. The driver's own allocation waits for the whole device, so memory goes
// back to the driver late and is taken from it rarely: a freed block stays in the cache of its size class.
//
// The rule that keeps it right: a block freed on a stream may be handed out again on that stream at once, because whatever
// the new owner puts on the stream runs after what the old owner had put there. Another stream gets it only behind an
// event recorded on the old one. That event is recorded when the block changes streams, not when it is freed: a free
// costs nothing, and the event then covers a little more than needed. Which block a call gets follows from the calls
// alone, never from what the device has finished: two runs get the same addresses wherever the driver gives the same ones.
//
// A captured graph writes to its memory whenever it is replayed. So memory that a capture takes, and memory that is freed
// during it, belongs to the graph until that is closed (held), and is reused within the same capture only.
//
// Every block is one allocation of the driver, so that memory checkers see where it ends.
type pool struct {
	mem   backing
	limit int64 // of reserved; 0: none

	mu       sync.Mutex
	closed   bool
	blocks   map[Ptr]*chunk // all that the driver gave
	classes  []*class       // by size
	captures []*held        // one for each stream that captures
	resting  []*held        // released while another capture ran
	stats    MemoryStats
}

// backing is what a pool stands on: a device, or a model of one in tests. It must not call the pool.
type backing interface {
	memAlloc(bytes int64) (Ptr, error)
	memFree(p Ptr) error
	memInfo() (free, total int64, err error)
	order(s, behind *Stream) error // what s gets from now on runs after what behind has been given
	synchronize(s *Stream) error   // nil: all streams
	close() error
}

// chunk is one allocation of the driver: a block.
type chunk struct {
	ptr    Ptr
	class  *class
	asked  int64  // bytes that its owner asked for
	inUse  bool   // handed out
	graphs int    // that write to it
	next   *chunk // in the list that it is in
	taker  taker  // who took it; empty without the build tag invariants
}

// class holds the cached blocks of one size, newest first, by the stream that they were freed on.
type class struct {
	size  int64
	lanes []lane
}

// lane is a list of cached blocks. Those of stream nil can be used by anybody at once.
type lane struct {
	stream *Stream
	head   *chunk
}

const (
	leastBlock = 512      // the driver aligns to 256 at least
	largeStep  = 2 << 20  // the driver's own granularity
	largeBlock = 16 << 20 // from here on classes are largeStep apart
	mostBlock  = 1 << 46  // no device has 64 TB
)

// sizeClass rounds bytes up: eight classes from one power of two to the next, so at most an eighth is lost, and less for
// large blocks.
func sizeClass(bytes int64) int64 {
	step := int64(leastBlock)
	switch {
	case bytes <= leastBlock:
		return leastBlock
	case bytes > largeBlock:
		step = largeStep
	default:
		step = max(step, 1<<(bits.Len64(uint64(bytes-1))-4))
	}
	return (bytes + step - 1) / step * step
}

func newPoolOn(mem backing, limit int64) *pool {
	return &pool{mem: mem, limit: limit, blocks: map[Ptr]*chunk{}, stats: MemoryStats{Limit: limit}}
}

// alloc hands out memory that may be used on s, or on any stream where s is nil. 0 bytes are a block of their own.
func (p *pool) alloc(s *Stream, bytes int64) (Ptr, error) {
	if bytes < 0 {
		return 0, fmt.Errorf("allocate %d bytes of device memory: the size is negative", bytes)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return 0, errPoolClosed
	}
	if bytes > mostBlock {
		return 0, p.outOfMemory(bytes, nil)
	}
	if err := p.settle(); err != nil {
		return 0, err
	}
	b, err := p.find(s, bytes)
	if err != nil {
		return 0, err
	}
	if b == nil {
		if len(p.captures) > 0 {
			e := codeError("cuMemAlloc_v2", 900)
			e.Text = fmt.Sprintf("%s of new device memory are needed while a graph is being captured, when none can be taken", units.FormatSize(bytes))
			e.Hint = "run the same work once on the same stream before capturing it, so that its memory is there"
			return 0, e
		}
		if b, err = p.take(bytes); err != nil {
			return 0, err
		}
	}
	p.capturing(s).hold(b)
	b.inUse, b.asked = true, bytes
	b.taker.note()
	p.stats.Asked += bytes
	return b.ptr, nil
}

// find returns a cached block for s, taken out of its list; nil where there is none.
func (p *pool) find(s *Stream, bytes int64) (*chunk, error) {
	size := sizeClass(bytes)
	most := size
	if size > largeBlock {
		most = max(size, bytes+bytes/8) // classes are close together here: a near one will do
	}
	from, _ := slices.BinarySearchFunc(p.classes, size, (*class).compare)
	fit := p.classes[from:]
	for i, c := range fit {
		if c.size > most {
			fit = fit[:i]
			break
		}
	}
	h := p.capturing(s)
	if h != nil {
		if b := h.reuse(size, most); b != nil {
			return b, nil
		}
	}
	for _, c := range fit {
		if b := c.pop(s); b != nil {
			return p.use(b), nil
		}
	}
	for _, c := range fit {
		if b := c.pop(nil); b != nil {
			return p.use(b), nil
		}
	}
	if s == nil || len(p.captures) > 0 {
		return nil, nil // an event cannot be waited for without a stream, in a graph, or where it may become part of one
	}
	for _, c := range fit {
		for i := range c.lanes {
			other := c.lanes[i].stream
			if c.lanes[i].head == nil {
				continue
			}
			if err := p.mem.order(s, other); err != nil {
				return nil, err
			}
			return p.use(c.pop(other)), nil
		}
	}
	return nil, nil
}

// use counts a block that leaves the cache.
func (p *pool) use(b *chunk) *chunk {
	p.stats.InUse += b.class.size
	p.stats.HighWater = max(p.stats.HighWater, p.stats.InUse)
	return b
}

// take gets a new block from the driver, if need be after giving back what is cached.
func (p *pool) take(bytes int64) (*chunk, error) {
	size := sizeClass(bytes)
	if p.limit > 0 && p.stats.Reserved+size > p.limit {
		if err := p.trim(); err != nil {
			return nil, err
		}
		if p.stats.Reserved+size > p.limit {
			return nil, p.outOfMemory(bytes, nil)
		}
	}
	ptr, err := p.mem.memAlloc(size)
	if errors.Is(err, ErrOutOfMemory) && p.stats.Reserved > p.stats.InUse {
		if err := p.trim(); err != nil {
			return nil, err
		}
		ptr, err = p.mem.memAlloc(size)
	}
	if errors.Is(err, ErrOutOfMemory) {
		return nil, p.outOfMemory(bytes, err)
	}
	if err != nil {
		return nil, err
	}
	at, found := slices.BinarySearchFunc(p.classes, size, (*class).compare)
	if !found {
		p.classes = slices.Insert(p.classes, at, &class{size: size})
	}
	b := &chunk{ptr: ptr, class: p.classes[at]}
	p.blocks[ptr] = b
	p.stats.Blocks, p.stats.Taken = len(p.blocks), p.stats.Taken+1
	p.stats.Reserved += size
	p.stats.ReservedHighWater = max(p.stats.ReservedHighWater, p.stats.Reserved)
	return p.use(b), nil
}

// outOfMemory says what was needed and what there was. cause is the driver's error; nil where our limit said no.
func (p *pool) outOfMemory(bytes int64, cause error) error {
	device := "the device does not say how much is free"
	if free, total, err := p.mem.memInfo(); err == nil {
		device = fmt.Sprintf("%s of the device's %s are free", units.FormatSize(free), units.FormatSize(total))
	}
	limit, hint := "no limit is set", "lower --tokens, --context or --size, or end other programs on this GPU (nvidia-smi lists them)"
	if p.limit > 0 {
		limit, hint = "the limit is "+units.FormatSize(p.limit), "lower --tokens, --context or --size, or raise the limit"
	}
	text := fmt.Sprintf("%s of device memory are needed, %s are in use here, %s, %s",
		units.FormatSize(bytes), units.FormatSize(p.stats.InUse), device, limit)
	var given *Error
	if errors.As(cause, &given) {
		e := *given
		e.Text, e.Hint = text, hint
		return &e
	}
	return fmt.Errorf("%w: %s; %s", ErrOutOfMemory, text, hint)
}

// free takes memory back. The work on it that was put on s is what has to be over before another stream may use it; s is
// nil where all work on it is over. Address 0 is nothing.
func (p *pool) free(s *Stream, ptr Ptr) error {
	if ptr == 0 {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return errPoolClosed
	}
	b := p.blocks[ptr]
	if b == nil {
		return fmt.Errorf("free device memory at %#x: no allocation begins there", uintptr(ptr))
	}
	if !b.inUse {
		return fmt.Errorf("free device memory at %#x: it was freed before", uintptr(ptr))
	}
	b.inUse = false
	p.stats.Asked -= b.asked
	b.asked = 0
	h := p.capturing(s)
	h.hold(b)
	if b.graphs == 0 {
		p.cache(s, b)
	} else if h != nil && b.graphs == 1 { // from elsewhere there is no order between the work on s and the graph
		b.next, h.free = h.free, b
	}
	return nil
}

// cache puts a block into the list of its class for a stream.
func (p *pool) cache(s *Stream, b *chunk) {
	p.stats.InUse -= b.class.size
	b.class.push(s, b)
}

// trim gives all that is cached back to the driver.
func (p *pool) trim() error {
	var err error
	var waited []*Stream
	for _, c := range p.classes {
		for i := range c.lanes {
			l := &c.lanes[i]
			if l.head != nil && l.stream != nil && !slices.Contains(waited, l.stream) {
				waited = append(waited, l.stream)
				err = Join(err, p.mem.synchronize(l.stream))
			}
			for b := l.head; b != nil; b = b.next {
				err = Join(err, p.give(b))
			}
			l.head = nil
		}
	}
	return err
}

// give returns one block to the driver. It is gone afterwards, whatever the driver says.
func (p *pool) give(b *chunk) error {
	delete(p.blocks, b.ptr)
	p.stats.Blocks, p.stats.Given = len(p.blocks), p.stats.Given+1
	p.stats.Reserved -= b.class.size
	return p.mem.memFree(b.ptr)
}

// trimAll is Device.Trim.
func (p *pool) trimAll() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.closed:
		return errPoolClosed
	case len(p.captures) > 0:
		return errors.New("give cached device memory back: a graph is being captured; end the capture first")
	}
	return Join(p.settle(), p.trim())
}

// idle waits for all work of the device. While a graph is being captured it does not, because that would end the capture,
// and returns errCapturing.
func (p *pool) idle() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.captures) > 0 {
		return errCapturing
	}
	return p.mem.synchronize(nil)
}

// retire is called before a stream is closed. What is cached for it may be used by anybody then, so that is waited for.
func (p *pool) retire(s *Stream) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	var err error
	waited := false
	for _, c := range p.classes {
		for b := c.pop(s); b != nil; b = c.pop(s) {
			if !waited {
				waited, err = true, p.mem.synchronize(s)
			}
			c.push(nil, b)
		}
		c.lanes = slices.DeleteFunc(c.lanes, func(l lane) bool { return l.stream == s })
	}
	return err
}

// close gives all memory back, once nothing runs any more. What was still handed out, or held by a graph that was not
// closed, is listed in the error.
func (p *pool) close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil
	}
	p.captures = nil
	err := p.settle()
	p.closed = true
	leaked := p.leaks()
	for _, ptr := range slices.Sorted(maps.Keys(p.blocks)) {
		err = Join(err, p.give(p.blocks[ptr]))
	}
	return Join(leaked, err, p.mem.close())
}

// leaks lists what is in use, by size.
func (p *pool) leaks() error {
	var list []*chunk
	var bytes int64
	for _, b := range p.blocks {
		if b.inUse || b.graphs > 0 {
			list, bytes = append(list, b), bytes+b.class.size
		}
	}
	if len(list) == 0 {
		return nil
	}
	slices.SortFunc(list, func(a, b *chunk) int {
		return cmp.Or(cmp.Compare(b.class.size, a.class.size), cmp.Compare(a.ptr, b.ptr))
	})
	const most = 8
	var each []string
	for _, b := range list[:min(len(list), most)] {
		what := fmt.Sprintf("%s at %#x", units.FormatSize(b.asked), uintptr(b.ptr))
		if !b.inUse {
			what = fmt.Sprintf("%s of a graph at %#x", units.FormatSize(b.class.size), uintptr(b.ptr))
		}
		each = append(each, what+b.taker.String())
	}
	if len(list) > most {
		each = append(each, fmt.Sprintf("and %d more", len(list)-most))
	}
	what := "1 block of device memory was"
	if len(list) > 1 {
		what = fmt.Sprintf("%d blocks of device memory, %s in all, were", len(list), units.FormatSize(bytes))
	}
	return fmt.Errorf("%s never freed: %s", what, strings.Join(each, ", "))
}

func (p *pool) memory() MemoryStats {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.stats
}

var errPoolClosed = fmt.Errorf("device memory: %w", ErrClosed)

func (c *class) compare(size int64) int { return cmp.Compare(c.size, size) }

// push puts a block on top of a stream's list.
func (c *class) push(s *Stream, b *chunk) {
	for i := range c.lanes {
		if c.lanes[i].stream == s {
			b.next, c.lanes[i].head = c.lanes[i].head, b
			return
		}
	}
	b.next = nil
	c.lanes = append(c.lanes, lane{s, b})
}

// pop takes the top block of a stream's list; nil where there is none.
func (c *class) pop(s *Stream) *chunk {
	for i := range c.lanes {
		if b := c.lanes[i].head; b != nil && c.lanes[i].stream == s {
			c.lanes[i].head, b.next = b.next, nil
			return b
		}
	}
	return nil
}
