package devicetest

import (
	"math"
	"slices"
	"testing"

	"github.com/secencoder/secencoder/internal/kernel"
)

// attention is the operands of one attention problem.
type attention struct {
	*problem
	heads, d, k     int
	c2p, p2c        bool
	reach           int
	sigma           float32
	qkv, pos, slots *tensor
	drop            kernel.Dropout
	positionRows    int
	scoreTerms      int // roundings of a score
}

// attentions calls f for pieces of every awkward length, each with all four combinations of position terms. Most maps
// end (max_relative_positions) inside the longer pieces.
func attentions(s *suite, f func(i int, p *attention)) {
	type size struct {
		lengths              []int
		heads, d             int
		buckets, maxRelative int
	}
	sizes := []size{
		{nil, 2, 8, 8, 32}, {[]int{1}, 1, 1, 8, 32}, {[]int{2}, 3, 5, 8, 32}, {[]int{1, 1, 2}, 2, 16, -1, 2},
		{[]int{64}, 2, 16, 16, 64}, {[]int{65}, 1, 32, 16, 64}, {[]int{63, 2}, 1, 64, 8, 32}, {[]int{1, 2, 64, 65, 3}, 2, 17, 8, 32},
		{[]int{100}, 1, 24, -1, 24}, {[]int{130}, 2, 8, 256, 512}, {[]int{200, 7}, 1, 16, 16, 48}, {[]int{300}, 1, 8, 4, 9},
		{slices.Repeat([]int{2, 3, 1, 4, 7}, 9), 2, 8, 8, 32}, {[]int{127, 128, 129}, 1, 12, 32, 40},
	}
	// Tile edges, and enough tokens for sums over several runs of pieces.
	sizes = append(sizes, size{[]int{111}, 1, 8, 8, 32}, size{[]int{112}, 2, 4, 256, 512}, size{[]int{113, 1}, 1, 9, 8, 32}, size{[]int{225}, 1, 8, 64, 100},
		size{slices.Repeat([]int{50}, 13), 2, 8, 16, 40}, size{slices.Repeat([]int{55}, 40), 1, 4, 16, 40}, size{[]int{3, 530}, 1, 8, 32, 200}, size{[]int{600}, 1, 4, -1, 90}, size{[]int{520}, 1, 8, 256, 512})
	for n := range 41 {
		sizes = append(sizes, size{[]int{n + 1}, 1 + n%2, 1 + n, 8, 12}, size{[]int{3, 41 - n}, 2, 8, []int{16, -1}[n%2], 20})
	}
	for i, z := range sizes {
		for terms := range 4 {
			if i >= 14 && (i+i/4)%4 != terms { // the others share the combinations
				continue
			}
			p := &attention{
				problem: s.newProblem(nameOf("pieces %v, %d heads of %d, buckets %d of %d, terms %d", z.lengths, z.heads, z.d, z.buckets, z.maxRelative, terms)),
				heads:   z.heads, d: z.d, k: kernel.Span(z.buckets, z.maxRelative), c2p: terms&1 != 0, p2c: terms&2 != 0,
			}
			p.withPack(z.lengths, 1)
			h := p.heads * p.d
			p.sigma = float32(math.Sqrt(float64(p.d * (1 + terms&1 + terms>>1))))
			p.qkv = p.activation("qkv", p.tokens*3*h, p.used()*3*h, 1)
			for _, n := range z.lengths {
				p.reach = max(p.reach, n-1+i%3)
			}
			if p.c2p {
				p.positionRows += 2 * p.k
			}
			if p.p2c {
				p.positionRows += 2 * p.k
			}
			if terms > 0 {
				p.pos = p.activation("pos", p.positionRows*h, p.positionRows*h, 1)
				p.slots = p.shorts("slots", kernel.Slots(z.buckets, z.maxRelative, p.reach))
			}
			if p.random.Intn(3) == 0 {
				p.drop = kernel.Dropout{P: 0.2, Site: 8*3 + 1}
			}
			p.scoreTerms = 3*p.d + 12
			f(i*4+terms, p)
		}
	}
}

