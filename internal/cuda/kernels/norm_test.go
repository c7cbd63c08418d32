//go:build (linux || darwin) && !nocuda

package kernels_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/secencoder/secencoder/internal/cuda/kernels"
	"github.com/secencoder/secencoder/internal/kernel"
)

// norm is the operands of LayerNorm (res absent) or AddNorm and of their gradients.
type norm struct {
	t              *testing.T
	name           string
	rnd            *rand.Rand
	p              *pack
	kind           kernel.RowKind
	shape, rows, w int
	x, res         kernel.Buf
	gamma, beta    kernel.Buf
	drop           kernel.Dropout
	eps            float32
}

// newNorm makes the operands of so many rows of width w. One row in four is far from 0, and one in eleven constant:
// there the deviations cancel.
func newNorm(t *testing.T, rnd *rand.Rand, d kernel.DType, rows, w int, residual bool) *norm {
	n := &norm{t: t, rnd: rnd, w: w, eps: 1e-7}
	n.p, n.kind, n.shape, n.rows = rowsOf(rnd, rows)
	if rnd.IntN(2) == 0 {
		n.eps = 1e-5
	}
	n.x = values(rnd, n.shape*w, n.rows*w, d, 1)
	for r := range n.rows {
		for c := range w {
			switch {
			case r%5 == 3: // no variance: eps alone
				set(n.x, r*w+c, float32(get(n.x, r*w)))
			case r%4 == 1:
				set(n.x, r*w+c, float32(get(n.x, r*w+c)+10))
			}
		}
	}
	if residual {
		n.res = values(rnd, n.shape*w, n.rows*w, d, 1)
	}
	n.gamma, n.beta = values(rnd, w, w, kernel.F32, 1), values(rnd, w, w, kernel.F32, 1)
	if rnd.IntN(2) == 0 {
		n.drop = kernel.Dropout{P: []float32{0.1, 0.5, 0.9}[rnd.IntN(3)], Site: rnd.Uint32N(1 << 24)}
	}
	n.name = fmt.Sprintf("%d of %d rows of %d, kind %d, %v, dropout %v", n.rows, n.shape, w, n.kind, d, n.drop.P)
	return n
}

func (n *norm) dropped(r, c int, x float64) float64 {
	if !n.drop.On() {
		return x
	}
	if n.p.view.DropoutWord(n.drop.Site, n.p.view.DropoutElement(n.kind, r, n.w)+uint64(c)) < n.drop.Threshold() {
		return 0
	}
	return x * float64(n.drop.Scale())
}

// row is one row as it is normalised: its values and the errors of each, from a product and a sum that are rounded.
type row struct{ s, off []float64 }

func (n *norm) row(r int) row {
	v := row{make([]float64, n.w), make([]float64, n.w)}
	for c := range n.w {
		x := get(n.x, r*n.w+c)
		if !n.res.Absent() {
			y := get(n.res, r*n.w+c)
			x = n.dropped(r, c, x)
			v.off[c] = unit * (2*math.Abs(x) + math.Abs(y))
			x += y
		}
		v.s[c] = x
	}
	return v
}

// forward gives the bounds of out, mean and 1/sqrt(variance + eps).
//
// The mean of W terms is off by gamma_W * mean|s| and what the terms are off; a deviation by that and its own s. The variance
// is off by its own sum, by 2*mean(|deviation| * error of s), because the error of the mean drops out to first order, and by
// the square of that error.
func (n *norm) forward(v row) (out []float64, meanOff, rstdOff float64) {
	w := float64(n.w)
	var mean, size, off, tilt, variance float64
	for c, s := range v.s {
		mean += s / w
		size += math.Abs(s) / w
		off += v.off[c] / w
	}
	for c, s := range v.s {
		variance += (s - mean) * (s - mean) / w
		tilt += math.Abs(s-mean) * (v.off[c] + unit*math.Abs(s)) / w
	}
	rstd := 1 / math.Sqrt(variance+float64(n.eps))
	meanOff = gamma(n.w+4)*size + off
	relative := gamma(n.w+16) + 2*rstd*rstd*tilt + 2*rstd*rstd*meanOff*meanOff
	scale := 1.0
	if n.res.Absent() && n.drop.On() {
		scale = float64(n.drop.Scale())
	}
	for c, s := range v.s {
		deviation := math.Abs(s - mean)
		dev := v.off[c] + unit*math.Abs(s) + meanOff + unit*deviation
		g, b := math.Abs(get(n.gamma, c)), math.Abs(get(n.beta, c))
		out = append(out, scale*(1+4*unit)*(g*rstd*(dev*(1+relative)+deviation*relative)+gamma(8)*(g*rstd*deviation+b)))
	}
	return out, meanOff + unit*math.Abs(mean), rstd * (relative + 2*unit)
}

