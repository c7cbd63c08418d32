package cuda

import (
	"errors"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/secencoder/secencoder/internal/alloctest"
)

// modelMemory is a device's memory and streams without a device. It keeps, per stream, what that stream's next work is
// known to run after: clock[a][b] = n means that n pieces of work of b are over before a's next one begins. The host's
// own row is nil.
type modelMemory struct {
	t           testing.TB
	total, used int64
	next        Ptr
	sizes       map[Ptr]int64
	clock       map[*Stream]map[*Stream]int
	streams     []*Stream
	freed       map[Ptr]freedAt // cached blocks: after which work they may be used
	capturing   map[*Stream]bool
	allocs      int
	fail        error // of the next memAlloc
}

type freedAt struct {
	stream *Stream
	work   int
}

func newModelMemory(t testing.TB, total int64, streams int) *modelMemory {
	m := &modelMemory{t: t, total: total, next: 1 << 40, sizes: map[Ptr]int64{}, clock: map[*Stream]map[*Stream]int{nil: {}}, freed: map[Ptr]freedAt{}, capturing: map[*Stream]bool{}}
	for range streams {
		s := &Stream{handle: new(handle)}
		m.streams = append(m.streams, s)
		m.clock[s] = map[*Stream]int{}
	}
	return m
}

func (m *modelMemory) memAlloc(bytes int64) (Ptr, error) {
	if len(m.capturing) > 0 {
		m.t.Error("the driver was asked for memory during a capture")
	}
	m.allocs++
	if err := m.fail; err != nil {
		m.fail = nil
		return 0, err
	}
	if m.used+bytes > m.total {
		return 0, codeError("cuMemAlloc_v2", 2)
	}
	p := m.next
	m.next += Ptr(bytes) + 1<<21
	m.sizes[p], m.used = bytes, m.used+bytes
	return p, nil
}

func (m *modelMemory) memFree(p Ptr) error {
	if len(m.capturing) > 0 {
		m.t.Error("memory was given to the driver during a capture")
	}
	if _, ok := m.sizes[p]; !ok {
		m.t.Errorf("%#x is given back, which the driver never gave", p)
	}
	if at, ok := m.freed[p]; ok && m.clock[nil][at.stream] < at.work {
		m.t.Errorf("%#x is given back while work on it may run", p)
	}
	delete(m.freed, p)
	m.used -= m.sizes[p]
	delete(m.sizes, p)
	return nil
}

func (m *modelMemory) close() error { return nil }

func (m *modelMemory) memInfo() (free, total int64, err error) { return m.total - m.used, m.total, nil }

// know lets a know what b knows.
func (m *modelMemory) know(a, b *Stream) {
	for s, n := range m.clock[b] {
		m.clock[a][s] = max(m.clock[a][s], n)
	}
}

func (m *modelMemory) order(s, behind *Stream) error {
	if m.capturing[s] || m.capturing[behind] {
		m.t.Error("an event ties a capture to what is outside of it")
	}
	m.know(s, behind)
	return nil
}

func (m *modelMemory) synchronize(s *Stream) error {
	if s == nil && len(m.capturing) > 0 || m.capturing[s] {
		m.t.Error("a stream that captures was waited for")
	}
	for _, x := range m.streams {
		if s == nil || s == x {
			m.know(nil, x)
		}
	}
	return nil
}

// work puts a piece of work on s.
func (m *modelMemory) work(s *Stream) {
	m.know(s, nil)
	m.clock[s][s]++
}

// given checks that s may use what it got.
func (m *modelMemory) given(s *Stream, p Ptr) {
	m.t.Helper()
	at, ok := m.freed[p]
	if ok && max(m.clock[s][at.stream], m.clock[nil][at.stream]) < at.work {
		m.t.Errorf("%#x went from one stream to another with work on it under way", p)
	}
	delete(m.freed, p)
}

