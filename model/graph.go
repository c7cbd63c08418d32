package model

import (
	"fmt"

	"github.com/secencoder/secencoder/internal/kernel"
	"github.com/secencoder/secencoder/internal/op"
	G "gorgonia.org/gorgonia"
)

// Dropout sites: layer·8 + kind. Embeddings and convolution count as layer 0, the pooler too; the classifier behind it
// takes the head's site of layer 1.
const (
	siteEmbedding = iota
	siteAttention
	siteAttentionOutput
	siteOutput
	sitePositions
	siteConvolution
	siteHead
	sitesPerLayer = 8
)

// graph is the encoder with its heads as an expression graph, and the leaves with what fills them.
type graph struct {
	*op.Graph
	cfg     *Config
	dropout bool

	tensors map[string]Tensor
	params  []boundParam

	ids, positionIDs, typeIDs *G.Node   // int32 [T]; nil where the configuration has no table
	slots                     *G.Node   // int16 [2·reach+1], nil without position terms
	labels                    *G.Node   // of the loss of classification or question answering, nil without
	positions                 []*G.Node // shared position tables, one a layer; nil when the graph projects them itself
	reach                     int

	hidden []*G.Node // embedding output, then each layer's
	mlm    op.MLM
	logits *G.Node
	pooled *G.Node
	loss   *G.Node
}

// boundParam is a parameter leaf and where it lies in Params.
type boundParam struct {
	node *G.Node
	bufs func(*Params) (weight, grad kernel.Buf)
}

// graphOptions says what to build around the encoder.
type graphOptions struct {
	tokens, maxPiece int
	heads            Heads
	dropout          bool
	sharedPositions  bool
	dtype            kernel.DType // of activations
}

// newGraph builds embeddings and layers.
func newGraph(cfg *Config, o graphOptions) (*graph, error) {
	inner, err := op.New(o.tokens)
	if err != nil {
		return nil, err
	}
	inner.Activations = o.dtype
	g := &graph{Graph: inner, cfg: cfg, dropout: o.dropout, tensors: map[string]Tensor{}, reach: o.maxPiece - 1}
	for _, t := range layout(cfg, o.heads) {
		g.tensors[t.Name] = t
	}
	g.ids = g.Input("ids", kernel.I32, o.tokens)
	x := g.embeddings()
	g.hidden = append(g.hidden, x)
	table := g.positionTable(o.sharedPositions)
	for n := range cfg.NumHiddenLayers {
		g.SetLayer(n)
		x = g.layer(n, x, table, o.sharedPositions)
		g.hidden = append(g.hidden, x)
	}
	g.SetLayer(op.NoLayer)
	return g, g.Err()
}

// param makes the leaf of a tensor.
func (g *graph) param(name string) *G.Node {
	n := g.Param(name, g.tensors[name].Shape...)
	g.params = append(g.params, boundParam{n, func(p *Params) (kernel.Buf, kernel.Buf) {
		return p.WeightBuf(name), p.GradBuf(name)
	}})
	return n
}

// fused makes the weight and the bias leaf of adjacent projections of H rows each.
func (g *graph) fused(name string, parts int, of func(*Params) Fused) (w, b *G.Node) {
	h := g.cfg.HiddenSize
	w, b = g.Param(name+".weight", parts*h, h), g.Param(name+".bias", parts*h)
	g.params = append(g.params,
		boundParam{w, func(p *Params) (kernel.Buf, kernel.Buf) { f := of(p); return f.W, f.GradW }},
		boundParam{b, func(p *Params) (kernel.Buf, kernel.Buf) { f := of(p); return f.B, f.GradB }},
	)
	return w, b
}

func (g *graph) drop(p float64, layer, kind int) kernel.Dropout {
	if !g.dropout {
		return kernel.Dropout{}
	}
	return kernel.Dropout{P: float32(p), Site: uint32(layer*sitesPerLayer + kind)}
}

func (g *graph) norm(name string, rows kernel.RowKind, d kernel.Dropout) op.Norm {
	return op.Norm{
		Gamma: g.param(name + ".weight"), Beta: g.param(name + ".bias"), Eps: float32(g.cfg.LayerNormEps), Rows: rows, Drop: d,
		BetaHasNoGradient: g.tensors[name+".bias"].ZeroGrad,
	}
}

func (g *graph) dense(name string, act kernel.Activation, rows kernel.RowKind, d kernel.Dropout) op.Dense {
	return op.Dense{W: g.param(name + ".weight"), B: g.param(name + ".bias"), Act: act, Rows: rows, Drop: d}
}

// activation resolves a name that Validate has accepted.
func (g *graph) activation(name string) kernel.Activation {
	a, err := kernel.ParseActivation(name)
	if err != nil {
		panic("internal error: " + err.Error())
	}
	return a
}

