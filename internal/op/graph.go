// Package op holds the words that the model's graph is written in: Gorgonia ops, each one well-shaped piece of
// arithmetic (embed, layer_norm, linear, qkv, pos_project, attention, add_norm, conv_norm, gather, mlm_loss, pool,
// classify_loss, span_loss) with a hand-written gradient group. gorgonia.Grad derives the backward graph from them.
//
// Begin with New, make leaves with Param and Input, apply words (methods of Graph that return nodes), then call Grad.
// Package exec runs the result; Gorgonia's own TapeMachine runs it too, slowly, because each op's Do computes its one
// result with the reference kernels. That makes the same graph a test of our executor.
//
// Every node is a pure function of its inputs. A word with several results is a group of sibling nodes that share one
// Group: the first one is what Grad sees, the others (log-sum-exp, row statistics, pre-activation, nll) are constants to
// it. Gradient groups may have any number of siblings. The executor runs a group's kernel once into all destinations.
//
// Values are float32, but for the int32 and int16 inputs and, in a graph whose Activations are BF16, what package kernel
// lists as [T, ·] activations and their gradients. How each word rounds is the kernel's contract. Packages above own memory
// and order; this one owns shapes, types and gradients.
package op

import (
	"fmt"
	"reflect"
	"slices"

	"github.com/secencoder/secencoder/internal/bf16"
	"github.com/secencoder/secencoder/internal/kernel"
	G "gorgonia.org/gorgonia"
	"gorgonia.org/tensor"
)

// NoLayer marks nodes that belong to no layer: embeddings, position table, heads.
const NoLayer = -1

// Graph is an expression graph under construction for a plan of T tokens. The first error of a constructor sticks:
// later ones return nil nodes, and Err tells. It is not safe for concurrent use.
type Graph struct {
	T      int
	Header *G.Node // the step header, int32 [HeaderWords(T)], input of every word that reads it

	// Activations is the type of activations and their gradients, F32 or BF16; set before the first word.
	Activations kernel.DType

	expr   *G.ExprGraph
	serial int
	layer  int
	err    error

	leaves []*Leaf
	leafOf map[*G.Node]*Leaf
	groups []*Group

	terms    map[*G.Node][]*G.Node // gradients that SymDiff gave for a node, in the order of giving
	arrived  map[*G.Node]*G.Node   // the gradient with which SymDiff was asked for a node
	grads    []Gradient
	loss     *G.Node
	finished bool
}

// Leaf is an input of the graph: a parameter, which may get a gradient, or data of the step.
type Leaf struct {
	Node  *G.Node
	Name  string
	Shape []int
	DType kernel.DType
	Param bool
}

// Len returns the number of elements.
func (l *Leaf) Len() int { return elements(l.Shape) }

// New returns an empty graph for plans of T tokens; T must be at least 2, the length of the shortest piece.
func New(T int) (*Graph, error) {
	if T < 2 {
		return nil, fmt.Errorf("graph for %d tokens, want at least 2", T)
	}
	g := &Graph{
		T: T, expr: G.NewGraph(), layer: NoLayer,
		leafOf: map[*G.Node]*Leaf{}, terms: map[*G.Node][]*G.Node{}, arrived: map[*G.Node]*G.Node{},
	}
	g.Header = g.Input("header", kernel.I32, kernel.HeaderWords(T))
	return g, g.err
}

// Expr returns Gorgonia's graph, for its TapeMachine and for printing.
func (g *Graph) Expr() *G.ExprGraph { return g.expr }

// Err returns the first error of a constructor.
func (g *Graph) Err() error { return g.err }

// SetLayer marks the groups applied from now on as part of a layer (NoLayer for none); recomputation follows the marks.
func (g *Graph) SetLayer(layer int) { g.layer = layer }

// Param adds a float32 parameter leaf. Names must be unique: Gorgonia takes two inputs of one name for the same node.
func (g *Graph) Param(name string, shape ...int) *G.Node {
	return g.leaf(name, kernel.F32, true, shape)
}

// Table adds a parameter leaf of the activations' type: a result of a word that was computed before.
func (g *Graph) Table(name string, shape ...int) *G.Node {
	return g.leaf(name, g.Activations, true, shape)
}

// Input adds a data leaf of the given type.
func (g *Graph) Input(name string, dtype kernel.DType, shape ...int) *G.Node {
	return g.leaf(name, dtype, false, shape)
}

func (g *Graph) leaf(name string, dtype kernel.DType, param bool, shape []int) *G.Node {
	if g.err != nil {
		return nil
	}
	for _, l := range g.leaves {
		if l.Name == name {
			g.fail("leaf %q is there already", name)
			return nil
		}
	}
	if len(shape) == 0 || slices.Min(shape) < 1 {
		g.fail("leaf %q has shape %v", name, shape)
		return nil
	}
	dt, err := tensorDtype(dtype)
	if err != nil {
		g.fail("leaf %q: %w", name, err)
		return nil
	}
	n := G.NewTensor(g.expr, dt, len(shape), G.WithShape(shape...), G.WithName(name))
	l := &Leaf{Node: n, Name: name, Shape: slices.Clone(shape), DType: dtype, Param: param}
	g.leaves = append(g.leaves, l)
	g.leafOf[n] = l
	return n
}

// Leaves returns all inputs in the order of their making; the slice must not be changed.
func (g *Graph) Leaves() []*Leaf { return g.leaves }

// LeafOf returns the leaf of a node, nil when the node is none of ours.
func (g *Graph) LeafOf(n *G.Node) *Leaf { return g.leafOf[n] }

// Groups returns all groups in the order of their making; after Grad the gradient groups are among them.
func (g *Graph) Groups() []*Group { return g.groups }

// Loss returns the node that Grad was called for, nil before.
func (g *Graph) Loss() *G.Node { return g.loss }

func (g *Graph) fail(format string, args ...any) {
	if g.err == nil {
		g.err = fmt.Errorf(format, args...)
	}
}

func elements(shape []int) int {
	n := 1
	for _, d := range shape {
		n *= d
	}
	return n
}

// bfloat16 is the element type of BF16 tensors. Gorgonia builds graphs with it and cannot add two of them: sums of
// gradients in such a graph need our executor.
var bfloat16 = func() tensor.Dtype {
	dt := tensor.Dtype{Type: reflect.TypeFor[bf16.BF16]()}
	tensor.RegisterNumber(dt)
	return dt
}()

// DTypeOf returns the element type of a node's value; it panics, an internal error, on one that no kernel has.
func DTypeOf(n *G.Node) kernel.DType {
	switch n.Dtype() {
	case tensor.Float32:
		return kernel.F32
	case bfloat16:
		return kernel.BF16
	case tensor.Int32:
		return kernel.I32
	case tensor.Int16:
		return kernel.I16
	}
	panic(fmt.Sprintf("internal error: a node of type %v", n.Dtype()))
}

func tensorDtype(d kernel.DType) (tensor.Dtype, error) {
	switch d {
	case kernel.F32:
		return tensor.Float32, nil
	case kernel.BF16:
		return bfloat16, nil
	case kernel.I32:
		return tensor.Int32, nil
	case kernel.I16:
		return tensor.Int16, nil
	}
	return tensor.Dtype{}, fmt.Errorf("no graph values of type %v", d)
}
