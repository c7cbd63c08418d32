package blocked_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/secencoder/secencoder/internal/kernel"
	"github.com/secencoder/secencoder/internal/kernel/avx2"
	"github.com/secencoder/secencoder/internal/kernel/avx512"
	"github.com/secencoder/secencoder/internal/kernel/avx512bf16"
	"github.com/secencoder/secencoder/internal/kernel/blocked"
	"github.com/secencoder/secencoder/internal/kernel/ref"
)

// pool is the simplest pool of n workers.
type pool int

func (p pool) Workers() int { return int(p) }

func (p pool) Run(n int, t kernel.Task) {
	if p == 1 {
		for i := range n {
			t.Part(i, 0)
		}
		return
	}
	var wg sync.WaitGroup
	next := make(chan int, n)
	for i := range n {
		next <- i
	}
	close(next)
	for w := range int(p) {
		wg.Go(func() {
			for i := range next {
				t.Part(i, w)
			}
		})
	}
	wg.Wait()
}

// families returns the prims that this machine can run.
func families() []blocked.Prims {
	all := []blocked.Prims{blocked.Portable()}
	if ok, _ := avx2.Available(); ok {
		all = append(all, avx2.Prims())
	}
	if ok, _ := avx512.Available(); ok {
		all = append(all, avx512.Prims())
	}
	if ok, _ := avx512bf16.Available(); ok {
		all = append(all, avx512bf16.Prims())
	}
	return all
}

// world is one micro-batch and the operands of one call.
type world struct {
	T      int
	header kernel.Buf
	rnd    *rand.Rand
	k      kernel.Kernels
	out    map[string][]float32
}

func newWorld(k kernel.Kernels, T int, pieces []int, seed uint64) *world {
	w := &world{T: T, rnd: rand.New(rand.NewPCG(seed, 1)), k: k, out: map[string][]float32{}}
	words := make([]int32, kernel.HeaderWords(T))
	p := kernel.Pack{Offsets: []int32{0}, Step: 3, Seed: 0x123456789abcdef, Ordinal: 5, Scale: 0.25}
	at := 0
	for _, n := range pieces {
		at += n
		p.Offsets = append(p.Offsets, int32(at))
	}
	for t := 1; t < at; t += 1 + w.rnd.IntN(7) {
		p.Masked = append(p.Masked, int32(t))
		p.Labels = append(p.Labels, int32(w.rnd.IntN(50)))
	}
	p.Fill(words, T)
	w.header = kernel.FromI32(words)
	return w
}

func (w *world) in(n int, scale float64) kernel.Buf {
	s := make([]float32, n)
	for i := range s {
		s[i] = float32(w.rnd.NormFloat64() * scale)
	}
	return kernel.FromF32(s)
}

// res makes a destination that holds noise, so that a beta of 0 is seen.
func (w *world) res(name string, n int, beta float32) kernel.Buf {
	b := w.in(n, 1)
	if beta == 0 {
		for i := range b.F32() {
			b.F32()[i] = float32(math.NaN())
		}
	}
	w.out[name] = b.F32()
	return b
}

func (w *world) ids(n, v int) kernel.Buf {
	s := make([]int32, n)
	for i := range s {
		s[i] = int32(w.rnd.IntN(v))
	}
	return kernel.FromI32(s)
}

func (w *world) work(args any) kernel.Buf {
	return kernel.FromF32(make([]float32, w.k.WorkBytes(args)/4))
}

