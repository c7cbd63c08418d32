package ref

import (
	"math"
	"testing"

	"github.com/secencoder/secencoder/internal/bf16"
	"github.com/secencoder/secencoder/internal/kernel"
)

// What BF16 means is checked against the float32 kernels, whose gradients finite differences have checked: a call with
// BF16 activations is the call with the same values in float32 and the weights rounded before, its results rounded once.

// narrowed returns x as BF16, and as the float32 that those are.
func narrowed(x []float32) (halves []bf16.BF16, single []float32) {
	halves, single = make([]bf16.BF16, len(x)), make([]float32, len(x))
	for i, v := range x {
		halves[i] = bf16.FromFloat32(v)
		single[i] = halves[i].Float32()
	}
	return halves, single
}

func halfBuf(x []bf16.BF16) kernel.Buf { return kernel.FromBF16(x) }

// sameRounded wants each half to be the float32 rounded.
func sameRounded(t *testing.T, name string, got []bf16.BF16, single []float32) {
	t.Helper()
	for i, v := range single {
		if want := bf16.FromFloat32(v); got[i] != want {
			t.Fatalf("%s[%d] = %v, want %v rounded", name, i, got[i].Float32(), v)
		}
	}
}

func sameFloats(t *testing.T, name string, got, want []float32) {
	t.Helper()
	for i, v := range want {
		if got[i] != v {
			t.Fatalf("%s[%d] = %v, want %v", name, i, got[i], v)
		}
	}
}

func TestLinearHalf(t *testing.T) {
	p, s, k := newPack(7), newSource(1), New()
	const in, out = 9, 6
	n := p.tokens()
	x, x32 := narrowed(s.normal(p.T*in, 1))
	w, b := s.normal(out*in, 1), s.normal(out, 1)
	_, w32 := narrowed(w)
	y, pre := make([]bf16.BF16, p.T*out), make([]bf16.BF16, p.T*out)
	y32, pre32 := f32(p.T*out), f32(p.T*out)
	args := kernel.LinearArgs{Header: p.header(), B: buf(b), Rows: kernel.RowsTokens, N: p.T, In: in, Out: out, Act: kernel.Gelu}
	half, single := args, args
	half.X, half.W, half.Y, half.Pre = halfBuf(x), buf(w), halfBuf(y), halfBuf(pre)
	single.X, single.W, single.Y, single.Pre = buf(x32), buf(w32), buf(y32), buf(pre32)
	k.Linear(0, &half)
	k.Linear(0, &single)
	sameRounded(t, "y", y[:n*out], y32[:n*out]) // of the accumulator: not of the rounded pre
	sameRounded(t, "pre", pre[:n*out], pre32[:n*out])

	// Logits are float32 behind BF16, a projected position table BF16 behind float32: the arithmetic is the same.
	logits := f32(p.T * out)
	half.Y, half.Pre = buf(logits), kernel.Buf{}
	k.Linear(0, &half)
	sameFloats(t, "logits", logits[:n*out], y32[:n*out])
	half.X, half.Y = buf(x32), halfBuf(y)
	clear(y)
	k.Linear(0, &half)
	sameRounded(t, "y of float32", y[:n*out], y32[:n*out])

	// A dropped-out input is rounded again, because the product reads it.
	half.X, half.Y, half.Drop = halfBuf(x), buf(logits), kernel.Dropout{P: 0.3, Site: 3}
	half.Act, half.B = kernel.Linear, kernel.Buf{}
	k.Linear(0, &half)
	for r := range n {
		for o := range out {
			var sum float64
			for c := range in {
				v := x32[r*in+c] * float32(p.factor(half.Drop, kernel.RowsTokens, r, c, in))
				sum += float64(bf16.FromFloat32(v).Float32()) * float64(w32[o*in+c])
			}
			if got := logits[r*out+o]; math.Abs(float64(got)-sum) > 0x1p-23*math.Abs(sum) {
				t.Fatalf("dropped out, row %d column %d: %v, want %v", r, o, got, sum)
			}
		}
	}
}

