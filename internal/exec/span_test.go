package exec

import (
	"math/rand/v2"
	"testing"

	"github.com/secencoder/secencoder/internal/kernel"
	"github.com/secencoder/secencoder/internal/op"
	G "gorgonia.org/gorgonia"
	"gorgonia.org/tensor"
)

// The loss of question answering in a program and on Gorgonia's TapeMachine: equal bits, loss and gradients.
func TestSpanLossOnTheTape(t *testing.T) {
	g, err := op.New(testT)
	if err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(3, 4))
	values, grads := map[string][]float32{}, map[string][]float32{}
	param := func(name string, shape ...int) *G.Node {
		v := make([]float32, tensor.Shape(shape).TotalSize())
		for i := range v {
			v[i] = float32(r.NormFloat64())
		}
		values[name], grads[name] = v, make([]float32, len(v))
		return g.Param(name, shape...)
	}
	x := param("x", testT, testH)
	labels := g.Input("labels", kernel.I32, testT/2, 2)
	spans := make([]int32, testT/2*2)
	copy(spans, []int32{6, 0, 1, 2, -100, 3}) // pieces of 7, 2 and 7 tokens
	loss := g.SpanLoss(g.Linear(x, op.Dense{W: param("w", 2, testH), B: param("b", 2), Rows: kernel.RowsTokens}), labels)
	if g.Err() != nil {
		t.Fatal(g.Err())
	}
	if err := g.Grad(loss); err != nil {
		t.Fatal(err)
	}
	header := make([]int32, kernel.HeaderWords(testT))
	pack := testPack(5)
	pack.Fill(header, testT)

	p, err := Compile(g, Options{Device: open(t, "ref", 1), Keep: []*G.Node{loss}, Poison: true})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	for _, l := range g.Leaves() {
		if l.Param {
			if err := p.Bind(l.Node, kernel.FromF32(values[l.Name])); err != nil {
				t.Fatal(err)
			}
			if err := p.BindGrad(l.Node, kernel.FromF32(grads[l.Name])); err != nil {
				t.Fatal(err)
			}
			continue
		}
		b, err := p.Input(l.Node)
		if err != nil {
			t.Fatal(err)
		}
		copy(b.I32(), header)
		if l.Node == labels {
			copy(b.I32(), spans)
		}
	}
	run(t, p)
	got := value(t, p, loss)[0]

	for _, l := range g.Leaves() {
		var backing any = header
		switch {
		case l.Param:
			backing = values[l.Name]
		case l.Node == labels:
			backing = spans
		}
		if err := G.Let(l.Node, tensor.New(tensor.WithShape(l.Shape...), tensor.WithBacking(backing))); err != nil {
			t.Fatal(err)
		}
	}
	var want G.Value
	G.Read(loss, &want)
	sums := make([]G.Value, len(g.Gradients()))
	for i, gr := range g.Gradients() {
		G.Read(gr.Sum, &sums[i])
	}
	m := G.NewTapeMachine(g.Expr())
	defer m.Close()
	if err := m.RunAll(); err != nil {
		t.Fatal(err)
	}
	if w := want.Data().(float32); got != w || !(got > 0) {
		t.Errorf("loss %v, tape %v", got, w)
	}
	for i, gr := range g.Gradients() {
		rows := len(grads[gr.Leaf.Name])
		if gr.Leaf.Name == "x" {
			rows = 16 * testH // rows beyond those in use are undefined
		}
		moved := false
		for j, w := range sums[i].Data().([]float32)[:rows] {
			moved = moved || w != 0
			if grads[gr.Leaf.Name][j] != w {
				t.Fatalf("d %s[%d] = %v, tape %v", gr.Leaf.Name, j, grads[gr.Leaf.Name][j], w)
			}
		}
		if !moved {
			t.Errorf("d %s is 0 everywhere: nothing was tested", gr.Leaf.Name)
		}
	}
}
