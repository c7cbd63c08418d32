package op

import (
	"testing"

	"github.com/secencoder/secencoder/internal/kernel"
	G "gorgonia.org/gorgonia"
)

const testH = 6

func drop(p float32, site uint32) kernel.Dropout { return kernel.Dropout{P: p, Site: site} }

// Every word, alone between parameters and the loss, against finite differences.
func TestGradients(t *testing.T) {
	cases := map[string]func(b *bench) (*G.Node, kernel.RowKind){
		"embed": func(b *bench) (*G.Node, kernel.RowKind) {
			return b.Embed(Embedding{IDs: b.ids("ids", 5), Word: b.param("word", 0, 5, 3), PadID: -1}), kernel.RowsTokens
		},
		"embed position type": func(b *bench) (*G.Node, kernel.RowKind) {
			return b.Embed(Embedding{
				IDs: b.ids("ids", 5), Word: b.param("word", 0, 5, 3), PadID: -1,
				Position: b.param("position", 0, 7, 3), PositionIDs: b.ids("positions", 7),
				Type: b.param("type", 0, 2, 3), TypeIDs: b.ids("types", 2),
			}), kernel.RowsTokens
		},
		"embed type alone": func(b *bench) (*G.Node, kernel.RowKind) {
			return b.Embed(Embedding{
				IDs: b.ids("ids", 5), Word: b.param("word", 0, 5, 3), PadID: -1, Type: b.param("type", 0, 2, 3), TypeIDs: b.ids("types", 2),
			}), kernel.RowsTokens
		},
		"embed place": func(b *bench) (*G.Node, kernel.RowKind) {
			return b.Embed(Embedding{
				IDs: b.ids("ids", 5), Word: b.param("word", 0, 5, 3), PadID: -1, Position: b.param("position", 0, 7, 3),
			}), kernel.RowsTokens
		},
		"layer_norm": func(b *bench) (*G.Node, kernel.RowKind) {
			return b.LayerNorm(b.param("x", 0, testT, testH), b.norm(testH, kernel.RowsTokens, 0, 0)), kernel.RowsTokens
		},
		"layer_norm dropout all rows": func(b *bench) (*G.Node, kernel.RowKind) {
			return b.LayerNorm(b.param("x", 0, 5, testH), b.norm(testH, kernel.RowsAll, 0.3, 2)), kernel.RowsAll
		},
		"add_norm": func(b *bench) (*G.Node, kernel.RowKind) {
			return b.AddNorm(b.param("x", 0, testT, testH), b.param("res", 0, testT, testH), b.norm(testH, kernel.RowsTokens, 0.3, 1)), kernel.RowsTokens
		},
		"linear": func(b *bench) (*G.Node, kernel.RowKind) {
			return b.Linear(b.param("x", 0, testT, 4), Dense{W: b.param("w", 0, 3, 4), Rows: kernel.RowsTokens}), kernel.RowsTokens
		},
		"linear gelu dropout": func(b *bench) (*G.Node, kernel.RowKind) {
			return b.Linear(b.param("x", 0, testT, 4), Dense{
				W: b.param("w", 0, 3, 4), B: b.param("b", 0, 3), Act: kernel.Gelu, Rows: kernel.RowsMasked, Drop: drop(0.3, 6),
			}), kernel.RowsMasked
		},
		"qkv": func(b *bench) (*G.Node, kernel.RowKind) {
			return b.QKV(b.param("x", 0, testT, 4), Dense{W: b.param("w", 0, 12, 4), B: b.param("b", 0, 12), Rows: kernel.RowsTokens}, false), kernel.RowsTokens
		},
		"pos_project shared": func(b *bench) (*G.Node, kernel.RowKind) {
			return b.PosProject(b.param("table", 0, 8, 4), Positions{
				W: b.param("w", 0, 12, 4), B: b.param("b", 0, 12), KeyRow: -1, QueryRow: 0, Drop: drop(0.3, 4),
			}), kernel.RowsAll
		},
		"gather": func(b *bench) (*G.Node, kernel.RowKind) {
			return b.Gather(b.param("x", 0, testT, 4)), kernel.RowsMasked
		},
		"pool_mean": func(b *bench) (*G.Node, kernel.RowKind) {
			return b.PoolMean(b.param("x", 0, testT, 4), false), kernel.RowsPieces
		},
		"pool_inner": func(b *bench) (*G.Node, kernel.RowKind) {
			return b.PoolMean(b.param("x", 0, testT, 4), true), kernel.RowsPieces
		},
		"pool_first": func(b *bench) (*G.Node, kernel.RowKind) {
			return b.PoolFirst(b.param("x", 0, testT, 4)), kernel.RowsPieces
		},
		"conv_norm": func(b *bench) (*G.Node, kernel.RowKind) {
			return b.ConvNorm(b.param("e", 0, testT, 4), b.param("v", 0, testT, 4), Convolution{
				W: b.param("w", 0, 4, 2, 3), B: b.param("b", 0, 4), Groups: 2, Act: kernel.Tanh, Norm: b.norm(4, kernel.RowsTokens, 0.2, 5),
			}), kernel.RowsTokens
		},
	}
	for name, build := range cases {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			out, rows := build(b)
			b.checkGradients(b.target(out, rows))
		})
	}
}

