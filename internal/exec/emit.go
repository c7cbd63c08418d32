package exec

import (
	"fmt"

	"github.com/secencoder/secencoder/internal/kernel"
	"github.com/secencoder/secencoder/internal/op"
	G "gorgonia.org/gorgonia"
)

// step is one execution of a unit.
type step struct {
	unit  *unit
	again bool // the second execution, for the backward pass
	into  bool // not the unit itself: the Add of its result to a parameter's gradient
	in    []place
	plus  place // of the unit's addend
	out   []place
	run   op.Step
	work  *block
	dies  []*block // blocks whose last use this is
}

func (s *step) name() string {
	n := s.unit.name()
	switch {
	case s.unit.group != nil:
		n = fmt.Sprintf("%s#%d", n, s.unit.group.Serial)
	default:
		n = fmt.Sprintf("%s@%d", n, s.unit.out[0].ID())
	}
	if s.again {
		n += " again"
	}
	if s.into {
		n += " into gradient"
	} else if s.unit.addend != nil {
		n += " and sum"
	}
	return n
}

type placeKind uint8

const (
	atNothing placeKind = iota // absent operand
	atBlock
	atLeaf // a parameter
	atGrad // a parameter's gradient
)

// place says where an operand lies.
type place struct {
	kind  placeKind
	block *block
	node  *G.Node // the parameter
}

// emitter turns scheduled units into steps.
type emitter struct {
	p     *Program
	units []*unit
	keep  map[*G.Node]bool
	again map[*unit]bool
	made  map[*G.Node]*unit

	first  map[*G.Node]*block // values of the first execution
	second map[*G.Node]*block // values computed again
	term   map[*G.Node]*G.Node
	begun  map[*G.Node]bool // parameters whose gradient has had a writer

	// Which results are read by what.
	byForward, byBackward, byAgain map[*G.Node]bool
}

func newEmitter(p *Program, units []*unit, keep map[*G.Node]bool) *emitter {
	e := &emitter{
		p: p, units: units, keep: keep, again: again(p.policy, units, keep), made: map[*G.Node]*unit{},
		first: map[*G.Node]*block{}, second: map[*G.Node]*block{}, term: map[*G.Node]*G.Node{}, begun: map[*G.Node]bool{},
		byForward: map[*G.Node]bool{}, byBackward: map[*G.Node]bool{}, byAgain: map[*G.Node]bool{},
	}
	for _, u := range units {
		for _, n := range u.out {
			e.made[n] = u
		}
		for _, n := range u.reads() {
			if u.backward {
				e.byBackward[n] = true
			} else {
				e.byForward[n] = true
			}
			if e.again[u] {
				e.byAgain[n] = true
			}
		}
	}
	for _, gr := range p.graph.Gradients() {
		for _, t := range gr.Terms {
			e.term[t] = gr.Leaf.Node
		}
	}
	return e
}

func (e *emitter) emitAll() error {
	for _, u := range e.units {
		if err := e.emit(u); err != nil {
			return err
		}
	}
	for n := range e.keep {
		b := e.first[n]
		if b == nil {
			return fmt.Errorf("cannot keep %v: it is no value of the graph's", n)
		}
		b.kept = true
		e.p.values[n] = b
	}
	for _, gr := range e.p.graph.Gradients() {
		if len(gr.Terms) == 0 {
			e.p.zeroed = append(e.p.zeroed, gr.Leaf.Node)
		}
	}
	return nil
}

// emit adds the first execution of a unit.
func (e *emitter) emit(u *unit) error {
	s := &step{unit: u, run: e.newStep(u)}
	for _, n := range u.in {
		a, err := e.read(n, u.backward)
		if err != nil {
			return err
		}
		s.in = append(s.in, a)
	}
	if u.addend != nil {
		a, err := e.read(u.addend, u.backward)
		if err != nil {
			return err
		}
		s.plus = a
	}
	var after []*step
	for i, n := range u.out {
		wanted := e.byForward[n] || e.keep[n] || u.backward && e.byBackward[n]
		if !u.backward && !e.again[u] {
			wanted = wanted || e.byBackward[n]
		}
		a, add := e.destination(s, i, n, wanted)
		if a.kind == atBlock && a.block.node != nil {
			e.first[n] = a.block
		}
		s.out = append(s.out, a)
		if add != nil {
			after = append(after, add)
		}
	}
	e.push(s)
	for _, a := range after {
		e.push(a)
	}
	return nil
}

