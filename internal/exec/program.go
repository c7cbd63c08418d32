// Package exec runs a graph of package op: it orders the graph once, plans memory once, then runs steps without
// allocating anything. A Program is a gorgonia.VM.
//
// Begin with Compile. It makes the plan and takes no memory, so that Bytes and Print can be read first; the first RunAll
// takes it. Parameters and their gradients are the caller's memory (Bind, BindGrad), the graph's other inputs lie in the
// program's (Input). Gradients of parameters are accumulated straight into the caller's buffers, in the order of the
// plan: the sums that gorgonia.Grad writes for them are never computed.
//
// What forward values are kept for the backward pass is a Policy; the gradients are the same under all of them, bit for
// bit. Choose picks the fastest policy that fits a limit.
//
// The package knows nothing of models and does not choose kernels: package device does.
package exec

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"
	"unsafe"

	"github.com/secencoder/secencoder/internal/device"
	"github.com/secencoder/secencoder/internal/kernel"
	"github.com/secencoder/secencoder/internal/op"
	G "gorgonia.org/gorgonia"
)

// Options of Compile.
type Options struct {
	Device    *device.Device
	Recompute Policy
	Keep      []*G.Node // values that Value gives after a run; the loss is always among them
	Packs     *Packs    // or nil: every call packs its weight
	Poison    bool      // fill memory that holds nothing with NaN; on under the build tag invariants

	sumsApart bool // every sum of gradients is a step of its own, for tests
}

// Program is a compiled graph. It is not safe for concurrent use.
type Program struct {
	graph  *op.Graph
	dev    *device.Device
	table  kernel.Kernels
	policy Policy
	poison bool
	packs  *Packs

	steps  []*step
	blocks []*block
	bytes  int

	leaves map[*G.Node]kernel.Buf // parameters
	grads  map[*G.Node]kernel.Buf
	inputs map[*G.Node]*block // other leaves, and constants
	values map[*G.Node]*block // kept
	consts map[*block]float32
	zeroed []*G.Node  // parameters whose gradient is cleared before the first micro-batch
	firsts []*float32 // factors of the first writers: 0, or 1 when accumulating

	clear      [][]float32
	arena      *device.Arena
	linked     bool
	accumulate bool
	trace      func(name string, elapsed time.Duration)
}

var _ G.VM = (*Program)(nil)

// ErrClosed is returned by RunAll after Close.
var ErrClosed = errors.New("the program is closed")

// Bytes returns the memory that the program takes when it first runs: values, workspaces and inputs, without the
// caller's parameters and gradients.
func (p *Program) Bytes() int64 { return int64(p.bytes) }

// Policy returns what the program was compiled with.
func (p *Program) Policy() Policy { return p.policy }

// Steps returns the number of kernel calls of one run.
func (p *Program) Steps() int { return len(p.steps) }

// Calls returns the names of the kernel calls of one run, in order: those that SetTrace reports.
func (p *Program) Calls() []string {
	names := make([]string, len(p.steps))
	for i, s := range p.steps {
		names[i] = s.unit.name()
	}
	return names
}

// Bind gives a parameter its memory, which the program reads on every run and never keeps alive.
func (p *Program) Bind(n *G.Node, b kernel.Buf) error {
	return p.bind(p.leaves, "parameter", n, b)
}

// BindGrad gives a parameter's gradient its memory. Every parameter of a differentiated graph needs one.
func (p *Program) BindGrad(n *G.Node, b kernel.Buf) error {
	return p.bind(p.grads, "gradient", n, b)
}

func (p *Program) bind(to map[*G.Node]kernel.Buf, what string, n *G.Node, b kernel.Buf) error {
	l := p.graph.LeafOf(n)
	if l == nil || !l.Param {
		return fmt.Errorf("%s of %v: not a parameter of the graph", what, n)
	}
	if b.Absent() || b.DType != l.DType || b.Len() != l.Len() {
		return fmt.Errorf("%s of %s: got %d elements of %v, want %d of %v", what, l.Name, b.Len(), b.DType, l.Len(), l.DType)
	}
	to[n] = b
	p.linked = false
	return nil
}

// Input returns the memory of an input that is no parameter, to be filled before RunAll; it keeps its contents from
// run to run. The program takes its memory on the first call. The input must be one that the program reads.
func (p *Program) Input(n *G.Node) (kernel.Buf, error) {
	b := p.inputs[n]
	if b == nil {
		return kernel.Buf{}, fmt.Errorf("%v is not an input that the program reads", n)
	}
	if err := p.allocate(); err != nil {
		return kernel.Buf{}, err
	}
	return p.buf(b), nil
}

// Reads reports whether the program reads an input that is no parameter: what serves no kept value is left out.
func (p *Program) Reads(n *G.Node) bool { return p.inputs[n] != nil }

// Value returns the memory of a kept value, valid after RunAll and until the next one.
func (p *Program) Value(n *G.Node) (kernel.Buf, error) {
	b := p.values[n]
	if b == nil {
		return kernel.Buf{}, fmt.Errorf("the program does not keep %v", n)
	}
	if err := p.allocate(); err != nil {
		return kernel.Buf{}, err
	}
	return p.buf(b), nil
}

