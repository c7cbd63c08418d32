package op

import (
	"github.com/secencoder/secencoder/internal/kernel"
	G "gorgonia.org/gorgonia"
)

// Dense holds the parameters of a linear layer.
type Dense struct {
	W    *G.Node // [Out, In], as HF keeps it
	B    *G.Node // [Out], or nil
	Act  kernel.Activation
	Rows kernel.RowKind
	N    int            // rows in the result's shape; 0: those of x. With RowsMasked it may be fewer than T.
	Drop kernel.Dropout // of x
	// Logits says that the result is float32 whatever x is.
	Logits bool
	// BiasHasNoGradient says that the gradient of B is zero by analysis: it is left out.
	BiasHasNoGradient bool
}

// learns reports whether the bias is there and gets a gradient.
func (l *Dense) learns() bool { return l.B != nil && !l.BiasHasNoGradient }

// Linear is act(dropout(x)·Wᵀ + b), [N, Out], with the pre-activation as a constant sibling when there is an activation.
func (g *Graph) Linear(x *G.Node, l Dense) *G.Node { return g.linear("linear", x, l, 0) }

// QKV is the query, key and value projection in one product, [rows, 3H]. With zeroKeyBias the gradient of the middle
// third of the bias is zero: a key's bias adds one constant to a row of scores, which softmax ignores, unless
// position-to-content attention reads the keys too (research: decomposed backward).
func (g *Graph) QKV(x *G.Node, l Dense, zeroKeyBias bool) *G.Node {
	if g.err == nil && (l.Act != kernel.Linear || l.B == nil) {
		g.fail("qkv: want a bias and no activation")
	}
	if zeroKeyBias {
		return g.linear("qkv", x, l, 3)
	}
	return g.linear("qkv", x, l, 0)
}

// linear applies the word. thirds is 3 where the middle third of the bias gets no gradient, else 0.
func (g *Graph) linear(name string, x *G.Node, l Dense, thirds int) *G.Node {
	rows, in, ok := g.matrix(name, "x", x)
	out, inW, okW := g.matrix(name, "weight", l.W)
	if !ok || !okW || !g.shaped(name, "weight", l.W, out, in) {
		return nil
	}
	if l.B != nil && !g.shaped(name, "bias", l.B, out) {
		return nil
	}
	if l.N == 0 {
		l.N = rows
	}
	if l.N > rows || thirds != 0 && out%thirds != 0 {
		g.fail("%s: %d rows of %d, %d outputs", name, l.N, rows, out)
		return nil
	}
	f := linearStep{bias: l.B != nil}
	f.LinearArgs = kernel.LinearArgs{X: of(DTypeOf(x)), Rows: l.Rows, N: l.N, In: inW, Out: out, Act: l.Act, Drop: l.Drop}
	wrt := []*G.Node{x, l.W}
	if l.learns() {
		wrt = append(wrt, l.B)
	}
	act := DTypeOf(x)
	if l.Logits {
		act = kernel.F32
	}
	results := []Result{{Name: "y", Shape: shape(l.N, out), DType: act}}
	if l.Act != kernel.Linear {
		results = append(results, Result{Name: "pre", Shape: shape(l.N, out), DType: act, Optional: true})
	}
	return g.apply(word{
		name:    name,
		in:      []*G.Node{g.Header, x, l.W, l.B},
		results: results,
		step:    func() Step { c := f; return &c },
		wrt:     wrt,
		diff: func(gr *Group, grad *G.Node) []*G.Node {
			return g.linearGrad(gr, x, l, thirds, grad)
		},
	}).node(0)
}

