package blocked_test

import (
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/secencoder/secencoder/internal/kernel"
	"github.com/secencoder/secencoder/internal/kernel/blocked"
)

// size is an encoder; step runs the kernels of one training step of it, with the shapes and in the order of the model.
type size struct{ layers, h, heads, i, v, tokens, piece int }

var sizes = map[string]size{
	"tiny": {2, 128, 2, 512, 4096, 512, 48},
	"mini": {4, 256, 4, 1024, 29952, 2048, 48},
	"long": {4, 256, 4, 1024, 29952, 2048, 512},
}

// kernelTimes sums the time of each kernel of a step.
type kernelTimes map[string]time.Duration

func step(k kernel.Kernels, s size, drop float32) func(t kernelTimes) {
	var pieces []int
	for at := 0; at < s.tokens; {
		n := min(s.piece-s.piece/4+(at*7)%(s.piece/2+1), s.piece, s.tokens-at)
		pieces = append(pieces, n)
		at += n
	}
	w := newWorld(k, s.tokens, pieces, 1)
	T, h := s.tokens, s.h
	buf := func(n int) kernel.Buf { return kernel.FromF32(make([]float32, n)) }
	ids := w.ids(T, s.v)
	word, table := w.in(s.v*h, 0.02), w.in(512*h, 0.02)
	gamma, beta, bias := w.in(h, 1), w.in(h, 1), w.in(3*h+s.i, 0.02)
	bh, b3, bi := kernel.FromF32(bias.F32()[:h]), kernel.FromF32(bias.F32()[:3*h]), kernel.FromF32(bias.F32()[:s.i])
	wqkv, wo, w1, w2 := w.in(3*h*h, 0.05), w.in(h*h, 0.05), w.in(h*s.i, 0.05), w.in(h*s.i, 0.05)
	x, qkv, pos, att, lse, out := buf(T*h), buf(T*3*h), buf(1024*h), buf(T*h), buf(T*s.heads), buf(T*h)
	u, st, pre, mid, y, x2 := buf(T*h), buf(2*T), buf(T*s.i), buf(T*s.i), buf(T*h), buf(T*h)
	dx, dqkv, dpos, datt, du, dmid, dtab := buf(T*h), buf(T*3*h), buf(1024*h), buf(T*h), buf(T*h), buf(T*s.i), buf(512*h)
	dwqkv, dwo, dw1, dw2, dword, dbias, dgamma := buf(3*h*h), buf(h*h), buf(h*s.i), buf(h*s.i), buf(s.v*h), buf(max(3*h, s.i)), buf(h)
	vbias, dvbias, one, nll, hit := w.in(s.v, 0.02), buf(s.v), kernel.FromF32([]float32{1}), buf(T), buf(T)
	slots := kernel.FromI16(kernel.Slots(256, 512, 1023))
	params := s.v*h + s.layers*(4*h*h+2*h*s.i) + h*h
	arena := [4]kernel.Buf{w.in(params, 0.02), w.in(params, 1), buf(params), buf(params)}
	d := kernel.Dropout{P: drop, Site: 1}
	sig := float32(math.Sqrt(float64(h / s.heads * 3)))
	D := h / s.heads

	H := w.header
	linear := func(x, wt, b, y, pre kernel.Buf, rows kernel.RowKind, n, in, out int, act kernel.Activation, d kernel.Dropout) *kernel.LinearArgs {
		return &kernel.LinearArgs{Header: H, X: x, W: wt, B: b, Y: y, Pre: pre, Rows: rows, N: n, In: in, Out: out, Act: act, Drop: d}
	}
	grad := func(a *kernel.LinearArgs, dy, dx, dw, db kernel.Buf) *kernel.LinearGradArgs {
		g := &kernel.LinearGradArgs{Header: H, X: a.X, W: a.W, Pre: a.Pre, DY: dy, DX: dx, DW: dw, DB: db, Rows: a.Rows, N: a.N, In: a.In, Out: a.Out, Act: a.Act, Drop: a.Drop}
		g.Work = w.work(g)
		return g
	}
	db := func(n int) kernel.Buf { return kernel.FromF32(dbias.F32()[:n]) }
	none := kernel.Buf{}
	T2 := kernel.RowsTokens
	embed := &kernel.EmbedArgs{Header: H, IDs: ids, Word: word, Out: u, E: h}
	embedG := &kernel.EmbedGradArgs{Header: H, IDs: ids, DOut: dx, DWord: dword, Beta: [3]float32{1}, E: h}
	ln := &kernel.LayerNormArgs{Header: H, X: u, Gamma: gamma, Beta: beta, Out: x, Stats: st, Rows: T2, N: T, W: h, Eps: 1e-7, Drop: d}
	lnG := &kernel.LayerNormGradArgs{Header: H, X: u, Stats: st, Gamma: gamma, DOut: dx, DX: du, DGamma: dgamma, DBeta: db(h), Rows: T2, N: T, W: h, Drop: d}
	lqkv := linear(x, wqkv, b3, qkv, none, T2, T, h, 3*h, kernel.Linear, kernel.Dropout{})
	lpos := linear(table, kernel.FromF32(wqkv.F32()[:2*h*h]), none, pos, none, kernel.RowsAll, 512, h, 2*h, kernel.Linear, d)
	lo := linear(att, wo, bh, out, none, T2, T, h, h, kernel.Linear, kernel.Dropout{})
	l1 := linear(x2, w1, bi, mid, pre, T2, T, h, s.i, kernel.Gelu, kernel.Dropout{})
	l2 := linear(mid, w2, bh, y, none, T2, T, s.i, h, kernel.Linear, kernel.Dropout{})
	at := &kernel.AttentionArgs{Header: H, QKV: qkv, Pos: pos, Slots: slots, Out: att, LSE: lse, Reach: 1023, A: s.heads, D: D, K: 256, C2P: true, P2C: true, Sigma: sig, T: T}
	at.Work = w.work(at)
	atG := &kernel.AttentionGradArgs{Header: H, QKV: qkv, Pos: pos, Slots: slots, Out: att, LSE: lse, DOut: datt, DQKV: dqkv, DPos: dpos, Reach: 1023, A: s.heads, D: D, K: 256, C2P: true, P2C: true, Sigma: sig, T: T}
	atG.Work = w.work(atG)
	an := &kernel.AddNormArgs{Header: H, X: out, Res: x, Gamma: gamma, Beta: beta, Out: x2, Stats: st, Rows: T2, N: T, W: h, Eps: 1e-7, Drop: d}
	anG := &kernel.AddNormGradArgs{Header: H, X: out, Res: x, Stats: st, Gamma: gamma, DOut: dx, DX: du, DRes: datt, DGamma: dgamma, DBeta: db(h), Rows: T2, N: T, W: h, Drop: d}
	gather := &kernel.GatherArgs{Header: H, X: x, Out: y, T: T, W: h}
	gatherG := &kernel.GatherGradArgs{Header: H, DOut: du, DX: dx, T: T, W: h}
	head := linear(y, wo, bh, out, u, kernel.RowsMasked, T, h, h, kernel.Gelu, kernel.Dropout{})
	loss := &kernel.MLMLossArgs{Header: H, Z: out, Word: word, Bias: vbias, Loss: buf(1), NLL: nll, Hit: hit, LSE: lse, T: T, E: h, V: s.v}
	loss.LSE = buf(T)
	loss.Work = w.work(loss)
	lossG := &kernel.MLMLossGradArgs{Header: H, Z: out, Word: word, Bias: vbias, LSE: loss.LSE, DLoss: one, DZ: du, DWord: dword, DBias: dvbias, T: T, E: h, V: s.v}
	lossG.Work = w.work(lossG)
	gqkv, gpos, go1, g1, g2 := grad(lqkv, dqkv, dx, dwqkv, db(3*h)), grad(lpos, dpos, dtab, kernel.FromF32(dwqkv.F32()[:2*h*h]), none), grad(lo, du, datt, dwo, db(h)), grad(l1, dmid, du, dw1, db(s.i)), grad(l2, du, dmid, dw2, db(h))
	gh := grad(head, du, dx, dwo, db(h))
	add := &kernel.AddArgs{A: du, B: datt, Out: dx, N: T * h}
	adam := &kernel.AdamWArgs{W: arena[0], G: arena[1], M: arena[2], V: arena[3], N: params, LR: 1e-5, Beta1: 0.9, Beta2: 0.98, Eps: 1e-6, Decay: 0.01, Clip: 1, Step: 2}
	squares := &kernel.SumSquaresArgs{G: arena[1], N: params}
	return func(t kernelTimes) {
		last := time.Now()
		lap := func(name string) {
			if t != nil {
				now := time.Now()
				t[name] += now.Sub(last)
				last = now
			}
		}
		k.Embed(0, embed)
		k.LayerNorm(0, ln)
		lap("embed, norm")
		for range s.layers {
			k.Linear(0, lqkv)
			k.Linear(0, lpos)
			lap("linear qkv, pos")
			k.Attention(0, at)
			lap("attention")
			k.Linear(0, lo)
			lap("linear out")
			k.AddNorm(0, an)
			lap("add norm")
			k.Linear(0, l1)
			k.Linear(0, l2)
			lap("linear ffn")
			k.AddNorm(0, an)
			lap("add norm")
		}
		k.Gather(0, gather)
		k.Linear(0, head)
		k.MLMLoss(0, loss)
		lap("mlm loss")
		k.MLMLossGrad(0, lossG)
		k.LinearGrad(0, gh)
		k.GatherGrad(0, gatherG)
		lap("mlm loss grad")
		for range s.layers {
			k.AddNormGrad(0, anG)
			lap("add norm grad")
			k.LinearGrad(0, g2)
			k.LinearGrad(0, g1)
			lap("linear ffn grad")
			k.Add(0, add)
			k.AddNormGrad(0, anG)
			lap("add norm grad")
			k.LinearGrad(0, go1)
			lap("linear out grad")
			k.AttentionGrad(0, atG)
			lap("attention grad")
			k.LinearGrad(0, gqkv)
			k.LinearGrad(0, gpos)
			lap("linear qkv, pos grad")
			k.Add(0, add)
			lap("add")
		}
		k.LayerNormGrad(0, lnG)
		k.EmbedGrad(0, embedG)
		lap("embed, norm grad")
		k.SumSquares(0, squares)
		lap("sum squares")
		k.AdamW(0, adam)
		lap("adamw")
	}
}

