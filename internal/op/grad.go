package op

import (
	"errors"
	"fmt"

	G "gorgonia.org/gorgonia"
)

// Gradient is a parameter with the gradients whose sum is its gradient. Sum is Gorgonia's node of that sum, a chain of
// Add nodes over Terms: the executor never computes it, it adds the terms into one buffer instead.
type Gradient struct {
	Leaf  *Leaf
	Terms []*G.Node // in the order in which SymDiff gave them; none: the parameter does not reach the loss
	Sum   *G.Node   // nil without terms
}

// Grad derives the gradients of a scalar loss with respect to all parameters that reach it, and verifies the graph. It
// may be called once: Gorgonia remembers derivatives in the nodes.
func (g *Graph) Grad(loss *G.Node) error {
	if g.err != nil {
		return g.err
	}
	if g.finished {
		return errors.New("a graph is differentiated once")
	}
	g.finished = true
	g.loss = loss
	reached := g.reaching(loss)
	var wrt []*G.Node
	for _, l := range g.leaves {
		if l.Param && reached[l.Node] {
			wrt = append(wrt, l.Node)
		}
	}
	if len(wrt) == 0 {
		return errors.New("no parameter reaches the loss")
	}
	sums, err := G.Grad(loss, wrt...)
	if err != nil {
		return fmt.Errorf("gradient: %w", err)
	}
	for _, l := range g.leaves {
		if !l.Param {
			continue
		}
		gradient := Gradient{Leaf: l, Terms: g.terms[l.Node]}
		if reached[l.Node] {
			gradient.Sum, sums = sums[0], sums[1:]
		}
		g.grads = append(g.grads, gradient)
	}
	return g.Verify()
}

// Gradients returns one entry per parameter, in the order of Leaves; none before Grad.
func (g *Graph) Gradients() []Gradient { return g.grads }

// reaching returns the nodes from which the loss can be reached through differentiable inputs.
func (g *Graph) reaching(loss *G.Node) map[*G.Node]bool {
	seen := map[*G.Node]bool{}
	var walk func(n *G.Node)
	walk = func(n *G.Node) {
		if n == nil || seen[n] {
			return
		}
		seen[n] = true
		if gr, result := GroupOf(n); gr != nil && result == 0 {
			for i, c := range gr.In {
				if gr.wrt[i] && gr.diff != nil {
					walk(c)
				}
			}
		}
	}
	walk(loss)
	return seen
}