// attend builds the whole attention of a layer: projections, position table, attention. The leaf of separate position
// weights holds only the terms that there are.
func attend(b *bench, c2p, p2c, shared bool, p float32) *G.Node {
	const k, heads = 4, 2
	w, bias := b.param("w", 0, 3*testH, testH), b.param("b", 0, 3*testH)
	qkv := b.QKV(b.param("x", 0, testT, testH), Dense{W: w, B: bias, Rows: kernel.RowsTokens}, !p2c)
	a := Disentangled{Heads: heads, Span: k, C2P: c2p, P2C: p2c, Sigma: 3, Drop: drop(p, 1)}
	if c2p || p2c {
		rows := 0
		pos := Positions{W: w, B: bias, KeyRow: -1, QueryRow: -1, Drop: drop(p, 4)}
		if c2p {
			pos.KeyRow = testH
			rows += testH
		}
		if p2c {
			pos.QueryRow = 0
			rows += testH
		}
		if !shared {
			pos.W, pos.B = b.param("wp", 0, rows, testH), b.param("bp", 0, rows)
			pos.KeyRow = min(pos.KeyRow, 0)
			if p2c {
				pos.QueryRow = rows - testH
			}
		}
		a.Pos = b.PosProject(b.param("table", 0, 2*k, testH), pos)
		a.Slots = b.Input("slots", kernel.I16, 2*5+1)
		b.shorts[a.Slots] = kernel.Slots(k, 8, 5)
	}
	return b.Attention(qkv, a)
}

func TestAttentionGradients(t *testing.T) {
	for _, c := range []struct {
		name             string
		c2p, p2c, shared bool
		p                float32
	}{
		{"both shared", true, true, true, 0},
		{"both shared dropout", true, true, true, 0.25},
		{"both separate", true, true, false, 0},
		{"c2p shared", true, false, true, 0},
		{"c2p separate", true, false, false, 0.25},
		{"p2c shared", false, true, true, 0},
		{"p2c separate", false, true, false, 0},
		{"none", false, false, false, 0.25},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t)
			out := attend(b, c.c2p, c.p2c, c.shared, c.p)
			b.checkGradients(b.target(out, kernel.RowsTokens))
			for _, gr := range b.Gradients() {
				// By analysis: the bias of the position key never matters, that of the key only through position-to-content.
				switch {
				case gr.Leaf.Name == "b" && !c.p2c:
					for i, v := range b.gradientOf(gr.Leaf.Node)[testH : 2*testH] {
						if v != 0 {
							t.Errorf("d key bias [%d] = %v, want 0", i, v)
						}
					}
				case gr.Leaf.Name == "bp" && !c.p2c:
					if gr.Sum != nil {
						t.Errorf("the position key's bias has a gradient, want none")
					}
				case gr.Sum == nil:
					t.Errorf("%s has no gradient", gr.Leaf.Name)
				}
			}
		})
	}
}

func TestMLMLossGradients(t *testing.T) {
	b := newBench(t)
	word := b.param("word", 0, 7, 4)
	ids := b.ids("ids", 7)
	for i, id := range b.ints[ids] {
		b.ints[ids][i] = max(id, 1) // the look-up of the pad token has no gradient, but a difference
	}
	e := b.Embed(Embedding{IDs: ids, Word: word, PadID: 0})
	z := b.Linear(b.Gather(e), Dense{W: b.param("w", 0, 4, 4), Rows: kernel.RowsMasked})
	m := b.MLMLoss(z, word, b.param("bias", 0, 7))
	if b.Err() != nil {
		t.Fatal(b.Err())
	}
	masked := len(testPack().Masked)
	b.checkGradients(m.Loss, func() float64 {
		var sum float64
		for _, v := range b.eval(m.NLL, map[*G.Node]G.Value{}).Data().([]float32)[:masked] {
			sum += float64(v)
		}
		return 0.25 * sum
	})
	if n := len(b.Gradients()[0].Terms); b.Gradients()[0].Leaf.Name != "word" || n != 2 {
		t.Errorf("the tied table has %d gradients, want 2: look-up and decoder", n)
	}
}

func TestClassifyLossGradients(t *testing.T) {
	for name, kind := range map[string]kernel.LossKind{"integer": kernel.CrossEntropy, "soft": kernel.SoftCrossEntropy} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			logits := b.param("logits", 0, testT/2, 3)
			var labels *G.Node
			if kind == kernel.CrossEntropy {
				labels = b.Input("labels", kernel.I32, testT/2)
				b.ints[labels] = []int32{2, -1, 0, 0, 0, 0, 0, 0}
			} else {
				labels = b.Input("labels", kernel.F32, testT/2, 3)
				b.floats[labels] = make([]float32, testT/2*3)
				for i := range b.floats[labels] {
					b.floats[labels][i] = b.rand.Float32()
				}
			}
			loss := b.ClassifyLoss(logits, labels, kernel.RowsPieces, kind)
			// The float32 loss, of about 1, moves by 2^-25, which h = 2^-6 lifts to 2^-19: below the tolerance.
			b.checkGradients(loss, func() float64 {
				return float64(b.eval(loss, map[*G.Node]G.Value{}).Data().(float32))
			})
		})
	}
}
