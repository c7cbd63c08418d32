package devicetest

import (
	"slices"
	"testing"

	"github.com/secencoder/secencoder/internal/kernel"
)

var maskProbabilities = []float32{0.1, 0.5, 0.9, 1.0 / 65_536}

// dropoutMaskCases makes masks visible: ones go in, and what comes out must be 0 or 1/(1−P) exactly where the counters
// say so.
func dropoutMaskCases(t *testing.T, s *suite) {
	for i, p := range maskProbabilities {
		for _, w := range []int{1, 3, 4, 7, 16, 33, 64} {
			for kind := kernel.RowsAll; kind <= kernel.RowsPieces; kind++ {
				s.run(t, s.identityMask(kind, w, kernel.Dropout{P: p, Site: uint32(8*i + 3)}), false)
			}
		}
	}
	s.run(t, s.carry(), false)
}

// attentionMaskCases does so with the probabilities of attention.
func attentionMaskCases(t *testing.T, s *suite) {
	for _, p := range maskProbabilities {
		for _, n := range []int{1, 7, 8, 9, 40, 65, 130} {
			s.run(t, s.attentionMask(n, kernel.Dropout{P: p, Site: 9}), false)
		}
	}
}

// identityMask sends ones through the dropout of a linear layer whose weights are the unit matrix.
func (s *suite) identityMask(kind kernel.RowKind, w int, drop kernel.Dropout) *problem {
	p := s.newProblem(nameOf("mask of %s, width %d, P %v", kinds[kind], w, drop.P))
	shape := p.withRows(kind, 40)
	x, unitMatrix := p.floats("x", shape*w, 40*w), p.floats("w", w*w, w*w)
	for j := range x.f[:x.used] {
		x.f[j] = 1
	}
	for j := range w {
		unitMatrix.f[j*w+j] = 1
	}
	y := p.result("y", shape*w, 40*w)
	if kind != kernel.RowsAll { // whose values are float32
		p.halve(x)
	}
	p.bind = func(k kernel.Kernels, m *memory) func() {
		a := &kernel.LinearArgs{Header: m.buf(p.header), X: m.buf(x), W: m.buf(unitMatrix), Y: m.buf(y), Rows: kind, N: shape, In: w, Out: w, Drop: drop}
		return func() { k.Linear(0, a) }
	}
	return p
}

// attentionMask gives every key the same probability, and each of the first D keys, then the next D, a value of its own
// column: an element of the result is 0 where its key was dropped.
func (s *suite) attentionMask(n int, drop kernel.Dropout) *problem {
	p := s.newProblem(nameOf("mask of attention over %d tokens, P %v", n, drop.P))
	const heads, d = 2, 64
	h := heads * d
	p.withPack([]int{3, n, n}, 1)
	window := p.random.Intn(max(1, n-d+1)) // keys window … window+D−1 have a column each
	qkv := p.floats("qkv", p.tokens*3*h, p.used()*3*h)
	view := p.view()
	for tok := range p.used() {
		for head := range heads {
			if c := int(view.Place[tok]) - window; c >= 0 && c < d {
				qkv.f[tok*3*h+2*h+head*d+c] = 1
			}
		}
	}
	p.halve(qkv)
	out, lse := p.result("out", p.tokens*h, p.used()*h), p.output("lse", p.tokens*heads, p.used()*heads)
	p.bind = func(k kernel.Kernels, m *memory) func() {
		a := &kernel.AttentionArgs{
			Header: m.buf(p.header), QKV: m.buf(qkv), Out: m.buf(out), LSE: m.buf(lse), A: heads, D: d, K: 4, Sigma: 8, Drop: drop, T: p.tokens,
		}
		a.Work = m.work(k.WorkBytes(a))
		return func() { k.Attention(0, a) }
	}
	p.bounds = func(want *memory) {
		out.bound, lse.bound = make([]float64, out.used), make([]float64, lse.used)
		for j, v := range want.f32(out) {
			out.bound[j] = (gamma(n+8) + functionError + p.inner()) * abs(v) // 0 where it was dropped: no other key has this column
		}
		for j, v := range want.f32(lse) {
			lse.bound[j] = gamma(n+8) + functionError + 4*unit*abs(v)
		}
	}
	return p
}

// carry is a mask whose call index passes 2^32 inside a row: the counter's second word takes the carry.
func (s *suite) carry() *problem {
	p := s.newProblem("mask whose counter carries")
	const w = 7
	p.withPack(slices.Repeat([]int{2}, 8), 1)
	p.pack.Ordinal = 1<<34/w - 3
	p.fill()
	rows, shape := 8, p.tokens/2
	x, g, b := p.activation("x", shape*w, rows*w, 1), p.normal("gamma", w, w, 1), p.normal("beta", w, w, 1)
	out := p.result("out", shape*w, rows*w)
	drop := kernel.Dropout{P: 0.5, Site: 77}
	n := &normalization{problem: p, kind: kernel.RowsPieces, shape: shape, rows: rows, w: w, x: x, gamma: g, beta: b, drop: drop, eps: 1e-7}
	p.bind = func(k kernel.Kernels, m *memory) func() {
		a := &kernel.LayerNormArgs{
			Header: m.buf(p.header), X: m.buf(x), Gamma: m.buf(g), Beta: m.buf(b), Out: m.buf(out), Rows: kernel.RowsPieces, N: shape, W: w, Eps: 1e-7, Drop: drop,
		}
		return func() { k.LayerNorm(0, a) }
	}
	p.bounds = func(want *memory) {
		n.forwardBounds(out, nil, 2)
		for i, v := range want.f32(out) {
			if v == 0 {
				out.bound[i] = 0
			}
		}
	}
	return p
}