// vector returns the query (0), key (1) or value (2) of a token in a head, or with which = 3 and 4 the position key and
// position query of a slot.
func (p *attention) vector(which, at, head int) []float32 {
	width := p.heads * p.d
	switch which {
	case 3:
		return p.pos.f[at*width+head*p.d:][:p.d]
	case 4:
		if p.c2p {
			at += 2 * p.k
		}
		return p.pos.f[at*width+head*p.d:][:p.d]
	}
	return p.qkv.f[(at*3+which)*width+head*p.d:][:p.d]
}

// products returns Σ x·y and Σ |x·y|.
func products(x, y []float32) (sum, magnitude float64) {
	for i, v := range x {
		sum += float64(v) * float64(y[i])
		magnitude += abs(v) * abs(y[i])
	}
	return sum, magnitude
}

// rows calls f for every query of every piece and head with the probabilities of its row and the relative error of each:
// exp turns the error of a score into a relative one, and the normalizer has it once more. A score of 3·D terms is off by
// γ_(3D+12)·Σ|terms|/σ; that of the largest score is subtracted in float32, which is the second part.
func (p *attention) rows(f func(piece, head, start, n, i int, probabilities []float64, relative float64)) {
	for piece := range len(p.pack.Offsets) - 1 {
		start, end := int(p.pack.Offsets[piece]), int(p.pack.Offsets[piece+1])
		n := end - start
		for head := range p.heads {
			for i := range n {
				scores := make([]float64, n)
				var worst float64
				for j := range scores {
					q, key := p.vector(0, start+i, head), p.vector(1, start+j, head)
					sum, magnitude := products(q, key)
					if p.c2p {
						s, m := products(q, p.vector(3, p.slot(i, j), head))
						sum, magnitude = sum+s, magnitude+m
					}
					if p.p2c {
						s, m := products(key, p.vector(4, p.slot(i, j), head))
						sum, magnitude = sum+s, magnitude+m
					}
					scores[j] = sum / float64(p.sigma)
					worst = max(worst, magnitude/float64(p.sigma))
				}
				highest := slices.Max(scores)
				var total float64
				for j, s := range scores {
					scores[j] = math.Exp(s - highest)
					total += scores[j]
				}
				for j := range scores {
					scores[j] /= total
				}
				f(piece, head, start, n, i, scores, 2*gamma(p.scoreTerms)*worst+4*unit*worst+gamma(n+8)+functionError)
			}
		}
	}
}

func (p *attention) slot(i, j int) int { return int(p.slots.s[i-j+p.reach]) }

// factor is an upper bound of what dropout multiplies a probability with.
func (p *attention) factor() float64 { return float64(p.drop.Scale()) }

func attentionCases(t *testing.T, s *suite) {
	attentions(s, func(i int, p *attention) {
		h := p.heads * p.d
		out := p.result("out", p.tokens*h, p.used()*h)
		lse := p.output("lse", p.tokens*p.heads, p.used()*p.heads)
		p.bind = func(k kernel.Kernels, m *memory) func() {
			a := &kernel.AttentionArgs{
				Header: m.buf(p.header), QKV: m.buf(p.qkv), Pos: m.buf(p.pos), Slots: m.buf(p.slots), Out: m.buf(out), LSE: m.buf(lse),
				Reach: p.reach, A: p.heads, D: p.d, K: p.k, C2P: p.c2p, P2C: p.p2c, Sigma: p.sigma, Drop: p.drop, T: p.tokens,
			}
			a.Work = m.work(k.WorkBytes(a))
			return func() { k.Attention(0, a) }
		}
		p.bounds = func(want *memory) {
			out.bound, lse.bound = make([]float64, out.used), make([]float64, lse.used)
			p.rows(func(_, head, start, n, i int, probabilities []float64, relative float64) {
				at := (start+i)*p.heads + head
				lse.bound[at] = relative + 4*unit*abs(want.f32(lse)[at])
				for j, probability := range probabilities {
					for c, v := range p.vector(2, start+j, head) {
						out.bound[at*p.d+c] += (relative + gamma(n+8) + p.inner()) * probability * p.factor() * abs(v)
					}
				}
			})
		}
		s.run(t, p.problem, i%50 == 49)
	})
}