// checkForward holds LayerNorm or AddNorm against the reference, and returns the reference's statistics.
func (n *norm) checkForward(withStats bool) kernel.Buf {
	d := n.x.DType
	want, stats := nans(n.shape*n.w, kernel.F32), nans(2*n.shape, kernel.F32)
	entry := "layer_norm"
	if n.res.Absent() {
		reference.LayerNorm(0, &kernel.LayerNormArgs{Header: n.p.header, X: n.x, Gamma: n.gamma, Beta: n.beta, Out: want, Stats: stats,
			Rows: n.kind, N: n.shape, W: n.w, Eps: n.eps, Drop: n.drop})
	} else {
		entry = "add_norm"
		reference.AddNorm(0, &kernel.AddNormArgs{Header: n.p.header, X: n.x, Res: n.res, Gamma: n.gamma, Beta: n.beta, Out: want, Stats: stats,
			Rows: n.kind, N: n.shape, W: n.w, Eps: n.eps, Drop: n.drop})
	}
	out, st := result{"out", n.rows * n.w, want.F32(), nil}, result{"stats", 2 * n.rows, stats.F32(), nil}
	for r := range n.rows {
		bound, mean, rstd := n.forward(n.row(r))
		out.bound, st.bound = append(out.bound, bound...), append(st.bound, mean, rstd)
	}
	p := &problem{t: n.t, name: entry + ", " + n.name, rnd: n.rnd, results: []result{out, st}}
	p.bind = func(r *runner) []*operand {
		o, s := r.out(nans(n.shape*n.w, d)), (*operand)(nil)
		if withStats {
			s = r.out(nans(2*n.shape, kernel.F32))
		}
		params := []any{r.in(n.p.header), r.in(n.x)}
		if !n.res.Absent() {
			params = append(params, r.in(n.res))
		}
		params = append(params, r.in(n.gamma), r.in(n.beta), o, s, int32(n.p.T), int32(n.kind), int32(n.shape), int32(n.w),
			n.eps, n.drop.Site, n.drop.Threshold(), n.drop.Scale())
		r.run(typed(entry, d), kernels.Teams(n.shape, n.w, r.mp), params...)
		return []*operand{o, s}
	}
	p.check()
	return stats
}

// columnSum collects the bound of a sum over rows: gamma_(rows + 8) of the absolute terms, and what each term is off.
type columnSum struct{ size, off float64 }

// backward gives the bounds of the gradient of s, and adds the terms of dGamma and dBeta.
func (n *norm) backward(v row, dy []float64, mean, rstd float64, dGamma, dBeta []columnSum) []float64 {
	w := float64(n.w)
	xhat, off := make([]float64, n.w), make([]float64, n.w)
	var meanG, meanDot, tilt float64
	for c, s := range v.s {
		xhat[c] = math.Abs(s-mean) * rstd
		off[c] = rstd*(v.off[c]+unit*math.Abs(s)) + 3*unit*xhat[c]
		g := math.Abs(dy[c] * get(n.gamma, c))
		meanG += g / w
		meanDot += g * xhat[c] / w
		tilt += g * off[c] / w
		dGamma[c].size += math.Abs(dy[c]) * xhat[c]
		dGamma[c].off += math.Abs(dy[c]) * off[c]
		dBeta[c].size += math.Abs(dy[c])
	}
	bound := make([]float64, n.w)
	for c := range bound {
		g := math.Abs(dy[c] * get(n.gamma, c))
		bound[c] = rstd * (8*unit*g + gamma(n.w+8)*meanG + xhat[c]*(gamma(n.w+12)*meanDot+tilt) + off[c]*meanDot)
	}
	return bound
}

