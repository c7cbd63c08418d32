package blocked

import "github.com/secencoder/secencoder/internal/kernel"

// LayerNorm and AddNorm are row by row: about 10 FLOP and 4 to 20 bytes an element, dropout some 40 instructions of Philox
// for 16 elements on top. Rows of whole vectors go through the joint passes of RowLoops where those are faster: a row that is
// dropped, and rows of BF16, which are widened on the way; figures stand in ../_asm/vec/norm.go. 8,192 rows of 768 of BF16
// on two cores take 0.14 ns an element in AddNorm (44 GB/s, as much as memory gives), 0.24 with dropout, and 0.33 in the
// gradient with dropout. The gradients add dGamma and dBeta over chunks of normRows rows, chunks in order.

// normRows is the chunk of rows whose dGamma and dBeta are one float32 partial.
const normRows = 64

// normCall is LayerNorm, AddNorm or the normalising half of ConvNorm, forward or gradient.
type normCall struct {
	x, res          Values // res absent: LayerNorm
	gamma, beta     []float32
	out, pre        Values    // pre: where x, float32, is stored as well; or absent
	stats           []float32 // nil: not wanted
	dOut, dX, dRes  Values
	n, w            int
	eps             float32
	dropIn, dropOut bool
	drop            rowDrop
	act             kernel.Activation // applied to the dropped x: ConvNorm
	whole           bool              // by RowLoops.Norm and NormGrad
}

// LayerNorm: out = dropout(LN(x)·γ + β).
func (k *Kernels) LayerNorm(_ kernel.Stream, a *kernel.LayerNormArgs) {
	k.begin(a.Header)
	defer k.end()
	k.call.norm = normCall{
		x: valuesOf(a.X), gamma: a.Gamma.F32(), beta: a.Beta.F32(), out: valuesOf(a.Out), stats: a.Stats.F32(),
		n: k.h.Count(a.Rows, a.N), w: a.W, eps: a.Eps, dropOut: a.Drop.On(), drop: k.dropOf(a.Drop, a.Rows, a.W),
	}
	k.norm()
}

// AddNorm: out = LN(dropout(x) + res)·γ + β.
func (k *Kernels) AddNorm(_ kernel.Stream, a *kernel.AddNormArgs) {
	k.begin(a.Header)
	defer k.end()
	k.call.norm = normCall{
		x: valuesOf(a.X), res: valuesOf(a.Res), gamma: a.Gamma.F32(), beta: a.Beta.F32(), out: valuesOf(a.Out), stats: a.Stats.F32(),
		n: k.h.Count(a.Rows, a.N), w: a.W, eps: a.Eps, dropIn: a.Drop.On(), drop: k.dropOf(a.Drop, a.Rows, a.W),
	}
	k.norm()
}

// norm runs the forward call of k.call.norm.
func (k *Kernels) norm() {
	c := &k.call.norm
	c.whole = k.p.Rows.Norm != nil && c.uniform(c.x, c.res, c.out)
	k.run(parts(c.n, rowsPerPart), (*Kernels).normPart)
}

// uniform reports whether the call is one that RowLoops knows: rows of whole vectors and of one type, dropout of x alone.
// Sums of float32 without dropout go step by step: the plain loop that adds two rows waits for memory with more loads under
// way than one that does more (AddNormGrad at 8,192 x 768: 0.91 ns an element, else 1.02).
func (c *normCall) uniform(operands ...Values) bool {
	half := c.x.BF16 != nil
	for _, v := range operands {
		if !v.absent() && (v.BF16 != nil) != half {
			return false
		}
	}
	return c.w%16 == 0 && c.act == kernel.Linear && !c.dropOut && (half || c.dropIn)
}

func (k *Kernels) normPart(part, w int) {
	c := &k.call.norm
	i0, i1 := span(part, rowsPerPart, c.n)
	buf := grow(&k.workers[w].x, 2*c.w)
	row := k.normRow(w, buf[:c.w])
	for i := i0; i < i1; i++ {
		if c.whole {
			k.normOperands(row, i)
			row.Out.set(&c.out, i*c.w, c.w)
			k.p.Rows.Norm(row)
			if c.stats != nil {
				c.stats[2*i], c.stats[2*i+1] = row.Mean, row.RStd
			}
			continue
		}
		x := k.normInput(buf[:c.w], i)
		if c.pre.BF16 != nil {
			k.p.Narrow(c.pre.BF16[i*c.w:][:c.w], c.x.F32[i*c.w:][:c.w])
		}
		out := c.out.dest(i*c.w, c.w, buf[c.w:])
		mean, rstd := k.p.NormRow(out, x, c.gamma, c.beta, c.eps)
		if c.stats != nil {
			c.stats[2*i], c.stats[2*i+1] = mean, rstd
		}
		if c.dropOut {
			k.dropRow(&c.drop, out, out, i, 0)
		}
		k.stored(&c.out, i*c.w, out)
	}
}

// normRow returns a worker's row with what all rows of the call share.
func (k *Kernels) normRow(worker int, sum []float32) *NormRow {
	c, w := &k.call.norm, &k.workers[worker]
	w.norm = NormRow{Gamma: c.gamma, Beta: c.beta, Eps: c.eps, Scale: c.drop.scale, Sum: sum}
	if c.whole && c.dropIn {
		w.norm.Keep = grow(&w.keep, upTo(c.w, 128)/8)
	}
	return &w.norm
}

