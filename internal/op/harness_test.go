package op

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/secencoder/secencoder/internal/kernel"
	G "gorgonia.org/gorgonia"
	"gorgonia.org/tensor"
)

// testT is the plan size of the tests; the pack fills 14 of its rows with three pieces.
const testT = 17

func testPack() kernel.Pack {
	return kernel.Pack{
		Offsets: []int32{0, 6, 8, 14}, Masked: []int32{1, 3, 9, 12}, Labels: []int32{4, 0, 6, 2},
		Step: 3, Seed: 0x1234567890, Ordinal: 5, Scale: 0.25,
	}
}

// bench is a graph under test with values for its leaves.
type bench struct {
	*Graph
	t      *testing.T
	rand   *rand.Rand
	floats map[*G.Node][]float32
	ints   map[*G.Node][]int32
	shorts map[*G.Node][]int16
}

func newBench(t *testing.T) *bench {
	t.Helper()
	g, err := New(testT)
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{
		Graph: g, t: t, rand: rand.New(rand.NewPCG(1, 2)), floats: map[*G.Node][]float32{}, ints: map[*G.Node][]int32{},
		shorts: map[*G.Node][]int16{},
	}
	header := make([]int32, kernel.HeaderWords(testT))
	pack := testPack()
	pack.Fill(header, testT)
	b.ints[g.Header] = header
	return b
}

// param adds a parameter of normal random values around mean.
func (b *bench) param(name string, mean float64, shape ...int) *G.Node {
	n := b.Param(name, shape...)
	v := make([]float32, elements(shape))
	for i := range v {
		v[i] = float32(mean + 0.5*b.rand.NormFloat64())
	}
	b.floats[n] = v
	return n
}

func (b *bench) norm(width int, rows kernel.RowKind, p float32, site uint32) Norm {
	return Norm{
		Gamma: b.param(fmt.Sprint("gamma", site), 1, width), Beta: b.param(fmt.Sprint("beta", site), 0, width), Eps: 1e-5, Rows: rows,
		Drop: kernel.Dropout{P: p, Site: site},
	}
}

func (b *bench) ids(name string, below int) *G.Node {
	n := b.Input(name, kernel.I32, testT)
	v := make([]int32, testT)
	for i := range v {
		v[i] = int32(b.rand.IntN(below))
	}
	b.ints[n] = v
	return n
}

// set runs f over memory that the caller changes: leaves alias the test's slices.
func (b *bench) leafValue(n *G.Node) G.Value {
	shape := tensor.WithShape(n.Shape()...)
	switch {
	case b.floats[n] != nil:
		return tensor.New(shape, tensor.WithBacking(b.floats[n]))
	case b.ints[n] != nil:
		return tensor.New(shape, tensor.WithBacking(b.ints[n]))
	case b.shorts[n] != nil:
		return tensor.New(shape, tensor.WithBacking(b.shorts[n]))
	}
	b.t.Fatalf("no value for %v", n)
	return nil
}

// eval computes a node by the Do of each op, every node once.
func (b *bench) eval(n *G.Node, done map[*G.Node]G.Value) G.Value {
	if v := done[n]; v != nil {
		return v
	}
	var v G.Value
	switch {
	case b.LeafOf(n) != nil:
		v = b.leafValue(n)
	case IsConstant(n):
		v = n.Value()
	default:
		var in []G.Value
		for _, c := range Children(b.Expr(), n) {
			in = append(in, b.eval(c, done))
		}
		var err error
		if v, err = n.Op().Do(in...); err != nil {
			b.t.Fatal(err)
		}
	}
	done[n] = v
	return v
}

// target adds the loss that every word is tested with, mean over the rows in use of (out − y)², and returns it with a
// function that computes it in float64 from out: the loss node's float32 is too coarse for finite differences.
func (b *bench) target(out *G.Node, rows kernel.RowKind) (loss *G.Node, value func() float64) {
	b.t.Helper()
	if b.Err() != nil {
		b.t.Fatal(b.Err())
	}
	s := out.Shape()
	y := b.Input("y", kernel.F32, s...)
	want := make([]float32, s.TotalSize())
	for i := range want {
		want[i] = float32(b.rand.NormFloat64())
	}
	b.floats[y] = want
	n := kernel.ViewHeader(b.ints[b.Header], testT).Count(rows, s[0]) * s[1]
	return b.ClassifyLoss(out, y, rows, kernel.MeanSquare), func() float64 {
		var sum float64
		for i, v := range b.eval(out, map[*G.Node]G.Value{}).Data().([]float32)[:n] {
			d := float64(v) - float64(want[i])
			sum += d * d
		}
		return sum / float64(n)
	}
}

// checkGradients compares the gradient of every parameter with finite differences, on up to 40 of its elements.
//
// The difference is of fourth order, (8(f(h) − f(−h)) − (f(2h) − f(−2h)))/12h with h = 2^-6: its error is h⁴/30 ≈
// 2^-29 of the fifth derivative, and the forward pass, rounded to float32, moves the loss by at most about
// 2^-24·Σ|∂loss/∂out·out| < 2^-23, which h lifts to 2^-17. Together: 2^-16, and 2^-9 of the tensor's largest entry for the
// fifth derivatives of normalisation, which grow with 1/σ⁵.
func (b *bench) checkGradients(loss *G.Node, value func() float64) {
	b.t.Helper()
	if err := b.Grad(loss); err != nil {
		b.t.Fatal(err)
	}
	done := map[*G.Node]G.Value{}
	got := b.eval(loss, done).Data().(float32)
	if want := value(); math.Abs(float64(got)-want) > 0x1p-20*(1+math.Abs(want)) {
		b.t.Errorf("loss %v, want %v", got, want)
	}
	for _, gr := range b.Gradients() {
		if gr.Sum == nil {
			continue
		}
		grad := b.eval(gr.Sum, done).Data().([]float32)
		x := b.floats[gr.Leaf.Node]
		var largest float64
		for _, v := range grad {
			largest = max(largest, math.Abs(float64(v)))
		}
		tolerance := 0x1p-16 + 0x1p-9*largest
		stride := max(1, len(x)/40)
		for i := b.rand.IntN(stride); i < len(x); i += stride {
			const h = 0x1p-6
			at := func(d float32) float64 {
				old := x[i]
				defer func() { x[i] = old }()
				x[i] += d
				return value()
			}
			want := (8*(at(h)-at(-h)) - (at(2*h) - at(-2*h))) / (12 * h)
			if d := math.Abs(float64(grad[i]) - want); !(d <= tolerance) {
				b.t.Errorf("d %s[%d] = %v, finite difference %v, off by %.2g, allowed %.2g", gr.Leaf.Name, i, grad[i], want, d, tolerance)
			}
		}
	}
}

// gradientOf returns the computed gradient of a parameter after checkGradients, nil when it has none.
func (b *bench) gradientOf(n *G.Node) []float32 {
	for _, gr := range b.Gradients() {
		if gr.Leaf.Node == n && gr.Sum != nil {
			return b.eval(gr.Sum, map[*G.Node]G.Value{}).Data().([]float32)
		}
	}
	return nil
}
