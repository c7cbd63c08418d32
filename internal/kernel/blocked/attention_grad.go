package blocked

import "github.com/secencoder/secencoder/internal/kernel"

// AttentionGrad runs tile by tile, scores rebuilt from LSE, one pass for all gradients. A part owns one head and a run of
// pieces, hence all rows of dQKV that it writes; gradients of the position tables are kept per run of pieces and added in
// order. Per tile, with dP = dO·Vᵀ and dS = P∘(dP − Δ)/σ, Δ_i = dO_i·O_i:
//
//	dV += Pᵀ·dO    dQ += dS·K + G·Pk    dK += dSᵀ·Q + H·Pq    dPk += Gᵀ·Q    dPq += Hᵀ·K
//
// where G[i, m] and H[j, m] sum dS_ij over slot(i−j) = m within the window of the tile.

// maxChunks bounds the runs of pieces of one head.
const maxChunks = 8

// chunksOf returns into how many runs the pieces of n tokens are cut.
func chunksOf(heads, n int) int { return max(1, min(maxChunks, parts(16, heads), n/256)) }

// AttentionGrad: see kernel.AttentionGradArgs.
func (k *Kernels) AttentionGrad(_ kernel.Stream, a *kernel.AttentionGradArgs) {
	k.begin(a.Header)
	defer k.end()
	c := &k.call.att
	*c = attentionCall{
		f:   &k.p.Single,
		qkv: a.QKV.F32(), pos: a.Pos.F32(), out: a.Out.F32(), lse: a.LSE.F32(), dOut: a.DOut.F32(), slots: a.Slots.I16(),
		dQKV: a.DQKV.F32(), dPos: a.DPos.F32(),
		reach: a.Reach, heads: a.A, d: a.D, h: a.A * a.D, k2: 2 * a.K, c2p: a.C2P, p2c: a.P2C,
		inv: 1 / a.Sigma, drop: a.Drop.On(), counter: k.counter(a.Drop.Site), threshold: a.Drop.HalfThreshold(), scale: a.Drop.Scale(),
	}
	c.chunks = chunksOf(c.heads, k.h.Tokens())
	work := a.Work.F32()
	c.keyB, work = cut(work, c.c2p, c.heads*c.tableB())
	c.queryB, work = cut(work, c.p2c, c.heads*c.tableB())
	c.keyC, work = cut(work, c.c2p, c.heads*c.tableC())
	c.queryC, work = cut(work, c.p2c, c.heads*c.tableC())
	c.partial = work
	k.planAttention()
	k.run(2*c.heads, (*Kernels).packTablePart)
	k.run(c.heads*c.chunks, (*Kernels).attentionGradPart)
	if c.dPos != nil {
		k.run(parts(c.tables()*c.k2, rowsPerPart), (*Kernels).dPosPart)
	}
}

// tables returns how many position tables there are.
func (c *attentionCall) tables() int {
	n := 0
	if c.c2p {
		n++
	}
	if c.p2c {
		n++
	}
	return n
}

// partialAt returns the gradient rows [2K, d] of a table that one part sums.
func (c *attentionCall) partialAt(chunk, head int, query bool) []float32 {
	table := 0
	if query && c.c2p {
		table = 1
	}
	size := c.k2 * c.d
	return c.partial[((chunk*c.heads+head)*c.tables()+table)*size:][:size]
}

// activeRows returns the rows of a partial that may be other than zero.
func (c *attentionCall) activeRows(query bool) (lo, hi int) {
	if query {
		return c.active[0], c.active[1] + 1
	}
	return c.k2 - 1 - c.active[1], c.k2 - c.active[0]
}

func (k *Kernels) attentionGradPart(part, w int) {
	c := &k.call.att
	head, chunk := part/c.chunks, part%c.chunks
	for _, query := range [2]bool{false, true} {
		if query && !c.p2c || !query && !c.c2p {
			continue
		}
		lo, hi := c.activeRows(query)
		clear(c.partialAt(chunk, head, query)[lo*c.d : hi*c.d])
	}
	from, to := span(chunk, parts(k.h.Tokens(), c.chunks), k.h.Tokens())
	for _, it := range k.s.items {
		if int(it.base) >= from && int(it.base) < to {
			k.attentionGradRows(&k.workers[w].att, head, chunk, it)
		}
	}
}