func (g *Graph) linearGrad(gr *Group, x *G.Node, l Dense, thirds int, grad *G.Node) []*G.Node {
	rows, in := x.Shape()[0], x.Shape()[1]
	out := l.W.Shape()[0]
	if l.N != rows {
		g.fail("%s: no gradient where the result has fewer rows than x", gr.Name)
		return nil
	}
	var pre *G.Node
	if l.Act != kernel.Linear {
		pre = gr.Nodes[1]
	}
	results := []Result{
		{Name: "dX", Shape: shape(rows, in), DType: DTypeOf(x), Optional: true, Addend: true},
		{Name: "dW", Shape: shape(out, in), Optional: true},
	}
	if l.learns() {
		results = append(results, Result{Name: "dB", Shape: shape(out), Optional: true, Partial: thirds != 0})
	}
	s := linearGradStep{pre: pre != nil, bias: l.learns(), thirds: thirds}
	s.LinearGradArgs = kernel.LinearGradArgs{X: of(DTypeOf(x)), Rows: l.Rows, N: l.N, In: in, Out: out, Act: l.Act, Drop: l.Drop}
	d := g.apply(word{
		name: gr.Name + "_grad", of: gr,
		in:      []*G.Node{g.Header, x, l.W, pre, grad},
		results: results,
		step:    func() Step { c := s; return &c },
	})
	if d == nil {
		return nil
	}
	of := map[*G.Node]*G.Node{x: d.Nodes[0], l.W: d.Nodes[1]}
	if l.learns() {
		of[l.B] = d.Nodes[2]
	}
	return spread(gr, of)
}

type linearStep struct {
	noBeta
	noWork
	kernel.LinearArgs
	bias bool
}

func (s *linearStep) Bind(in, out []kernel.Buf, _ kernel.Buf) {
	o := operands{bufs: in}
	s.Header, s.X, s.W, s.B = o.next(), o.next(), o.next(), o.option(s.bias)
	s.Y = out[0]
	if s.Act != kernel.Linear {
		s.Pre = out[1]
	}
}

func (s *linearStep) Run(k kernel.Kernels, st kernel.Stream) { k.Linear(st, &s.LinearArgs) }

type linearGradStep struct {
	kernel.LinearGradArgs
	pre, bias bool

	// With thirds the bias gradient goes to the front of the workspace and its outer thirds are added from there.
	thirds int
	add    [2]kernel.AddArgs
}

func (s *linearGradStep) Bind(in, out []kernel.Buf, work kernel.Buf) {
	o := operands{bufs: in}
	s.Header, s.X, s.W, s.Pre, s.DY = o.next(), o.next(), o.next(), o.option(s.pre), o.next()
	r := operands{bufs: out}
	s.DX, s.DW, s.DB = r.next(), r.next(), r.option(s.bias)
	s.Work = work
	if s.thirds == 0 || s.DB.Absent() {
		return
	}
	n := s.Out / s.thirds
	tmp := part(work, 0, s.Out)
	s.Work = part(work, round16(s.Out), work.Len()-round16(s.Out))
	for i, at := range []int{0, 2 * n} {
		to := part(s.DB, at, n)
		s.add[i] = kernel.AddArgs{A: to, B: part(tmp, at, n), Out: to, N: n}
	}
	s.DB = tmp
}

// Add sets DXAdd.
func (s *linearGradStep) Add(b kernel.Buf) { s.DXAdd = b }

// round16 rounds a number of float32s up to whole cache lines.
func round16(n int) int { return (n + 15) / 16 * 16 }

func (s *linearGradStep) WorkBytes(k kernel.Kernels) int {
	n := k.WorkBytes(&s.LinearGradArgs)
	if s.thirds != 0 {
		n += 4 * round16(s.Out)
	}
	return n
}

func (s *linearGradStep) Run(k kernel.Kernels, st kernel.Stream) {
	k.LinearGrad(st, &s.LinearGradArgs)
	for i := range s.add {
		if s.add[i].N > 0 {
			k.Add(st, &s.add[i])
		}
	}
}

func (s *linearGradStep) Beta(result int) *float32 {
	if result == 0 || result == 2 && s.thirds != 0 {
		return nil
	}
	return &s.LinearGradArgs.Beta[result-1]
}
