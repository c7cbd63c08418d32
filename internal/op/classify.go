package op

import (
	"github.com/secencoder/secencoder/internal/kernel"
	G "gorgonia.org/gorgonia"
)

// ClassifyLoss is the loss of a classification head over logits [rows, C]: labels are int32 [rows] for CrossEntropy,
// float32 [rows, C] for SoftCrossEntropy and MeanSquare (HF problem_type). It is a mean; the header's scale plays no
// part.
func (g *Graph) ClassifyLoss(logits, labels *G.Node, rows kernel.RowKind, kind kernel.LossKind) *G.Node {
	const name = "classify_loss"
	n, c, ok := g.matrix(name, "logits", logits)
	if !ok {
		return nil
	}
	want := shape(n)
	if kind != kernel.CrossEntropy {
		want = shape(n, c)
	}
	if !g.shaped(name, "labels", labels, want...) {
		return nil
	}
	args := kernel.ClassifyLossArgs{Rows: rows, N: n, C: c, Kind: kind}
	return g.apply(word{
		name:    name,
		in:      []*G.Node{g.Header, logits, labels},
		results: []Result{{Name: "loss"}},
		step:    func() Step { return &classifyStep{ClassifyLossArgs: args} },
		wrt:     []*G.Node{logits},
		diff: func(gr *Group, grad *G.Node) []*G.Node {
			back := kernel.ClassifyLossGradArgs{Rows: rows, N: n, C: c, Kind: kind}
			d := g.apply(word{
				name: "classify_loss_grad", of: gr,
				in:      []*G.Node{g.Header, logits, labels, grad},
				results: []Result{{Name: "dLogits", Shape: shape(n, c)}},
				step:    func() Step { return &classifyGradStep{ClassifyLossGradArgs: back} },
			})
			if d == nil {
				return nil
			}
			return spread(gr, map[*G.Node]*G.Node{logits: d.Nodes[0]})
		},
	}).node(0)
}

type classifyStep struct {
	noBeta
	noWork
	kernel.ClassifyLossArgs
}

func (s *classifyStep) Bind(in, out []kernel.Buf, _ kernel.Buf) {
	s.Header, s.Logits, s.Labels, s.Loss = in[0], in[1], in[2], out[0]
}

func (s *classifyStep) Run(k kernel.Kernels, st kernel.Stream) {
	k.ClassifyLoss(st, &s.ClassifyLossArgs)
}

type classifyGradStep struct {
	noBeta
	noWork
	kernel.ClassifyLossGradArgs
}

func (s *classifyGradStep) Bind(in, out []kernel.Buf, _ kernel.Buf) {
	s.Header, s.Logits, s.Labels, s.DLoss, s.DLogits = in[0], in[1], in[2], in[3], out[0]
}

func (s *classifyGradStep) Run(k kernel.Kernels, st kernel.Stream) {
	k.ClassifyLossGrad(st, &s.ClassifyLossGradArgs)
}