func (k *Kernels) attentionGradRows(w *attentionScratch, head, chunk int, it attentionItem) {
	c := &k.call.att
	d, ld, f := c.d, 3*c.h, c.f
	mr := f.MR
	base, n, i0, i1 := int(it.base), int(it.n), int(it.i0), int(it.i1)
	q := i1 - i0
	qkv := matrix{data: single(c.qkv), ld: ld, at: base*ld + head*d}
	dOut := matrix{data: single(c.dOut), ld: c.h, at: base*c.h + head*d}
	f.panelsA(grow(&w.qa, f.Len(upTo(q, mr), d)), qkv, i0, i1, 0, d)
	f.panelsA(grow(&w.oa, f.Len(upTo(q, mr), d)), dOut, i0, i1, 0, d)
	f.panelsB(grow(&w.qc, f.Len(upTo(d, 16), q)), qkv, i0, i1, 0, d)
	f.panelsB(grow(&w.oc, f.Len(upTo(d, 16), q)), dOut, i0, i1, 0, d)
	delta, lse := grow(&w.delta, q), grow(&w.lse, q)
	for i := range q {
		t := base + i0 + i
		delta[i] = k.p.Dot(c.out[t*c.h+head*d:][:d], c.dOut[t*c.h+head*d:][:d])
		lse[i] = float32(float64(c.lse[t*c.heads+head]) / float64(c.inv))
	}
	dq := c.dQKV[(base+i0)*ld+head*d:]
	for j0 := 0; j0 < n; j0 += blockOf(n) {
		j1 := min(j0+blockOf(n), n)
		nk := j1 - j0
		t := tileOf{head: head, i0: i0, i1: i1, j0: j0, j1: j1}
		k.scores(w, &t, qkv)
		value := matrix{data: single(c.qkv), ld: ld, at: qkv.at + 2*c.h, trans: true}
		f.panelsB(grow(&w.vb, f.Len(upTo(nk, 16), d)), value, 0, d, j0, j1)
		f.multiply(q, nk, d, w.oa, w.vb, f.Len(16, d), grow(&w.dp, q*t.ld), t.ld, nil, false)
		key := matrix{data: single(c.qkv), ld: ld, at: qkv.at + c.h}
		f.panelsB(grow(&w.kc, f.Len(upTo(d, 16), nk)), key, j0, j1, 0, d)
		grow(&w.pack, max(f.Len(upTo(q, mr), nk), f.Len(upTo(nk, mr), q), f.Len(upTo(q, mr), t.keyW), f.Len(upTo(nk, mr), t.queryW),
			f.Len(upTo(t.keyW, mr), q), f.Len(upTo(t.queryW, mr), nk)))

		// P into s; dP and P dropped; dV; then dS into s.
		for i := range q {
			row, dp := w.s[i*t.ld:][:nk], w.dp[i*t.ld:][:nk]
			k.p.ExpSum(row, row, c.inv, lse[i])
			if c.drop {
				call := k.h.AttentionCall(int(it.piece), c.heads, head, i0+i) + uint64(j0/8)
				k.p.DropoutHalf(dp, dp, call, c.counter, c.threshold, c.scale)
			}
		}
		dk, dv := c.dQKV[(base+j0)*ld+c.h+head*d:], c.dQKV[(base+j0)*ld+2*c.h+head*d:]
		if c.drop {
			dropped := grow(&w.o, q*t.ld)
			for i := range q {
				call := k.h.AttentionCall(int(it.piece), c.heads, head, i0+i) + uint64(j0/8)
				k.p.DropoutHalf(dropped[i*t.ld:][:nk], w.s[i*t.ld:][:nk], call, c.counter, c.threshold, c.scale)
			}
			f.panelsA(w.pack, matrix{data: single(dropped), ld: t.ld, trans: true}, 0, nk, 0, q)
		} else {
			f.panelsA(w.pack, matrix{data: single(w.s), ld: t.ld, trans: true}, 0, nk, 0, q)
		}
		f.multiply(nk, d, q, w.pack, w.oc, f.Len(16, q), dv, ld, nil, i0 > 0)
		for i := range q {
			row := w.s[i*t.ld:][:nk]
			k.p.SoftmaxGrad(row, row, w.dp[i*t.ld:][:nk], c.inv, delta[i])
		}
		ds := matrix{data: single(w.s), ld: t.ld}
		f.panelsA(w.pack, ds, 0, q, 0, nk)
		f.multiply(q, d, nk, w.pack, w.kc, f.Len(16, nk), dq, ld, nil, j0 > 0)
		ds.trans = true
		f.panelsA(w.pack, ds, 0, nk, 0, q)
		f.multiply(nk, d, q, w.pack, w.qc, f.Len(16, q), dk, ld, nil, i0 > 0)

		if c.c2p {
			k.scatterKey(w, &t)
			g := matrix{data: single(w.tq), ld: t.keyLD}
			f.panelsA(w.pack, g, 0, q, 0, t.keyW)
			f.multiply(q, d, t.keyW, w.pack, c.keyC[head*c.tableC()+f.Len(16, t.keyBase):], f.Len(16, c.k2), dq, ld, nil, true)
			g.trans = true
			f.panelsA(w.pack, g, 0, t.keyW, 0, q)
			f.multiply(t.keyW, d, q, w.pack, w.qc, f.Len(16, q), c.partialAt(chunk, head, false)[t.keyBase*d:], d, nil, true)
		}
		if c.p2c {
			k.scatterQuery(w, &t)
			h := matrix{data: single(w.tk), ld: t.queryLD}
			f.panelsA(w.pack, h, 0, nk, 0, t.queryW)
			f.multiply(nk, d, t.queryW, w.pack, c.queryC[head*c.tableC()+f.Len(16, t.queryBase):], f.Len(16, c.k2), dk, ld, nil, true)
			h.trans = true
			f.panelsA(w.pack, h, 0, t.queryW, 0, nk)
			f.multiply(t.queryW, d, nk, w.pack, w.kc, f.Len(16, nk), c.partialAt(chunk, head, true)[t.queryBase*d:], d, nil, true)
		}
	}
}

