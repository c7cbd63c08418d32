package blocked_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/secencoder/secencoder/internal/alloctest"
	"github.com/secencoder/secencoder/internal/bf16"
	"github.com/secencoder/secencoder/internal/kernel"
	"github.com/secencoder/secencoder/internal/kernel/blocked"
	"github.com/secencoder/secencoder/internal/kernel/ref"
)

// attentionCase is one attention problem, forward and backward, of any shape.
type attentionCase struct {
	lengths              []int
	heads, d             int
	buckets, maxRelative int
	c2p, p2c             bool
	drop                 float32
	half                 bool // operands of BF16
	seed                 uint64
}

func (c attentionCase) String() string {
	return fmt.Sprintf("pieces %v, %d heads of %d, buckets %d of %d, c2p %v, p2c %v, dropout %v, BF16 %v", c.lengths, c.heads, c.d, c.buckets, c.maxRelative, c.c2p, c.p2c, c.drop, c.half)
}

// arguments makes the operands of the problem for k; results are in the world.
func (c attentionCase) arguments(k kernel.Kernels) (*world, *kernel.AttentionArgs, *kernel.AttentionGradArgs) {
	tokens, longest := 0, 1
	for _, n := range c.lengths {
		tokens += n
		longest = max(longest, n)
	}
	T := max(tokens, 2*len(c.lengths)) // a piece needs two tokens of the plan
	w := newWorld(k, T, c.lengths, c.seed)
	h, span, rows, terms := c.heads*c.d, kernel.Span(c.buckets, c.maxRelative), 0, 1
	for _, on := range []bool{c.c2p, c.p2c} {
		if on {
			rows += 2 * span
			terms++
		}
	}
	a := &kernel.AttentionArgs{
		Header: w.header, QKV: c.typed(w.in(T*3*h, 1)), Out: c.typed(w.res("out", T*h, 0)), LSE: w.res("lse", T*c.heads, 0), Reach: longest - 1, A: c.heads, D: c.d, K: span,
		C2P: c.c2p, P2C: c.p2c, Sigma: float32(math.Sqrt(float64(terms * c.d))), Drop: kernel.Dropout{P: c.drop, Site: 17}, T: T,
	}
	dPos := kernel.Buf{}
	if rows > 0 {
		a.Pos, a.Slots, dPos = c.typed(w.in(rows*h, 1)), kernel.FromI16(kernel.Slots(c.buckets, c.maxRelative, a.Reach)), w.res("dpos", rows*h, 0)
	}
	a.Work = w.work(a)
	g := &kernel.AttentionGradArgs{
		Header: a.Header, QKV: a.QKV, Pos: a.Pos, Slots: a.Slots, Out: a.Out, LSE: a.LSE, DOut: c.typed(w.in(T*h, 1)), DQKV: c.typed(w.res("dqkv", T*3*h, 0)), DPos: dPos,
		Reach: a.Reach, A: a.A, D: a.D, K: a.K, C2P: a.C2P, P2C: a.P2C, Sigma: a.Sigma, Drop: a.Drop, T: T,
	}
	g.Work = w.work(g)
	return w, a, g
}

// typed returns an activation in the type of the problem.
func (c attentionCase) typed(x kernel.Buf) kernel.Buf {
	if !c.half {
		return x
	}
	y := make([]bf16.BF16, x.Len())
	for i, v := range x.F32() {
		y[i] = bf16.FromFloat32(v)
	}
	return kernel.FromBF16(y)
}

func (c attentionCase) run(k kernel.Kernels) map[string][]float32 {
	w, a, g := c.arguments(k)
	k.Attention(0, a)
	k.AttentionGrad(0, g)
	if c.half {
		for name, b := range map[string]kernel.Buf{"out": a.Out, "dqkv": g.DQKV} {
			for i, v := range b.BF16() {
				w.out[name][i] = v.Float32()
			}
		}
	}
	return w.out
}

