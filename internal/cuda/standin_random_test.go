package cuda_test

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/secencoder/secencoder/internal/cuda"
	"github.com/secencoder/secencoder/internal/cuda/standin"
)

// program is a random user of a device: it makes, uses and drops everything in any order, and keeps book of what its
// memory must hold.
type program struct {
	random  *rand.Rand
	dev     *cuda.Device
	module  *cuda.Module
	fill    *cuda.Function
	add     *cuda.Function
	streams []*cuda.Stream
	hosts   []*cuda.Host
	graphs  []*graphOf
	blocks  []*block
	errs    []error
}

// block is memory whose words are all one value, on the stream that it was taken on; unknown after an error.
type block struct {
	p       cuda.Ptr
	n       int
	value   uint32
	unknown bool
	s       *cuda.Stream
}

// graphOf fills one block, or adds memory to it that is the graph's own.
type graphOf struct {
	g    *cuda.Graph
	b    *block
	v    uint32
	adds bool
}

func (p *program) record(g *graphOf) error {
	b, value := g.b, g.v
	if !g.adds {
		return b.s.Fill(b.p, byte(value), 4*b.n)
	}
	own, err := p.dev.Alloc(b.s, 4*b.n)
	if err != nil {
		return err
	}
	return errors.Join(
		b.s.Fill(own, byte(value), 4*b.n),
		p.run(p.add, b.s, func(l *cuda.Launch) { l.Ptr(b.p).Ptr(own).U32(uint32(b.n)) }),
		p.dev.Free(b.s, own))
}

func pick[T any](p *program, list []T) (x T, i int) {
	i = p.random.IntN(len(list))
	return list[i], i
}

// note keeps an error and reports whether there was one.
func (p *program) note(err error) bool {
	if err != nil {
		p.errs = append(p.errs, err)
	}
	return err != nil
}

func (p *program) run(f *cuda.Function, s *cuda.Stream, pack func(*cuda.Launch)) error {
	l := f.NewLaunch()
	pack(l)
	return errors.Join(l.Run(s, grid(16), grid(256), 0), l.Close())
}

// step does one random thing.
func (p *program) step() error {
	r := p.random
	if len(p.streams) == 0 || r.IntN(40) == 0 && len(p.streams) < 5 {
		s, err := p.dev.NewStream()
		if !p.note(err) {
			p.streams = append(p.streams, s)
		}
		return nil
	}
	s, i := pick(p, p.streams)
	switch what := r.IntN(20); {
	case what < 4: // take memory and fill it
		b := &block{n: 1000 * (1 + r.IntN(3)), value: r.Uint32(), s: s}
		var err error
		if b.p, err = p.dev.Alloc(s, 4*b.n); p.note(err) {
			return nil
		}
		p.blocks = append(p.blocks, b)
		b.unknown = p.note(p.run(p.fill, s, func(l *cuda.Launch) { l.Ptr(b.p).U32(b.value).U32(uint32(b.n)) }))
	case what < 7 && len(p.blocks) > 0: // add one block to another of the same stream
		to, _ := pick(p, p.blocks)
		from, _ := pick(p, p.blocks)
		if to.s != from.s || from.n < to.n || to == from {
			return nil
		}
		failed := p.note(p.run(p.add, to.s, func(l *cuda.Launch) { l.Ptr(to.p).Ptr(from.p).U32(uint32(to.n)) }))
		to.value += from.value
		to.unknown = to.unknown || from.unknown || failed
	case what < 10 && len(p.blocks) > 0: // look at a block, or not, and drop it
		b, i := pick(p, p.blocks)
		if slices.ContainsFunc(p.graphs, func(g *graphOf) bool { return g.b == b }) {
			return nil
		}
		raw := make([]byte, 4*b.n)
		if r.IntN(2) == 0 {
			b.unknown = true // its work may be waiting when it is freed
		} else if err := b.s.CopyToHost(raw, b.p); !p.note(err) && !b.unknown {
			for k := range b.n {
				if got := uint32(raw[4*k]) | uint32(raw[4*k+1])<<8 | uint32(raw[4*k+2])<<16 | uint32(raw[4*k+3])<<24; got != b.value {
					return fmt.Errorf("word %d of %d is %#x, want %#x", k, b.n, got, b.value)
				}
			}
		}
		p.note(p.dev.Free(b.s, b.p))
		p.blocks = slices.Delete(p.blocks, i, i+1)
	case what < 11 && len(p.blocks) > 0 && len(p.graphs) < 5: // record a graph
		g := &graphOf{v: r.Uint32() % 256, adds: r.IntN(2) == 0}
		g.b, _ = pick(p, p.blocks)
		if g.adds { // memory that the capture can take
			own, err := p.dev.Alloc(g.b.s, 4*g.b.n)
			if p.note(err) {
				return nil
			}
			p.note(p.dev.Free(g.b.s, own))
		}
		var err error
		if g.g, err = g.b.s.Capture(func() error { return p.record(g) }); !p.note(err) {
			p.graphs = append(p.graphs, g)
		}
	case what < 13 && len(p.graphs) > 0: // replay it
		g, _ := pick(p, p.graphs)
		failed := p.note(g.g.Launch(g.b.s))
		if g.adds {
			g.b.value += g.v * 0x01010101
			g.b.unknown = g.b.unknown || failed
		} else {
			g.b.value, g.b.unknown = g.v*0x01010101, failed
		}
	case what < 14 && len(p.graphs) > 0:
		g, i := pick(p, p.graphs)
		if !g.adds { // with memory of its own, Close waits
			p.note(g.b.s.Synchronize())
		}
		p.note(g.g.Close())
		p.graphs = slices.Delete(p.graphs, i, i+1)
	case what < 15: // a block goes to another stream, behind an event
		if len(p.blocks) == 0 {
			return nil
		}
		b, _ := pick(p, p.blocks)
		if slices.ContainsFunc(p.graphs, func(g *graphOf) bool { return g.b == b }) {
			return nil
		}
		e, err := p.dev.NewEvent()
		if p.note(err) {
			return nil
		}
		ordered := !p.note(e.Record(b.s)) && !p.note(s.Wait(e))
		p.note(e.Close())
		if ordered {
			b.s = s
		}
	case what < 16: // pinned memory there and back
		h, err := p.dev.NewHost(16 + r.IntN(100))
		if p.note(err) {
			return nil
		}
		p.hosts = append(p.hosts, h)
		if len(p.blocks) > 0 {
			b, _ := pick(p, p.blocks)
			p.note(b.s.CopyToHost(h.Bytes()[:4], b.p))
		}
		if len(p.hosts) > 3 {
			p.note(p.hosts[0].Close())
			p.hosts = p.hosts[1:]
		}
	case what < 17 && !slices.ContainsFunc(p.blocks, func(b *block) bool { return b.s == s }): // close a stream
		p.note(s.Close())
		p.streams = slices.Delete(p.streams, i, i+1)
	case what < 18:
		p.note(p.dev.Trim())
	default:
		p.note(s.Synchronize())
	}
	return nil
}

