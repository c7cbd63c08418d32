package op

import (
	"github.com/secencoder/secencoder/internal/kernel"
	G "gorgonia.org/gorgonia"
)

// Convolution holds the parameters of ConvNorm.
type Convolution struct {
	W, B   *G.Node // [H, H/groups, ks], [H]
	Groups int
	Act    kernel.Activation
	Norm   Norm // its Drop is applied to the convolution's result, before the activation
}

// ConvNorm is LN(v + act(dropout(conv(e))))·γ + β, [T, H] (HF ConvLayer): e is the embedding output, v the output of
// the first layer. The convolution's result and the row statistics are constant siblings.
func (g *Graph) ConvNorm(e, v *G.Node, c Convolution) *G.Node {
	const name = "conv_norm"
	_, h, ok := g.matrix(name, "e", e)
	if !ok {
		return nil
	}
	if c.W == nil || len(c.W.Shape()) != 3 || c.Groups < 1 || h%c.Groups != 0 {
		g.fail("%s: want a weight of three axes and groups that divide %d, got %d", name, h, c.Groups)
		return nil
	}
	ks := c.W.Shape()[2]
	if !g.shaped(name, "e", e, g.T, h) || !g.shaped(name, "v", v, g.T, h) ||
		!g.shaped(name, "weight", c.W, h, h/c.Groups, ks) || !g.shaped(name, "bias", c.B, h) ||
		!g.shaped(name, "gamma", c.Norm.Gamma, h) || !g.shaped(name, "beta", c.Norm.Beta, h) {
		return nil
	}
	act := DTypeOf(e)
	if !g.typed(name, "v", v, act) {
		return nil
	}
	args := kernel.ConvNormArgs{
		E: of(act), T: g.T, H: h, Groups: c.Groups, KS: ks, Act: c.Act, Eps: c.Norm.Eps, Drop: c.Norm.Drop,
	}
	return g.apply(word{
		name: name,
		in:   []*G.Node{g.Header, e, v, c.W, c.B, c.Norm.Gamma, c.Norm.Beta},
		results: []Result{
			{Name: "out", Shape: shape(g.T, h), DType: act}, {Name: "pre", Shape: shape(g.T, h), DType: act}, {Name: "stats", Shape: shape(g.T, 2)},
		},
		step: func() Step { return &convStep{ConvNormArgs: args} },
		wrt:  c.Norm.wrt(e, v, c.W, c.B),
		diff: func(gr *Group, grad *G.Node) []*G.Node {
			back := kernel.ConvNormGradArgs{E: of(act), T: g.T, H: h, Groups: c.Groups, KS: ks, Act: c.Act, Drop: c.Norm.Drop}
			d := g.apply(word{
				name: "conv_norm_grad", of: gr,
				in: []*G.Node{g.Header, e, v, c.W, gr.Nodes[1], gr.Nodes[2], c.Norm.Gamma, grad},
				results: []Result{
					{Name: "dE", Shape: shape(g.T, h), DType: act}, {Name: "dV", Shape: shape(g.T, h), DType: act},
					{Name: "dW", Shape: c.W.Shape()}, {Name: "dB", Shape: shape(h)},
					{Name: "dGamma", Shape: shape(h)}, {Name: "dBeta", Shape: shape(h)},
				},
				step: func() Step { return &convGradStep{ConvNormGradArgs: back} },
			})
			if d == nil {
				return nil
			}
			return spread(gr, map[*G.Node]*G.Node{
				e: d.Nodes[0], v: d.Nodes[1], c.W: d.Nodes[2], c.B: d.Nodes[3], c.Norm.Gamma: d.Nodes[4], c.Norm.Beta: d.Nodes[5],
			})
		},
	}).node(0)
}

type convStep struct {
	kernel.ConvNormArgs
}

func (s *convStep) Bind(in, out []kernel.Buf, work kernel.Buf) {
	s.Header, s.E, s.V, s.W, s.B, s.Gamma, s.ConvNormArgs.Beta = in[0], in[1], in[2], in[3], in[4], in[5], in[6]
	s.Out, s.Pre, s.Stats, s.Work = out[0], out[1], out[2], work
}

func (s *convStep) WorkBytes(k kernel.Kernels) int { return k.WorkBytes(&s.ConvNormArgs) }

func (s *convStep) Run(k kernel.Kernels, st kernel.Stream) { k.ConvNorm(st, &s.ConvNormArgs) }

func (s *convStep) Beta(int) *float32 { return nil }

type convGradStep struct {
	kernel.ConvNormGradArgs
}

func (s *convGradStep) Bind(in, out []kernel.Buf, work kernel.Buf) {
	s.Header, s.E, s.V, s.W, s.Pre, s.Stats, s.Gamma, s.DOut = in[0], in[1], in[2], in[3], in[4], in[5], in[6], in[7]
	s.DE, s.DV, s.DW, s.DB, s.DGamma, s.DBeta = out[0], out[1], out[2], out[3], out[4], out[5]
	s.Work = work
}

func (s *convGradStep) WorkBytes(k kernel.Kernels) int { return k.WorkBytes(&s.ConvNormGradArgs) }

func (s *convGradStep) Run(k kernel.Kernels, st kernel.Stream) {
	k.ConvNormGrad(st, &s.ConvNormGradArgs)
}

func (s *convGradStep) Beta(result int) *float32 {
	if result < 2 {
		return nil
	}
	return &s.ConvNormGradArgs.Beta[result-2]
}
