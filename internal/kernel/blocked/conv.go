package blocked

import "github.com/secencoder/secencoder/internal/kernel"

// The convolution is a product over unfolded rows: U[t, c·ks + s] = e[t + s − ks/2, c] inside the piece, 0 outside, which
// is the order of W's rows. Rows unfold in blocks of convRows; the gradient folds dU back.
const convRows = 256

// convCall is ConvNorm or its gradient.
type convCall struct {
	f                      *Format
	e                      Values
	w, pre                 []float32
	dE, dW, dB             []float32
	out16                  Values // dE where that is BF16
	h, groups, ks, in, out int    // in, out: channels of one group
	act                    kernel.Activation
	t0, t1, group          int
	unfolded, dU           []float32
	drop                   bool
}

// ConvNorm: see kernel.ConvNormArgs.
func (k *Kernels) ConvNorm(_ kernel.Stream, a *kernel.ConvNormArgs) {
	k.begin(a.Header)
	defer k.end()
	n := k.h.Tokens()
	c := &k.call.conv
	half := a.E.DType == kernel.BF16
	*c = convCall{f: k.format(half), e: valuesOf(a.E), h: a.H, groups: a.Groups, ks: a.KS, in: a.H / a.Groups, out: a.H / a.Groups, act: a.Act, drop: a.Drop.On()}
	work, rounded := a.Work.F32(), Values{}
	switch {
	case half: // the sums are normalised before they are rounded
		c.pre, work, rounded = work[:n*a.H], work[n*a.H:], valuesOf(a.Pre)
	case a.Pre.Absent():
		c.pre = a.Out.F32() // normalising goes row by row through a buffer
	default:
		c.pre = a.Pre.F32()
	}
	c.unfolded = work
	w := a.W.F32()
	terms := c.in * c.ks
	for g := range c.groups {
		for c.t0 = 0; c.t0 < n; c.t0 = c.t1 {
			c.t1, c.group = min(c.t0+convRows, n), g
			k.run(parts(c.t1-c.t0, rowsPerPart), (*Kernels).unfoldPart)
			k.g = gemm{
				f: c.f,
				m: c.t1 - c.t0, n: c.out, k: terms,
				a: matrix{data: single(c.unfolded), ld: terms}, b: matrix{data: single(w), ld: terms, at: g * c.out * terms, trans: true},
				c: c.pre[c.t0*c.h+g*c.out:], ldc: c.h, bias: a.B.F32()[g*c.out : (g+1)*c.out],
			}
			k.product()
		}
	}
	k.call.norm = normCall{
		x: single(c.pre), res: valuesOf(a.V), gamma: a.Gamma.F32(), beta: a.Beta.F32(), out: valuesOf(a.Out), pre: rounded, stats: a.Stats.F32(),
		n: n, w: a.H, eps: a.Eps, dropIn: a.Drop.On(), drop: k.dropOf(a.Drop, kernel.RowsTokens, a.H), act: a.Act,
	}
	k.norm()
}

// unfoldPart fills some rows of U.
func (k *Kernels) unfoldPart(part, w int) {
	c := &k.call.conv
	buf := grow(&k.workers[w].x, c.in)
	i0, i1 := span(part, rowsPerPart, c.t1-c.t0)
	for i := i0; i < i1; i++ {
		t := c.t0 + i
		row := c.unfolded[i*c.in*c.ks:][:c.in*c.ks]
		piece := k.h.Piece[t]
		lo, hi := int(k.h.Offsets[piece]), int(k.h.Offsets[piece+1])
		for s := range c.ks {
			from := t + s - (c.ks-1)/2
			if from < lo || from >= hi {
				for at := s; at < len(row); at += c.ks {
					row[at] = 0
				}
				continue
			}
			at := s
			for _, x := range k.wide(&c.e, from*c.h+c.group*c.in, c.in, buf) {
				row[at] = x
				at += c.ks
			}
		}
	}
}

