package op

import (
	"github.com/secencoder/secencoder/internal/kernel"
	G "gorgonia.org/gorgonia"
)

// SpanLoss is the loss of extractive question answering over logits [T, 2], first and last token of the answer: labels
// are int32 [T/2, 2], for each piece a place in it, or one outside of it to leave it out (kernel.SpanLossArgs; HF
// DebertaV2ForQuestionAnswering). It is a mean; the header's scale plays no part.
func (g *Graph) SpanLoss(logits, labels *G.Node) *G.Node {
	const name = "span_loss"
	if !g.shaped(name, "logits", logits, g.T, 2) || !g.shaped(name, "labels", labels, g.T/2, 2) {
		return nil
	}
	args := kernel.SpanLossArgs{T: g.T}
	return g.apply(word{
		name:    name,
		in:      []*G.Node{g.Header, logits, labels},
		results: []Result{{Name: "loss"}},
		step:    func() Step { return &spanStep{SpanLossArgs: args} },
		wrt:     []*G.Node{logits},
		diff: func(gr *Group, grad *G.Node) []*G.Node {
			back := kernel.SpanLossGradArgs{T: g.T}
			d := g.apply(word{
				name: "span_loss_grad", of: gr,
				in:      []*G.Node{g.Header, logits, labels, grad},
				results: []Result{{Name: "dLogits", Shape: shape(g.T, 2)}},
				step:    func() Step { return &spanGradStep{SpanLossGradArgs: back} },
			})
			if d == nil {
				return nil
			}
			return spread(gr, map[*G.Node]*G.Node{logits: d.Nodes[0]})
		},
	}).node(0)
}

type spanStep struct {
	noBeta
	noWork
	kernel.SpanLossArgs
}

func (s *spanStep) Bind(in, out []kernel.Buf, _ kernel.Buf) {
	s.Header, s.Logits, s.Labels, s.Loss = in[0], in[1], in[2], out[0]
}

func (s *spanStep) Run(k kernel.Kernels, st kernel.Stream) {
	k.SpanLoss(st, &s.SpanLossArgs)
}

type spanGradStep struct {
	noBeta
	noWork
	kernel.SpanLossGradArgs
}

func (s *spanGradStep) Bind(in, out []kernel.Buf, _ kernel.Buf) {
	s.Header, s.Logits, s.Labels, s.DLoss, s.DLogits = in[0], in[1], in[2], in[3], out[0]
}

func (s *spanGradStep) Run(k kernel.Kernels, st kernel.Stream) {
	k.SpanLossGrad(st, &s.SpanLossGradArgs)
}