// check compares the problem with the reference. A score is a sum of up to 3·D products over σ and at most about 10, so
// that exp is off by 10·(3·D + 16)·u relatively, u = 2^-24; gradients have this error twice and sums of n ≤ 2,000 terms, whose
// magnitudes are together at most 16 times the largest element of a result. Position gradients may cancel: they are held
// against the largest of dQKV. With BF16 P, dS, sums of dS and results are rounded, by 2^-8 at most, relative to terms whose
// magnitudes sum to at most 16 times the largest result; scores are as exact as before.
func (c attentionCase) check(t *testing.T, k, reference kernel.Kernels) {
	t.Helper()
	got, want := c.run(k), c.run(reference)
	for name, w := range want {
		g := got[name]
		if name == "dpos" {
			g, w = append(g, got["dqkv"]...), append(w, want["dqkv"]...)
		}
		bound := (20*float64(3*c.d+16) + 2000) * 16 * 0x1p-24 / 8
		if c.half && name != "lse" {
			bound += 16 * 0x1p-8
		}
		if err := compare(g, w, bound); err != nil {
			t.Fatalf("%s: %v: %s: %v", k.Name(), c, name, err)
		}
	}
}

// TestAttentionLengths walks one piece through every length to 300 and around the edges of tiles, superblocks and parts
// beyond, with a bucket map that ends early, so that far tiles and saturated slots are many, and with one that does not.
func TestAttentionLengths(t *testing.T) {
	var lengths []int
	for n := 1; n <= 300; n++ {
		lengths = append(lengths, n)
	}
	for _, edge := range []int{336, 384, 448, 512, 560, 672, 784, 896, 1024} {
		lengths = append(lengths, edge-1, edge, edge+1)
	}
	maps := [][2]int{{8, 12}, {16, 40}, {64, 100}, {256, 512}, {-1, 50}, {32, 5000}}
	for _, p := range families() {
		k, reference := blocked.New(p, pool(1)), ref.New()
		for i, n := range lengths {
			if testing.Short() && i%7 != 0 || p.Name == "portable" && n > 130 {
				continue
			}
			m := maps[i%len(maps)]
			c := attentionCase{
				lengths: []int{n}, heads: 1, d: 1 + i%9, buckets: m[0], maxRelative: m[1], c2p: i/2%4 != 1, p2c: i/2%4 != 2, drop: float32(i/3%2) * 0.3, half: i%5 < 2, seed: uint64(n),
			}
			c.check(t, k, reference)
		}
		for i, n := range []int{560, 900} { // more slots in use than windows are wide
			if p.Name != "portable" && !testing.Short() {
				c := attentionCase{lengths: []int{n, 5}, heads: 1, d: 5, buckets: -1, maxRelative: 600, c2p: true, p2c: true, half: i > 0, seed: uint64(n)}
				c.check(t, k, reference)
			}
		}
	}
}

// randomAttention returns the problem of a round, whose pieces are longer in every 200th one.
func randomAttention(random *rand.Rand, round int) attentionCase {
	c := attentionCase{
		heads: 1 + random.IntN(2), d: 1 + random.IntN(6), buckets: []int{2, 4, 8, 16, -1}[random.IntN(5)], c2p: random.IntN(3) > 0, p2c: random.IntN(3) > 0,
		drop: float32(random.IntN(2)) * 0.25, half: random.IntN(4) == 0, seed: uint64(round),
	}
	c.maxRelative = 10 + random.IntN(30)
	limit := []int{2, 4, 9, 20}[random.IntN(4)]
	for left := 1 + random.IntN(40); left > 0; {
		n := min(left, 1+random.IntN(limit))
		if round%200 == 0 {
			n += random.IntN(150)
		}
		c.lengths = append(c.lengths, n)
		left -= n
	}
	return c
}

