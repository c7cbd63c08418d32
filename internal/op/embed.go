package op

import (
	"github.com/secencoder/secencoder/internal/kernel"
	G "gorgonia.org/gorgonia"
)

// Embedding holds the tables and ids of Embed. Position and Type are optional, each with its ids.
type Embedding struct {
	IDs                  *G.Node // int32 [T]
	PositionIDs, TypeIDs *G.Node // int32 [T]; PositionIDs may be nil with Position: the place in the piece
	Word                 *G.Node // [V, E]
	Position, Type       *G.Node // [P, E], [S, E], or nil
	PadID                int     // its row of Word gets no gradient from the look-up; < 0: none is special
}

// Embed is the sum of the table rows of each token, [T, E] (HF DebertaV2Embeddings, before projection and LayerNorm).
func (g *Graph) Embed(e Embedding) *G.Node {
	const name = "embed"
	_, width, ok := g.matrix(name, "word table", e.Word)
	if !ok || !g.shaped(name, "ids", e.IDs, g.T) {
		return nil
	}
	if e.Position == nil {
		e.PositionIDs = nil
	}
	s := embedStep{position: e.Position != nil, positionIDs: e.PositionIDs != nil, typed: e.Type != nil}
	if s.typed && !g.shaped(name, "type ids", e.TypeIDs, g.T) {
		return nil
	}
	if !s.typed {
		e.TypeIDs = nil
	}
	s.EmbedArgs = kernel.EmbedArgs{E: width}
	return g.apply(word{
		name:    name,
		in:      []*G.Node{g.Header, e.IDs, e.PositionIDs, e.TypeIDs, e.Word, e.Position, e.Type},
		results: []Result{{Name: "out", Shape: shape(g.T, width), DType: g.Activations}},
		step:    func() Step { c := s; return &c },
		wrt:     []*G.Node{e.Word, e.Position, e.Type},
		diff: func(gr *Group, grad *G.Node) []*G.Node {
			return g.embedGrad(gr, e, s, grad)
		},
	}).node(0)
}

func (g *Graph) embedGrad(gr *Group, e Embedding, f embedStep, grad *G.Node) []*G.Node {
	results := []Result{{Name: "dWord", Shape: e.Word.Shape(), Optional: true}}
	tables := []*G.Node{e.Word}
	if e.Position != nil {
		results = append(results, Result{Name: "dPosition", Shape: e.Position.Shape(), Optional: true})
		tables = append(tables, e.Position)
	}
	if e.Type != nil {
		results = append(results, Result{Name: "dType", Shape: e.Type.Shape(), Optional: true})
		tables = append(tables, e.Type)
	}
	s := embedGradStep{position: f.position, positionIDs: f.positionIDs, typed: f.typed}
	s.EmbedGradArgs = kernel.EmbedGradArgs{E: f.E, PadID: e.PadID}
	d := g.apply(word{
		name: "embed_grad", of: gr,
		in:      []*G.Node{g.Header, e.IDs, e.PositionIDs, e.TypeIDs, grad},
		results: results,
		step:    func() Step { c := s; return &c },
	})
	if d == nil {
		return nil
	}
	of := map[*G.Node]*G.Node{}
	for i, t := range tables {
		of[t] = d.Nodes[i]
	}
	return spread(gr, of)
}

type embedStep struct {
	noBeta
	noWork
	kernel.EmbedArgs
	position, positionIDs, typed bool
}

func (s *embedStep) Bind(in, out []kernel.Buf, _ kernel.Buf) {
	o := operands{bufs: in}
	s.Header, s.IDs = o.next(), o.next()
	s.PositionIDs, s.TypeIDs = o.option(s.positionIDs), o.option(s.typed)
	s.Word, s.Position, s.Type = o.next(), o.option(s.position), o.option(s.typed)
	s.Out = out[0]
}

func (s *embedStep) Run(k kernel.Kernels, st kernel.Stream) { k.Embed(st, &s.EmbedArgs) }

type embedGradStep struct {
	noWork
	kernel.EmbedGradArgs
	position, positionIDs, typed bool
}

func (s *embedGradStep) Bind(in, out []kernel.Buf, _ kernel.Buf) {
	o := operands{bufs: in}
	s.Header, s.IDs = o.next(), o.next()
	s.PositionIDs, s.TypeIDs = o.option(s.positionIDs), o.option(s.typed)
	s.DOut = o.next()
	r := operands{bufs: out}
	s.DWord, s.DPosition, s.DType = r.next(), r.option(s.position), r.option(s.typed)
}

func (s *embedGradStep) Run(k kernel.Kernels, st kernel.Stream) { k.EmbedGrad(st, &s.EmbedGradArgs) }

func (s *embedGradStep) Beta(result int) *float32 {
	if result == 1 && !s.position {
		result = 2
	}
	return &s.EmbedGradArgs.Beta[result]
}