// TestPoolAgainstModel walks random traces of many streams with captures, and holds every answer against what a stream
// may know.
func TestPoolAgainstModel(t *testing.T) {
	for seed := range uint64(200) {
		if trace(t, seed); t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

// modelGraph is a graph and what it wrote to when it was captured.
type modelGraph struct {
	held   *held
	blocks map[Ptr]bool
	stream *Stream // captures; nil when the capture is over
}

func trace(t *testing.T, seed uint64) (log []Ptr, last MemoryStats) {
	r := rand.New(rand.NewPCG(seed, 1))
	m := newModelMemory(t, 256<<20, 1+r.IntN(5))
	var limit int64
	if r.IntN(2) == 0 {
		limit = 128 << 20
	}
	p := newPoolOn(m, limit)
	type owned struct {
		ptr   Ptr
		asked int64
		host  bool
	}
	var live []owned
	var graphs []*modelGraph
	var high int64
	foreign := func(ptr Ptr, own *modelGraph) bool { // another graph writes to it
		return slices.ContainsFunc(graphs, func(g *modelGraph) bool { return g != own && g.blocks[ptr] })
	}
	captured := func(s *Stream) *modelGraph {
		for _, g := range graphs {
			if g.stream == s {
				return g
			}
		}
		return nil
	}
	for range 400 {
		s := m.streams[r.IntN(len(m.streams))]
		switch op := r.IntN(100); {
		case op < 45:
			if r.IntN(20) == 0 {
				s = nil
			}
			bytes := int64(r.IntN(1 << (1 + r.IntN(25))))
			ptr, err := p.alloc(s, bytes)
			g := (*modelGraph)(nil)
			if s != nil {
				g = captured(s)
			}
			if err != nil {
				if !errors.Is(err, ErrOutOfMemory) && !(len(m.capturing) > 0 && strings.Contains(err.Error(), "captured")) {
					t.Errorf("%v", err)
				}
				continue
			}
			log = append(log, ptr)
			if slices.ContainsFunc(live, func(o owned) bool { return o.ptr == ptr }) {
				t.Errorf("%#x is handed out twice", ptr)
			}
			if m.sizes[ptr] < max(bytes, 1) || m.sizes[ptr] > max(bytes+512, bytes+bytes/8) {
				t.Errorf("%d bytes for %d", m.sizes[ptr], bytes)
			}
			if foreign(ptr, g) {
				t.Errorf("%#x belongs to a graph and is handed out", ptr)
			}
			if at, ok := m.freed[ptr]; ok && g != nil && !g.blocks[ptr] && m.clock[nil][at.stream] < at.work {
				t.Errorf("%#x went into a graph, which may run on any stream, with work on it under way", ptr)
			}
			m.given(s, ptr)
			if s != nil {
				m.work(s)
			}
			if g != nil {
				g.blocks[ptr] = true
			}
			live = append(live, owned{ptr, bytes, s == nil})
		case op < 85 && len(live) > 0:
			i := r.IntN(len(live))
			o := live[i]
			live = slices.Delete(live, i, i+1)
			if o.host && len(m.capturing) == 0 && r.IntN(2) == 0 {
				if err := p.free(nil, o.ptr); err != nil {
					t.Error(err)
				}
				continue
			}
			m.work(s)
			if err := p.free(s, o.ptr); err != nil {
				t.Error(err)
			}
			m.freed[o.ptr] = freedAt{s, m.clock[s][s]}
			if g := captured(s); g != nil {
				g.blocks[o.ptr] = true
			}
		case op < 88:
			if err := p.trimAll(); (err != nil) != (len(m.capturing) > 0) {
				t.Errorf("trim: %v", err)
			}
			if len(m.capturing) == 0 && p.stats.Reserved != p.stats.InUse {
				t.Errorf("%d bytes reserved after trim, %d in use", p.stats.Reserved, p.stats.InUse)
			}
		case op < 92 && captured(s) == nil:
			if err := p.beginCapture(s); err != nil {
				t.Error(err)
			}
			m.capturing[s] = true
			graphs = append(graphs, &modelGraph{blocks: map[Ptr]bool{}, stream: s})
		case op < 96 && captured(s) != nil:
			g := captured(s)
			delete(m.capturing, s)
			g.held = p.endCapture(s)
			if g.stream = nil; g.held == nil {
				t.Error("no memory of a graph")
			}
		case op < 99:
			if i := slices.IndexFunc(graphs, func(g *modelGraph) bool { return g.held != nil }); i >= 0 {
				if err := graphs[i].held.release(); err != nil {
					t.Error(err)
				}
				graphs = slices.Delete(graphs, i, i+1)
			}
		case captured(s) == nil && len(m.capturing) == 0:
			if err := p.retire(s); err != nil {
				t.Error(err)
			}
		}
		var asked int64
		for _, o := range live {
			asked += o.asked
		}
		st := p.memory()
		high = max(high, st.InUse)
		if st.Asked != asked || st.InUse < asked || st.Reserved != m.used || st.Reserved < st.InUse || st.HighWater != high ||
			st.ReservedHighWater < st.Reserved || st.Blocks != len(m.sizes) || limit > 0 && st.Reserved > limit {
			t.Errorf("%+v, want %d asked, %d reserved, high water %d, %d blocks", st, asked, m.used, high, len(m.sizes))
		}
		if t.Failed() {
			return log, st
		}
	}
	for _, g := range graphs {
		if g.stream != nil {
			delete(m.capturing, g.stream)
			p.endCapture(g.stream)
		}
	}
	for _, o := range live {
		if err := p.free(m.streams[0], o.ptr); err != nil {
			t.Error(err)
		}
	}
	leaks := len(graphs) > 0 && slices.ContainsFunc(graphs, func(g *modelGraph) bool { return len(g.blocks) > 0 })
	last = p.memory()
	_ = m.synchronize(nil) // as the device does before it closes the pool
	if err := p.close(); (err != nil) != leaks {
		t.Errorf("close: %v", err)
	}
	if m.used != 0 {
		t.Errorf("%d bytes were not given back", m.used)
	}
	return log, last
}

// TestPoolIsDeterministic wants the same addresses from the same calls.
func TestPoolIsDeterministic(t *testing.T) {
	for seed := range uint64(20) {
		a, _ := trace(t, seed)
		b, _ := trace(t, seed)
		if !slices.Equal(a, b) {
			t.Fatalf("seed %d: addresses differ", seed)
		}
	}
}

func TestPoolSizeClasses(t *testing.T) {
	var before int64
	for bytes := int64(0); bytes < 1<<36; bytes += 1 + bytes/1000 {
		c := sizeClass(bytes)
		if c < bytes || c%leastBlock != 0 || c < before {
			t.Fatalf("%d bytes: class %d, the one before %d", bytes, c, before)
		}
		if bytes > 8*leastBlock && c-bytes > bytes/8 {
			t.Fatalf("%d bytes: class %d loses more than an eighth", bytes, c)
		}
		if sizeClass(c) != c {
			t.Fatalf("class %d is in class %d", c, sizeClass(c))
		}
		before = c
	}
	for bytes, want := range map[int64]int64{0: 512, 512: 512, 513: 1024, 4096: 4096, 4097: 4608, 1 << 20: 1 << 20, 1<<20 + 1: 9 << 17, 16<<20 + 1: 18 << 20, 1<<30 + 1: 1<<30 + 2<<20} {
		if got := sizeClass(bytes); got != want {
			t.Errorf("%d bytes: class %d, want %d", bytes, got, want)
		}
	}
}

// TestPoolReuse follows one block: at once on its stream, behind an event on another, and to anybody after its stream is
// closed.
func TestPoolReuse(t *testing.T) {
	m := newModelMemory(t, 1<<30, 2)
	p := newPoolOn(m, 0)
	a, b := m.streams[0], m.streams[1]
	get := func(s *Stream) Ptr {
		t.Helper()
		ptr, err := p.alloc(s, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		return ptr
	}
	put := func(s *Stream, ptr Ptr) {
		t.Helper()
		m.work(s)
		if err := p.free(s, ptr); err != nil {
			t.Fatal(err)
		}
	}
	first := get(a)
	put(a, first)
	if get(a) != first || m.allocs != 1 {
		t.Error("a freed block was not reused on its stream")
	}
	put(a, first)
	if m.clock[b][a] != 0 {
		t.Error("a stream waited before it needed to")
	}
	if get(b) != first || m.clock[b][a] != m.clock[a][a] {
		t.Error("a block went to another stream without an event")
	}
	put(b, first)
	if get(nil) == first {
		t.Error("a block with work on it was handed out for no stream")
	}
	if err := p.retire(b); err != nil {
		t.Fatal(err)
	}
	if get(nil) != first {
		t.Error("the block of a closed stream was not reused")
	}
	if n := alloctest.Fewest(func() {
		for range 100 {
			ptr, _ := p.alloc(a, 3<<20)
			_ = p.free(a, ptr)
		}
	}); n > 0 {
		t.Errorf("%d allocations of Go's memory in 100 rounds", n)
	}
}

func TestPoolLimit(t *testing.T) {
	m := newModelMemory(t, 1<<30, 1)
	p := newPoolOn(m, 64<<20)
	s := m.streams[0]
	a, err := p.alloc(s, 40<<20)
	if err != nil {
		t.Fatal(err)
	}
	_, err = p.alloc(s, 30<<20)
	if !errors.Is(err, ErrOutOfMemory) {
		t.Fatalf("%v", err)
	}
	for _, want := range []string{"31.5 MB of device memory are needed", "41.9 MB are in use", "1.0 GB of the device's 1.1 GB are free", "the limit is 67.1 MB", "--tokens, --context or --size", "raise the limit"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q does not say %q", err, want)
		}
	}
	if err := p.free(s, a); err != nil {
		t.Fatal(err)
	}
	if _, err := p.alloc(s, 30<<20); err != nil { // what is cached goes first
		t.Fatal(err)
	}
	if st := p.memory(); st.Reserved != 30<<20 || st.Given != 1 || st.ReservedHighWater != 40<<20 {
		t.Errorf("%+v", st)
	}
}

func TestPoolOutOfMemory(t *testing.T) {
	m := newModelMemory(t, 64<<20, 2)
	p := newPoolOn(m, 0)
	a, b := m.streams[0], m.streams[1]
	x, err := p.alloc(a, 40<<20)
	if err != nil {
		t.Fatal(err)
	}
	m.work(a)
	if err := p.free(a, x); err != nil {
		t.Fatal(err)
	}
	m.freed[x] = freedAt{a, m.clock[a][a]}
	if _, err := p.alloc(b, 60<<20); err != nil { // the cache has to go, after its stream
		t.Fatal(err)
	}
	_, err = p.alloc(b, 10<<20)
	var e *Error
	if !errors.Is(err, ErrOutOfMemory) || !errors.As(err, &e) || e.Code != 2 || e.Name != "CUDA_ERROR_OUT_OF_MEMORY" {
		t.Fatalf("%v", err)
	}
	for _, want := range []string{"10.5 MB of device memory are needed", "62.9 MB are in use", "are free, no limit is set", "--tokens, --context or --size"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q does not say %q", err, want)
		}
	}
	if _, err := p.alloc(b, 1<<62); !errors.Is(err, ErrOutOfMemory) {
		t.Errorf("%v", err)
	}
	if _, err := p.alloc(b, -1); err == nil {
		t.Error("negative sizes are given memory")
	}
	if _, err := p.alloc(b, 2<<20); err != nil { // it goes on
		t.Error(err)
	}
	m.fail = codeError("cuMemAlloc_v2", 999)
	if _, err := p.alloc(b, 2<<20); !errors.Is(err, ErrDeviceLost) {
		t.Errorf("%v", err)
	}
}

func TestPoolWrongFree(t *testing.T) {
	m := newModelMemory(t, 1<<30, 1)
	p := newPoolOn(m, 0)
	s := m.streams[0]
	x, err := p.alloc(s, 100)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.free(s, 0); err != nil {
		t.Errorf("address 0: %v", err)
	}
	if err := p.free(s, x+4); err == nil || !strings.Contains(err.Error(), "no allocation begins there") {
		t.Errorf("%v", err)
	}
	if err := p.free(s, x); err != nil {
		t.Error(err)
	}
	if err := p.free(s, x); err == nil || !strings.Contains(err.Error(), "freed before") {
		t.Errorf("%v", err)
	}
}

func TestPoolLeaks(t *testing.T) {
	m := newModelMemory(t, 1<<30, 1)
	p := newPoolOn(m, 0)
	s := m.streams[0]
	for i := range 12 {
		if _, err := p.alloc(s, int64(1+i)<<20); err != nil {
			t.Fatal(err)
		}
	}
	err := p.close()
	if err == nil || !strings.HasPrefix(err.Error(), "12 blocks of device memory, 81.8 MB in all, were never freed: 12.6 MB at 0x") || !strings.Contains(err.Error(), "and 4 more") {
		t.Errorf("%v", err)
	}
	if m.used != 0 {
		t.Errorf("%d bytes stayed with the device", m.used)
	}
	if _, err := p.alloc(s, 1); err == nil {
		t.Error("memory of a closed device")
	}
	if err := p.close(); err != nil {
		t.Errorf("the second close: %v", err)
	}
}

// TestPoolCapture: memory of a graph stays with it.
func TestPoolCapture(t *testing.T) {
	m := newModelMemory(t, 1<<30, 2)
	p := newPoolOn(m, 0)
	s, other := m.streams[0], m.streams[1]
	warm, err := p.alloc(s, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.free(s, warm); err != nil {
		t.Fatal(err)
	}
	if err := p.beginCapture(s); err != nil {
		t.Fatal(err)
	}
	m.capturing[s] = true
	a, err := p.alloc(s, 1<<20)
	if err != nil || a != warm {
		t.Fatalf("%#x, %v", a, err)
	}
	if _, err := p.alloc(s, 1<<20); err == nil || !strings.Contains(err.Error(), "run the same work once on the same stream before capturing it") {
		t.Errorf("new memory in a capture: %v", err)
	}
	if err := p.free(s, a); err != nil {
		t.Fatal(err)
	}
	if b, err := p.alloc(s, 1<<20-1); err != nil || b != a { // reused within the capture
		t.Errorf("%#x, %v", b, err)
	}
	if err := p.free(s, a); err != nil {
		t.Fatal(err)
	}
	delete(m.capturing, s)
	h := p.endCapture(s)
	for _, x := range []*Stream{s, other, nil} {
		if b, err := p.alloc(x, 1<<20); err != nil || b == a {
			t.Errorf("%#x of a graph was handed out: %v", b, err)
		}
	}
	if st := p.memory(); st.InUse != 4<<20 || st.Asked != 3<<20 {
		t.Errorf("%+v", st)
	}
	if err := h.release(); err != nil {
		t.Fatal(err)
	}
	if b, err := p.alloc(other, 1<<20); err != nil || b != a {
		t.Errorf("memory of a closed graph is not reused: %v", err)
	}
}

// TestPoolFragmentation reports what sizes of a training step lose to rounding and to the cache.
func TestPoolFragmentation(t *testing.T) {
	m := newModelMemory(t, 80<<30, 2)
	p := newPoolOn(m, 0)
	r := rand.New(rand.NewPCG(7, 7))
	live := map[Ptr]int64{}
	var most float64
	for range 20000 {
		s := m.streams[r.IntN(2)]
		if len(live) < 64 && r.IntN(2) == 0 {
			bytes := int64(float64(int64(512)<<r.IntN(18)) * (1 + r.Float64()))
			ptr, err := p.alloc(s, bytes)
			if err != nil {
				t.Fatal(err)
			}
			live[ptr] = bytes
		} else if len(live) > 0 {
			ptr := slices.Min(slices.Collect(maps.Keys(live)))
			delete(live, ptr)
			m.work(s)
			if err := p.free(s, ptr); err != nil {
				t.Fatal(err)
			}
		}
		if st := p.memory(); st.Asked > 32<<20 {
			most = max(most, float64(st.InUse)/float64(st.Asked))
		}
	}
	st := p.memory()
	t.Logf("rounding loses %.1f %% at most; %.1f MB in use at most, %.1f MB reserved at most in %d blocks; %d calls of the driver in 20,000",
		100*(most-1), float64(st.HighWater)/1e6, float64(st.ReservedHighWater)/1e6, st.Blocks, st.Taken+st.Given)
	if most > 1.125 {
		t.Errorf("rounding loses %.1f %%", 100*(most-1))
	}
	if st.ReservedHighWater > 4*st.HighWater {
		t.Errorf("the cache holds %d bytes for %d", st.ReservedHighWater, st.HighWater)
	}
	for ptr := range live {
		if err := p.free(nil, ptr); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.close(); err != nil {
		t.Error(err)
	}
}
