package op

import (
	"fmt"
	"slices"

	G "gorgonia.org/gorgonia"
)

// Verify checks that Gorgonia's graph is the one that was written: every node has the op and the children it was made
// with, every sum of gradients holds exactly the recorded terms, and nothing foreign is in it. Gorgonia merges nodes by
// a 32-bit hash without comparing their children; our ops carry serials, but the Add nodes that Grad makes do not.
func (g *Graph) Verify() error {
	for _, gr := range g.groups {
		for i, n := range gr.Nodes {
			if o, ok := n.Op().(*Op); !ok || o.group != gr || o.result != i {
				return fmt.Errorf("verify: node %d holds %v, want %s#%d", n.ID(), n.Op(), gr.Name, gr.Serial)
			}
			if got := Children(g.expr, n); !slices.Equal(got, gr.In) {
				return fmt.Errorf("verify: %v has other inputs than it was built with", n.Op())
			}
		}
	}
	for _, n := range g.expr.AllNodes() {
		switch gr, _ := GroupOf(n); {
		case gr != nil && gr.graph == g, g.leafOf[n] != nil, IsConstant(n), IsAdd(n):
		default:
			return fmt.Errorf("verify: node %d, %v, is not ours", n.ID(), n)
		}
	}
	for node, grad := range g.arrived {
		if node == g.loss {
			continue
		}
		if err := g.sumHolds(grad, g.terms[node]); err != nil {
			return fmt.Errorf("verify: gradient of %v: %w", node.Op(), err)
		}
	}
	for _, gr := range g.grads {
		if gr.Sum == nil && len(gr.Terms) == 0 {
			continue
		}
		if gr.Sum == nil {
			return fmt.Errorf("verify: gradient of %s: %d terms without a sum", gr.Leaf.Name, len(gr.Terms))
		}
		if err := g.sumHolds(gr.Sum, gr.Terms); err != nil {
			return fmt.Errorf("verify: gradient of %s: %w", gr.Leaf.Name, err)
		}
	}
	return nil
}

// sumHolds checks that the Add tree below sum has exactly the terms as its leaves, each as often as it was recorded.
func (g *Graph) sumHolds(sum *G.Node, terms []*G.Node) error {
	left := map[*G.Node]int{}
	for _, t := range terms {
		left[t]++
	}
	var walk func(n *G.Node) error
	walk = func(n *G.Node) error {
		if left[n] > 0 {
			left[n]--
			return nil
		}
		if !IsAdd(n) {
			return fmt.Errorf("the sum holds %v, which was not recorded or not so often", n.Op())
		}
		for _, c := range Children(g.expr, n) {
			if !c.Shape().Eq(n.Shape()) {
				return fmt.Errorf("the sum adds shapes %v and %v", c.Shape(), n.Shape())
			}
			if err := walk(c); err != nil {
				return err
			}
		}
		return nil
	}
	if err := walk(sum); err != nil {
		return err
	}
	for t, n := range left {
		if n > 0 {
			return fmt.Errorf("%v is recorded and missing in the sum", t.Op())
		}
	}
	return nil
}

// Children returns the inputs of a node in argument order.
func Children(e *G.ExprGraph, n *G.Node) []*G.Node {
	var out []*G.Node
	for it := e.From(n.ID()); it != nil && it.Next(); {
		out = append(out, it.Node().(*G.Node))
	}
	return out
}

// IsAdd reports whether a node is an Add of Gorgonia's, made by Grad to sum gradients.
func IsAdd(n *G.Node) bool {
	b, ok := n.Op().(G.BinaryOp)
	return ok && b.String() == "+ false"
}

// IsConstant reports whether a node is a constant of Gorgonia's, such as the 1 that Grad begins with.
func IsConstant(n *G.Node) bool {
	if n.Op() == nil || n.Op().Arity() != 0 {
		return false
	}
	_, ours := n.Op().(*Op)
	return !ours
}