// ConvNormGrad: see kernel.ConvNormGradArgs.
func (k *Kernels) ConvNormGrad(_ kernel.Stream, a *kernel.ConvNormGradArgs) {
	k.begin(a.Header)
	defer k.end()
	n := k.h.Tokens()
	c := &k.call.conv
	*c = convCall{
		f: k.format(a.E.DType == kernel.BF16), e: valuesOf(a.E), w: a.W.F32(), dW: a.DW.F32(), dB: a.DB.F32(),
		h: a.H, groups: a.Groups, ks: a.KS, in: a.H / a.Groups, out: a.H / a.Groups, act: a.Act, drop: a.Drop.On(),
	}
	terms := c.in * c.ks
	work := a.Work.F32()
	c.unfolded, work = work[:convRows*terms], work[convRows*terms:]
	c.dU, work = work[:convRows*terms], work[convRows*terms:]
	dc, work := work[:n*a.H], work[n*a.H:] // the gradient of act(dropout(c)), then of c
	dV := valuesOf(a.DV)
	if dV.absent() {
		dV, work = single(work[:n*a.H]), work[n*a.H:]
	}
	switch {
	case a.DE.Absent():
	case a.DE.DType == kernel.BF16: // summed in float32
		c.dE, c.out16 = work[:n*a.H], valuesOf(a.DE)
	default:
		c.dE = a.DE.F32()
	}
	k.call.norm = normCall{
		x: valuesOf(a.Pre), res: valuesOf(a.V), gamma: a.Gamma.F32(), stats: a.Stats.F32(), dOut: valuesOf(a.DOut), dX: single(dc), dRes: dV,
		n: n, w: a.H, dropIn: a.Drop.On(), drop: k.dropOf(a.Drop, kernel.RowsTokens, a.H), act: a.Act,
	}
	k.normGrad(a.DGamma, a.DBeta, [2]float32{a.Beta[2], a.Beta[3]})
	k.call.dz = dzCall{dy: single(dc), sums: c.dB != nil, n: n, w: a.H, db: c.dB, beta: a.Beta[1]}
	k.dzPass()
	if c.dE != nil {
		k.run(parts(n, rowsPerPart), (*Kernels).clearPart)
	}
	if n == 0 {
		k.scaleAll(a.DW, a.Beta[0])
	}
	for g := range c.groups {
		beta := a.Beta[0]
		for c.t0 = 0; c.t0 < n; c.t0 = c.t1 {
			c.t1, c.group = min(c.t0+convRows, n), g
			dcg := matrix{data: single(dc), ld: a.H, at: c.t0*a.H + g*c.out}
			if c.dW != nil {
				k.run(parts(c.t1-c.t0, rowsPerPart), (*Kernels).unfoldPart)
				k.g = gemm{
					f: c.f,
					m: c.out, n: terms, k: c.t1 - c.t0,
					a: matrix{data: single(dc), ld: a.H, at: dcg.at, trans: true}, b: matrix{data: single(c.unfolded), ld: terms},
					c: c.dW[g*c.out*terms:], ldc: terms, beta: beta,
				}
				k.product()
				beta = 1
			}
			if c.dE != nil {
				k.g = gemm{
					f: c.f,
					m: c.t1 - c.t0, n: terms, k: c.out, a: dcg, b: matrix{data: single(c.w), ld: terms, at: g * c.out * terms},
					c: c.dU, ldc: terms,
				}
				k.product()
				k.run(parts(c.in, 64), (*Kernels).foldPart)
			}
		}
	}
	if !c.out16.absent() {
		k.run(parts(n, rowsPerPart), (*Kernels).roundPart)
	}
}

// clearPart clears some rows of dE.
func (k *Kernels) clearPart(part, _ int) {
	c := &k.call.conv
	i0, i1 := span(part, rowsPerPart, k.h.Tokens())
	clear(c.dE[i0*c.h : i1*c.h])
}

// roundPart rounds some rows of dE.
func (k *Kernels) roundPart(part, _ int) {
	c := &k.call.conv
	i0, i1 := span(part, rowsPerPart, k.h.Tokens())
	k.stored(&c.out16, i0*c.h, c.dE[i0*c.h:i1*c.h])
}

// foldPart adds dU of the block back into some channels of dE, in the order of its rows.
func (k *Kernels) foldPart(part, _ int) {
	c := &k.call.conv
	c0, c1 := span(part, 64, c.in)
	for t := c.t0; t < c.t1; t++ {
		piece := k.h.Piece[t]
		lo, hi := int(k.h.Offsets[piece]), int(k.h.Offsets[piece+1])
		row := c.dU[(t-c.t0)*c.in*c.ks:][:c.in*c.ks]
		for s := range c.ks {
			to := t + s - (c.ks-1)/2
			if to < lo || to >= hi {
				continue
			}
			dst := c.dE[to*c.h+c.group*c.in:][:c.in]
			for ch := c0; ch < c1; ch++ {
				dst[ch] += row[ch*c.ks+s]
			}
		}
	}
}
