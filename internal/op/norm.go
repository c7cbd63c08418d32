package op

import (
	"github.com/secencoder/secencoder/internal/kernel"
	G "gorgonia.org/gorgonia"
)

// Norm holds the parameters of a LayerNorm and what stands around it.
type Norm struct {
	Gamma, Beta *G.Node // [W]
	Eps         float32
	Rows        kernel.RowKind
	Drop        kernel.Dropout // layer_norm: of the result; add_norm: of x
	// BetaHasNoGradient says that the gradient of Beta is zero by analysis: it is left out.
	BetaHasNoGradient bool
}

func (n *Norm) wrt(inputs ...*G.Node) []*G.Node {
	w := append(inputs, n.Gamma)
	if !n.BetaHasNoGradient {
		w = append(w, n.Beta)
	}
	return w
}

// LayerNorm is dropout(LN(x)·γ + β) over rows of x [rows, W], with the row statistics as a constant sibling.
func (g *Graph) LayerNorm(x *G.Node, n Norm) *G.Node {
	const name = "layer_norm"
	rows, width, ok := g.matrix(name, "x", x)
	if !ok || !g.shaped(name, "gamma", n.Gamma, width) || !g.shaped(name, "beta", n.Beta, width) {
		return nil
	}
	act := DTypeOf(x)
	args := kernel.LayerNormArgs{Rows: n.Rows, N: rows, W: width, Eps: n.Eps, Drop: n.Drop}
	return g.apply(word{
		name: name,
		in:   []*G.Node{g.Header, x, n.Gamma, n.Beta},
		results: []Result{
			{Name: "out", Shape: shape(rows, width), DType: act},
			{Name: "stats", Shape: shape(rows, 2), Optional: true},
		},
		step: func() Step { return &layerNormStep{LayerNormArgs: args} },
		wrt:  n.wrt(x),
		diff: func(gr *Group, grad *G.Node) []*G.Node {
			back := kernel.LayerNormGradArgs{Rows: n.Rows, N: rows, W: width, Drop: n.Drop}
			d := g.apply(word{
				name: "layer_norm_grad", of: gr,
				in: []*G.Node{g.Header, x, gr.Nodes[1], n.Gamma, grad},
				results: []Result{
					{Name: "dX", Shape: shape(rows, width), DType: act, Optional: true},
					{Name: "dGamma", Shape: shape(width)}, {Name: "dBeta", Shape: shape(width)},
				},
				step: func() Step { return &layerNormGradStep{LayerNormGradArgs: back} },
			})
			if d == nil {
				return nil
			}
			return spread(gr, map[*G.Node]*G.Node{x: d.Nodes[0], n.Gamma: d.Nodes[1], n.Beta: d.Nodes[2]})
		},
	}).node(0)
}

// AddNorm is LN(dropout(x) + res)·γ + β over rows of x and res [rows, W] (HF DebertaV2SelfOutput and DebertaV2Output
// after their dense layer), with the row statistics as a constant sibling.
func (g *Graph) AddNorm(x, res *G.Node, n Norm) *G.Node {
	const name = "add_norm"
	rows, width, ok := g.matrix(name, "x", x)
	if !ok || !g.shaped(name, "res", res, rows, width) || !g.shaped(name, "gamma", n.Gamma, width) ||
		!g.shaped(name, "beta", n.Beta, width) {
		return nil
	}
	act := DTypeOf(x)
	if !g.typed(name, "res", res, act) {
		return nil
	}
	args := kernel.AddNormArgs{Rows: n.Rows, N: rows, W: width, Eps: n.Eps, Drop: n.Drop}
	return g.apply(word{
		name: name,
		in:   []*G.Node{g.Header, x, res, n.Gamma, n.Beta},
		results: []Result{
			{Name: "out", Shape: shape(rows, width), DType: act},
			{Name: "stats", Shape: shape(rows, 2), Optional: true},
		},
		step: func() Step { return &addNormStep{AddNormArgs: args} },
		wrt:  n.wrt(x, res),
		diff: func(gr *Group, grad *G.Node) []*G.Node {
			back := kernel.AddNormGradArgs{Rows: n.Rows, N: rows, W: width, Drop: n.Drop}
			d := g.apply(word{
				name: "add_norm_grad", of: gr,
				in: []*G.Node{g.Header, x, res, gr.Nodes[1], n.Gamma, grad},
				results: []Result{
					{Name: "dX", Shape: shape(rows, width), DType: act}, {Name: "dRes", Shape: shape(rows, width), DType: act},
					{Name: "dGamma", Shape: shape(width)}, {Name: "dBeta", Shape: shape(width)},
				},
				step: func() Step { return &addNormGradStep{AddNormGradArgs: back} },
			})
			if d == nil {
				return nil
			}
			return spread(gr, map[*G.Node]*G.Node{
				x: d.Nodes[0], res: d.Nodes[1], n.Gamma: d.Nodes[2], n.Beta: d.Nodes[3],
			})
		},
	}).node(0)
}

type layerNormStep struct {
	noWork
	kernel.LayerNormArgs
}

func (s *layerNormStep) Bind(in, out []kernel.Buf, _ kernel.Buf) {
	s.Header, s.X, s.Gamma, s.LayerNormArgs.Beta = in[0], in[1], in[2], in[3]
	s.Out, s.Stats = out[0], out[1]
}

func (s *layerNormStep) Run(k kernel.Kernels, st kernel.Stream) { k.LayerNorm(st, &s.LayerNormArgs) }

func (s *layerNormStep) Beta(int) *float32 { return nil }

type layerNormGradStep struct {
	noWork
	kernel.LayerNormGradArgs
}

func (s *layerNormGradStep) Bind(in, out []kernel.Buf, _ kernel.Buf) {
	s.Header, s.X, s.Stats, s.Gamma, s.DOut = in[0], in[1], in[2], in[3], in[4]
	s.DX, s.DGamma, s.DBeta = out[0], out[1], out[2]
}

func (s *layerNormGradStep) Run(k kernel.Kernels, st kernel.Stream) {
	k.LayerNormGrad(st, &s.LayerNormGradArgs)
}

func (s *layerNormGradStep) Beta(result int) *float32 {
	if result == 0 {
		return nil
	}
	return &s.LayerNormGradArgs.Beta[result-1]
}

type addNormStep struct {
	noWork
	kernel.AddNormArgs
}

func (s *addNormStep) Bind(in, out []kernel.Buf, _ kernel.Buf) {
	s.Header, s.X, s.Res, s.Gamma, s.AddNormArgs.Beta = in[0], in[1], in[2], in[3], in[4]
	s.Out, s.Stats = out[0], out[1]
}

func (s *addNormStep) Run(k kernel.Kernels, st kernel.Stream) { k.AddNorm(st, &s.AddNormArgs) }

func (s *addNormStep) Beta(int) *float32 { return nil }

type addNormGradStep struct {
	noWork
	kernel.AddNormGradArgs
}

func (s *addNormGradStep) Bind(in, out []kernel.Buf, _ kernel.Buf) {
	s.Header, s.X, s.Res, s.Stats, s.Gamma, s.DOut = in[0], in[1], in[2], in[3], in[4], in[5]
	s.DX, s.DRes, s.DGamma, s.DBeta = out[0], out[1], out[2], out[3]
}

func (s *addNormGradStep) Run(k kernel.Kernels, st kernel.Stream) {
	k.AddNormGrad(st, &s.AddNormGradArgs)
}

func (s *addNormGradStep) Beta(result int) *float32 {
	if result < 2 {
		return nil
	}
	return &s.AddNormGradArgs.Beta[result-2]
}