func (p *program) end() {
	for _, g := range p.graphs {
		p.note(g.g.Close())
	}
	for _, b := range p.blocks {
		p.note(p.dev.Free(b.s, b.p))
	}
	for _, h := range p.hosts {
		p.note(h.Close())
	}
	for _, s := range p.streams {
		p.note(s.Close())
	}
	p.note(p.module.Close())
	p.note(p.dev.Close())
}

// Random programs in every order of the work, half of them with calls that fail here and there: what is in memory is
// what was put there, no rule is broken, nothing is left, and errors come only where a call failed.
func TestStandinRandomPrograms(t *testing.T) {
	programs, steps := 60, 300
	if testing.Short() {
		programs, steps = 9, 150
	}
	lib, drv := loadStandin(t)
	var calls []string // that may fail
	succeed(t, everything(drv))
	for call := range maps.Keys(lib.Calls()) {
		if call != "cuInit" && call != "cuDriverGetVersion" && call != "cuCtxSetCurrent" {
			calls = append(calls, call)
		}
	}
	slices.Sort(calls)
	failures := 0
	for seed := range programs {
		lib.Reset()
		what := fmt.Sprintf("program %d", seed)
		p := &program{random: rand.New(rand.NewPCG(uint64(seed), 11))}
		lib.Set(standin.Delay, seed%3)
		lib.Set(standin.Seed, seed)
		lib.Set(standin.ATS, seed/3%2)
		lib.Set(standin.Memory, 4<<20) // often too little
		err := within(t, 30*time.Second, what, func() error {
			var err error
			if p.dev, err = drv.Open(0, cuda.DeviceOptions{}); err != nil {
				return err
			}
			if p.module, err = p.dev.LoadModule([]byte(standin.PTX)); err != nil {
				return err
			}
			if p.fill, err = p.module.Function("standin_fill"); err != nil {
				return err
			}
			if p.add, err = p.module.Function("standin_add"); err != nil {
				return err
			}
			for range steps {
				if seed%2 == 1 && p.random.IntN(30) == 0 {
					lib.Fail(calls[p.random.IntN(len(calls))], 1+p.random.IntN(3), []int{1, 2, 400}[p.random.IntN(3)])
				}
				if err := p.step(); err != nil {
					return err
				}
			}
			p.end()
			return nil
		})
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		for _, err := range p.errs {
			var e *cuda.Error
			if !errors.As(err, &e) {
				t.Errorf("%s: an error that no call of the driver made: %v", what, err)
			} else if seed%2 == 0 && !errors.Is(err, cuda.ErrOutOfMemory) {
				t.Errorf("%s: an error though no call failed: %v", what, err)
			}
		}
		failures += len(p.errs)
		if !clean(t, lib, what) || t.Failed() {
			t.Fatalf("%s: the errors were %q", what, p.errs)
		}
	}
	t.Logf("%d programs of %d steps, %d errors", programs, steps, failures)
}
