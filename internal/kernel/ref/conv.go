package ref

import "github.com/secencoder/secencoder/internal/kernel"

// convolution is the shape of HF's ConvLayer: a cross-correlation over the tokens of a piece, zero outside it. Weight
// (o, c, t) stands at (o·G + c)·KS + t, G channels to a group; output channel o reads the G input channels of its group.
type convolution struct {
	h              kernel.Header
	width, per, ks int // H, G, KS
}

// window returns the tap of token n that meets token m's row, for the taps [t0, t1) inside the piece: m = n + t − back.
func (v *convolution) window(n int) (t0, t1, back int) {
	piece := v.h.Piece[n]
	first, end := int(v.h.Offsets[piece]), int(v.h.Offsets[piece+1])
	back = (v.ks - 1) / 2
	return max(0, first-n+back), min(v.ks, end-n+back), back
}

// row writes the convolution of token n to out, rounded. // [H]
func (v *convolution) row(out, e, w, b []float32, n int) {
	t0, t1, back := v.window(n)
	for o := range out {
		base := o / v.per * v.per
		sum := float64(b[o])
		for c := range v.per {
			for t := t0; t < t1; t++ {
				sum += float64(w[(o*v.per+c)*v.ks+t]) * float64(e[(n+t-back)*v.width+base+c])
			}
		}
		out[o] = float32(sum)
	}
}

// ConvNorm: pre = conv1d(e) + b, out = LN(v + act(dropout(pre)))·γ + β; the activation and the sum are rounded.
func (k *table) ConvNorm(_ kernel.Stream, a *kernel.ConvNormArgs) {
	k.lock()
	defer k.unlock()
	h := view(a.Header)
	drop := newDropout(h, a.Drop, kernel.RowsTokens, a.H)
	conv := convolution{h: h, width: a.H, per: a.H / a.Groups, ks: a.KS}
	e, v, w, b, gamma, beta := k.read(a.E), k.read(a.V), k.factors(a.W, half(a.E)), a.B.F32(), a.Gamma.F32(), a.Beta.F32()
	pre, out, stats := k.write(a.Pre), k.write(a.Out), a.Stats.F32()
	s := k.floats(0, a.H)
	for n := range h.Tokens() {
		p := row(pre, n, a.H)
		conv.row(p, e, w, b, n)
		convolved(s, p, row(v, n, a.H), &drop, n, a.Act)
		normalize(row(out, n, a.H), s, gamma, beta, a.Eps, stats, n)
	}
}

// convolved writes v + act(dropout(pre)) of row n to s.
func convolved(s []float64, pre, v []float32, drop *dropout, n int, act kernel.Activation) {
	drop.row(n)
	for c, p := range pre {
		s[c] = float64(v[c] + float32(act.Value(float64(drop.apply(p, c)))))
	}
}

// ConvNormGrad: dV = ds, the gradient of the normalized sum; dc = dropout'(ds∘act'(dropout(pre))); dB = Σ dc;
// dW(o, c, t) = Σ_n dc(n, o)·e(n + t − back, c); dE is the transposed convolution of dc. The way of e through layer 0
// is not part of it.
func (k *table) ConvNormGrad(_ kernel.Stream, a *kernel.ConvNormGradArgs) {
	k.lock()
	defer k.unlock()
	h := view(a.Header)
	drop := newDropout(h, a.Drop, kernel.RowsTokens, a.H)
	e, v, w, pre, stats, gamma := k.read(a.E), k.read(a.V), k.factors(a.W, half(a.E)), k.read(a.Pre), a.Stats.F32(), a.Gamma.F32()
	dOut, dV := k.read(a.DOut), k.write(a.DV)
	dC := k.floats(0, h.Tokens()*a.H) // [T, H]
	s, dGamma, dBeta := k.floats(1, a.H), k.floats(2, a.H), k.floats(3, a.H)
	for n := range h.Tokens() {
		p, dy := row(pre, n, a.H), dC[n*a.H:(n+1)*a.H]
		convolved(s, p, row(v, n, a.H), &drop, n, a.Act)
		for c, g := range row(dOut, n, a.H) {
			dy[c] = float64(g)
		}
		normalizeGrad(dy, s, gamma, stats, n, dGamma, dBeta)
		if dV != nil {
			store(row(dV, n, a.H), 0, dy)
		}
		for c := range dy {
			dy[c] = drop.grad(dy[c]*a.Act.Slope(float64(drop.apply(p[c], c))), c)
		}
	}
	storeIf(a.DGamma, a.Beta[2], dGamma)
	storeIf(a.DBeta, a.Beta[3], dBeta)
	k.convGrad(a, h, dC, e, w)
}

// convGrad carries dC back to the bias, the weights and the input.
func (k *table) convGrad(a *kernel.ConvNormGradArgs, h kernel.Header, dC []float64, e, w []float32) {
	per := a.H / a.Groups
	conv := convolution{h: h, width: a.H, per: per, ks: a.KS}
	dB, dW, dE := k.floats(1, a.H), k.floats(2, a.H*per*a.KS), k.floats(3, h.Tokens()*a.H)
	for n := range h.Tokens() {
		t0, t1, back := conv.window(n)
		for o, g := range dC[n*a.H : (n+1)*a.H] {
			base := o / per * per
			dB[o] += g
			for c := range per {
				for t := t0; t < t1; t++ {
					weight, input := (o*per+c)*a.KS+t, (n+t-back)*a.H+base+c
					dW[weight] += g * float64(e[input])
					dE[input] += g * float64(w[weight])
				}
			}
		}
	}
	storeIf(a.DB, a.Beta[1], dB)
	storeIf(a.DW, a.Beta[0], dW)
	if !a.DE.Absent() {
		store(k.write(a.DE), 0, dE)
	}
}
