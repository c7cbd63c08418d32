package exec

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/secencoder/secencoder/internal/device"
	"github.com/secencoder/secencoder/internal/kernel"
	"github.com/secencoder/secencoder/internal/op"
	G "gorgonia.org/gorgonia"
	"gorgonia.org/tensor"
)

// An encoder of a few layers with everything that makes planning interesting: a tied table, a position table that all
// layers read, weights that two words share, dropout, a parameter that reaches no loss.
const (
	testT, testH, testI, testV, testK, testHeads = 20, 8, 12, 11, 4, 2
	testLayers                                   = 3
)

type encoder struct {
	*op.Graph
	values map[string][]float32
	ints   map[*G.Node][]int32
	slots  *G.Node
	loss   op.MLM
	hidden []*G.Node
	grads  map[string][]float32
}

func testPack(ordinal uint32) kernel.Pack {
	return kernel.Pack{
		Offsets: []int32{0, 7, 9, 16}, Masked: []int32{1, 4, 10, 15}, Labels: []int32{4, 0, 6, 2},
		Step: 3, Seed: 99, Ordinal: ordinal, Scale: 0.125,
	}
}

func newEncoder(t *testing.T, dropout float32, differentiate bool) *encoder {
	t.Helper()
	return newEncoderOf(t, kernel.F32, dropout, differentiate)
}

func newEncoderOf(t *testing.T, activations kernel.DType, dropout float32, differentiate bool) *encoder {
	t.Helper()
	g, err := op.New(testT)
	if err != nil {
		t.Fatal(err)
	}
	g.Activations = activations
	e := &encoder{Graph: g, values: map[string][]float32{}, ints: map[*G.Node][]int32{}, grads: map[string][]float32{}}
	r := rand.New(rand.NewPCG(7, 8))
	param := func(name string, mean float64, shape ...int) *G.Node {
		n := 1
		for _, d := range shape {
			n *= d
		}
		v := make([]float32, n)
		for i := range v {
			v[i] = float32(mean + 0.4*r.NormFloat64())
		}
		e.values[name], e.grads[name] = v, make([]float32, n)
		return g.Param(name, shape...)
	}
	site := uint32(0)
	drop := func() kernel.Dropout { site++; return kernel.Dropout{P: dropout, Site: site} }
	norm := func(name string, rows kernel.RowKind, d kernel.Dropout) op.Norm {
		return op.Norm{Gamma: param(name+".gamma", 1, testH), Beta: param(name+".beta", 0, testH), Eps: 1e-6, Rows: rows, Drop: d}
	}
	dense := func(name string, out, in int, act kernel.Activation, rows kernel.RowKind) op.Dense {
		return op.Dense{W: param(name+".w", 0, out, in), B: param(name+".b", 0, out), Act: act, Rows: rows}
	}
	ids := g.Input("ids", kernel.I32, testT)
	e.ints[ids] = make([]int32, testT)
	for i := range e.ints[ids] {
		e.ints[ids][i] = r.Int32N(testV)
	}
	word := param("word", 0, testV, testH)
	param("unused", 0, 5)
	x := g.LayerNorm(g.Embed(op.Embedding{IDs: ids, Word: word, PadID: 0}), norm("embed", kernel.RowsTokens, drop()))
	table := g.LayerNorm(param("rel", 0, 2*testK, testH), norm("rel.norm", kernel.RowsAll, kernel.Dropout{}))
	e.slots = g.Input("slots", kernel.I16, 2*(testT-1)+1)
	e.hidden = append(e.hidden, x)
	for l := range testLayers {
		g.SetLayer(l)
		name := fmt.Sprint("layer", l)
		d := dense(name+".qkv", 3*testH, testH, kernel.Linear, kernel.RowsTokens)
		qkv := g.QKV(x, d, false)
		pos := g.PosProject(table, op.Positions{W: d.W, B: d.B, KeyRow: testH, QueryRow: 0, Drop: drop()})
		a := g.Attention(qkv, op.Disentangled{
			Heads: testHeads, Span: testK, Pos: pos, Slots: e.slots, C2P: true, P2C: true, Sigma: 3.4, Drop: drop(),
		})
		u := g.AddNorm(g.Linear(a, dense(name+".out", testH, testH, kernel.Linear, kernel.RowsTokens)), x, norm(name+".norm1", kernel.RowsTokens, drop()))
		f := g.Linear(u, dense(name+".ffn1", testI, testH, kernel.Gelu, kernel.RowsTokens))
		f = g.Linear(f, dense(name+".ffn2", testH, testI, kernel.Linear, kernel.RowsTokens))
		x = g.AddNorm(f, u, norm(name+".norm2", kernel.RowsTokens, drop()))
		e.hidden = append(e.hidden, x)
	}
	g.SetLayer(op.NoLayer)
	z := g.Linear(g.Gather(x), dense("head", testH, testH, kernel.Gelu, kernel.RowsMasked))
	z = g.LayerNorm(z, norm("head.norm", kernel.RowsMasked, kernel.Dropout{}))
	e.loss = g.MLMLoss(z, word, param("bias", 0, testV))
	if g.Err() != nil {
		t.Fatal(g.Err())
	}
	if differentiate {
		if err := g.Grad(e.loss.Loss); err != nil {
			t.Fatal(err)
		}
	}
	return e
}