func TestLinearGradHalf(t *testing.T) {
	p, s, k := newPack(7), newSource(2), New()
	const in, out = 9, 6
	n := p.tokens()
	x, x32 := narrowed(s.normal(p.T*in, 1))
	pre, pre32 := narrowed(s.normal(p.T*out, 1))
	dY, dY32 := narrowed(s.normal(p.T*out, 1))
	add, add32 := narrowed(s.normal(p.T*in, 1))
	w := s.normal(out*in, 1)
	_, w32 := narrowed(w)
	dX, dX32 := make([]bf16.BF16, p.T*in), f32(p.T*in)
	dW, dB, dW32, dB32 := f32(out*in), f32(out), f32(out*in), f32(out)
	args := kernel.LinearGradArgs{Header: p.header(), Rows: kernel.RowsTokens, N: p.T, In: in, Out: out, Act: kernel.Tanh}
	half, single := args, args
	half.X, half.W, half.Pre, half.DY, half.DX, half.DXAdd = halfBuf(x), buf(w), halfBuf(pre), halfBuf(dY), halfBuf(dX), halfBuf(add)
	half.DW, half.DB = buf(dW), buf(dB)
	single.X, single.W, single.Pre, single.DY, single.DX, single.DXAdd = buf(x32), buf(w32), buf(pre32), buf(dY32), buf(dX32), buf(add32)
	single.DW, single.DB = buf(dW32), buf(dB32)
	k.LinearGrad(0, &half)
	k.LinearGrad(0, &single)
	sameRounded(t, "dX", dX[:n*in], dX32[:n*in])
	sameFloats(t, "dW", dW, dW32)
	sameFloats(t, "dB", dB, dB32)

	// The addend may be the destination; with float32 it is one float32 addition, as a pass of its own would do it.
	copy(dX, add)
	half.DXAdd = half.DX
	k.LinearGrad(0, &half)
	sameRounded(t, "dX in place", dX[:n*in], dX32[:n*in])
	apart := f32(p.T * in)
	single.DX, single.DXAdd = buf(apart), kernel.Buf{}
	k.LinearGrad(0, &single)
	k.Add(0, &kernel.AddArgs{A: buf(apart), B: buf(add32), Out: buf(apart), N: n * in})
	sameFloats(t, "dX and a sum apart", apart[:n*in], dX32[:n*in])
}

func TestMLMLossHalf(t *testing.T) {
	p, s, k := newPack(11), newSource(3), New()
	const e, v = 5, 11
	z, z32 := narrowed(s.normal(p.T*e, 1))
	word, bias := s.normal(v*e, 1), s.normal(v, 1)
	_, word32 := narrowed(word)
	var losses, grads [2][][]float32
	dZ, dZ32 := make([]bf16.BF16, p.T*e), f32(p.T*e)
	for i, c := range []struct{ z, word, dZ kernel.Buf }{{halfBuf(z), buf(word), halfBuf(dZ)}, {buf(z32), buf(word32), buf(dZ32)}} {
		loss, nll, hit, lse := f32(1), f32(p.T), f32(p.T), f32(p.T)
		k.MLMLoss(0, &kernel.MLMLossArgs{
			Header: p.header(), Z: c.z, Word: c.word, Bias: buf(bias), Loss: buf(loss), NLL: buf(nll), Hit: buf(hit), LSE: buf(lse), T: p.T, E: e, V: v,
		})
		dWord, dBias := f32(v*e), f32(v)
		k.MLMLossGrad(0, &kernel.MLMLossGradArgs{
			Header: p.header(), Z: c.z, Word: c.word, Bias: buf(bias), LSE: buf(lse), DLoss: buf([]float32{1}),
			DZ: c.dZ, DWord: buf(dWord), DBias: buf(dBias), T: p.T, E: e, V: v,
		})
		losses[i], grads[i] = [][]float32{loss, nll, hit, lse}, [][]float32{dWord, dBias}
	}
	for i, name := range []string{"loss", "nll", "hit", "lse"} {
		sameFloats(t, name, losses[0][i], losses[1][i])
	}
	sameFloats(t, "dWord", grads[0][0], grads[1][0])
	sameFloats(t, "dBias", grads[0][1], grads[1][1])
	rows := len(p.Masked) * e
	sameRounded(t, "dZ", dZ[:rows], dZ32[:rows])
}

