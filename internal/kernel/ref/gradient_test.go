package ref

import (
	"math"
	"slices"
	"testing"

	"github.com/secencoder/secencoder/internal/kernel"
)

var dropouts = []kernel.Dropout{{}, {P: 0.4, Site: 11}}

func TestLayerNormGradient(t *testing.T) {
	const w = 7
	for kind := kernel.RowsAll; kind <= kernel.RowsPieces; kind++ {
		for _, drop := range dropouts {
			p, s := newPack(5), newSource(1)
			n := p.rowsOf(kind, 6)
			x, gamma, beta, dOut := s.normal(n*w, 2), s.normal(w, 1), s.normal(w, 1), s.normal(n*w, 1)
			out, stats := f32(n*w), f32(2*n)
			k := New()
			k.LayerNorm(0, &kernel.LayerNormArgs{
				Header: p.header(), X: buf(x), Gamma: buf(gamma), Beta: buf(beta), Out: buf(out), Stats: buf(stats), Rows: kind, N: n, W: w, Eps: 1e-5, Drop: drop,
			})
			x64, gamma64, beta64 := lift(x), lift(gamma), lift(beta)
			forward := func() []float64 {
				return drop64(p, drop, kind, layerNorm64(x64, gamma64, beta64, w, float64(float32(1e-5))), w)
			}
			checkValues(t, "out", out, forward())
			dX, dGamma, dBeta := f32(n*w), f32(w), f32(w)
			k.LayerNormGrad(0, &kernel.LayerNormGradArgs{
				Header: p.header(), X: buf(x), Stats: buf(stats), Gamma: buf(gamma), DOut: buf(dOut), DX: buf(dX), DGamma: buf(dGamma), DBeta: buf(dBeta),
				Rows: kind, N: n, W: w, Drop: drop,
			})
			loss := func() float64 { return inner(dOut, forward()) }
			checkGrad(t, "dX", dX, x64, loss)
			checkGrad(t, "dGamma", dGamma, gamma64, loss)
			checkGrad(t, "dBeta", dBeta, beta64, loss)
		}
	}
}

func TestAddNormGradient(t *testing.T) {
	const w = 6
	for _, drop := range dropouts {
		p, s := newPack(5), newSource(2)
		n := p.tokens()
		x, res, gamma, beta, dOut := s.normal(n*w, 1), s.normal(n*w, 1), s.normal(w, 1), s.normal(w, 1), s.normal(n*w, 1)
		out, stats := f32(n*w), f32(2*n)
		k := New()
		k.AddNorm(0, &kernel.AddNormArgs{
			Header: p.header(), X: buf(x), Res: buf(res), Gamma: buf(gamma), Beta: buf(beta), Out: buf(out), Stats: buf(stats),
			Rows: kernel.RowsTokens, N: n, W: w, Eps: 1e-7, Drop: drop,
		})
		x64, res64, gamma64, beta64 := lift(x), lift(res), lift(gamma), lift(beta)
		forward := func() []float64 {
			return layerNorm64(add64(drop64(p, drop, kernel.RowsTokens, x64, w), res64), gamma64, beta64, w, 1e-7)
		}
		checkValues(t, "out", out, forward())
		dX, dRes, dGamma, dBeta := f32(n*w), f32(n*w), f32(w), f32(w)
		k.AddNormGrad(0, &kernel.AddNormGradArgs{
			Header: p.header(), X: buf(x), Res: buf(res), Stats: buf(stats), Gamma: buf(gamma), DOut: buf(dOut),
			DX: buf(dX), DRes: buf(dRes), DGamma: buf(dGamma), DBeta: buf(dBeta), Rows: kernel.RowsTokens, N: n, W: w, Drop: drop,
		})
		loss := func() float64 { return inner(dOut, forward()) }
		checkGrad(t, "dX", dX, x64, loss)
		checkGrad(t, "dRes", dRes, res64, loss)
		checkGrad(t, "dGamma", dGamma, gamma64, loss)
		checkGrad(t, "dBeta", dBeta, beta64, loss)
	}
}

