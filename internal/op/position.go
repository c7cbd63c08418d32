package op

import (
	"github.com/secencoder/secencoder/internal/kernel"
	G "gorgonia.org/gorgonia"
)

// Positions says how the position table is projected. With shared keys W and B are the qkv leaf, [3H, H] and [3H], and
// the rows of the key and of the query projection are read where they lie in it; with separate ones the leaf holds
// pos_key_proj, then pos_query_proj, those that there are.
type Positions struct {
	W, B     *G.Node
	KeyRow   int // first row of the key projection in W; < 0: no content-to-position term
	QueryRow int // first row of the query projection in W; < 0: no position-to-content term
	Drop     kernel.Dropout
}

// PosProject is the position table [2K, H] after dropout, projected: the 2K key rows, then the 2K query rows, [R, H].
// Both projections see the same dropped-out table.
//
// The key bias gets no gradient here: it adds Q_i·b to every score of a row, which softmax ignores.
func (g *Graph) PosProject(table *G.Node, p Positions) *G.Node {
	const name = "pos_project"
	slots, h, ok := g.matrix(name, "table", table)
	rows, _, okW := g.matrix(name, "weight", p.W)
	if !ok || !okW || !g.shaped(name, "weight", p.W, rows, h) || !g.shaped(name, "bias", p.B, rows) {
		return nil
	}
	if p.KeyRow < 0 && p.QueryRow < 0 || max(p.KeyRow, p.QueryRow)+h > rows {
		g.fail("%s: key rows at %d, query rows at %d of %d", name, p.KeyRow, p.QueryRow, rows)
		return nil
	}
	if !g.typed(name, "table", table, kernel.F32) {
		return nil
	}
	var parts []posPart
	if p.KeyRow >= 0 {
		parts = append(parts, posPart{row: p.KeyRow})
	}
	if p.QueryRow >= 0 {
		parts = append(parts, posPart{row: p.QueryRow, bias: true})
	}
	args := kernel.LinearArgs{X: of(DTypeOf(table)), Y: of(g.Activations), Rows: kernel.RowsAll, N: slots, In: h, Out: h, Drop: p.Drop}
	wrt := []*G.Node{table, p.W}
	if p.QueryRow >= 0 {
		wrt = append(wrt, p.B)
	}
	return g.apply(word{
		name:    name,
		in:      []*G.Node{g.Header, table, p.W, p.B},
		results: []Result{{Name: "out", Shape: shape(slots*len(parts), h), DType: g.Activations}},
		step: func() Step {
			s := &posStep{parts: parts}
			s.calls[0], s.calls[1] = args, args
			return s
		},
		wrt: wrt,
		diff: func(gr *Group, grad *G.Node) []*G.Node {
			back := kernel.LinearGradArgs{X: of(DTypeOf(table)), Rows: kernel.RowsAll, N: slots, In: h, Out: h, Drop: p.Drop}
			d := g.apply(word{
				name: "pos_project_grad", of: gr,
				in: []*G.Node{g.Header, table, p.W, grad},
				results: []Result{
					{Name: "dTable", Shape: shape(slots, h)},
					{Name: "dW", Shape: shape(rows, h), Partial: true},
					{Name: "dB", Shape: shape(rows), Partial: true, Optional: true},
				},
				step: func() Step {
					s := &posGradStep{parts: parts}
					for i := range parts {
						s.calls[i] = back
						s.calls[i].Beta = [2]float32{1, 1}
					}
					return s
				},
			})
			if d == nil {
				return nil
			}
			return spread(gr, map[*G.Node]*G.Node{table: d.Nodes[0], p.W: d.Nodes[1], p.B: d.Nodes[2]})
		},
	}).node(0)
}

// posPart is one projection: its first row in the weight leaf, and whether its bias gets a gradient.
type posPart struct {
	row  int
	bias bool
}

type posStep struct {
	noBeta
	noWork
	parts []posPart
	calls [2]kernel.LinearArgs
}

func (s *posStep) Bind(in, out []kernel.Buf, _ kernel.Buf) {
	for i, p := range s.parts {
		c := &s.calls[i]
		n := c.N * c.Out
		c.Header, c.X = in[0], in[1]
		c.W, c.B = part(in[2], p.row*c.In, c.Out*c.In), part(in[3], p.row, c.Out)
		c.Y = part(out[0], i*n, n)
	}
}

func (s *posStep) Run(k kernel.Kernels, st kernel.Stream) {
	for i := range s.parts {
		k.Linear(st, &s.calls[i])
	}
}

type posGradStep struct {
	noBeta
	parts []posPart
	calls [2]kernel.LinearGradArgs
	sum   kernel.AddArgs
}

// Workspace: the second projection's gradient of the table, then what LinearGrad asks for.
func (s *posGradStep) table() int {
	if len(s.parts) < 2 {
		return 0
	}
	return round16(s.calls[0].N * s.calls[0].In)
}

func (s *posGradStep) WorkBytes(k kernel.Kernels) int {
	return 4*s.table() + k.WorkBytes(&s.calls[0])
}

func (s *posGradStep) Bind(in, out []kernel.Buf, work kernel.Buf) {
	rest := part(work, s.table(), work.Len()-s.table())
	for i, p := range s.parts {
		c := &s.calls[i]
		c.Header, c.X = in[0], in[1]
		c.W = part(in[2], p.row*c.In, c.Out*c.In)
		c.DY = part(in[3], i*c.N*c.Out, c.N*c.Out)
		c.DX = out[0]
		if i > 0 {
			c.DX = part(work, 0, c.N*c.In)
			s.sum = kernel.AddArgs{A: out[0], B: c.DX, Out: out[0], N: c.N * c.In}
		}
		c.DW = part(out[1], p.row*c.In, c.Out*c.In)
		if p.bias {
			c.DB = part(out[2], p.row, c.Out)
		}
		c.Work = rest
	}
}

func (s *posGradStep) Run(k kernel.Kernels, st kernel.Stream) {
	for i := range s.parts {
		k.LinearGrad(st, &s.calls[i])
	}
	if s.sum.N > 0 {
		k.Add(st, &s.sum)
	}
}
