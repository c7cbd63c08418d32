package ref

import (
	"math"

	"github.com/secencoder/secencoder/internal/kernel"
)

// LayerNorm: out = dropout((x − mean)·rstd·γ + β), rstd = 1/sqrt(variance + eps), biased variance.
func (k *table) LayerNorm(_ kernel.Stream, a *kernel.LayerNormArgs) {
	k.lock()
	defer k.unlock()
	h := view(a.Header)
	drop := newDropout(h, a.Drop, a.Rows, a.W)
	x, gamma, beta, out, stats := k.read(a.X), a.Gamma.F32(), a.Beta.F32(), k.write(a.Out), a.Stats.F32()
	s := k.floats(0, a.W)
	for r := range h.Count(a.Rows, a.N) {
		for c, v := range row(x, r, a.W) {
			s[c] = float64(v)
		}
		o := row(out, r, a.W)
		normalize(o, s, gamma, beta, a.Eps, stats, r)
		drop.row(r)
		for c, v := range o {
			o[c] = drop.apply(v, c)
		}
	}
}

// normalize writes LN(s)·γ + β to out, and the statistics of row r when they are wanted.
func normalize(out []float32, s []float64, gamma, beta []float32, eps float32, stats []float32, r int) {
	var mean, variance float64
	for _, v := range s {
		mean += v
	}
	mean /= float64(len(s))
	for _, v := range s {
		variance += (v - mean) * (v - mean)
	}
	variance /= float64(len(s))
	rstd := 1 / math.Sqrt(variance+float64(eps))
	for c, v := range s {
		out[c] = float32((v-mean)*rstd*float64(gamma[c]) + float64(beta[c]))
	}
	if stats != nil {
		stats[2*r], stats[2*r+1] = float32(mean), float32(rstd)
	}
}

// normalizeGrad turns dy, the gradient of LN(s)·γ + β, into that of s, in place, and adds to dGamma and dBeta:
// x̂ = (s − mean)·rstd, g = dy∘γ, ds = rstd·(g − mean(g) − x̂·mean(g∘x̂)).
func normalizeGrad(dy, s []float64, gamma, stats []float32, r int, dGamma, dBeta []float64) {
	mean, rstd := float64(stats[2*r]), float64(stats[2*r+1])
	var sum, dotted float64
	for c := range s {
		xhat := (s[c] - mean) * rstd
		dGamma[c] += dy[c] * xhat
		dBeta[c] += dy[c]
		dy[c] *= float64(gamma[c])
		sum += dy[c]
		dotted += dy[c] * xhat
	}
	sum /= float64(len(s))
	dotted /= float64(len(s))
	for c := range s {
		xhat := (s[c] - mean) * rstd
		dy[c] = rstd * (dy[c] - sum - xhat*dotted)
	}
}

// LayerNormGrad: the gradient of LayerNorm.
func (k *table) LayerNormGrad(_ kernel.Stream, a *kernel.LayerNormGradArgs) {
	k.lock()
	defer k.unlock()
	h := view(a.Header)
	drop := newDropout(h, a.Drop, a.Rows, a.W)
	x, gamma, stats, dOut, dX := k.read(a.X), a.Gamma.F32(), a.Stats.F32(), k.read(a.DOut), k.write(a.DX)
	s, dy := k.floats(0, a.W), k.floats(1, a.W)
	dGamma, dBeta := k.floats(2, a.W), k.floats(3, a.W)
	for r := range h.Count(a.Rows, a.N) {
		drop.row(r)
		for c, v := range row(x, r, a.W) {
			s[c] = float64(v)
			dy[c] = drop.grad(float64(dOut[r*a.W+c]), c)
		}
		normalizeGrad(dy, s, gamma, stats, r, dGamma, dBeta)
		if dX != nil {
			store(row(dX, r, a.W), 0, dy)
		}
	}
	storeIf(a.DGamma, a.Beta[0], dGamma)
	storeIf(a.DBeta, a.Beta[1], dBeta)
}

// storeIf is store into a destination that may be absent.
func storeIf(d kernel.Buf, beta float32, sum []float64) {
	if !d.Absent() {
		store(d.F32(), beta, sum)
	}
}

// AddNorm: out = LN(dropout(x) + res)·γ + β; the sum is rounded to float32.
func (k *table) AddNorm(_ kernel.Stream, a *kernel.AddNormArgs) {
	k.lock()
	defer k.unlock()
	h := view(a.Header)
	drop := newDropout(h, a.Drop, a.Rows, a.W)
	x, res, gamma, beta, out, stats := k.read(a.X), k.read(a.Res), a.Gamma.F32(), a.Beta.F32(), k.write(a.Out), a.Stats.F32()
	s := k.floats(0, a.W)
	for r := range h.Count(a.Rows, a.N) {
		residualSum(s, row(x, r, a.W), row(res, r, a.W), &drop, r)
		normalize(row(out, r, a.W), s, gamma, beta, a.Eps, stats, r)
	}
}

// residualSum writes dropout(x) + res of row r to s, rounded to float32.
func residualSum(s []float64, x, res []float32, drop *dropout, r int) {
	drop.row(r)
	for c, v := range x {
		s[c] = float64(drop.apply(v, c) + res[c])
	}
}

// AddNormGrad: the gradient of AddNorm; that of x goes back through the dropout.
func (k *table) AddNormGrad(_ kernel.Stream, a *kernel.AddNormGradArgs) {
	k.lock()
	defer k.unlock()
	h := view(a.Header)
	drop := newDropout(h, a.Drop, a.Rows, a.W)
	x, res, gamma, stats, dOut := k.read(a.X), k.read(a.Res), a.Gamma.F32(), a.Stats.F32(), k.read(a.DOut)
	dX, dRes := k.write(a.DX), k.write(a.DRes)
	s, dy := k.floats(0, a.W), k.floats(1, a.W)
	dGamma, dBeta := k.floats(2, a.W), k.floats(3, a.W)
	for r := range h.Count(a.Rows, a.N) {
		residualSum(s, row(x, r, a.W), row(res, r, a.W), &drop, r)
		for c, v := range row(dOut, r, a.W) {
			dy[c] = float64(v)
		}
		normalizeGrad(dy, s, gamma, stats, r, dGamma, dBeta)
		if dRes != nil {
			store(row(dRes, r, a.W), 0, dy)
		}
		if dX != nil {
			for c, v := range dy {
				dX[r*a.W+c] = float32(drop.grad(v, c))
			}
		}
	}
	storeIf(a.DGamma, a.Beta[0], dGamma)
	storeIf(a.DBeta, a.Beta[1], dBeta)
}