// TestAttentionPackings compares ten thousand random packings with the reference: many pieces of a token or two, a few longer
// ones, every combination of terms, of bucket maps, with and without dropout.
func TestAttentionPackings(t *testing.T) {
	rounds := 10_000
	if testing.Short() {
		rounds = 300
	}
	all := families()
	reference := ref.New()
	var tables []kernel.Kernels
	for _, p := range all {
		tables = append(tables, blocked.New(p, pool(1)))
	}
	random := rand.New(rand.NewPCG(20, 7))
	for round := range rounds {
		c := randomAttention(random, round)
		c.check(t, tables[len(all)-1-round%min(3, len(all))], reference)
	}
}

// TestAttentionRowByRow compares families without loops over tiles of their own.
func TestAttentionRowByRow(t *testing.T) {
	for _, p := range families() {
		p.Scores = blocked.ScoreLoops{}
		k, reference := blocked.New(p, pool(2)), ref.New()
		random := rand.New(rand.NewPCG(11, 12))
		for round := range 40 {
			c := randomAttention(random, 200*(round/8)+round%8)
			c.half = round%2 == 0
			c.check(t, k, reference)
		}
	}
}

// TestAttentionWorkers wants equal bits for 1, 2, 3 and 7 workers: one long piece, whose work is cut, many short ones, and both;
// and no allocation in a second call.
func TestAttentionWorkers(t *testing.T) {
	for i, lengths := range [][]int{{2600}, {1100, 3, 1, 1500}, slices.Repeat([]int{40, 90, 7}, 25), {700, 1, 900, 20, 20, 20}} {
		for _, heads := range []int{1, 3} {
			c := attentionCase{lengths: lengths, heads: heads, d: 8, buckets: 32, maxRelative: 200, c2p: true, p2c: true, drop: float32(i%2) * 0.1, seed: uint64(i)}
			c.half = heads == 3
			var want map[string][]float32
			for _, workers := range []pool{1, 2, 3, 7} {
				got := c.run(blocked.New(fastest(), workers))
				if want == nil {
					want = got
				}
				for name, w := range want {
					for at := range w {
						if math.Float32bits(w[at]) != math.Float32bits(got[name][at]) {
							t.Fatalf("%v: %s: element %d differs with %d workers", c, name, at, workers)
						}
					}
				}
			}
			k := blocked.New(fastest(), pool(1))
			_, a, g := c.arguments(k)
			k.Attention(0, a)
			k.AttentionGrad(0, g)
			if n := alloctest.Fewest(func() {
				k.Attention(0, a)
				k.AttentionGrad(0, g)
			}); n > 0 {
				t.Errorf("%v: a second call allocates %d times", c, n)
			}
		}
	}
}

