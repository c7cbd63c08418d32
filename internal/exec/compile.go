package exec

import (
	"container/heap"
	"errors"
	"fmt"
	"slices"

	"github.com/secencoder/secencoder/internal/kernel"
	"github.com/secencoder/secencoder/internal/op"
	G "gorgonia.org/gorgonia"
)

// unit is what is scheduled: a group of package op, or an Add of Gorgonia's.
type unit struct {
	group    *op.Group // nil: an Add
	in, out  []*G.Node
	addend   *G.Node // added to the first result by its kernel; out[0] then is the node of the sum
	layer    int
	backward bool
	major    int // order of running among the units that could run
	minor    int

	after   []*unit // units that wait for this one
	waiting int
}

func (u *unit) name() string {
	if u.group == nil {
		return "add"
	}
	return u.group.Name
}

// reads returns everything that the unit reads.
func (u *unit) reads() []*G.Node {
	if u.addend == nil {
		return u.in
	}
	return append(slices.Clone(u.in), u.addend)
}

// Compile orders the graph, plans its memory and returns a program that holds none yet. After Grad the program computes
// the loss and all gradients; otherwise what Keep asks for.
func Compile(g *op.Graph, o Options) (*Program, error) {
	if o.Device == nil {
		return nil, errors.New("compile: no device")
	}
	if err := g.Verify(); err != nil {
		return nil, fmt.Errorf("compile: %w", err)
	}
	if err := g.Err(); err != nil {
		return nil, fmt.Errorf("compile: %w", err)
	}
	keep := map[*G.Node]bool{}
	for _, n := range o.Keep {
		if n == nil {
			return nil, errors.New("compile: a value to keep is missing")
		}
		keep[n] = true
	}
	if g.Loss() != nil {
		keep[g.Loss()] = true
	}
	if len(keep) == 0 {
		return nil, errors.New("compile: nothing to compute")
	}
	units, err := schedule(g, keep)
	if err != nil {
		return nil, fmt.Errorf("compile: %w", err)
	}
	p := &Program{
		graph: g, dev: o.Device, table: o.Device.Kernels(), policy: o.Recompute, poison: o.Poison || invariants, packs: o.Packs,
		leaves: map[*G.Node]kernel.Buf{}, grads: map[*G.Node]kernel.Buf{},
		inputs: map[*G.Node]*block{}, values: map[*G.Node]*block{}, consts: map[*block]float32{},
	}
	if !o.sumsApart {
		units = fuse(g, units, keep)
	}
	e := newEmitter(p, units, keep)
	if err := e.emitAll(); err != nil {
		return nil, fmt.Errorf("compile: %w", err)
	}
	p.planMemory()
	return p, nil
}

// schedule returns the units that the kept values and the gradients need, in the order of running: Adds as soon as they
// can run, so that their terms can be forgotten, forward groups as they were written, gradient groups in the reverse
// order of the groups they belong to.
func schedule(g *op.Graph, keep map[*G.Node]bool) ([]*unit, error) {
	roots := make([]*G.Node, 0, len(keep))
	for n := range keep {
		roots = append(roots, n)
	}
	for _, gr := range g.Gradients() {
		roots = append(roots, gr.Terms...)
	}
	made := map[*G.Node]*unit{} // producer of a node
	var units []*unit
	var visit func(n *G.Node) error
	visit = func(n *G.Node) error {
		if made[n] != nil || g.LeafOf(n) != nil || op.IsConstant(n) {
			return nil
		}
		u := &unit{layer: op.NoLayer}
		gr, _ := op.GroupOf(n)
		switch {
		case gr != nil:
			u.group, u.in, u.out, u.layer = gr, gr.In, gr.Nodes, gr.Layer
			u.major, u.minor = gr.Serial, gr.Serial
			if gr.Of != nil {
				u.backward = true
				u.major = 2*len(g.Groups()) - gr.Of.Serial
			}
		case op.IsAdd(n):
			u.in, u.out, u.backward = op.Children(g.Expr(), n), []*G.Node{n}, true
			u.major, u.minor = -1, int(n.ID())
		default:
			return fmt.Errorf("no kernel for %v", n)
		}
		for _, r := range u.out {
			made[r] = u
		}
		units = append(units, u)
		for _, c := range u.in {
			if err := visit(c); err != nil {
				return err
			}
		}
		return nil
	}
	for _, n := range roots {
		if err := visit(n); err != nil {
			return nil, err
		}
	}
	wait := func(u, forUnit *unit) {
		forUnit.after = append(forUnit.after, u)
		u.waiting++
	}
	for _, u := range units {
		var seen []*unit
		for _, c := range u.in {
			if m := made[c]; m != nil && !slices.Contains(seen, m) {
				seen = append(seen, m)
				wait(u, m)
			}
		}
	}
	// A gradient that leaves out zeros is added after one that writes its whole destination.
	for _, gr := range g.Gradients() {
		for _, part := range gr.Terms {
			for _, whole := range gr.Terms {
				if partial(part) && !partial(whole) {
					wait(made[part], made[whole])
				}
			}
		}
	}
	return order(units)
}

