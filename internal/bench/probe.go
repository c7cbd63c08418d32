package bench

import (
	"cmp"
	"slices"
	"sync"
	"time"

	"github.com/secencoder/secencoder/internal/device"
	"github.com/secencoder/secencoder/internal/kernel"
)

// Peak is what one resource of the machine gave to a loop that asks for nothing else, in the slices of the measurement.
type Peak struct {
	Name    string  `json:"name"` // one of the Peak names
	Unit    string  `json:"unit"` // GFLOP/s; GB/s, each byte counted once when read and once when written
	Threads int     `json:"threads"`
	Median  float64 `json:"median"`
	Best    float64 `json:"best_tenth"`
	Slices  int     `json:"slices"`
}

// The resources. A machine or a family of kernels without one has no such entry.
const (
	PeakFMA  = "float32 multiply-add" // fused multiply-adds on registers, the family's vectors
	PeakBF16 = "bf16 products"        // the family's instruction for products of bf16, on registers
	PeakRead = "memory read"
	PeakCopy = "memory copy"
)

// resource is a loop of one resource over a number of threads: rates of its short slices.
type resource struct {
	name, unit string
	threads    int
}

// probes are the loops that are run between the slices of a measurement, and what they gave.
type probes struct {
	fma, half loop      // of the family; without run where there is none
	stream    []float32 // memory to read and copy; nil before openStream
	arena     *device.Arena
	before    int64 // peak memory of the process when the stream's was taken
	given     map[resource]times
	streamed  time.Time
	at        int // where the last stream ended
}

// loop touches registers only.
type loop struct {
	run  func(rounds int)
	flop float64 // of a round
	// rounds are about 60 µs: no call may keep the scheduler waiting for long.
	rounds int
}

func newProbes(family string) *probes {
	p := &probes{given: map[resource]times{}}
	p.fma, p.half = loops(family)
	return p
}

// arithmetic runs the register loops on so many threads at once. It returns the rate, in GFLOP/s, of the one that bounds
// products of a type: products of bf16 where the family has an instruction for them, else multiply-adds; 0 where there is
// no loop.
func (p *probes) arithmetic(dtype kernel.DType, threads int) float64 {
	rate := p.multiply(resource{PeakFMA, "GFLOP/s", threads}, p.fma)
	if half := p.multiply(resource{PeakBF16, "GFLOP/s", threads}, p.half); half > 0 && dtype == kernel.BF16 {
		rate = half
	}
	return rate
}

// bound names the resource that arithmetic returns the rate of.
func (p *probes) bound(dtype kernel.DType, threads int) resource {
	if dtype == kernel.BF16 && p.half.run != nil {
		return resource{PeakBF16, "GFLOP/s", threads}
	}
	return resource{PeakFMA, "GFLOP/s", threads}
}

// multiply runs one register loop and returns the median of its slices.
func (p *probes) multiply(r resource, l loop) float64 {
	if l.run == nil {
		return 0
	}
	list := together(r.threads, 8, func(int, int) float64 {
		return l.flop * float64(l.rounds) * 1e-9 / clock(func() { l.run(l.rounds) })
	})
	p.given[r] = append(p.given[r], list...)
	return list.median()
}

// together runs f on so many threads at once, calls times each, and returns the sums of what the threads gave.
func together(threads, calls int, f func(thread, call int) float64) times {
	rates := make([]times, threads)
	var wg sync.WaitGroup
	for i := range threads {
		rates[i] = make(times, calls)
		wg.Go(func() {
			for j := range calls {
				rates[i][j] = f(i, j)
			}
		})
	}
	wg.Wait()
	for j := range calls {
		for i := 1; i < threads; i++ {
			rates[0][j] += rates[i][j]
		}
	}
	return rates[0]
}

const (
	streamSlice = 8 << 20   // of one thread
	streamCall  = 256 << 10 // about 20 µs
)

// streamBytes are far beyond the caches; tests take less.
var streamBytes = 512 << 20

// openStream takes the memory that is read and copied, unless it is there.
func (p *probes) openStream(threads int) error {
	if p.arena != nil {
		return nil
	}
	available, err := device.AvailableMemory()
	if err != nil {
		return err
	}
	p.before = peakBytes()
	n := min(max(streamBytes, threads*regions*streamSlice), int(available/8)) / streamSlice * streamSlice
	if p.arena, err = device.NewArena(max(n, streamSlice)); err != nil {
		return err
	}
	p.stream = p.arena.F32(0, n/4)
	for i := 0; i < len(p.stream); i += 1024 {
		p.stream[i] = 1 // takes the page
	}
	return nil
}