func TestLinearGradient(t *testing.T) {
	const in, o = 5, 4
	for act := kernel.Linear; act <= kernel.Sigmoid; act++ {
		for _, drop := range dropouts {
			p, s := newPack(5), newSource(3)
			n := p.tokens()
			x, w, b, dY := s.normal(n*in, 1), s.normal(o*in, 1), s.normal(o, 1), s.normal(n*o, 1)
			y, pre := f32(n*o), f32(n*o)
			k := New()
			k.Linear(0, &kernel.LinearArgs{
				Header: p.header(), X: buf(x), W: buf(w), B: buf(b), Y: buf(y), Pre: buf(pre), Rows: kernel.RowsTokens, N: n, In: in, Out: o, Act: act, Drop: drop,
			})
			if act == kernel.Relu {
				if i := slices.IndexFunc(pre, func(z float32) bool { return math.Abs(float64(z)) < 0.006 }); i >= 0 {
					t.Fatalf("pre-activation %d is %v: too near the kink for steps of 1e-3 times at most 3.5/(1 − P)", i, pre[i])
				}
			}
			x64, w64, b64 := lift(x), lift(w), lift(b)
			before := func() []float64 { return linear64(drop64(p, drop, kernel.RowsTokens, x64, in), w64, b64, in, o) }
			checkValues(t, "pre", pre, before())
			checkValues(t, "y", y, act64(act, before()))
			dX, dW, dB := f32(n*in), f32(o*in), f32(o)
			k.LinearGrad(0, &kernel.LinearGradArgs{
				Header: p.header(), X: buf(x), W: buf(w), Pre: buf(pre), DY: buf(dY), DX: buf(dX), DW: buf(dW), DB: buf(dB),
				Rows: kernel.RowsTokens, N: n, In: in, Out: o, Act: act, Drop: drop,
			})
			loss := func() float64 { return inner(dY, act64(act, before())) }
			checkGrad(t, act.String()+" dX", dX, x64, loss)
			checkGrad(t, act.String()+" dW", dW, w64, loss)
			checkGrad(t, act.String()+" dB", dB, b64, loss)
		}
	}
}

func TestAttentionGradient(t *testing.T) {
	const heads, d = 2, 3
	for _, m := range []struct{ buckets, maxRelative int }{{4, 5}, {-1, 3}, {4, 64}} {
		for terms := range 4 {
			for _, drop := range dropouts {
				p, s := newPack(5), newSource(4)
				h := heads * d
				dense := &attention64{
					pack: p, heads: heads, d: d, span: kernel.Span(m.buckets, m.maxRelative), buckets: m.buckets, maxRelative: m.maxRelative,
					c2p: terms&1 != 0, p2c: terms&2 != 0, drop: drop,
				}
				rows := 2 * dense.span * (terms&1 + terms>>1)
				qkv, pos, dOut := s.normal(p.tokens()*3*h, 1), s.normal(rows*h, 1), s.normal(p.tokens()*h, 1)
				dense.qkv, dense.pos = lift(qkv), lift(pos)
				const reach = 7
				slots := kernel.FromI16(kernel.Slots(m.buckets, m.maxRelative, reach))
				sigma := float32(math.Sqrt(float64(d * (1 + terms&1 + terms>>1))))
				out, lse := f32(p.tokens()*h), f32(p.tokens()*heads)
				k := New()
				k.Attention(0, &kernel.AttentionArgs{
					Header: p.header(), QKV: buf(qkv), Pos: buf(pos), Slots: slots, Out: buf(out), LSE: buf(lse),
					Reach: reach, A: heads, D: d, K: dense.span, C2P: dense.c2p, P2C: dense.p2c, Sigma: sigma, Drop: drop, T: p.T,
				})
				checkValues(t, "out", out, dense.out())
				dQKV, dPos := f32(len(qkv)), f32(len(pos))
				k.AttentionGrad(0, &kernel.AttentionGradArgs{
					Header: p.header(), QKV: buf(qkv), Pos: buf(pos), Slots: slots, Out: buf(out), LSE: buf(lse), DOut: buf(dOut), DQKV: buf(dQKV), DPos: buf(dPos),
					Reach: reach, A: heads, D: d, K: dense.span, C2P: dense.c2p, P2C: dense.p2c, Sigma: sigma, Drop: drop, T: p.T,
				})
				loss := func() float64 { return inner(dOut, dense.out()) }
				checkGrad(t, "dQKV", dQKV, dense.qkv, loss)
				if terms > 0 {
					checkGrad(t, "dPos", dPos, dense.pos, loss)
				}
			}
		}
	}
}