// repeat adds the second execution of a unit.
func (e *emitter) repeat(u *unit) error {
	s := &step{unit: u, again: true, run: e.newStep(u)}
	for _, n := range u.in {
		a, err := e.read(n, true)
		if err != nil {
			return err
		}
		s.in = append(s.in, a)
	}
	for i, n := range u.out {
		a := e.plain(u, i, n, e.byBackward[n] || e.byAgain[n])
		if a.kind == atBlock && a.block.node != nil {
			e.second[n] = a.block
		}
		s.out = append(s.out, a)
	}
	e.push(s)
	return nil
}

func (e *emitter) newStep(u *unit) op.Step {
	if u.group == nil {
		return &addStep{}
	}
	return u.group.Step()
}

// push appends a step, gives it its workspace and extends the lives of what it touches.
func (e *emitter) push(s *step) {
	p := e.p
	at := len(p.steps)
	if n := s.run.WorkBytes(p.table); n > 0 {
		s.work = e.newBlock(nil, "workspace", (n+63)/64*64, kernel.F32)
		s.work.from = at
	}
	for _, a := range append(s.in[:len(s.in):len(s.in)], s.plus) {
		if a.kind == atBlock {
			a.block.to = max(a.block.to, at)
		}
	}
	for _, a := range s.out {
		if a.kind == atBlock {
			a.block.from = min(a.block.from, at)
			a.block.to = max(a.block.to, at)
		}
	}
	if s.work != nil {
		s.work.to = at
	}
	p.steps = append(p.steps, s)
}

// read finds where an input lies, computing it again where the policy says so.
func (e *emitter) read(n *G.Node, backward bool) (place, error) {
	p := e.p
	if l := p.graph.LeafOf(n); l != nil {
		if l.Param {
			return place{kind: atLeaf, node: n}, nil
		}
		b := p.inputs[n]
		if b == nil {
			b = e.permanent(n, l.Name, l.Len()*l.DType.Size(), l.DType)
		}
		return place{kind: atBlock, block: b}, nil
	}
	if op.IsConstant(n) {
		b := p.inputs[n]
		if b == nil {
			v, ok := n.Value().(*G.F32)
			if !ok {
				return place{}, fmt.Errorf("constant %v is no float32", n)
			}
			b = e.permanent(n, "constant", 4, kernel.F32)
			p.consts[b] = float32(*v)
		}
		return place{kind: atBlock, block: b}, nil
	}
	u := e.made[n]
	if backward && e.again[u] {
		if e.second[n] == nil {
			if err := e.repeat(u); err != nil {
				return place{}, err
			}
		}
		return place{kind: atBlock, block: e.second[n]}, nil
	}
	b := e.first[n]
	if b == nil {
		return place{}, fmt.Errorf("internal error: %v is read before it is made", n)
	}
	return place{kind: atBlock, block: b}, nil
}

// destination decides where a result goes: straight into a parameter's gradient when it is a term of it, else into a
// block. add is the step that adds the block to the gradient where the kernel cannot.
func (e *emitter) destination(s *step, result int, n *G.Node, wanted bool) (at place, add *step) {
	param := e.term[n]
	if param == nil {
		return e.plain(s.unit, result, n, wanted), nil
	}
	first := !e.begun[param]
	e.begun[param] = true
	grad := place{kind: atGrad, node: param}
	beta := s.run.Beta(result)
	if beta != nil {
		if first {
			e.p.firsts = append(e.p.firsts, beta)
		} else {
			*beta = 1
		}
		return grad, nil
	}
	if first {
		e.p.zeroed = append(e.p.zeroed, param)
	}
	if partial(n) {
		return grad, nil
	}
	at = e.plain(s.unit, result, n, true)
	return at, &step{unit: s.unit, into: true, run: &addStep{}, in: []place{grad, at}, out: []place{grad}}
}

// plain gives a result a block; unwanted ones get scratch memory, or none where the kernel does without.
func (e *emitter) plain(u *unit, result int, n *G.Node, wanted bool) place {
	dtype := op.DTypeOf(n)
	bytes := dtype.Size() * n.Shape().TotalSize()
	if !wanted {
		if u.group != nil && u.group.Results[result].Optional {
			return place{}
		}
		return place{kind: atBlock, block: e.newBlock(nil, "unread", bytes, dtype)}
	}
	return place{kind: atBlock, block: e.newBlock(n, "", bytes, dtype)}
}

func (e *emitter) permanent(n *G.Node, name string, bytes int, dtype kernel.DType) *block {
	b := e.newBlock(n, name, bytes, dtype)
	b.from, b.kept = -1, true
	e.p.inputs[n] = b
	return b
}