func open(t *testing.T, kernels string, threads int) *device.Device {
	t.Helper()
	d, err := device.Open(device.Options{Kernels: kernels, Threads: threads})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

// compile compiles and binds; gradients go to e.grads.
func (e *encoder) compile(t *testing.T, o Options) *Program {
	t.Helper()
	o.Poison = true
	p, err := Compile(e.Graph, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	for _, l := range e.Leaves() {
		switch {
		case l.Param:
			if err := p.Bind(l.Node, kernel.FromF32(e.values[l.Name])); err != nil {
				t.Fatal(err)
			}
			if err := p.BindGrad(l.Node, kernel.FromF32(e.grads[l.Name])); err != nil {
				t.Fatal(err)
			}
		case p.Reads(l.Node):
			b, err := p.Input(l.Node)
			if err != nil {
				t.Fatal(err)
			}
			if v := e.ints[l.Node]; v != nil {
				copy(b.I32(), v)
			}
			if l.Node == e.slots {
				copy(b.I16(), kernel.Slots(testK, 9, testT-1))
			}
		}
	}
	e.fill(t, p, testPack(5))
	return p
}

func (e *encoder) fill(t *testing.T, p *Program, pack kernel.Pack) {
	t.Helper()
	b, err := p.Input(e.Header)
	if err != nil {
		t.Fatal(err)
	}
	pack.Fill(b.I32(), testT)
}

func run(t *testing.T, p *Program) {
	t.Helper()
	if err := p.RunAll(); err != nil {
		t.Fatal(err)
	}
}

func value(t *testing.T, p *Program, n *G.Node) []float32 {
	t.Helper()
	b, err := p.Value(n)
	if err != nil {
		t.Fatal(err)
	}
	if b.DType == kernel.BF16 {
		wide := make([]float32, b.Len())
		for i, v := range b.BF16() {
			wide[i] = v.Float32()
		}
		return wide
	}
	return b.F32()
}

// sameBits tells −0 from 0.
func sameBits(a, b []float32) bool {
	return slices.EqualFunc(a, b, func(x, y float32) bool { return math.Float32bits(x) == math.Float32bits(y) })
}

// snapshot copies the gradients.
func (e *encoder) snapshot() map[string][]float32 {
	s := map[string][]float32{}
	for name, g := range e.grads {
		s[name] = append([]float32(nil), g...)
	}
	return s
}

// tape runs the graph on Gorgonia's machine and returns the loss and the gradients. It adds nodes to the graph: no
// Compile after it.
func (e *encoder) tape(t *testing.T) (float32, map[string][]float32) {
	t.Helper()
	e.let(t)
	var loss G.Value
	G.Read(e.loss.Loss, &loss)
	grads := make([]G.Value, len(e.Gradients()))
	for i, gr := range e.Gradients() {
		if gr.Sum != nil {
			G.Read(gr.Sum, &grads[i])
		}
	}
	m := G.NewTapeMachine(e.Expr())
	defer m.Close()
	if err := m.RunAll(); err != nil {
		t.Fatal(err)
	}
	out := map[string][]float32{}
	for i, gr := range e.Gradients() {
		if grads[i] != nil {
			out[gr.Leaf.Name] = grads[i].Data().([]float32)
		}
	}
	return loss.Data().(float32), out
}

// let gives the leaves their values on Gorgonia's machine.
func (e *encoder) let(t *testing.T) {
	t.Helper()
	let := func(n *G.Node, backing any) {
		if err := G.Let(n, tensor.New(tensor.WithShape(n.Shape()...), tensor.WithBacking(backing))); err != nil {
			t.Fatal(err)
		}
	}
	for _, l := range e.Leaves() {
		switch {
		case l.Param:
			let(l.Node, e.values[l.Name])
		case l.Node == e.Header:
			words := make([]int32, kernel.HeaderWords(testT))
			pack := testPack(5)
			pack.Fill(words, testT)
			let(l.Node, words)
		case l.Node == e.slots:
			let(l.Node, kernel.Slots(testK, 9, testT-1))
		default:
			let(l.Node, e.ints[l.Node])
		}
	}
}