func TestConvNormGradient(t *testing.T) {
	for _, c := range []struct {
		h, groups, ks int
		act           kernel.Activation
	}{{4, 1, 3, kernel.Gelu}, {6, 2, 5, kernel.Tanh}, {3, 3, 1, kernel.Linear}} {
		for _, drop := range dropouts {
			p, s := newPack(5), newSource(5)
			n, weights := p.tokens(), c.h*c.h/c.groups*c.ks
			e, v, w, b := s.normal(n*c.h, 1), s.normal(n*c.h, 1), s.normal(weights, 1), s.normal(c.h, 1)
			gamma, beta, dOut := s.normal(c.h, 1), s.normal(c.h, 1), s.normal(n*c.h, 1)
			pre, out, stats := f32(n*c.h), f32(n*c.h), f32(2*n)
			k := New()
			k.ConvNorm(0, &kernel.ConvNormArgs{
				Header: p.header(), E: buf(e), V: buf(v), W: buf(w), B: buf(b), Gamma: buf(gamma), Beta: buf(beta), Pre: buf(pre), Out: buf(out), Stats: buf(stats),
				T: p.T, H: c.h, Groups: c.groups, KS: c.ks, Act: c.act, Eps: 1e-7, Drop: drop,
			})
			e64, v64, w64, b64, gamma64, beta64 := lift(e), lift(v), lift(w), lift(b), lift(gamma), lift(beta)
			forward := func() []float64 {
				conv := act64(c.act, drop64(p, drop, kernel.RowsTokens, conv64(p, e64, w64, b64, c.h, c.groups, c.ks), c.h))
				return layerNorm64(add64(v64, conv), gamma64, beta64, c.h, 1e-7)
			}
			checkValues(t, "pre", pre, conv64(p, e64, w64, b64, c.h, c.groups, c.ks))
			checkValues(t, "out", out, forward())
			dE, dV, dW, dB, dGamma, dBeta := f32(n*c.h), f32(n*c.h), f32(weights), f32(c.h), f32(c.h), f32(c.h)
			k.ConvNormGrad(0, &kernel.ConvNormGradArgs{
				Header: p.header(), E: buf(e), V: buf(v), W: buf(w), Pre: buf(pre), Stats: buf(stats), Gamma: buf(gamma), DOut: buf(dOut),
				DE: buf(dE), DV: buf(dV), DW: buf(dW), DB: buf(dB), DGamma: buf(dGamma), DBeta: buf(dBeta),
				T: p.T, H: c.h, Groups: c.groups, KS: c.ks, Act: c.act, Drop: drop,
			})
			loss := func() float64 { return inner(dOut, forward()) }
			checkGrad(t, "dE", dE, e64, loss)
			checkGrad(t, "dV", dV, v64, loss)
			checkGrad(t, "dW", dW, w64, loss)
			checkGrad(t, "dB", dB, b64, loss)
			checkGrad(t, "dGamma", dGamma, gamma64, loss)
			checkGrad(t, "dBeta", dBeta, beta64, loss)
		}
	}
}

func TestMLMLossGradient(t *testing.T) {
	const e, v = 4, 13
	p, s := newPack(v), newSource(6)
	n := len(p.Masked)
	z, word, bias := s.normal(n*e, 1), s.normal(v*e, 1), s.normal(v, 1)
	loss, nll, hit, lse := f32(1), f32(n), f32(n), f32(n)
	k := New()
	k.MLMLoss(0, &kernel.MLMLossArgs{
		Header: p.header(), Z: buf(z), Word: buf(word), Bias: buf(bias), Loss: buf(loss), NLL: buf(nll), Hit: buf(hit), LSE: buf(lse), T: p.T, E: e, V: v,
	})
	z64, word64, bias64 := lift(z), lift(word), lift(bias)
	const g = 1.5
	forward := func() float64 {
		var sum float64
		for _, l := range nll64(p, z64, word64, bias64, e, v) {
			sum += l
		}
		return g * float64(p.Scale) * sum
	}
	checkValues(t, "nll", nll, nll64(p, z64, word64, bias64, e, v))
	checkValues(t, "loss", loss, []float64{forward() / g})
	dZ, dWord, dBias := f32(n*e), f32(v*e), f32(v)
	k.MLMLossGrad(0, &kernel.MLMLossGradArgs{
		Header: p.header(), Z: buf(z), Word: buf(word), Bias: buf(bias), LSE: buf(lse), DLoss: buf([]float32{g}), DZ: buf(dZ), DWord: buf(dWord), DBias: buf(dBias), T: p.T, E: e, V: v,
	})
	checkGrad(t, "dZ", dZ, z64, forward)
	checkGrad(t, "dWord", dWord, word64, forward)
	checkGrad(t, "dBias", dBias, bias64, forward)
	for m, label := range p.Labels {
		best, top := -1, math.Inf(-1)
		for id := range v {
			if l := inner(word[id*e:(id+1)*e], z64[m*e:(m+1)*e]) + bias64[id]; l > top {
				best, top = id, l
			}
		}
		if want := best == int(label); (hit[m] == 1) != want || hit[m] != 0 && hit[m] != 1 {
			t.Errorf("hit[%d] is %v, the best id is %d and the label %d", m, hit[m], best, label)
		}
	}
}