// embeddings is HF's DebertaV2Embeddings: word + position + type, projection, LayerNorm, dropout. // [T, H]
func (g *graph) embeddings() *G.Node {
	const at = "deberta.embeddings."
	e := op.Embedding{IDs: g.ids, Word: g.param(at + "word_embeddings.weight"), PadID: g.cfg.PadTokenID}
	if g.cfg.PositionBiasedInput {
		g.positionIDs = g.Input("position_ids", kernel.I32, g.T)
		e.PositionIDs, e.Position = g.positionIDs, g.param(at+"position_embeddings.weight")
	}
	if g.cfg.TypeVocabSize > 0 {
		g.typeIDs = g.Input("token_type_ids", kernel.I32, g.T)
		e.TypeIDs, e.Type = g.typeIDs, g.param(at+"token_type_embeddings.weight")
	}
	x := g.Embed(e)
	if g.cfg.Embedding() != g.cfg.HiddenSize {
		x = g.Linear(x, op.Dense{W: g.param(at + "embed_proj.weight"), Rows: kernel.RowsTokens})
	}
	return g.LayerNorm(x, g.norm(at+"LayerNorm", kernel.RowsTokens, g.drop(g.cfg.HiddenDropoutProb, 0, siteEmbedding)))
}

// positionTable is rel_embeddings after its LayerNorm, once for all layers; nil without relative attention. // [2K, H]
func (g *graph) positionTable(shared bool) *G.Node {
	if !g.cfg.RelativeAttention {
		return nil
	}
	if g.cfg.C2P() || g.cfg.P2C() {
		g.slots = g.Input("slots", kernel.I16, 2*g.reach+1)
	}
	if shared {
		return nil
	}
	table := g.param("deberta.encoder.rel_embeddings.weight")
	if g.cfg.NormRel() {
		table = g.LayerNorm(table, g.norm("deberta.encoder.LayerNorm", kernel.RowsAll, kernel.Dropout{}))
	}
	return table
}

// layer is HF's DebertaV2Layer, after layer 0 with the ConvLayer behind it. // [T, H]
func (g *graph) layer(n int, x, table *G.Node, sharedPositions bool) *G.Node {
	cfg := g.cfg
	hidden := cfg.HiddenDropoutProb
	at := fmt.Sprintf("deberta.encoder.layer.%d.", n)
	w, b := g.fused(at+"attention.self.qkv", 3, func(p *Params) Fused { return p.FusedQKV(n) })
	qkv := g.QKV(x, op.Dense{W: w, B: b, Rows: kernel.RowsTokens}, !cfg.P2C()) // [T, 3H]
	a := op.Disentangled{
		Heads: cfg.NumAttentionHeads, C2P: cfg.C2P(), P2C: cfg.P2C(), Sigma: cfg.Sigma(),
		Drop: g.drop(cfg.AttentionProbsDropoutProb, n, siteAttention),
	}
	if a.C2P || a.P2C {
		a.Span, a.Slots = cfg.AttentionSpan(), g.slots
		if sharedPositions {
			a.Pos = g.Table(at+"attention.self.positions", positionRows(cfg), cfg.HiddenSize)
			g.positions = append(g.positions, a.Pos)
		} else {
			a.Pos = g.project(n, table, w, b)
		}
	}
	o := g.Linear(g.Attention(qkv, a), g.dense(at+"attention.output.dense", kernel.Linear, kernel.RowsTokens, kernel.Dropout{}))
	u := g.AddNorm(o, x, g.norm(at+"attention.output.LayerNorm", kernel.RowsTokens, g.drop(hidden, n, siteAttentionOutput)))
	f := g.Linear(u, g.dense(at+"intermediate.dense", g.activation(cfg.HiddenAct), kernel.RowsTokens, kernel.Dropout{})) // [T, I]
	f = g.Linear(f, g.dense(at+"output.dense", kernel.Linear, kernel.RowsTokens, kernel.Dropout{}))
	v := g.AddNorm(f, u, g.norm(at+"output.LayerNorm", kernel.RowsTokens, g.drop(hidden, n, siteOutput)))
	if n == 0 && cfg.ConvKernelSize > 0 {
		const conv = "deberta.encoder.conv."
		v = g.ConvNorm(g.hidden[0], v, op.Convolution{
			W: g.param(conv + "conv.weight"), B: g.param(conv + "conv.bias"), Groups: cfg.ConvGroups,
			Act:  g.activation(cfg.ConvAct),
			Norm: g.norm(conv+"LayerNorm", kernel.RowsTokens, g.drop(hidden, 0, siteConvolution)),
		})
	}
	return v
}

// positionRows returns R, the rows of a layer's projected position table: 2K for each term.
func positionRows(cfg *Config) int {
	rows := 0
	for _, on := range []bool{cfg.C2P(), cfg.P2C()} {
		if on {
			rows += 2 * cfg.AttentionSpan()
		}
	}
	return rows
}

// project passes the position table through a layer's projections: the content's with shared keys. // [R, H]
func (g *graph) project(n int, table, w, b *G.Node) *G.Node {
	cfg := g.cfg
	p := op.Positions{W: w, B: b, KeyRow: -1, QueryRow: -1, Drop: g.drop(cfg.HiddenDropoutProb, n, sitePositions)}
	key, query := cfg.HiddenSize, 0
	if !cfg.ShareAttKey {
		parts := 0
		if cfg.C2P() {
			key = 0
			parts++
		}
		if cfg.P2C() {
			query = parts * cfg.HiddenSize
			parts++
		}
		p.W, p.B = g.fused(fmt.Sprintf("deberta.encoder.layer.%d.attention.self.pos", n), parts, func(q *Params) Fused { return q.FusedPos(n) })
	}
	if cfg.C2P() {
		p.KeyRow = key
	}
	if cfg.P2C() {
		p.QueryRow = query
	}
	return g.PosProject(table, p)
}

// last returns the last hidden state. // [T, H]
func (g *graph) last() *G.Node { return g.hidden[len(g.hidden)-1] }