// TestAttentionLongest runs one piece of 48,000 tokens, forward and backward, and evaluates sampled rows, columns and slots of it
// directly in float64. Also Σ_j dV_j = Σ_i dO_i, because rows of P sum to 1, and Σ_s dPk_s = 0, because rows of dS sum to 0.
func TestAttentionLongest(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a few seconds of a core")
	}
	const n, d, span = 48_000, 4, 256
	c := attentionCase{lengths: []int{n}, heads: 1, d: d, buckets: span, maxRelative: 512, c2p: true, p2c: true, seed: 9}
	k := blocked.New(fastest(), pool(2))
	w, a, g := c.arguments(k)
	k.Attention(0, a)
	k.AttentionGrad(0, g)

	qkv, pos, slots, dOut := a.QKV.F32(), a.Pos.F32(), a.Slots.I16(), g.DOut.F32()
	row := func(which, i int) []float32 { return qkv[(3*i+which)*d:][:d] }
	slot := func(i, j int) int { return int(slots[i-j+n-1]) }
	position := func(table, s int) []float32 { return pos[(table*2*span+s)*d:][:d] }
	dot := func(x, y []float32) (sum float64) {
		for i := range x {
			sum += float64(x[i]) * float64(y[i])
		}
		return sum
	}
	score := func(i, j int) float64 {
		s := slot(i, j)
		return (dot(row(0, i), row(1, j)) + dot(row(0, i), position(0, s)) + dot(row(1, j), position(1, s))) / float64(a.Sigma)
	}
	delta := make([]float64, n)
	for i := range delta {
		delta[i] = dot(dOut[i*d:][:d], w.out["out"][i*d:][:d])
	}
	dS := func(i, j int) (p, ds float64) { // given LSE and out, which sampled rows check
		p = math.Exp(score(i, j) - float64(w.out["lse"][i]))
		return p, p * (dot(dOut[i*d:][:d], row(2, j)) - delta[i]) / float64(a.Sigma)
	}
	// want is what a result must be to u times the root of the number of terms, times their root of squares and a margin of 64;
	// scores below 10 in magnitude add 10·(3·D + 16)·u.
	want := func(name string, at int, terms func(add func(x float64))) {
		t.Helper()
		var sum, squares, magnitude float64
		count := 0
		terms(func(x float64) {
			sum += x
			squares += x * x
			magnitude += math.Abs(x)
			count++
		})
		bound := 0x1p-24 * (10*(3*d+16)*math.Sqrt(squares) + 64*math.Sqrt(float64(count))*math.Sqrt(squares) + 300*math.Abs(sum))
		bound = min(bound+0x1p-24*10*(3*d+16)*magnitude/16, 0x1p-24*float64(count)*magnitude)
		if got := float64(w.out[name][at]); math.Abs(got-sum) > bound {
			t.Errorf("%s[%d] is %v, want %v: off by %.3g, bound %.3g", name, at, got, sum, math.Abs(got-sum), bound)
		}
	}
	for _, i := range []int{0, 1, 111, 112, 500, 23_999, 31_234, n - 113, n - 2, n - 1} {
		var sum float64
		p := make([]float64, n)
		for j := range p {
			p[j] = math.Exp(score(i, j))
			sum += p[j]
		}
		if got, lse := float64(w.out["lse"][i]), math.Log(sum); math.Abs(got-lse) > 0x1p-20 {
			t.Errorf("lse[%d] is %v, want %v", i, got, lse)
		}
		for e := range d {
			want("out", i*d+e, func(add func(float64)) {
				for j := range p {
					add(p[j] / sum * float64(row(2, j)[e]))
				}
			})
			want("dqkv", 3*i*d+e, func(add func(float64)) {
				for j := range p {
					_, ds := dS(i, j)
					add(ds * float64(row(1, j)[e]+position(0, slot(i, j))[e]))
				}
			})
			want("dqkv", (3*i+1)*d+e, func(add func(float64)) {
				for q := range n {
					_, ds := dS(q, i)
					add(ds * float64(row(0, q)[e]+position(1, slot(q, i))[e]))
				}
			})
			want("dqkv", (3*i+2)*d+e, func(add func(float64)) {
				for q := range n {
					p, _ := dS(q, i)
					add(p * float64(dOut[q*d+e]))
				}
			})
		}
	}
	for _, r := range []int{-128, -3, 0, 1, 77, 128} { // slots of one distance
		for e := range d {
			for table := range 2 {
				want("dpos", (table*2*span+span+r)*d+e, func(add func(float64)) {
					for i := max(0, r); i < min(n, n+r); i++ {
						_, ds := dS(i, i-r)
						add(ds * float64(row(table, i-table*r)[e]))
					}
				})
			}
		}
	}
	for e := range d {
		var dV, dO, dPk, magnitude float64
		for i := range n {
			dV += float64(w.out["dqkv"][(3*i+2)*d+e])
			dO += float64(dOut[i*d+e])
		}
		for s := range 2 * span {
			dPk += float64(w.out["dpos"][s*d+e])
			magnitude += math.Abs(float64(w.out["dpos"][s*d+e]))
		}
		if math.Abs(dV-dO) > 0x1p-24*math.Sqrt(n)*n/64 {
			t.Errorf("Σ dV is %v, want %v", dV, dO)
		}
		if math.Abs(dPk) > 0x1p-13*magnitude {
			t.Errorf("Σ dPk is %v of magnitudes %v, want 0", dPk, magnitude)
		}
	}
}