func TestConvNormHalf(t *testing.T) {
	p, s, k := newPack(7), newSource(4), New()
	const h, groups, ks = 6, 2, 3
	n := p.tokens() * h
	e, e32 := narrowed(s.normal(p.T*h, 1))
	v, v32 := narrowed(s.normal(p.T*h, 1))
	dOut, dOut32 := narrowed(s.normal(p.T*h, 1))
	w, b, gamma, beta := s.normal(h*h/groups*ks, 1), s.normal(h, 1), s.normal(h, 1), s.normal(h, 1)
	_, w32 := narrowed(w)
	pre, out, pre32, out32 := make([]bf16.BF16, p.T*h), make([]bf16.BF16, p.T*h), f32(p.T*h), f32(p.T*h)
	stats, stats32 := f32(2*p.T), f32(2*p.T)
	args := kernel.ConvNormArgs{
		Header: p.header(), B: buf(b), Gamma: buf(gamma), Beta: buf(beta), T: p.T, H: h, Groups: groups, KS: ks, Act: kernel.Tanh, Eps: 1e-5,
	}
	half, single := args, args
	half.E, half.V, half.W, half.Pre, half.Out, half.Stats = halfBuf(e), halfBuf(v), buf(w), halfBuf(pre), halfBuf(out), buf(stats)
	single.E, single.V, single.W, single.Pre, single.Out, single.Stats = buf(e32), buf(v32), buf(w32), buf(pre32), buf(out32), buf(stats32)
	k.ConvNorm(0, &half)
	k.ConvNorm(0, &single)
	sameRounded(t, "out", out[:n], out32[:n])
	sameRounded(t, "pre", pre[:n], pre32[:n])
	sameFloats(t, "stats", stats, stats32)

	_, stored := narrowed(pre32) // the gradient reads what was stored
	dE, dV, dE32, dV32 := make([]bf16.BF16, p.T*h), make([]bf16.BF16, p.T*h), f32(p.T*h), f32(p.T*h)
	var params [2][]float32
	for i, c := range []struct{ e, v, w, pre, dOut, dE, dV kernel.Buf }{
		{halfBuf(e), halfBuf(v), buf(w), halfBuf(pre), halfBuf(dOut), halfBuf(dE), halfBuf(dV)},
		{buf(e32), buf(v32), buf(w32), buf(stored), buf(dOut32), buf(dE32), buf(dV32)},
	} {
		dW, dB, dGamma, dBeta := f32(len(w)), f32(h), f32(h), f32(h)
		k.ConvNormGrad(0, &kernel.ConvNormGradArgs{
			Header: p.header(), E: c.e, V: c.v, W: c.w, Pre: c.pre, Stats: buf(stats), Gamma: buf(gamma), DOut: c.dOut, DE: c.dE, DV: c.dV,
			DW: buf(dW), DB: buf(dB), DGamma: buf(dGamma), DBeta: buf(dBeta), T: p.T, H: h, Groups: groups, KS: ks, Act: kernel.Tanh,
		})
		params[i] = append(append(append(dW, dB...), dGamma...), dBeta...)
	}
	sameRounded(t, "dE", dE[:n], dE32[:n])
	sameRounded(t, "dV", dV[:n], dV32[:n])
	sameFloats(t, "parameters", params[0], params[1])
}