// fuse takes out the Adds whose later term comes from a kernel that can add the earlier one itself, before it rounds: with
// BF16 a sum of two gradients is then rounded once, and with float32, whose bits stay as they were, a pass over memory is
// saved. What is fused follows from the graph and the order alone, so that it is the same under every policy.
func fuse(g *op.Graph, units []*unit, keep map[*G.Node]bool) []*unit {
	made, at, readers := map[*G.Node]*unit{}, map[*unit]int{}, map[*G.Node]int{}
	for i, u := range units {
		at[u] = i
		for _, n := range u.out {
			made[n] = u
		}
		for _, n := range u.in {
			readers[n]++
		}
	}
	for _, gr := range g.Gradients() {
		for _, t := range gr.Terms {
			readers[t]++
		}
	}
	adds := func(u *unit, n, other *G.Node) bool {
		before := made[other] == nil || at[made[other]] < at[u]
		return u.group != nil && u.group.Results[0].Addend && u.addend == nil && u.out[0] == n && readers[n] == 1 && !keep[n] && before
	}
	return slices.DeleteFunc(units, func(sum *unit) bool {
		if sum.group != nil || sum.in[0] == sum.in[1] {
			return false
		}
		for i, n := range sum.in {
			u, other := made[n], sum.in[1-i]
			if u == nil || !adds(u, n, other) {
				continue
			}
			u.out = slices.Clone(u.out)
			u.out[0], u.addend = sum.out[0], other
			made[sum.out[0]] = u
			return true
		}
		return false
	})
}

func partial(n *G.Node) bool {
	gr, result := op.GroupOf(n)
	return gr != nil && gr.Results[result].Partial
}

// order runs Kahn's algorithm; among the units that can run, the lowest (major, minor) is first.
func order(units []*unit) ([]*unit, error) {
	var ready unitHeap
	for _, u := range units {
		if u.waiting == 0 {
			ready = append(ready, u)
		}
	}
	heap.Init(&ready)
	var out []*unit
	for len(ready) > 0 {
		u := heap.Pop(&ready).(*unit)
		out = append(out, u)
		for _, v := range u.after {
			if v.waiting--; v.waiting == 0 {
				heap.Push(&ready, v)
			}
		}
	}
	if len(out) != len(units) {
		return nil, errors.New("the graph has a cycle")
	}
	return out, nil
}

type unitHeap []*unit

func (h unitHeap) Len() int { return len(h) }
func (h unitHeap) Less(i, j int) bool {
	if h[i].major != h[j].major {
		return h[i].major < h[j].major
	}
	return h[i].minor < h[j].minor
}
func (h unitHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *unitHeap) Push(x any)   { *h = append(*h, x.(*unit)) }
func (h *unitHeap) Pop() any {
	old := *h
	u := old[len(old)-1]
	*h = old[:len(old)-1]
	return u
}