func TestClassifyLossGradient(t *testing.T) {
	const c = 3
	for kind := kernel.CrossEntropy; kind <= kernel.MeanSquare; kind++ {
		p, s := newPack(5), newSource(7)
		n := len(p.Offsets) - 1
		logits, soft := s.normal(n*c, 1), s.normal(n*c, 1)
		hard := []int32{2, -100, 0, 1}
		labels := kernel.FromI32(hard)
		if kind != kernel.CrossEntropy {
			labels = buf(soft)
		}
		logits64 := lift(logits)
		const g = -0.75
		forward := func() float64 {
			var sum, count float64
			for r := range n {
				var total float64
				for _, l := range logits64[r*c : (r+1)*c] {
					total += math.Exp(l)
				}
				for j, l := range logits64[r*c : (r+1)*c] {
					switch y := float64(soft[r*c+j]); {
					case kind == kernel.CrossEntropy && j == int(hard[r]):
						sum += math.Log(total) - l
						count++
					case kind == kernel.SoftCrossEntropy:
						sum += y * (math.Log(total) - l)
						count += 1.0 / c
					case kind == kernel.MeanSquare:
						sum += (l - y) * (l - y)
						count++
					}
				}
			}
			return g * sum / count
		}
		loss, dLogits := f32(1), f32(n*c)
		k := New()
		k.ClassifyLoss(0, &kernel.ClassifyLossArgs{Header: p.header(), Logits: buf(logits), Labels: labels, Loss: buf(loss), Rows: kernel.RowsPieces, N: n, C: c, Kind: kind})
		checkValues(t, "loss", loss, []float64{forward() / g})
		k.ClassifyLossGrad(0, &kernel.ClassifyLossGradArgs{
			Header: p.header(), Logits: buf(logits), Labels: labels, DLoss: buf([]float32{g}), DLogits: buf(dLogits), Rows: kernel.RowsPieces, N: n, C: c, Kind: kind,
		})
		checkGrad(t, "dLogits", dLogits, logits64, forward)
	}
}

func TestPoolGradient(t *testing.T) {
	const w = 3
	for mode := range 3 {
		p, s := newPack(5), newSource(8)
		n, pieces := p.tokens(), len(p.Offsets)-1
		x, dOut, out, dX := s.normal(n*w, 1), s.normal(pieces*w, 1), f32(pieces*w), f32(n*w)
		first, inside := mode == 0, mode == 1
		k := New()
		k.Pool(0, &kernel.PoolArgs{Header: p.header(), X: buf(x), Out: buf(out), T: p.T, W: w, First: first, Inner: inside})
		x64 := lift(x)
		forward := func() []float64 {
			out := make([]float64, pieces*w)
			for tok := range n {
				piece, place := p.piece(tok)
				length := int(p.Offsets[piece+1] - p.Offsets[piece])
				count := length
				switch {
				case first:
					count = 1
				case inside:
					count = length - 2
				}
				for c := range w {
					if !(first && place > 0) && !(inside && (place == 0 || place == length-1)) {
						out[piece*w+c] += x64[tok*w+c] / float64(count)
					}
				}
			}
			return out
		}
		checkValues(t, "out", out, forward())
		k.PoolGrad(0, &kernel.PoolGradArgs{Header: p.header(), DOut: buf(dOut), DX: buf(dX), T: p.T, W: w, First: first, Inner: inside})
		checkGrad(t, "dX", dX, x64, func() float64 { return inner(dOut, forward()) })
	}
}
