package op

import (
	"github.com/secencoder/secencoder/internal/kernel"
	G "gorgonia.org/gorgonia"
)

// Disentangled describes an attention over packed pieces.
type Disentangled struct {
	Heads    int
	Span     int     // K: the position table has 2K rows a term
	Pos      *G.Node // [R, H] of PosProject, nil when neither term is on
	Slots    *G.Node // int16 [2·reach+1], nil with Pos
	C2P, P2C bool    // which terms there are
	Sigma    float32 // divisor of the scores
	Drop     kernel.Dropout
}

// Attention is disentangled self-attention, [T, H], from the projections [T, 3H]; the log-sum-exp of each row and head
// is a constant sibling (HF DisentangledSelfAttention).
func (g *Graph) Attention(qkv *G.Node, a Disentangled) *G.Node {
	const name = "attention"
	_, w, ok := g.matrix(name, "qkv", qkv)
	if !ok {
		return nil
	}
	h := w / 3
	if h == 0 || w != 3*h || a.Heads < 1 || h%a.Heads != 0 || !g.shaped(name, "qkv", qkv, g.T, w) {
		g.fail("%s: qkv of width %d, %d heads", name, w, a.Heads)
		return nil
	}
	terms := 0
	for _, on := range []bool{a.C2P, a.P2C} {
		if on {
			terms++
		}
	}
	if (terms > 0) != (a.Pos != nil) || (a.Pos != nil) != (a.Slots != nil) {
		g.fail("%s: %d position terms, table given %v, slots given %v", name, terms, a.Pos != nil, a.Slots != nil)
		return nil
	}
	reach := 0
	if terms > 0 {
		if !g.shaped(name, "pos", a.Pos, terms*2*a.Span, h) || !g.typed(name, "pos", a.Pos, DTypeOf(qkv)) {
			return nil
		}
		s := a.Slots.Shape()
		if len(s) != 1 || s[0]%2 != 1 {
			g.fail("%s: slots have shape %v", name, s)
			return nil
		}
		reach = s[0] / 2
	}
	act := DTypeOf(qkv)
	args := kernel.AttentionArgs{
		QKV: of(act), Reach: reach, A: a.Heads, D: h / a.Heads, K: a.Span, C2P: a.C2P, P2C: a.P2C, Sigma: a.Sigma, Drop: a.Drop, T: g.T,
	}
	positions := terms > 0
	return g.apply(word{
		name: name,
		in:   []*G.Node{g.Header, qkv, a.Pos, a.Slots},
		results: []Result{
			{Name: "out", Shape: shape(g.T, h), DType: act},
			{Name: "lse", Shape: shape(g.T, a.Heads)},
		},
		step: func() Step { return &attentionStep{AttentionArgs: args, positions: positions} },
		wrt:  []*G.Node{qkv, a.Pos},
		diff: func(gr *Group, grad *G.Node) []*G.Node {
			back := kernel.AttentionGradArgs{
				QKV: of(act), Reach: reach, A: a.Heads, D: h / a.Heads, K: a.Span, C2P: a.C2P, P2C: a.P2C, Sigma: a.Sigma, Drop: a.Drop,
				T: g.T,
			}
			results := []Result{{Name: "dQKV", Shape: shape(g.T, w), DType: act}}
			if positions {
				results = append(results, Result{Name: "dPos", Shape: a.Pos.Shape()})
			}
			d := g.apply(word{
				name: "attention_grad", of: gr,
				in:      []*G.Node{g.Header, qkv, a.Pos, a.Slots, gr.Nodes[0], gr.Nodes[1], grad},
				results: results,
				step:    func() Step { return &attentionGradStep{AttentionGradArgs: back, positions: positions} },
			})
			if d == nil {
				return nil
			}
			of := map[*G.Node]*G.Node{qkv: d.Nodes[0]}
			if positions {
				of[a.Pos] = d.Nodes[1]
			}
			return spread(gr, of)
		},
	}).node(0)
}

type attentionStep struct {
	noBeta
	kernel.AttentionArgs
	positions bool
}

func (s *attentionStep) Bind(in, out []kernel.Buf, work kernel.Buf) {
	o := operands{bufs: in}
	s.Header, s.QKV, s.Pos, s.Slots = o.next(), o.next(), o.option(s.positions), o.option(s.positions)
	s.Out, s.LSE, s.Work = out[0], out[1], work
}

func (s *attentionStep) WorkBytes(k kernel.Kernels) int { return k.WorkBytes(&s.AttentionArgs) }

func (s *attentionStep) Run(k kernel.Kernels, st kernel.Stream) { k.Attention(st, &s.AttentionArgs) }

type attentionGradStep struct {
	noBeta
	kernel.AttentionGradArgs
	positions bool
}

func (s *attentionGradStep) Bind(in, out []kernel.Buf, work kernel.Buf) {
	o := operands{bufs: in}
	s.Header, s.QKV, s.Pos, s.Slots = o.next(), o.next(), o.option(s.positions), o.option(s.positions)
	s.Out, s.LSE, s.DOut = o.next(), o.next(), o.next()
	r := operands{bufs: out}
	s.DQKV, s.DPos, s.Work = r.next(), r.option(s.positions), work
}

func (s *attentionGradStep) WorkBytes(k kernel.Kernels) int { return k.WorkBytes(&s.AttentionGradArgs) }

func (s *attentionGradStep) Run(k kernel.Kernels, st kernel.Stream) {
	k.AttentionGrad(st, &s.AttentionGradArgs)
}