// calls are one call of every kernel with work in it, by name.
func calls() map[string]func(w *world) {
	m := map[string]func(w *world){}
	for _, act := range []kernel.Activation{kernel.Linear, kernel.Gelu, kernel.Tanh} {
		for _, p := range []float32{0, 0.1} {
			for _, kind := range []kernel.RowKind{kernel.RowsTokens, kernel.RowsAll} {
				for _, d := range [][2]int{{24, 40}, {129, 65}, {64, 300}, {1, 1}, {520, 17}} {
					name := fmt.Sprintf("linear/%v/%g/%d/%v", act, p, kind, d)
					m[name] = func(w *world) {
						a := kernel.LinearArgs{Header: w.header, X: w.in(w.T*d[0], 1), W: w.in(d[0]*d[1], 0.1), B: w.in(d[1], 1),
							Y: w.res("y", w.T*d[1], 0), Rows: kind, N: w.T, In: d[0], Out: d[1], Act: act, Drop: kernel.Dropout{P: p, Site: 3}}
						if act != kernel.Linear {
							a.Pre = w.res("pre", w.T*d[1], 0)
						}
						w.k.Linear(0, &a)
						beta := [2]float32{0, 1}
						if p > 0 {
							beta = [2]float32{1, 0.5}
						}
						g := kernel.LinearGradArgs{Header: w.header, X: a.X, W: a.W, Pre: a.Pre, DY: w.in(w.T*d[1], 1), DX: w.res("dx", w.T*d[0], 0),
							DW: w.res("dw", d[0]*d[1], beta[0]), DB: w.res("db", d[1], beta[1]), Beta: beta, Rows: kind, N: w.T, In: d[0], Out: d[1], Act: act, Drop: a.Drop}
						g.Work = w.work(&g)
						w.k.LinearGrad(0, &g)
					}
				}
			}
		}
	}
	for _, v := range []struct {
		c2p, p2c           bool
		a, d, buckets, far int // far 12 at 16 buckets passes slots over
		p                  float32
	}{
		{true, true, 2, 8, 16, 64, 0}, {true, true, 3, 20, 64, 256, 0.2}, {true, false, 2, 64, 16, 64, 0}, {false, true, 1, 17, 7, 28, 0.1},
		{false, false, 2, 32, 8, 32, 0}, {true, true, 2, 64, 256, 1024, 0}, {true, true, 1, 16, 16, 12, 0}, {true, true, 1, 16, 32, 200, 0},
	} {
		m[fmt.Sprintf("attention/%v", v)] = func(w *world) {
			h, span := v.a*v.d, v.buckets
			f := 1
			rows := 0
			if v.c2p {
				f, rows = f+1, rows+2*span
			}
			if v.p2c {
				f, rows = f+1, rows+2*span
			}
			slots := kernel.Slots(v.buckets, v.far, w.T)
			a := kernel.AttentionArgs{Header: w.header, QKV: w.in(w.T*3*h, 1), Slots: kernel.FromI16(slots), Out: w.res("out", w.T*h, 0), LSE: w.res("lse", w.T*v.a, 0),
				Reach: w.T, A: v.a, D: v.d, K: span, C2P: v.c2p, P2C: v.p2c, Sigma: float32(math.Sqrt(float64(v.d * f))), Drop: kernel.Dropout{P: v.p, Site: 9}, T: w.T}
			if rows > 0 {
				a.Pos = w.in(rows*h, 1)
			}
			a.Work = w.work(&a)
			w.k.Attention(0, &a)
			g := kernel.AttentionGradArgs{Header: w.header, QKV: a.QKV, Pos: a.Pos, Slots: a.Slots, Out: a.Out, LSE: a.LSE, DOut: w.in(w.T*h, 1),
				DQKV: w.res("dqkv", w.T*3*h, 0), Reach: w.T, A: v.a, D: v.d, K: span, C2P: v.c2p, P2C: v.p2c, Sigma: a.Sigma, Drop: a.Drop, T: w.T}
			if rows > 0 {
				g.DPos = w.res("dpos", rows*h, 0)
			}
			g.Work = w.work(&g)
			w.k.AttentionGrad(0, &g)
		}
	}
	for _, v := range [][2]int{{50, 12}, {700, 40}, {5000, 16}} {
		m[fmt.Sprintf("mlm/%v", v)] = func(w *world) {
			a := kernel.MLMLossArgs{Header: w.header, Z: w.in(w.T*v[1], 1), Word: w.in(v[0]*v[1], 1), Bias: w.in(v[0], 1), Loss: w.res("loss", 1, 0),
				NLL: w.res("nll", w.T, 0), Hit: w.res("hit", w.T, 0), LSE: w.res("lse", w.T, 0), T: w.T, E: v[1], V: v[0]}
			a.Work = w.work(&a)
			w.k.MLMLoss(0, &a)
			beta := [2]float32{float32(v[1] % 3), 1}
			g := kernel.MLMLossGradArgs{Header: w.header, Z: a.Z, Word: a.Word, Bias: a.Bias, LSE: a.LSE, DLoss: w.in(1, 1), DZ: w.res("dz", w.T*v[1], 0),
				DWord: w.res("dword", v[0]*v[1], beta[0]), DBias: w.res("dbias", v[0], beta[1]), Beta: beta, T: w.T, E: v[1], V: v[0]}
			g.Work = w.work(&g)
			w.k.MLMLossGrad(0, &g)
		}
	}
	for _, width := range []int{1, 7, 64, 200} {
		for _, p := range []float32{0, 0.3} {
			m[fmt.Sprintf("norm/%d/%g", width, p)] = func(w *world) {
				a := kernel.LayerNormArgs{Header: w.header, X: w.in(w.T*width, 2), Gamma: w.in(width, 1), Beta: w.in(width, 1), Out: w.res("out", w.T*width, 0),
					Stats: w.res("stats", 2*w.T, 0), Rows: kernel.RowsTokens, N: w.T, W: width, Eps: 1e-3, Drop: kernel.Dropout{P: p, Site: 1}}
				w.k.LayerNorm(0, &a)
				g := kernel.LayerNormGradArgs{Header: w.header, X: a.X, Stats: a.Stats, Gamma: a.Gamma, DOut: w.in(w.T*width, 1), DX: w.res("dx", w.T*width, 0),
					DGamma: w.res("dgamma", width, 0), DBeta: w.res("dbeta", width, 1), Beta: [2]float32{0, 1}, Rows: a.Rows, N: w.T, W: width, Drop: a.Drop}
				w.k.LayerNormGrad(0, &g)
				b := kernel.AddNormArgs{Header: w.header, X: a.X, Res: w.in(w.T*width, 1), Gamma: a.Gamma, Beta: a.Beta, Out: w.res("out2", w.T*width, 0),
					Stats: w.res("stats2", 2*w.T, 0), Rows: kernel.RowsTokens, N: w.T, W: width, Eps: 1e-3, Drop: kernel.Dropout{P: p, Site: 2}}
				w.k.AddNorm(0, &b)
				c := kernel.AddNormGradArgs{Header: w.header, X: b.X, Res: b.Res, Stats: b.Stats, Gamma: b.Gamma, DOut: g.DOut, DX: w.res("dx2", w.T*width, 0),
					DRes: w.res("dres", w.T*width, 0), DGamma: w.res("dgamma2", width, 1), DBeta: w.res("dbeta2", width, 0), Beta: [2]float32{1, 0}, Rows: a.Rows, N: w.T, W: width, Drop: b.Drop}
				w.k.AddNormGrad(0, &c)
			}
		}
	}
	for _, v := range []struct {
		h, groups, ks int
		act           kernel.Activation
		p             float32
	}{{16, 1, 3, kernel.Gelu, 0.1}, {24, 2, 5, kernel.Tanh, 0}, {80, 1, 3, kernel.Linear, 0.2}} {
		m[fmt.Sprintf("conv/%v", v)] = func(w *world) {
			n := w.T * v.h
			a := kernel.ConvNormArgs{Header: w.header, E: w.in(n, 1), V: w.in(n, 1), W: w.in(v.h*v.h/v.groups*v.ks, 0.2), B: w.in(v.h, 1), Gamma: w.in(v.h, 1), Beta: w.in(v.h, 1),
				Pre: w.res("pre", n, 0), Out: w.res("out", n, 0), Stats: w.res("stats", 2*w.T, 0), T: w.T, H: v.h, Groups: v.groups, KS: v.ks, Act: v.act, Eps: 1e-3, Drop: kernel.Dropout{P: v.p, Site: 4}}
			a.Work = w.work(&a)
			w.k.ConvNorm(0, &a)
			g := kernel.ConvNormGradArgs{Header: w.header, E: a.E, V: a.V, W: a.W, Pre: a.Pre, Stats: a.Stats, Gamma: a.Gamma, DOut: w.in(n, 1), DE: w.res("de", n, 0), DV: w.res("dv", n, 0),
				DW: w.res("dw", a.W.Len(), 0), DB: w.res("db", v.h, 1), DGamma: w.res("dgamma", v.h, 1), DBeta: w.res("dbeta", v.h, 0), Beta: [4]float32{0, 1, 1, 0},
				T: w.T, H: v.h, Groups: v.groups, KS: v.ks, Act: v.act, Drop: a.Drop}
			g.Work = w.work(&g)
			w.k.ConvNormGrad(0, &g)
		}
	}
	m["embed"] = func(w *world) {
		const e = 40
		a := kernel.EmbedArgs{Header: w.header, IDs: w.ids(w.T, 50), TypeIDs: w.ids(w.T, 2), Word: w.in(50*e, 1), Position: w.in((w.T+1)*e, 1), Type: w.in(2*e, 1), Out: w.res("out", w.T*e, 0), E: e}
		w.k.Embed(0, &a)
		g := kernel.EmbedGradArgs{Header: w.header, IDs: a.IDs, TypeIDs: a.TypeIDs, DOut: w.in(w.T*e, 1), DWord: w.res("dword", 50*e, 1), DPosition: w.res("dpos", (w.T+1)*e, 0), DType: w.res("dtype", 2*e, 0), Beta: [3]float32{1, 0, 0}, E: e, PadID: 3}
		w.k.EmbedGrad(0, &g)
	}
	m["rows"] = func(w *world) {
		const width = 33
		x, n := w.in(w.T*width, 1), w.T*width
		w.k.Gather(0, &kernel.GatherArgs{Header: w.header, X: x, Out: w.res("gather", n, 0), T: w.T, W: width})
		w.k.GatherGrad(0, &kernel.GatherGradArgs{Header: w.header, DOut: x, DX: w.res("dgather", n, 0), T: w.T, W: width})
		for i, o := range [][2]bool{{true, false}, {false, true}, {false, false}} {
			w.k.Pool(0, &kernel.PoolArgs{Header: w.header, X: x, Out: w.res(fmt.Sprint("pool", i), w.T/2*width, 0), T: w.T, W: width, First: o[0], Inner: o[1]})
			w.k.PoolGrad(0, &kernel.PoolGradArgs{Header: w.header, DOut: x, DX: w.res(fmt.Sprint("dpool", i), n, 0), T: w.T, W: width, First: o[0], Inner: o[1]})
		}
		w.k.Add(0, &kernel.AddArgs{A: x, B: w.in(n, 1), Out: w.res("add", n, 0), N: n})
		for kind := kernel.CrossEntropy; kind <= kernel.MeanSquare; kind++ {
			c := 5
			if kind == kernel.MeanSquare {
				c = 1
			}
			labels := w.in(w.T*c, 1)
			if kind == kernel.CrossEntropy {
				labels = w.ids(w.T, c+1)
				for i := range labels.I32() {
					labels.I32()[i]--
				}
			}
			logits := w.in(w.T*c, 2)
			w.k.ClassifyLoss(0, &kernel.ClassifyLossArgs{Header: w.header, Logits: logits, Labels: labels, Loss: w.res(fmt.Sprint("class", kind), 1, 0), Rows: kernel.RowsTokens, N: w.T, C: c, Kind: kind})
			w.k.ClassifyLossGrad(0, &kernel.ClassifyLossGradArgs{Header: w.header, Logits: logits, Labels: labels, DLoss: w.in(1, 1), DLogits: w.res(fmt.Sprint("dclass", kind), w.T*c, 0), Rows: kernel.RowsTokens, N: w.T, C: c, Kind: kind})
		}
		g := w.in(n, 1)
		v := w.res("v", n, 1)
		for i := range v.F32() {
			v.F32()[i] *= v.F32()[i]
		}
		for step := 1; step < 4; step++ {
			w.k.AdamW(0, &kernel.AdamWArgs{W: x, G: g, M: w.res("m", n, 1), V: v, N: n, LR: 1e-3, Beta1: 0.9, Beta2: 0.98, Eps: 1e-6, Decay: 0.01, Clip: 0.7, Step: step})
		}
		w.out["w"] = x.F32()
		w.out["squares"] = []float32{float32(w.k.SumSquares(0, &kernel.SumSquaresArgs{G: g, N: n}))}
	}
	return m
}