// scatterKey: G[i, slot(i−j)] += dS_ij, into w.tq.
func (k *Kernels) scatterKey(w *attentionScratch, t *tileOf) {
	c := &k.call.att
	nk := t.j1 - t.j0
	for i := t.i0; i < t.i1; i++ {
		row, g := w.s[(i-t.i0)*t.ld:][:nk], w.tq[(i-t.i0)*t.keyLD:][:t.keyW]
		clear(g)
		if t.far {
			g[c.k2-1-t.slot-t.keyBase] = k.p.Sum(row)
			continue
		}
		if t.straight {
			copy(g[c.k2-1-c.slot(i-t.j0)-t.keyBase:], row)
			continue
		}
		k.sumLooked(row, g, k.keySlots(i, t.j0), t.keyBase)
	}
}

// scatterQuery: H[j, slot(i−j)] += dS_ij, into w.tk.
func (k *Kernels) scatterQuery(w *attentionScratch, t *tileOf) {
	c := &k.call.att
	q, nk := t.i1-t.i0, t.j1-t.j0
	clear(w.tk[:nk*t.queryLD])
	if t.far {
		sums := grow(&w.row, nk)
		clear(sums)
		for i := range q {
			k.p.Add(sums, sums, w.s[i*t.ld:][:nk])
		}
		for j, x := range sums {
			w.tk[j*t.queryLD+t.slot-t.queryBase] = x
		}
		return
	}
	if t.straight {
		k.p.AddTransposed(w.tk[c.slot(t.i0-t.j0)-t.queryBase:], t.queryLD-1, w.s, t.ld, nk, q)
		return
	}
	ld := upTo(q, 16) // dP is done with
	turned := grow(&w.dp, nk*ld)
	clear(turned)
	k.p.AddTransposed(turned, ld, w.s, t.ld, nk, q)
	for j := range nk {
		k.sumLooked(turned[j*ld:][:q], w.tk[j*t.queryLD:][:t.queryW], c.slots[t.i0-t.j0-j+c.reach:], t.queryBase)
	}
}

// dPosPart adds the runs' partials into rows of dPos; rows of slots not in use are 0.
func (k *Kernels) dPosPart(part, _ int) {
	c := &k.call.att
	r0, r1 := span(part, rowsPerPart, c.tables()*c.k2)
	for r := r0; r < r1; r++ {
		query := !c.c2p || r >= c.k2
		at := c.k2 - 1 - r
		if query {
			at = r % c.k2
		}
		lo, hi := c.activeRows(query)
		row := c.dPos[r*c.h:][:c.h]
		clear(row)
		if at < lo || at >= hi {
			continue
		}
		for head := range c.heads {
			dst := row[head*c.d:][:c.d]
			for chunk := range c.chunks {
				k.p.Add(dst, dst, c.partialAt(chunk, head, query)[at*c.d:][:c.d])
			}
		}
	}
}