// SetAccumulate says whether the next runs add to the gradients (true) or replace them.
func (p *Program) SetAccumulate(on bool) { p.accumulate = on }

// SetTrace makes RunAll report the time of every step, synchronising after each; nil switches it off.
func (p *Program) SetTrace(f func(name string, elapsed time.Duration)) { p.trace = f }

// RunAll runs all steps and waits for them. After the first run it allocates nothing.
func (p *Program) RunAll() error { return p.Run(context.Background()) }

// Run is RunAll that ends early when ctx is cancelled: no further step begins, values and gradients hold what the steps before
// left, and the error is ctx's, or the device's where it has one.
func (p *Program) Run(ctx context.Context) error {
	if p.dev == nil {
		return ErrClosed
	}
	if !p.linked {
		if err := p.link(); err != nil {
			return err
		}
	}
	first := float32(0)
	if p.accumulate {
		first = 1
	} else {
		for _, c := range p.clear {
			clear(c)
		}
	}
	for _, f := range p.firsts {
		*f = first
	}
	for _, s := range p.steps {
		if ctx.Err() != nil {
			return cmp.Or(p.table.Sync(0), ctx.Err()) // an error of the device says more
		}
		if p.trace != nil {
			if err := p.traced(s); err != nil {
				return err
			}
			continue
		}
		s.run.Run(p.table, 0)
		if p.poison {
			p.poisonAfter(s)
		}
	}
	return p.table.Sync(0)
}

func (p *Program) traced(s *step) error {
	start := time.Now()
	s.run.Run(p.table, 0)
	if err := p.table.Sync(0); err != nil {
		return fmt.Errorf("%s: %w", s.name(), err)
	}
	p.trace(s.unit.name(), time.Since(start))
	if p.poison {
		p.poisonAfter(s)
	}
	return nil
}

// Reset does nothing: a program holds no state between runs but its inputs.
func (p *Program) Reset() {}

// Close gives the memory back. Bufs of Input and Value must not be used after it.
func (p *Program) Close() error {
	p.dev = nil
	if p.arena == nil {
		return nil
	}
	a := p.arena
	p.arena = nil
	return a.Close()
}

// allocate takes the memory.
func (p *Program) allocate() error {
	if p.arena != nil {
		return nil
	}
	if p.dev == nil {
		return ErrClosed
	}
	a, err := p.dev.NewArena(p.bytes)
	if err != nil {
		return fmt.Errorf("plan of %d bytes: %w", p.bytes, err)
	}
	p.arena = a
	for b, v := range p.consts {
		p.buf(b).F32()[0] = v
	}
	if p.poison {
		for _, b := range p.blocks {
			if b.from >= 0 {
				fillNaN(p.buf(b))
			}
		}
	}
	return nil
}

func (p *Program) buf(b *block) kernel.Buf {
	b = b.root()
	return p.arena.Buf(b.offset, b.bytes/b.dtype.Size(), b.dtype)
}

// link gives every step its operands.
func (p *Program) link() error {
	if err := p.allocate(); err != nil {
		return err
	}
	for _, s := range p.steps {
		in, err := p.resolve(s.in)
		if err != nil {
			return err
		}
		out, err := p.resolve(s.out)
		if err != nil {
			return err
		}
		var work kernel.Buf
		if s.work != nil {
			work = p.buf(s.work)
		}
		s.run.Bind(in, out, work)
		if err := p.pack(s); err != nil {
			return err
		}
		if s.unit.addend != nil && !s.into {
			plus, err := p.resolve([]place{s.plus})
			if err != nil {
				return err
			}
			s.run.(op.Adder).Add(plus[0])
		}
	}
	p.clear = p.clear[:0]
	for _, n := range p.zeroed {
		b, ok := p.grads[n]
		if !ok {
			return fmt.Errorf("gradient of %s has no memory", p.graph.LeafOf(n).Name)
		}
		p.clear = append(p.clear, b.F32())
	}
	p.linked = true
	return nil
}

func (p *Program) resolve(at []place) ([]kernel.Buf, error) {
	bufs := make([]kernel.Buf, len(at))
	for i, a := range at {
		var ok bool
		switch a.kind {
		case atNothing:
		case atBlock:
			bufs[i] = p.buf(a.block)
		case atLeaf:
			if bufs[i], ok = p.leaves[a.node]; !ok {
				return nil, fmt.Errorf("parameter %s has no memory", p.graph.LeafOf(a.node).Name)
			}
		case atGrad:
			if bufs[i], ok = p.grads[a.node]; !ok {
				return nil, fmt.Errorf("gradient of %s has no memory", p.graph.LeafOf(a.node).Name)
			}
		}
	}
	return bufs, nil
}

// Poisoning finds reads of memory that holds nothing: values are NaN before they are written and after their last use.
func (p *Program) poisonAfter(s *step) {
	for _, b := range s.dies {
		fillNaN(p.buf(b))
	}
}

func fillNaN(b kernel.Buf) {
	halves := unsafe.Slice((*uint16)(b.Ptr), b.Bytes/2)
	for i := range halves {
		halves[i] = 0x7fc0 // a NaN of BF16, and two of them are one of float32
	}
}