// flops counts the products of a step: 6 FLOP a weight and token, the loss 8 (logits twice), attention.
func (s size) flops() float64 {
	h, T := float64(s.h), float64(s.tokens)
	layer := 4*h*h + 2*h*float64(s.i)
	return 6*T*layer*float64(s.layers) + 8*float64(s.v)*h*T/4 + 6*512*2*h*h*float64(s.layers)
}

func BenchmarkStep(b *testing.B) {
	for _, name := range []string{"tiny", "mini", "long"} {
		for _, p := range families() {
			if p.Name == "portable" {
				continue
			}
			for _, n := range []pool{1, 2} {
				b.Run(fmt.Sprintf("%s/%s/%d", name, p.Name, n), func(b *testing.B) {
					f := step(blocked.New(p, n), sizes[name], 0.1)
					f(nil)
					t := kernelTimes{}
					b.ResetTimer()
					best := time.Hour
					for b.Loop() {
						one := kernelTimes{}
						from := time.Now()
						f(one)
						best = min(best, time.Since(from))
						for k, d := range one {
							if t[k] == 0 || d < t[k] {
								t[k] = d
							}
						}
					}
					b.ReportMetric(sizes[name].flops()*1e-9/best.Seconds(), "GFLOP/s-best")
					b.ReportMetric(best.Seconds()*1e3, "ms-best")
					for k, d := range t {
						b.Logf("%-22s %8.3f ms %5.1f %%", k, d.Seconds()*1e3, 100*d.Seconds()/best.Seconds())
					}
				})
			}
		}
	}
}
