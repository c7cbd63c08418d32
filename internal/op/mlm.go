package op

import (
	"github.com/secencoder/secencoder/internal/kernel"
	G "gorgonia.org/gorgonia"
)

// Gather takes the masked rows of x [T, W] to the front of the result [T, W], in the order of the header.
func (g *Graph) Gather(x *G.Node) *G.Node {
	const name = "gather"
	_, width, ok := g.matrix(name, "x", x)
	if !ok || !g.shaped(name, "x", x, g.T, width) {
		return nil
	}
	act := DTypeOf(x)
	return g.apply(word{
		name:    name,
		in:      []*G.Node{g.Header, x},
		results: []Result{{Name: "out", Shape: shape(g.T, width), DType: act}},
		step:    func() Step { return &gatherStep{GatherArgs: kernel.GatherArgs{T: g.T, W: width}} },
		wrt:     []*G.Node{x},
		diff: func(gr *Group, grad *G.Node) []*G.Node {
			d := g.apply(word{
				name: "gather_grad", of: gr,
				in:      []*G.Node{g.Header, grad},
				results: []Result{{Name: "dX", Shape: shape(g.T, width), DType: act}},
				step:    func() Step { return &gatherGradStep{GatherGradArgs: kernel.GatherGradArgs{T: g.T, W: width}} },
			})
			if d == nil {
				return nil
			}
			return spread(gr, map[*G.Node]*G.Node{x: d.Nodes[0]})
		},
	}).node(0)
}

// MLM is the result of MLMLoss. NLL, Hit and LSE [T] hold one value per masked position and are constants to Grad.
type MLM struct{ Loss, NLL, Hit, LSE *G.Node }

// MLMLoss is the masked-language-model loss over gathered rows z [T, E] with the tied table word [V, E] and bias [V]:
// scale · Σ nats, scale from the header. Logits never exist whole.
func (g *Graph) MLMLoss(z, table, bias *G.Node) MLM {
	const name = "mlm_loss"
	v, e, ok := g.matrix(name, "word table", table)
	if !ok || !g.shaped(name, "z", z, g.T, e) || !g.shaped(name, "bias", bias, v) {
		return MLM{}
	}
	act := DTypeOf(z)
	gr := g.apply(word{
		name: name,
		in:   []*G.Node{g.Header, z, table, bias},
		results: []Result{
			{Name: "loss"}, {Name: "nll", Shape: shape(g.T)}, {Name: "hit", Shape: shape(g.T)}, {Name: "lse", Shape: shape(g.T)},
		},
		step: func() Step { return &mlmStep{MLMLossArgs: kernel.MLMLossArgs{Z: of(act), T: g.T, E: e, V: v}} },
		wrt:  []*G.Node{z, table, bias},
		diff: func(gr *Group, grad *G.Node) []*G.Node {
			d := g.apply(word{
				name: "mlm_loss_grad", of: gr,
				in: []*G.Node{g.Header, z, table, bias, gr.Nodes[3], grad},
				results: []Result{
					{Name: "dZ", Shape: shape(g.T, e), DType: act}, {Name: "dWord", Shape: shape(v, e)}, {Name: "dBias", Shape: shape(v)},
				},
				step: func() Step {
					return &mlmGradStep{MLMLossGradArgs: kernel.MLMLossGradArgs{Z: of(act), T: g.T, E: e, V: v}}
				},
			})
			if d == nil {
				return nil
			}
			return spread(gr, map[*G.Node]*G.Node{z: d.Nodes[0], table: d.Nodes[1], bias: d.Nodes[2]})
		},
	})
	if gr == nil {
		return MLM{}
	}
	return MLM{Loss: gr.Nodes[0], NLL: gr.Nodes[1], Hit: gr.Nodes[2], LSE: gr.Nodes[3]}
}

type gatherStep struct {
	noBeta
	noWork
	kernel.GatherArgs
}

func (s *gatherStep) Bind(in, out []kernel.Buf, _ kernel.Buf) {
	s.Header, s.X, s.Out = in[0], in[1], out[0]
}

func (s *gatherStep) Run(k kernel.Kernels, st kernel.Stream) { k.Gather(st, &s.GatherArgs) }

type gatherGradStep struct {
	noBeta
	noWork
	kernel.GatherGradArgs
}

func (s *gatherGradStep) Bind(in, out []kernel.Buf, _ kernel.Buf) {
	s.Header, s.DOut, s.DX = in[0], in[1], out[0]
}

func (s *gatherGradStep) Run(k kernel.Kernels, st kernel.Stream) { k.GatherGrad(st, &s.GatherGradArgs) }

type mlmStep struct {
	noBeta
	kernel.MLMLossArgs
}

func (s *mlmStep) Bind(in, out []kernel.Buf, work kernel.Buf) {
	s.Header, s.Z, s.Word, s.Bias = in[0], in[1], in[2], in[3]
	s.Loss, s.NLL, s.Hit, s.LSE, s.Work = out[0], out[1], out[2], out[3], work
}

func (s *mlmStep) WorkBytes(k kernel.Kernels) int { return k.WorkBytes(&s.MLMLossArgs) }

func (s *mlmStep) Run(k kernel.Kernels, st kernel.Stream) { k.MLMLoss(st, &s.MLMLossArgs) }

type mlmGradStep struct {
	kernel.MLMLossGradArgs
}

func (s *mlmGradStep) Bind(in, out []kernel.Buf, work kernel.Buf) {
	s.Header, s.Z, s.Word, s.Bias, s.LSE, s.DLoss = in[0], in[1], in[2], in[3], in[4], in[5]
	s.DZ, s.DWord, s.DBias, s.Work = out[0], out[1], out[2], work
}

func (s *mlmGradStep) WorkBytes(k kernel.Kernels) int { return k.WorkBytes(&s.MLMLossGradArgs) }

func (s *mlmGradStep) Run(k kernel.Kernels, st kernel.Stream) { k.MLMLossGrad(st, &s.MLMLossGradArgs) }

func (s *mlmGradStep) Beta(result int) *float32 {
	if result == 0 {
		return nil
	}
	return &s.MLMLossGradArgs.Beta[result-1]
}
