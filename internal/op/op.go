package op

import (
	"fmt"
	"hash"
	"hash/fnv"
	"io"
	"slices"

	"github.com/chewxy/hm"
	"github.com/secencoder/secencoder/internal/kernel"
	G "gorgonia.org/gorgonia"
	"gorgonia.org/tensor"
)

// Step is one kernel call: argument structs with their sizes filled in, waiting for operands. The executor makes one
// per execution of a group (two when the group is recomputed); none is shared between goroutines.
type Step interface {
	// Bind sets the operands: in as Group.In, out as Group.Results. Results that are Optional may be absent.
	Bind(in, out []kernel.Buf, work kernel.Buf)
	// Run calls the kernel. It allocates nothing.
	Run(k kernel.Kernels, s kernel.Stream)
	// WorkBytes returns the size of the workspace that Bind must be given; it needs no operands.
	WorkBytes(k kernel.Kernels) int
	// Beta points to the factor with which a result's old contents count (0: overwritten, 1: added to), nil for a
	// result that is always overwritten.
	Beta(result int) *float32
}

// Adder is a Step that can add a value to its first result, the one that is marked Addend. The executor gives it the
// other gradients of a value with several readers, so that their sum is rounded once.
type Adder interface {
	// Add sets the addend, which may be the result's own memory. It is called before Bind or after it.
	Add(b kernel.Buf)
}

// Result describes one result of a group.
type Result struct {
	Name     string
	Shape    []int // empty: a scalar, kept in one element
	DType    kernel.DType
	Optional bool // the kernel runs without the destination
	// Addend says that the step is an Adder: it adds a value of the same type to this result before it rounds it.
	Addend bool
	// Partial results of gradient groups leave out elements whose gradient is zero; their Beta is always 1, so the
	// destination must hold zeros or a sum already.
	Partial bool
}

// Len returns the number of elements.
func (r *Result) Len() int { return elements(r.Shape) }

// Group is one application of a word: one kernel call with its sibling results.
type Group struct {
	Name    string
	Serial  int // order of making; unique in a graph
	Layer   int
	In      []*G.Node
	Results []Result
	Nodes   []*G.Node // one per result
	Of      *Group    // gradient groups: the group whose gradient this is; nil for forward groups

	graph *Graph
	step  func() Step
	wrt   []bool
	diff  func(grad *G.Node) []*G.Node // one gradient per input, nil where there is none
}

// Step returns a new Step of this group.
func (gr *Group) Step() Step { return gr.step() }

// Differentiable reports for each input whether the first result's gradient reaches it.
func (gr *Group) Differentiable() []bool { return gr.wrt }

// word is what a constructor hands to apply.
type word struct {
	name    string
	in      []*G.Node // nil entries are options left out
	results []Result
	step    func() Step
	wrt     []*G.Node // inputs that get a gradient
	diff    func(gr *Group, grad *G.Node) []*G.Node
	of      *Group
}

// apply makes the nodes of a word, all results of one group, and returns the group; nil after an error.
func (g *Graph) apply(w word) *Group {
	if g.err != nil {
		return nil
	}
	gr := &Group{Name: w.name, Serial: g.serial, Layer: g.layer, Results: w.results, Of: w.of, graph: g, step: w.step}
	g.serial++
	if w.of != nil {
		gr.Layer = w.of.Layer
	}
	for _, n := range w.in {
		if n == nil {
			continue
		}
		if slices.Contains(gr.In, n) {
			g.fail("%s: %v is given twice", w.name, n)
			return nil
		}
		gr.In = append(gr.In, n)
		gr.wrt = append(gr.wrt, slices.Contains(w.wrt, n))
	}
	if w.diff != nil {
		gr.diff = func(grad *G.Node) []*G.Node { return w.diff(gr, grad) }
	}
	for i := range gr.Results {
		o := &Op{group: gr, result: i}
		n, err := G.ApplyOp(o, gr.In...)
		if err == nil && n.Op() != G.Op(o) {
			err = fmt.Errorf("the node was merged with %v", n.Op())
		}
		if err != nil {
			g.fail("%v: %w", o, err)
			return nil
		}
		gr.Nodes = append(gr.Nodes, n)
	}
	g.groups = append(g.groups, gr)
	return gr
}