// packs are larger than those of the conformance suite: several tiles a piece, several blocks a product.
var packs = []struct {
	T      int
	pieces []int
}{
	{300, []int{130, 1, 50, 113}}, {260, []int{250}}, {4, nil},
}

// fastest returns the best family of this machine.
func fastest() blocked.Prims { return families()[len(families())-1] }

// TestAgainstReference compares every kernel of the best family with the reference; the conformance suite has the others. The bound is relative to the largest
// element of a result: a sum of n ≤ 700 products in float32 is off by at most n·u, u = 2^-24, of the sum of magnitudes,
// which exceeds the result by a factor below 16 here; two such kernels in a row double it.
func TestAgainstReference(t *testing.T) {
	for i, pack := range packs {
		for name, call := range calls() {
			want := newWorld(ref.New(), pack.T, pack.pieces, uint64(i))
			call(want)
			p := fastest()
			got := newWorld(blocked.New(p, pool(2)), pack.T, pack.pieces, uint64(i))
			call(got)
			for out, w := range want.out {
				if err := compare(got.out[out], w, 700*16*2*0x1p-24/32); err != nil {
					t.Errorf("pack %d %s: %s: %s: %v", i, p.Name, name, out, err)
				}
			}
		}
	}
}

func compare(got, want []float32, tol float64) error {
	top := 0.0
	for _, x := range want {
		if a := math.Abs(float64(x)); a > top {
			top = a
		}
	}
	for i := range want {
		g, w := float64(got[i]), float64(want[i])
		if math.IsNaN(g) != math.IsNaN(w) || math.Abs(g-w) > tol*top {
			return fmt.Errorf("element %d of %d is %g, want %g (largest %g)", i, len(want), g, w, top)
		}
	}
	return nil
}

