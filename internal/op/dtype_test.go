package op

import (
	"slices"
	"testing"

	"github.com/secencoder/secencoder/internal/kernel"
)

// With BF16 activations what package kernel lists is BF16, sums of such gradients included, and everything else float32.
func TestTypes(t *testing.T) {
	halves := map[string][]string{
		"embed": {"out"}, "linear": {"y", "pre"}, "linear_grad": {"dX"}, "qkv": {"y"}, "qkv_grad": {"dX"},
		"pos_project": {"out"}, "attention": {"out"}, "attention_grad": {"dQKV"}, "add_norm": {"out"}, "add_norm_grad": {"dX", "dRes"},
		"conv_norm": {"out", "pre"}, "conv_norm_grad": {"dE", "dV"}, "gather": {"out"}, "gather_grad": {"dX"}, "mlm_loss_grad": {"dZ"},
		"layer_norm": {"out"}, "layer_norm_grad": {"dX"},
	}
	g, err := New(testT)
	if err != nil {
		t.Fatal(err)
	}
	g.Activations = kernel.BF16
	param := g.Param
	dense := func(name string, out, in int) Dense {
		return Dense{W: param(name+".w", out, in), B: param(name+".b", out), Rows: kernel.RowsTokens}
	}
	norm := func(name string, rows kernel.RowKind) Norm {
		return Norm{Gamma: param(name+".gamma", testH), Beta: param(name+".beta", testH), Rows: rows}
	}
	word := param("word", 9, testH)
	e := g.LayerNorm(g.Embed(Embedding{IDs: g.Input("ids", kernel.I32, testT), Word: word, PadID: -1}), norm("e", kernel.RowsTokens))
	table := g.LayerNorm(param("rel", 8, testH), norm("rel.norm", kernel.RowsAll))
	tableGroup, _ := GroupOf(table)
	d := dense("qkv", 3*testH, testH)
	pos := g.PosProject(table, Positions{W: d.W, B: d.B, KeyRow: testH, QueryRow: 0})
	a := g.Attention(g.QKV(e, d, false), Disentangled{
		Heads: 2, Span: 4, Pos: pos, Slots: g.Input("slots", kernel.I16, 2*testT-1), C2P: true, P2C: true, Sigma: 2,
	})
	u := g.AddNorm(a, e, norm("u", kernel.RowsTokens))
	f := dense("f", testH, testH)
	f.Act = kernel.Gelu
	v := g.AddNorm(g.Linear(u, f), u, norm("v", kernel.RowsTokens))
	x := g.ConvNorm(e, v, Convolution{W: param("conv.w", testH, testH, 3), B: param("conv.b", testH), Groups: 1, Norm: norm("conv", kernel.RowsTokens)})
	m := g.MLMLoss(g.Gather(x), word, param("bias", 9))
	logits := dense("logits", 2, testH)
	logits.Logits = true
	l := g.Linear(x, logits)
	p := g.PoolMean(x, false)
	if g.Err() != nil {
		t.Fatal(g.Err())
	}
	if DTypeOf(l) != kernel.F32 || DTypeOf(p) != kernel.F32 {
		t.Errorf("logits are %v and pooled vectors %v, want float32", DTypeOf(l), DTypeOf(p))
	}
	if err := g.Grad(m.Loss); err != nil {
		t.Fatal(err)
	}
	for _, gr := range g.Groups() {
		if gr.Nodes[0] == l {
			continue
		}
		for i, r := range gr.Results {
			want := kernel.F32
			// The position table and its gradient are no activations.
			if slices.Contains(halves[gr.Name], r.Name) && gr != tableGroup && gr.Of != tableGroup {
				want = kernel.BF16
			}
			if got := DTypeOf(gr.Nodes[i]); got != want || r.DType != want {
				t.Errorf("%s.%s is %v, want %v", gr.Name, r.Name, got, want)
			}
		}
	}
	adds := 0
	for _, n := range g.Expr().AllNodes() {
		if IsAdd(n) && slices.Equal(n.Shape(), []int{testT, testH}) {
			adds++
			if DTypeOf(n) != kernel.BF16 {
				t.Errorf("a sum of gradients is %v", DTypeOf(n))
			}
		}
	}
	if adds == 0 {
		t.Error("no value has several readers")
	}

	mixed, err := New(testT)
	if err != nil {
		t.Fatal(err)
	}
	half := mixed.Input("half", kernel.BF16, testT, testH)
	mixed.AddNorm(half, mixed.Param("single", testT, testH), Norm{Gamma: mixed.Param("g", testH), Beta: mixed.Param("b", testH)})
	if err := mixed.Err(); err == nil || err.Error() != "add_norm: res has type f32, want bf16" {
		t.Errorf("operands of two types: %v", err)
	}
}