// node returns the node of a result, nil for a nil group.
func (gr *Group) node(result int) *G.Node {
	if gr == nil {
		return nil
	}
	return gr.Nodes[result]
}

// GroupOf returns the group and the result index of a node that a word made; nil for leaves, constants and Gorgonia's
// own nodes.
func GroupOf(n *G.Node) (*Group, int) {
	if o, ok := n.Op().(*Op); ok {
		return o.group, o.result
	}
	return nil, 0
}

// Op is one result of a group as Gorgonia sees it.
type Op struct {
	group  *Group
	result int
}

var _ G.SDOp = (*Op)(nil)

// Arity returns the number of inputs.
func (o *Op) Arity() int { return len(o.group.In) }

// Type returns the concrete function type.
func (o *Op) Type() hm.Type {
	var ts []hm.Type
	for _, n := range o.group.In {
		ts = append(ts, valueType(n.Shape(), n.Dtype()))
	}
	return hm.NewFnType(append(ts, o.group.Results[o.result].valueType())...)
}

func (r *Result) valueType() hm.Type {
	dt, err := tensorDtype(r.DType)
	if err != nil {
		panic("internal error: " + err.Error()) // constructors take the types of nodes that there are
	}
	return valueType(r.Shape, dt)
}

func valueType(shape []int, dt tensor.Dtype) hm.Type {
	if len(shape) == 0 {
		return dt
	}
	return G.TensorType{Dims: len(shape), Of: dt}
}

// InferShape returns the shape that the constructor gave, after checking that the inputs are those of the constructor.
func (o *Op) InferShape(in ...G.DimSizer) (tensor.Shape, error) {
	for i, d := range in {
		if s, ok := d.(tensor.Shape); !ok || !s.Eq(o.group.In[i].Shape()) {
			return nil, fmt.Errorf("%v: input %d has shape %v, want %v", o, i, d, o.group.In[i].Shape())
		}
	}
	return tensor.Shape(slices.Clone(o.group.Results[o.result].Shape)), nil
}

// ReturnsPtr says that the value is memory of its own.
func (o *Op) ReturnsPtr() bool { return true }

// CallsExtern says that no foreign code runs.
func (o *Op) CallsExtern() bool { return false }

// OverwritesInput says that Do leaves its inputs alone.
func (o *Op) OverwritesInput() int { return -1 }

// WriteHash writes name, serial and result. The serial keeps Gorgonia from merging two applications: it compares nodes
// by a 32-bit hash and never looks at the children.
func (o *Op) WriteHash(h hash.Hash) { io.WriteString(h, o.String()) }

// Hashcode is the hash of WriteHash.
func (o *Op) Hashcode() uint32 {
	h := fnv.New32a()
	o.WriteHash(h)
	return h.Sum32()
}

// String returns name, serial and result, such as "linear#12.y".
func (o *Op) String() string {
	return fmt.Sprintf("%s#%d.%s", o.group.Name, o.group.Serial, o.group.Results[o.result].Name)
}

// DiffWRT reports which inputs get a gradient: none from a sibling beyond the first and from gradient groups.
func (o *Op) DiffWRT(inputs int) []bool {
	if o.result == 0 && o.group.diff != nil {
		return slices.Clone(o.group.wrt)
	}
	return make([]bool, inputs)
}

// SymDiff makes the gradient group and records which gradient belongs to which input.
func (o *Op) SymDiff(inputs G.Nodes, output, grad *G.Node) (G.Nodes, error) {
	gr := o.group
	if o.result != 0 || gr.diff == nil {
		return nil, fmt.Errorf("%v has no gradient", o)
	}
	if output != gr.Nodes[0] || !slices.Equal(inputs, gr.In) {
		return nil, fmt.Errorf("%v: the graph passes other nodes than it was built with", o)
	}
	g := gr.graph
	g.arrived[output] = grad
	out := gr.diff(grad)
	if g.err != nil {
		return nil, g.err
	}
	for i, d := range out {
		if gr.wrt[i] != (d != nil) {
			return nil, fmt.Errorf("%v: input %d: gradient given %v, want %v", o, i, d != nil, gr.wrt[i])
		}
		if d != nil {
			g.terms[inputs[i]] = append(g.terms[inputs[i]], d)
		}
	}
	return out, nil
}