// checkBackward holds the gradient against the reference, given statistics. wanted is a bit for each of dX, dRes, and both
// dGamma and dBeta.
func (n *norm) checkBackward(stats kernel.Buf, wanted int) {
	d, residual := n.x.DType, !n.res.Absent()
	dOut := values(n.rnd, n.shape*n.w, n.rows*n.w, d, 1)
	beta := [2]float32{[]float32{0, 1, 0.5}[n.rnd.IntN(3)], []float32{0, 1, 0.5}[n.rnd.IntN(3)]}
	var old [2]kernel.Buf // what dGamma and dBeta hold
	for i := range old {
		old[i] = nans(n.w, kernel.F32)
		if beta[i] != 0 {
			old[i] = values(n.rnd, n.w, n.w, kernel.F32, 1)
		}
	}
	dX, dRes, dGamma, dBeta := nans(n.shape*n.w, kernel.F32), nans(n.shape*n.w, kernel.F32), clone(old[0]), clone(old[1])
	entry := "layer_norm_grad"
	if residual {
		entry = "add_norm_grad"
		reference.AddNormGrad(0, &kernel.AddNormGradArgs{Header: n.p.header, X: n.x, Res: n.res, Stats: stats, Gamma: n.gamma, DOut: dOut,
			DX: dX, DRes: dRes, DGamma: dGamma, DBeta: dBeta, Beta: beta, Rows: n.kind, N: n.shape, W: n.w, Drop: n.drop})
	} else {
		reference.LayerNormGrad(0, &kernel.LayerNormGradArgs{Header: n.p.header, X: n.x, Stats: stats, Gamma: n.gamma, DOut: dOut,
			DX: dX, DGamma: dGamma, DBeta: dBeta, Beta: beta, Rows: n.kind, N: n.shape, W: n.w, Drop: n.drop})
	}
	rx, rres := result{"dX", n.rows * n.w, dX.F32(), nil}, result{"dRes", n.rows * n.w, dRes.F32(), nil}
	sums := [2][]columnSum{make([]columnSum, n.w), make([]columnSum, n.w)}
	for r := range n.rows {
		dy := make([]float64, n.w)
		for c := range dy {
			dy[c] = get(dOut, r*n.w+c)
			if !residual {
				dy[c] = n.dropped(r, c, dy[c])
			}
		}
		bound := n.backward(n.row(r), dy, get(stats, 2*r), get(stats, 2*r+1), sums[0], sums[1])
		scale := 1.0
		if residual && n.drop.On() {
			scale = float64(n.drop.Scale()) * (1 + 4*unit)
		}
		for c, b := range bound {
			rres.bound, rx.bound = append(rres.bound, b), append(rx.bound, b*scale+unit*math.Abs(float64(dX.F32()[r*n.w+c])))
		}
	}
	folds := [2]result{{"dGamma", n.w, dGamma.F32(), nil}, {"dBeta", n.w, dBeta.F32(), nil}}
	for i := range folds {
		for c, s := range sums[i] {
			b := gamma(n.rows+8)*s.size + s.off
			if beta[i] != 0 {
				b += (4*unit + gamma(n.rows+8)) * math.Abs(float64(beta[i])*get(old[i], c))
			}
			folds[i].bound = append(folds[i].bound, b)
		}
	}
	p := &problem{t: n.t, name: fmt.Sprintf("%s, wanted %03b, %s", entry, wanted, n.name), rnd: n.rnd, results: []result{rx, rres, folds[0], folds[1]}}
	p.bind = func(r *runner) []*operand {
		var dx, dres, dg, db, partial *operand
		rows, chunks := kernels.NormChunks(n.shape, n.w)
		if wanted&1 != 0 {
			dx = r.out(nans(n.shape*n.w, d))
		}
		if wanted&2 != 0 && residual {
			dres = r.out(nans(n.shape*n.w, d))
		}
		if wanted&4 != 0 {
			dg, db, partial = r.out(old[0]), r.out(old[1]), r.work(8*chunks*n.w)
		}
		header := r.in(n.p.header)
		params := []any{header, r.in(n.x)}
		if residual {
			params = append(params, r.in(n.res))
		}
		params = append(params, r.in(stats), r.in(n.gamma), r.in(dOut), dx)
		if residual {
			params = append(params, dres)
		}
		params = append(params, partial, int32(n.p.T), int32(n.kind), int32(n.shape), int32(n.w), int32(rows), n.drop.Site, n.drop.Threshold(), n.drop.Scale())
		if n.shape > 0 {
			g := kernels.TeamChunks(n.shape, n.w)
			if r.mp == 1 {
				g.Grid[0] = 1 // any grid gives the same bits
			}
			r.run(typed(entry, d), g, params...)
		}
		if wanted&4 != 0 {
			r.run("fold_rows", kernels.Fold(n.w, 2), header, partial, dg, db, int32(n.p.T), int32(n.kind), int32(n.shape), int32(n.w), int32(2), int32(rows), beta[0], beta[1])
		}
		return []*operand{dx, dres, dg, db}
	}
	p.check()
}

