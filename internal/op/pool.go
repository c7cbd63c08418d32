package op

import (
	"github.com/secencoder/secencoder/internal/kernel"
	G "gorgonia.org/gorgonia"
)

// PoolMean is the mean of each piece's rows of x [T, W], [T/2, W]; with inner, without the first and the last row.
func (g *Graph) PoolMean(x *G.Node, inner bool) *G.Node { return g.pool("pool_mean", x, false, inner) }

// PoolFirst is the first row of each piece of x [T, W], [T/2, W].
func (g *Graph) PoolFirst(x *G.Node) *G.Node { return g.pool("pool_first", x, true, false) }

func (g *Graph) pool(name string, x *G.Node, first, inner bool) *G.Node {
	_, width, ok := g.matrix(name, "x", x)
	if !ok || !g.shaped(name, "x", x, g.T, width) {
		return nil
	}
	act := DTypeOf(x)
	args := kernel.PoolArgs{T: g.T, W: width, First: first, Inner: inner}
	return g.apply(word{
		name:    name,
		in:      []*G.Node{g.Header, x},
		results: []Result{{Name: "out", Shape: shape(g.T/2, width)}},
		step:    func() Step { return &poolStep{PoolArgs: args} },
		wrt:     []*G.Node{x},
		diff: func(gr *Group, grad *G.Node) []*G.Node {
			back := kernel.PoolGradArgs{T: g.T, W: width, First: first, Inner: inner}
			d := g.apply(word{
				name: name + "_grad", of: gr,
				in:      []*G.Node{g.Header, grad},
				results: []Result{{Name: "dX", Shape: shape(g.T, width), DType: act}},
				step:    func() Step { return &poolGradStep{PoolGradArgs: back} },
			})
			if d == nil {
				return nil
			}
			return spread(gr, map[*G.Node]*G.Node{x: d.Nodes[0]})
		},
	}).node(0)
}

type poolStep struct {
	noBeta
	noWork
	kernel.PoolArgs
}

func (s *poolStep) Bind(in, out []kernel.Buf, _ kernel.Buf) {
	s.Header, s.X, s.Out = in[0], in[1], out[0]
}

func (s *poolStep) Run(k kernel.Kernels, st kernel.Stream) { k.Pool(st, &s.PoolArgs) }

type poolGradStep struct {
	noBeta
	noWork
	kernel.PoolGradArgs
}

func (s *poolGradStep) Bind(in, out []kernel.Buf, _ kernel.Buf) {
	s.Header, s.DOut, s.DX = in[0], in[1], out[0]
}

func (s *poolGradStep) Run(k kernel.Kernels, st kernel.Stream) { k.PoolGrad(st, &s.PoolGradArgs) }
