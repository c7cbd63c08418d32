package exec

import (
	"cmp"
	"math"
	"slices"

	"github.com/secencoder/secencoder/internal/kernel"
	G "gorgonia.org/gorgonia"
)

// align is the granule of the plan: one cache line, one vector.
const align = 64

// block is memory for one value, workspace or input, from the step that writes it to the last one that reads it. Steps
// are counted from 0; inputs live from −1.
type block struct {
	node     *G.Node // nil for workspaces and unread results
	label    string
	bytes    int
	dtype    kernel.DType
	from, to int
	kept     bool // lives to the end
	in       *block
	offset   int
}

// root follows values computed in place to the memory they share.
func (b *block) root() *block {
	for b.in != nil {
		b = b.in
	}
	return b
}

func (e *emitter) newBlock(n *G.Node, label string, bytes int, dtype kernel.DType) *block {
	b := &block{node: n, label: label, bytes: bytes, dtype: dtype, from: math.MaxInt, to: -1}
	e.p.blocks = append(e.p.blocks, b)
	return b
}

// planMemory lets sums take the place of a term that nothing reads any more, then gives every block an offset.
func (p *Program) planMemory() {
	last := len(p.steps) - 1
	for _, b := range p.blocks {
		if b.kept {
			b.to = last
		}
	}
	for i, s := range p.steps {
		switch {
		case s.into:
		case s.unit.group == nil:
			inPlace(i, s.out[0], s.in...)
		case s.unit.addend != nil && !slices.ContainsFunc(s.in, func(a place) bool { return a.memory() == s.plus.memory() }):
			inPlace(i, s.out[0], s.plus)
		}
	}
	var own []*block
	for _, b := range p.blocks {
		if b.in == nil {
			own = append(own, b)
			if !b.kept {
				p.steps[b.to].dies = append(p.steps[b.to].dies, b)
			}
		}
	}
	p.blocks = own
	p.bytes = pack(own)
}

// memory returns the block that an operand lies in, nil for what lies in the caller's memory.
func (a place) memory() *block {
	if a.kind != atBlock {
		return nil
	}
	return a.block.root()
}

// inPlace gives a sum the memory of a term whose last use it is.
func inPlace(at int, sum place, terms ...place) {
	out := sum.block
	for _, a := range terms {
		term := a.memory()
		if term == nil || term.kept || term.to != at || term.bytes != out.bytes || out.kept {
			continue
		}
		out.in = term
		term.to = out.to
		return
	}
}

// pack gives blocks offsets in one slab and returns its size: largest first, each into the smallest gap that holds it
// among the blocks that live at the same time. The result follows from the blocks alone.
func pack(blocks []*block) int {
	order := slices.Clone(blocks)
	slices.SortStableFunc(order, func(a, b *block) int {
		if c := cmp.Compare(b.bytes, a.bytes); c != 0 {
			return c
		}
		return cmp.Compare(a.from, b.from)
	})
	var placed []*block // by offset
	size := 0
	for _, b := range order {
		best, bestGap, at := -1, math.MaxInt, 0
		for _, o := range placed {
			if o.to < b.from || b.to < o.from {
				continue
			}
			if gap := o.offset - at; gap >= b.bytes && gap < bestGap {
				best, bestGap = at, gap
			}
			at = max(at, ceil(o.offset+o.bytes))
		}
		if best < 0 {
			best = at
		}
		b.offset = best
		size = max(size, ceil(best+b.bytes))
		i, _ := slices.BinarySearchFunc(placed, b, func(x, y *block) int { return cmp.Compare(x.offset, y.offset) })
		placed = slices.Insert(placed, i, b)
	}
	return size
}

func ceil(n int) int { return (n + align - 1) / align * align }