// TestAnyNumberOfWorkers wants equal bits for 1, 2 and 7 workers.
func TestAnyNumberOfWorkers(t *testing.T) {
	p := fastest()
	for name, call := range calls() {
		var want map[string][]float32
		for _, n := range []pool{1, 2, 7} {
			got := newWorld(blocked.New(p, n), 300, packs[0].pieces, 1)
			call(got)
			if want == nil {
				want = got.out
			}
			for out, w := range want {
				for i := range w {
					if math.Float32bits(w[i]) != math.Float32bits(got.out[out][i]) {
						t.Fatalf("%s: %s: %s: element %d differs with %d workers", p.Name, name, out, i, n)
					}
				}
			}
		}
	}
}

// TestProductSizes walks rows, terms and columns from 0 or 1 to 300, one at a time, through a linear layer and its
// gradient, on every family. Bound: n·u times the sum of magnitudes, at most 300·16 here, u = 2^-24, relative to the
// largest element.
func TestProductSizes(t *testing.T) {
	for n := range 301 {
		for i, s := range [][3]int{{n, 17, 23}, {13, max(n, 1), 19}, {11, 21, max(n, 1)}} {
			run := func(k kernel.Kernels) *world {
				w := newWorld(k, 4, []int{4}, uint64(n*3+i))
				a := kernel.LinearArgs{Header: w.header, X: w.in(s[0]*s[1], 1), W: w.in(s[1]*s[2], 1), B: w.in(s[2], 1), Y: w.res("y", s[0]*s[2], 0), N: s[0], In: s[1], Out: s[2]}
				k.Linear(0, &a)
				g := kernel.LinearGradArgs{Header: w.header, X: a.X, W: a.W, DY: w.in(s[0]*s[2], 1), DX: w.res("dx", s[0]*s[1], 0), DW: w.res("dw", s[1]*s[2], 1), DB: w.res("db", s[2], 0), Beta: [2]float32{1, 0}, N: s[0], In: s[1], Out: s[2]}
				g.Work = w.work(&g)
				k.LinearGrad(0, &g)
				return w
			}
			want := run(ref.New())
			for _, p := range families() {
				got := run(blocked.New(p, pool(1)))
				for out, w := range want.out {
					if err := compare(got.out[out], w, 300*16*0x1p-24); err != nil {
						t.Fatalf("%s: %v: %s: %v", p.Name, s, out, err)
					}
				}
			}
		}
	}
}