// regions are the parts of a thread's memory: what is read, what is copied, where to.
const regions = 3

// memory reads and copies the next stretch of memory; nothing where there is too little memory for so many threads.
func (p *probes) memory(threads int) error {
	if err := p.openStream(threads); err != nil {
		return err
	}
	const slice, call = streamSlice / 4, streamCall / 4 // floats
	const calls = streamSlice / streamCall
	region := len(p.stream) / threads / regions / slice * slice
	if region == 0 {
		return nil
	}
	from := p.at % region
	p.at += slice
	part := func(thread, which, i int) []float32 {
		return p.stream[(thread*regions+which)*region+from+i*call:][:call]
	}
	read, write := resource{PeakRead, "GB/s", threads}, resource{PeakCopy, "GB/s", threads}
	p.given[read] = append(p.given[read], mean(together(threads, calls, func(thread, i int) float64 {
		b := part(thread, 0, i)
		return clock(func() { readStream(b) })
	}), threads, streamCall))
	p.given[write] = append(p.given[write], mean(together(threads, calls, func(thread, i int) float64 {
		to, b := part(thread, 2, i), part(thread, 1, i)
		return clock(func() { copy(to, b) })
	}), threads, 2*streamCall))
	return nil
}

// streams measures memory on each number of threads when every has passed since it last did: now and then, because a
// stream empties the caches.
func (p *probes) streams(every time.Duration, threads ...int) error {
	if !p.streamed.IsZero() && time.Since(p.streamed) < every {
		return nil
	}
	for range 4 {
		for i, n := range threads {
			if i > 0 && n == threads[0] {
				continue
			}
			if err := p.memory(n); err != nil {
				return err
			}
		}
	}
	p.streamed = time.Now()
	return nil
}

// mean returns the GB/s of calls of so many bytes on so many threads, from the sums of their seconds: one figure for the
// whole stretch, because a single call may find what the one before it has fetched ahead.
func mean(seconds times, threads int, bytes float64) float64 {
	var sum float64
	for _, s := range seconds {
		sum += s
	}
	return float64(threads) * bytes * float64(len(seconds)) * 1e-9 / (sum / float64(threads))
}

// list returns all that was measured, in a fixed order.
func (p *probes) list() []Peak {
	var list []Peak
	for r, t := range p.given {
		list = append(list, Peak{Name: r.name, Unit: r.unit, Threads: r.threads, Median: t.median(), Best: t.at(0.9), Slices: len(t)})
	}
	names := []string{PeakFMA, PeakBF16, PeakRead, PeakCopy}
	slices.SortFunc(list, func(a, b Peak) int {
		return cmp.Or(cmp.Compare(slices.Index(names, a.Name), slices.Index(names, b.Name)), cmp.Compare(a.Threads, b.Threads))
	})
	return list
}

// best returns the best tenth of a resource; 0 where it was not measured.
func (p *probes) best(r resource) float64 {
	if len(p.given[r]) == 0 {
		return 0
	}
	return p.given[r].at(0.9)
}

// peakBytes returns the most memory that the process held beside the stream's, which it holds all the time once it has it.
func (p *probes) peakBytes() int64 {
	return max(p.before, peakBytes()-4*int64(len(p.stream)))
}

// fill says in a result what was found for its arithmetic, type and number of threads, and what it took.
func (p *probes) fill(r *Result, dtype kernel.DType, threads int) {
	r.Machine.PeakGFLOPS = p.best(p.bound(dtype, threads))
	r.Machine.Peaks = p.list()
	r.PeakBytes = p.peakBytes()
}

// close gives the memory back.
func (p *probes) close() error {
	if p.arena == nil {
		return nil
	}
	p.stream = nil
	return p.arena.Close()
}

// readPlain loads b where there is no assembly for it, in eight chains, so that additions do not bound it alone. The
// result is only there for the loads to be wanted.
//
//go:noinline
func readPlain(b []float32) float32 {
	var s [8]float32
	for ; len(b) >= 8; b = b[8:] {
		s[0] += b[0]
		s[1] += b[1]
		s[2] += b[2]
		s[3] += b[3]
		s[4] += b[4]
		s[5] += b[5]
		s[6] += b[6]
		s[7] += b[7]
	}
	return s[0] + s[1] + s[2] + s[3] + s[4] + s[5] + s[6] + s[7]
}
