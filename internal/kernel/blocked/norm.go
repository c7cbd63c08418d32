package blocked

import "github.com/secencoder/secencoder/internal/kernel"

// LayerNorm and AddNorm are row by row: about 10 FLOP and 8 to 16 bytes an element, bound by memory once the loops are
// vectors: a row in L1 takes 0.10 ns an element forward and 0.11 backward (AVX-512; AVX2 0.14 and 0.17, plain Go 1.5 and
// 1.8; Zen 5, one core). The gradients add dGamma and dBeta over chunks of normRows rows, chunks in order.

// normRows is the chunk of rows whose dGamma and dBeta are one float32 partial.
const normRows = 64

// normCall is LayerNorm, AddNorm or the normalising half of ConvNorm, forward or gradient.
type normCall struct {
	x, res, gamma, beta []float32 // res nil: LayerNorm
	out, stats          []float32 // stats nil: not wanted
	dOut, dX, dRes      []float32
	n, w                int
	eps                 float32
	dropIn, dropOut     bool
	drop                rowDrop
	act                 kernel.Activation // applied to the dropped x: ConvNorm
}

// LayerNorm: out = dropout(LN(x)·γ + β).
func (k *Kernels) LayerNorm(_ kernel.Stream, a *kernel.LayerNormArgs) {
	k.begin(a.Header)
	defer k.end()
	k.call.norm = normCall{
		x: a.X.F32(), gamma: a.Gamma.F32(), beta: a.Beta.F32(), out: a.Out.F32(), stats: a.Stats.F32(),
		n: k.h.Count(a.Rows, a.N), w: a.W, eps: a.Eps, dropOut: a.Drop.On(), drop: k.dropOf(a.Drop, a.Rows, a.W),
	}
	k.run(parts(k.call.norm.n, rowsPerPart), (*Kernels).normPart)
}

// AddNorm: out = LN(dropout(x) + res)·γ + β.
func (k *Kernels) AddNorm(_ kernel.Stream, a *kernel.AddNormArgs) {
	k.begin(a.Header)
	defer k.end()
	k.call.norm = normCall{
		x: a.X.F32(), res: a.Res.F32(), gamma: a.Gamma.F32(), beta: a.Beta.F32(), out: a.Out.F32(), stats: a.Stats.F32(),
		n: k.h.Count(a.Rows, a.N), w: a.W, eps: a.Eps, dropIn: a.Drop.On(), drop: k.dropOf(a.Drop, a.Rows, a.W),
	}
	k.run(parts(k.call.norm.n, rowsPerPart), (*Kernels).normPart)
}

func (k *Kernels) normPart(part, w int) {
	c := &k.call.norm
	i0, i1 := span(part, rowsPerPart, c.n)
	buf := grow(&k.workers[w].x, c.w)
	for i := i0; i < i1; i++ {
		x := k.normInput(buf, i)
		out := c.out[i*c.w:][:c.w]
		mean, rstd := k.p.NormRow(out, x, c.gamma, c.beta, c.eps)
		if c.stats != nil {
			c.stats[2*i], c.stats[2*i+1] = mean, rstd
		}
		if c.dropOut {
			k.dropRow(&c.drop, out, out, i, 0)
		}
	}
}

// normInput returns the row that is normalised: x, or dropout(x) + res in buf.
func (k *Kernels) normInput(buf []float32, i int) []float32 {
	c := &k.call.norm
	x := c.x[i*c.w:][:c.w]
	if c.res == nil {
		return x
	}
	if c.dropIn {
		k.dropRow(&c.drop, buf, x, i, 0)
		x = buf
	}
	if c.act != kernel.Linear {
		k.p.Act(c.act, buf, x)
		x = buf
	}
	k.p.Add(buf, x, c.res[i*c.w:][:c.w])
	return buf
}

// LayerNormGrad: dX, and dGamma, dBeta.
func (k *Kernels) LayerNormGrad(_ kernel.Stream, a *kernel.LayerNormGradArgs) {
	k.begin(a.Header)
	defer k.end()
	k.call.norm = normCall{
		x: a.X.F32(), gamma: a.Gamma.F32(), stats: a.Stats.F32(), dOut: a.DOut.F32(), dX: a.DX.F32(),
		n: k.h.Count(a.Rows, a.N), w: a.W, dropOut: a.Drop.On(), drop: k.dropOf(a.Drop, a.Rows, a.W),
	}
	k.normGrad(a.DGamma, a.DBeta, a.Beta)
}

// AddNormGrad: dX through dropout, dRes, and dGamma, dBeta.
func (k *Kernels) AddNormGrad(_ kernel.Stream, a *kernel.AddNormGradArgs) {
	k.begin(a.Header)
	defer k.end()
	k.call.norm = normCall{
		x: a.X.F32(), res: a.Res.F32(), gamma: a.Gamma.F32(), stats: a.Stats.F32(), dOut: a.DOut.F32(),
		dX: a.DX.F32(), dRes: a.DRes.F32(),
		n: k.h.Count(a.Rows, a.N), w: a.W, dropIn: a.Drop.On(), drop: k.dropOf(a.Drop, a.Rows, a.W),
	}
	k.normGrad(a.DGamma, a.DBeta, a.Beta)
}

func (k *Kernels) normGrad(dGamma, dBeta kernel.Buf, beta [2]float32) {
	c := &k.call.norm
	chunks := parts(c.n, normRows)
	grow(&k.s.partial, chunks*2*c.w)
	k.run(chunks, (*Kernels).normGradPart)
	if !dGamma.Absent() {
		k.foldPartials(dGamma.F32(), k.s.partial, chunks, 2*c.w, c.w, beta[0])
	}
	if !dBeta.Absent() {
		k.foldPartials(dBeta.F32(), k.s.partial[min(c.w, len(k.s.partial)):], chunks, 2*c.w, c.w, beta[1])
	}
}

func (k *Kernels) normGradPart(part, w int) {
	c := &k.call.norm
	i0, i1 := span(part, normRows, c.n)
	sums := k.s.partial[part*2*c.w:][:2*c.w]
	clear(sums)
	buf := grow(&k.workers[w].x, 2*c.w)
	for i := i0; i < i1; i++ {
		x, dy := k.normInput(buf[:c.w], i), c.dOut[i*c.w:][:c.w]
		if c.dropOut {
			k.dropRow(&c.drop, buf[c.w:], dy, i, 0)
			dy = buf[c.w:]
		}
		var dx []float32
		switch {
		case c.dRes != nil:
			dx = c.dRes[i*c.w:][:c.w]
		case c.dX != nil:
			dx = c.dX[i*c.w:][:c.w]
		}
		k.p.NormGradRow(dx, x, c.gamma, dy, c.stats[2*i], c.stats[2*i+1], sums[:c.w], sums[c.w:])
		if c.dRes != nil && c.dX != nil {
			out := c.dX[i*c.w:][:c.w]
			if c.act != kernel.Linear {
				pre := c.x[i*c.w:][:c.w]
				if c.dropIn {
					k.dropRow(&c.drop, buf[:c.w], pre, i, 0)
					pre = buf[:c.w]
				}
				k.p.ActGrad(c.act, out, dx, pre)
				dx = out
			}
			if c.dropIn {
				k.dropRow(&c.drop, out, dx, i, 0)
			} else {
				copy(out, dx)
			}
		} else if c.dX != nil && c.dropIn {
			k.dropRow(&c.drop, dx, dx, i, 0)
		}
	}
}