// widths are those of rows: one column, around a warp's columns, the encoders' own, and more than a team's registers hold.
var widths = []int{1, 3, 8, 31, 33, 64, 127, 255, 256, 257, 768, 769, 1024, 1025, 1536, 2048, 2559, 2560, 2561, 4096, 4100, 10_240, 10_241, 10_248}

func normShapes(t *testing.T, residual bool) {
	for _, d := range dtypes {
		for i, w := range widths {
			for _, rows := range []int{0, 1, 5, 21} {
				if w > 1536 && rows > 5 || w > 5000 && rows == 0 {
					continue
				}
				rnd := random(fmt.Sprint("norm", residual, d, w, rows))
				n := newNorm(t, rnd, d, rows, w, residual)
				n.checkBackward(n.checkForward(i%2 == 0), i%7+1)
				n.checkBackward(n.checkForward(true), 7)
			}
		}
	}
	for i := range small(800) {
		rnd := random(fmt.Sprint("norm, random", residual, i))
		n := newNorm(t, rnd, dtypes[rnd.IntN(2)], rnd.IntN(40), 1+rnd.IntN(1+rnd.IntN(300)), residual)
		n.checkBackward(n.checkForward(rnd.IntN(2) == 0), 1+rnd.IntN(7))
	}
}

func TestLayerNorm(t *testing.T) { normShapes(t, false) }
func TestAddNorm(t *testing.T)   { normShapes(t, true) }

// TestNormManyRows has more partial sums than fold_rows has strands, and chunks of more rows than the least.
func TestNormManyRows(t *testing.T) {
	for _, rows := range []int{300, 1000} {
		rnd := random(fmt.Sprint("norm, many rows", rows))
		n := newNorm(t, rnd, kernel.F32, rows, 5, true)
		n.checkBackward(n.checkForward(true), 7)
	}
	for i := 0; ; i++ { // so many in use that fold_rows has whole turns, so few that a missing chunk is over the bound
		rnd := random(fmt.Sprint("norm, many chunks", i))
		n := newNorm(t, rnd, kernel.F32, 4200, 5, false)
		if n.rows > 4100 {
			n.checkBackward(n.checkForward(true), 7)
			break
		}
	}
	rnd := random("norm, long chunks")
	n := newNorm(t, rnd, kernel.BF16, 30_000, 3, false)
	n.checkBackward(n.checkForward(true), 7)
}
