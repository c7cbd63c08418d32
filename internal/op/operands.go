package op

import (
	"slices"
	"unsafe"

	"github.com/secencoder/secencoder/internal/kernel"
	G "gorgonia.org/gorgonia"
)

// operands hands out the inputs of a step in the order in which the constructor listed them.
type operands struct {
	bufs []kernel.Buf
	at   int
}

func (o *operands) next() kernel.Buf {
	b := o.bufs[o.at]
	o.at++
	return b
}

// option is next for an input that was given, and absent otherwise.
func (o *operands) option(given bool) kernel.Buf {
	if !given {
		return kernel.Buf{}
	}
	return o.next()
}

// noBeta is embedded in steps whose results are always overwritten.
type noBeta struct{}

func (noBeta) Beta(int) *float32 { return nil }

// noWork is embedded in steps without a workspace.
type noWork struct{}

func (noWork) WorkBytes(kernel.Kernels) int { return 0 }

// part returns elements [from, from+n) of b, absent when b is or n is 0: a pointer past the end of an object would be
// one into its neighbour, which the garbage collector does not forgive.
func part(b kernel.Buf, from, n int) kernel.Buf {
	if b.Absent() || n == 0 {
		return kernel.Buf{}
	}
	size := b.DType.Size()
	return kernel.Buf{Ptr: unsafe.Add(b.Ptr, from*size), Bytes: n * size, DType: b.DType}
}

// shaped fails the graph and reports false unless the node has the shape.
func (g *Graph) shaped(word, operand string, n *G.Node, shape ...int) bool {
	if g.err != nil {
		return false
	}
	if n == nil {
		g.fail("%s: %s is missing", word, operand)
		return false
	}
	if got := []int(n.Shape()); !slices.Equal(got, shape) {
		g.fail("%s: %s has shape %v, want %v", word, operand, got, shape)
		return false
	}
	return true
}

// matrix fails the graph and reports false unless the node has two axes; it returns them.
func (g *Graph) matrix(word, operand string, n *G.Node) (rows, width int, ok bool) {
	if g.err != nil {
		return 0, 0, false
	}
	if n == nil {
		g.fail("%s: %s is missing", word, operand)
		return 0, 0, false
	}
	s := n.Shape()
	if len(s) != 2 {
		g.fail("%s: %s has shape %v, want a matrix", word, operand, s)
		return 0, 0, false
	}
	return s[0], s[1], true
}

// typed fails the graph and reports false unless the node has the element type.
func (g *Graph) typed(word, operand string, n *G.Node, want kernel.DType) bool {
	if g.err != nil {
		return false
	}
	if got := DTypeOf(n); got != want {
		g.fail("%s: %s has type %v, want %v", word, operand, got, want)
		return false
	}
	return true
}

// of describes an operand that is not there yet by its type, from which a kernel tells the workspace that it needs.
func of(d kernel.DType) kernel.Buf { return kernel.Buf{DType: d} }

func shape(dims ...int) []int { return dims }

// spread puts the gradients of a group at the places of the inputs that they belong to.
func spread(gr *Group, of map[*G.Node]*G.Node) []*G.Node {
	out := make([]*G.Node, len(gr.In))
	for i, n := range gr.In {
		if gr.wrt[i] {
			out[i] = of[n]
		}
	}
	return out
}