// normOperands sets x, res and what is kept of x in row i.
func (k *Kernels) normOperands(r *NormRow, i int) {
	c := &k.call.norm
	r.X.set(&c.x, i*c.w, c.w)
	r.Res.set(&c.res, i*c.w, c.w)
	if r.Keep != nil {
		k.p.Rows.Keep(r.Keep, k.h.DropoutElement(c.drop.rows, i, c.drop.width)/4, c.drop.counter, c.drop.threshold)
	}
}

// normInput returns the row that is normalised: x, or dropout(x) + res in buf.
func (k *Kernels) normInput(buf []float32, i int) []float32 {
	c := &k.call.norm
	x := k.wide(&c.x, i*c.w, c.w, buf)
	if c.res.absent() {
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
	if c.res.BF16 == nil {
		k.p.Add(buf, x, c.res.F32[i*c.w:][:c.w])
		return buf
	}
	if &x[0] != &buf[0] {
		copy(buf, x)
	}
	k.p.Rows.AddTo(buf, c.res.BF16[i*c.w:][:c.w])
	return buf
}

// LayerNormGrad: dX, and dGamma, dBeta.
func (k *Kernels) LayerNormGrad(_ kernel.Stream, a *kernel.LayerNormGradArgs) {
	k.begin(a.Header)
	defer k.end()
	k.call.norm = normCall{
		x: valuesOf(a.X), gamma: a.Gamma.F32(), stats: a.Stats.F32(), dOut: valuesOf(a.DOut), dX: valuesOf(a.DX),
		n: k.h.Count(a.Rows, a.N), w: a.W, dropOut: a.Drop.On(), drop: k.dropOf(a.Drop, a.Rows, a.W),
	}
	k.normGrad(a.DGamma, a.DBeta, a.Beta)
}

// AddNormGrad: dX through dropout, dRes, and dGamma, dBeta.
func (k *Kernels) AddNormGrad(_ kernel.Stream, a *kernel.AddNormGradArgs) {
	k.begin(a.Header)
	defer k.end()
	k.call.norm = normCall{
		x: valuesOf(a.X), res: valuesOf(a.Res), gamma: a.Gamma.F32(), stats: a.Stats.F32(), dOut: valuesOf(a.DOut),
		dX: valuesOf(a.DX), dRes: valuesOf(a.DRes),
		n: k.h.Count(a.Rows, a.N), w: a.W, dropIn: a.Drop.On(), drop: k.dropOf(a.Drop, a.Rows, a.W),
	}
	k.normGrad(a.DGamma, a.DBeta, a.Beta)
}

func (k *Kernels) normGrad(dGamma, dBeta kernel.Buf, beta [2]float32) {
	c := &k.call.norm
	c.whole = k.p.Rows.NormGrad != nil && c.uniform(c.x, c.res, c.dOut, c.dX, c.dRes) &&
		!(c.dropIn && c.dRes.absent()) // dX alone would have no place for the gradient before the dropout
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
	buf := grow(&k.workers[w].x, 3*c.w)
	row := k.normRow(w, buf[:c.w])
	row.DGamma, row.DBeta = sums[:c.w], sums[c.w:]
	for i := i0; i < i1; i++ {
		if c.whole {
			k.normOperands(row, i)
			row.Mean, row.RStd = c.stats[2*i], c.stats[2*i+1]
			row.DOut.set(&c.dOut, i*c.w, c.w)
			row.DX.set(&c.dX, i*c.w, c.w)
			row.DRes.set(&c.dRes, i*c.w, c.w)
			k.p.Rows.NormGrad(row)
			continue
		}
		k.normGradRow(i, sums, buf[:c.w], buf[c.w:2*c.w], buf[2*c.w:])
	}
}

// normGradRow is row i step by step, with three rows of scratch.
func (k *Kernels) normGradRow(i int, sums, input, grad, dBuf []float32) {
	c := &k.call.norm
	at := i * c.w
	x, dy := k.normInput(input, i), k.wide(&c.dOut, at, c.w, grad)
	if c.dropOut {
		k.dropRow(&c.drop, grad, dy, i, 0)
		dy = grad
	}
	var dx []float32
	switch {
	case !c.dRes.absent():
		dx = c.dRes.dest(at, c.w, dBuf)
	case !c.dX.absent():
		dx = c.dX.dest(at, c.w, dBuf)
	}
	k.p.NormGradRow(dx, x, c.gamma, dy, c.stats[2*i], c.stats[2*i+1], sums[:c.w], sums[c.w:])
	if !c.dRes.absent() {
		k.stored(&c.dRes, at, dx)
	}
	if c.dX.absent() {
		return
	}
	out := c.dX.dest(at, c.w, grad)
	if c.dRes.absent() {
		out = dx
	}
	if c.act != kernel.Linear {
		pre := k.wide(&c.x, at, c.w, input)
		if c.dropIn {
			k.dropRow(&c.drop, input, pre, i, 0)
			pre = input
		}
		k.p.ActGrad(c.act, out, dx, pre)
		dx = out
	}
	switch {
	case c.dropIn:
		k.dropRow(&c.drop, out, dx, i, 0)
	case &out[0] != &dx[0]:
		copy(out, dx)
	}
	k.stored(&c.dX, at, out)
}
