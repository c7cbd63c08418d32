package devicetest

import (
	"bytes"
	"math"
	"testing"

	"github.com/secencoder/secencoder/internal/alloctest"
	"github.com/secencoder/secencoder/internal/kernel"
)

// lengths are those of vectors: all small ones, edges of registers, tiles and summation blocks.
func (s *suite) lengths() []int {
	var list []int
	for n := range 41 {
		list = append(list, n)
	}
	list = append(list, 63, 64, 65, 127, 128, 129, 255, 256, 257, 300, 1000, 4095, 4096, 4097, 8192, 12_289, 20_000, 70_001)
	return drawn(s, list, func(d *draws) int { return d.upTo(0, 30_000) })
}

// Convert has one answer for every pattern of bits, NaN among them: families agree in all bits.
func convertCases(t *testing.T, s *suite) {
	for i, n := range s.lengths() {
		for _, narrows := range []bool{true, false} {
			p := newProblem(nameOf("%d elements, to BF16 %v, case %d", n, narrows, i))
			x, out := p.normal("x", n, n, 1), p.output("out", n, n)
			for j := range n {
				switch b := uint32(p.random.Uint64()); j % 4 {
				case 0: // any bits
					x.f[j] = math.Float32frombits(b)
				case 1: // halfway between two BF16
					x.f[j] = math.Float32frombits(b&0xffff_0000 | 0x8000)
				case 2: // an infinity or a NaN
					x.f[j] = math.Float32frombits(b | 0x7f80_0000)
				}
			}
			if narrows {
				out.dtype = kernel.BF16
			} else {
				x.dtype = kernel.BF16
			}
			var results []*memory // of the reference, then of the family with 1, 2 and 7 workers
			p.bind = func(k kernel.Kernels, m *memory) func() {
				results = append(results, m)
				a := &kernel.ConvertArgs{X: m.buf(x), Out: m.buf(out), N: n}
				return func() { k.Convert(0, a) }
			}
			s.run(t, p, i%20 == 19)
			for _, m := range results {
				if !bytes.Equal(m.bytes(out), results[0].bytes(out)) && n > 0 {
					t.Errorf("%s: other bits than the reference's", p.name)
				}
			}
		}
	}
}

// Add is one rounding, or two with BF16, each fixed: families agree bit for bit, also when the result replaces an operand.
func addCases(t *testing.T, s *suite) {
	for i, n := range s.lengths() {
		p := s.newProblem(nameOf("%d elements, aliasing %d, case %d", n, i%3, i))
		a, b := p.activation("a", n, n, 1), p.activation("b", n, n, 1)
		out := []*tensor{nil, a, b}[i%3]
		if out == nil {
			out = p.result("out", n, n)
		}
		out.out = true
		p.bind = func(k kernel.Kernels, m *memory) func() {
			args := &kernel.AddArgs{A: m.buf(a), B: m.buf(b), Out: m.buf(out), N: n}
			return func() { k.Add(0, args) }
		}
		s.run(t, p, i%20 == 19)
	}
}

// AdamW has some ten roundings an element. m and v keep theirs; the step is their quotient, so that its error is relative
// to the terms of m, over the denominator.
func adamWCases(t *testing.T, s *suite) {
	for i, n := range s.lengths() {
		p := newProblem(nameOf("%d elements, case %d", n, i))
		w, g, m, v := p.normal("w", n, n, 1), p.normal("g", n, n, 1), p.normal("m", n, n, 0.1), p.normal("v", n, n, 0.1)
		for j := range n {
			v.f[j] *= v.f[j]
			g.f[j] *= float32(math.Exp2(float64(p.random.Intn(40) - 30)))
			if j%5 == 4 {
				g.f[j], m.f[j], v.f[j] = 0, 0, 0
			}
		}
		w.out, m.out, v.out = true, true, true
		scalars := kernel.AdamWArgs{N: n, LR: 1e-3, Beta1: 0.9, Beta2: 0.98, Eps: 1e-6, Decay: 0.01, Clip: 1, Step: 1 + i}
		if i%2 == 1 {
			scalars.Clip, scalars.Decay = 0.37, 0
		}
		p.bind = func(k kernel.Kernels, mem *memory) func() {
			a := scalars
			a.W, a.G, a.M, a.V = mem.buf(w), mem.buf(g), mem.buf(m), mem.buf(v)
			return func() { k.AdamW(0, &a) }
		}
		p.bounds = func(want *memory) {
			step := scalars.LR / (1 - math.Pow(scalars.Beta1, float64(scalars.Step)))
			root := math.Sqrt(1 - math.Pow(scalars.Beta2, float64(scalars.Step)))
			for j := range n {
				terms := abs(m.f[j]) + abs(g.f[j])
				m.bound = append(m.bound, 4*unit*terms)
				square := abs(v.f[j]) + abs(g.f[j])*abs(g.f[j])
				v.bound = append(v.bound, 6*unit*square+0x1p-149) // a square may be a denormal
				denominator := math.Sqrt(float64(want.f32(v)[j]))/root + scalars.Eps
				w.bound = append(w.bound, 4*unit*abs(w.f[j])+step*16*unit*terms/denominator)
			}
		}
		s.run(t, p, false)
	}
}

// The sum of squares is accumulated in float64: off by γ_n of that precision, whatever the tree.
func sumSquaresCases(t *testing.T, s *suite) {
	for i, n := range s.lengths() {
		p := newProblem(nameOf("%d elements, case %d", n, i))
		g := p.normal("g", n, n, 1)
		want := 0.0
		for j := range g.f {
			g.f[j] *= float32(math.Exp2(float64(p.random.Intn(60) - 30)))
			want += float64(g.f[j]) * float64(g.f[j])
		}
		var sums []float64
		p.bind = func(k kernel.Kernels, m *memory) func() {
			a := &kernel.SumSquaresArgs{G: m.buf(g), N: n}
			return func() { sums = append(sums, k.SumSquares(0, a)) }
		}
		s.run(t, p, false)
		for j, sum := range sums { // the reference, then the family with 1, 2 and 7 workers
			if math.Abs(sum-want) > float64(n+8)*0x1p-53*want {
				t.Errorf("%s: Σ g² is %v, want %v", p.name, sum, want)
			}
			if j > 1 && sum != sums[1] {
				t.Errorf("%s: Σ g² is %v with %d workers, %v with one", p.name, sum, s.workers[j-1], sums[1])
			}
		}
		if i%10 == 9 && !s.allocating {
			k, a := s.families[0], &kernel.SumSquaresArgs{G: kernel.FromF32(g.f), N: n}
			if allocations := alloctest.Fewest(func() {
				for range 20 {
					k.SumSquares(0, a)
				}
			}); allocations > 0 {
				t.Errorf("%s: %v allocations in 20 calls, want 0", p.name, allocations)
			}
		}
	}
}
