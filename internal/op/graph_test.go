package op

import (
	"fmt"
	"hash"
	"hash/fnv"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/chewxy/hm"
	"github.com/secencoder/secencoder/internal/kernel"
	G "gorgonia.org/gorgonia"
	"gorgonia.org/tensor"
)

// pairOp is an op without a serial, as Gorgonia's own are: its hash is its name.
type pairOp struct{}

func (pairOp) Arity() int { return 2 }
func (pairOp) Type() hm.Type {
	m := G.TensorType{Dims: 2, Of: tensor.Float32}
	return hm.NewFnType(m, m, m)
}
func (pairOp) InferShape(...G.DimSizer) (tensor.Shape, error) { return tensor.Shape{2, 2}, nil }
func (pairOp) Do(v ...G.Value) (G.Value, error)               { return v[0], nil }
func (pairOp) ReturnsPtr() bool                               { return true }
func (pairOp) CallsExtern() bool                              { return false }
func (pairOp) OverwritesInput() int                           { return -1 }
func (pairOp) WriteHash(h hash.Hash)                          { io.WriteString(h, "pair") }
func (p pairOp) Hashcode() uint32                             { h := fnv.New32a(); p.WriteHash(h); return h.Sum32() }
func (pairOp) String() string                                 { return "pair" }

// collision makes the inputs whose pairs (256, 188) and (418, 411) have the same 32-bit node hash under an op whose hash
// text is "pair".
func collision(t *testing.T) (*Graph, map[int]*G.Node) {
	t.Helper()
	g, err := New(4)
	if err != nil {
		t.Fatal(err)
	}
	in := map[int]*G.Node{}
	for _, i := range []int{256, 188, 418, 411} {
		in[i] = g.Input(fmt.Sprint("in", i), kernel.F32, 2, 2)
	}
	return g, in
}

// Gorgonia merges nodes by hash without comparing their children, so a collision silently gives the wrong node. This
// test fails when Gorgonia is repaired: serials may then go.
func TestGorgoniaMergesCollidingNodes(t *testing.T) {
	g, in := collision(t)
	a := G.Must(G.ApplyOp(pairOp{}, in[256], in[188]))
	b := G.Must(G.ApplyOp(pairOp{}, in[418], in[411]))
	if a != b {
		t.Fatal("the colliding applications are two nodes, want Gorgonia's bug")
	}
	if err := g.Verify(); err == nil || !strings.Contains(err.Error(), "not ours") {
		t.Errorf("verify: %v, want a complaint about the foreign op", err)
	}
}

func TestSerialsKeepCollidingNodesApart(t *testing.T) {
	g, in := collision(t)
	pair := func(a, b *G.Node) *G.Node {
		return g.apply(word{name: "pair", in: []*G.Node{a, b}, results: []Result{{Name: "out", Shape: []int{2, 2}}}}).node(0)
	}
	a, b := pair(in[256], in[188]), pair(in[418], in[411])
	if g.Err() != nil || a == b || a.Hashcode() == b.Hashcode() {
		t.Fatalf("nodes %v and %v, error %v", a, b, g.Err())
	}
	if got := Children(g.Expr(), b); !slices.Equal(got, []*G.Node{in[418], in[411]}) {
		t.Errorf("children %v", got)
	}
	if err := g.Verify(); err != nil {
		t.Error(err)
	}
}

// mlmGraph is a small graph with a tied table, so that one gradient is a sum.
func mlmGraph(t *testing.T) *bench {
	t.Helper()
	b := newBench(t)
	word := b.param("word", 0, 7, 4)
	e := b.Embed(Embedding{IDs: b.ids("ids", 7), Word: word, PadID: 1})
	b.param("unused", 0, 3)
	m := b.MLMLoss(b.Gather(e), word, b.param("bias", 0, 7))
	if err := b.Grad(m.Loss); err != nil {
		t.Fatal(err)
	}
	return b
}

func TestVerifyFindsLostAndForeignTerms(t *testing.T) {
	b := mlmGraph(t)
	if err := b.Verify(); err != nil {
		t.Fatal(err)
	}
	word := b.grads[0]
	terms := word.Terms
	for name, broken := range map[string][]*G.Node{
		"was not recorded": terms[:1],
		"missing":          {terms[0], terms[1], b.loss},
		"so often":         {terms[0], terms[0]},
	} {
		b.grads[0].Terms = broken
		if err := b.Verify(); err == nil || !strings.Contains(err.Error(), name) || !strings.Contains(err.Error(), "word") {
			t.Errorf("terms %v: %v, want %q", broken, err, name)
		}
	}
	b.grads[0].Terms = terms
	gr := b.groups[0]
	in := gr.In
	gr.In = append([]*G.Node{in[1], in[0]}, in[2:]...)
	if err := b.Verify(); err == nil || !strings.Contains(err.Error(), "other inputs") {
		t.Errorf("swapped inputs: %v", err)
	}
	gr.In = in
}

func TestParametersBeyondTheLossHaveNoGradient(t *testing.T) {
	b := mlmGraph(t)
	for _, gr := range b.Gradients() {
		if want := gr.Leaf.Name != "unused"; (gr.Sum != nil) != want || (len(gr.Terms) > 0) != want {
			t.Errorf("%s: sum %v, %d terms", gr.Leaf.Name, gr.Sum, len(gr.Terms))
		}
	}
	if err := b.Grad(b.Loss()); err == nil {
		t.Error("a second Grad passed: Gorgonia would mix the derivatives of both")
	}
}

func TestConstructorsNameWhatIsWrong(t *testing.T) {
	for want, build := range map[string]func(b *bench){
		`linear: weight has shape [3 4], want [3 5]`: func(b *bench) {
			b.Linear(b.param("x", 0, testT, 5), Dense{W: b.param("w", 0, 3, 4)})
		},
		`layer_norm: beta is missing`: func(b *bench) {
			b.LayerNorm(b.param("x", 0, testT, 5), Norm{Gamma: b.param("g", 0, 5)})
		},
		`leaf "x" is there already`: func(b *bench) { b.param("x", 0, 3); b.Param("x", 4) },
		`leaf "x" has shape [0]`:    func(b *bench) { b.Param("x", 0) },
		`no graph values of type ?`: func(b *bench) {
			b.Input("x", kernel.DType(99), 3)
		},
		`attention: 1 position terms, table given false`: func(b *bench) {
			b.Attention(b.param("x", 0, testT, 12), Disentangled{Heads: 2, C2P: true})
		},
		`is given twice`: func(b *bench) {
			x := b.param("x", 0, testT, 5)
			b.AddNorm(x, x, b.norm(5, kernel.RowsTokens, 0, 0))
		},
		`pos_project: key rows at 4`: func(b *bench) {
			b.PosProject(b.param("x", 0, 4, 4), Positions{W: b.param("w", 0, 4, 4), B: b.param("b", 0, 4), KeyRow: 4})
		},
	} {
		b := newBench(t)
		build(b)
		if b.Err() == nil || !strings.Contains(b.Err().Error(), want) {
			t.Errorf("error %v, want %q", b.Err(), want)
		}
		if b.Linear(nil, Dense{}) != nil || b.Grad(nil) == nil {
			t.Error("the error did not stick")
		}
	}
	if _, err := New(1); err == nil {
		t.Error("a graph of one token passed")
	}
}