func attentionGradCases(t *testing.T, s *suite) {
	attentions(s, func(i int, p *attention) {
		h := p.heads * p.d
		forwardOut, forwardLSE := make([]float32, p.tokens*h), make([]float32, p.tokens*p.heads)
		positions := kernel.Buf{}
		if p.pos != nil {
			positions = kernel.FromF32(p.pos.f)
		}
		slots := kernel.Buf{}
		if p.slots != nil {
			slots = kernel.FromI16(p.slots.s)
		}
		s.reference.Attention(0, &kernel.AttentionArgs{
			Header: kernel.FromI32(p.header.i), QKV: kernel.FromF32(p.qkv.f), Pos: positions, Slots: slots,
			Out: kernel.FromF32(forwardOut), LSE: kernel.FromF32(forwardLSE),
			Reach: p.reach, A: p.heads, D: p.d, K: p.k, C2P: p.c2p, P2C: p.p2c, Sigma: p.sigma, Drop: p.drop, T: p.tokens,
		})
		out := p.floats("out", p.tokens*h, p.used()*h)
		copy(out.f, forwardOut[:out.used])
		p.halve(out)
		lse := p.floats("lse", p.tokens*p.heads, p.used()*p.heads)
		copy(lse.f, forwardLSE[:lse.used])
		dOut := p.activation("dOut", p.tokens*h, p.used()*h, 1)
		dQKV := p.result("dQKV", p.tokens*3*h, p.used()*3*h)
		var dPos *tensor
		if p.pos != nil {
			dPos = p.output("dPos", p.positionRows*h, p.positionRows*h)
		}
		p.bind = func(k kernel.Kernels, m *memory) func() {
			a := &kernel.AttentionGradArgs{
				Header: m.buf(p.header), QKV: m.buf(p.qkv), Pos: m.buf(p.pos), Slots: m.buf(p.slots), Out: m.buf(out), LSE: m.buf(lse),
				DOut: m.buf(dOut), DQKV: m.buf(dQKV), DPos: m.buf(dPos),
				Reach: p.reach, A: p.heads, D: p.d, K: p.k, C2P: p.c2p, P2C: p.p2c, Sigma: p.sigma, Drop: p.drop, T: p.tokens,
			}
			a.Work = m.work(k.WorkBytes(a))
			return func() { k.AttentionGrad(0, a) }
		}
		p.bounds = func(*memory) { p.gradBounds(out, dOut, dQKV, dPos) }
		s.run(t, p.problem, i%50 == 49)
	})
}

// gradBounds: dS = P∘(dP·factor − Δ)/σ has the relative error of P and that of two products of D terms; every gradient is
// a sum of such terms times a vector. E_ij below is the bound of one term's factor, sums of N terms and of the tokens of
// all pieces included. With BF16, P, dS and sums of dS may be rounded where they become factors of products.
func (p *attention) gradBounds(out, dOut, dQKV, dPos *tensor) {
	width := p.heads * p.d
	dQKV.bound = make([]float64, dQKV.used)
	if dPos != nil {
		dPos.bound = make([]float64, dPos.used)
	}
	add := func(bound []float64, scale float64, x []float32) {
		for c, v := range x {
			bound[c] += scale * abs(v)
		}
	}
	p.rows(func(_, head, start, n, i int, probabilities []float64, relative float64) {
		at := ((start+i)*p.heads + head) * p.d
		dO := dOut.f[at : at+p.d]
		_, delta := products(dO, out.f[at:at+p.d])
		sums := relative + gamma(2*p.d+n+p.used()+32) + p.inner()
		gradient := func(which, token int) []float64 {
			return dQKV.bound[(token*3+which)*width+head*p.d:][:p.d]
		}
		for j, probability := range probabilities {
			q, key := p.vector(0, start+i, head), p.vector(1, start+j, head)
			_, dP := products(dO, p.vector(2, start+j, head))
			e := probability * (dP*p.factor() + delta) / float64(p.sigma) * sums
			add(gradient(2, start+j), probability*p.factor()*sums, dO)
			add(gradient(0, start+i), e, key)
			add(gradient(1, start+j), e, q)
			if p.c2p {
				slot := p.slot(i, j)
				add(gradient(0, start+i), e, p.vector(3, slot, head))
				add(dPos.bound[slot*width+head*p.d:][:p.d], e, q)
			}
			if p.p2c {
				slot := p.slot(i, j)
				add(gradient(1, start+j), e, p.vector(4, slot, head))
				if p.c2p {
					slot += 2 * p.k
				}
				add(dPos.bound[slot*width+head*p.d:][:p.d], e, key)
			}
		}
	})
}
