package blocked

// The position terms of attention's gradient: G and H of a tile, their products, and the sum of the tables' gradients.

// addQueryBiases adds K·Pq to the tile, for each half of its keys: as a row where the half is far.
func (k *Kernels) addQueryBiases(w *attentionScratch, g *gradPart, i0, i1, j0, j1 int) (halves [2]reachOf) {
	c, f, t := &k.call.att, k.call.att.f, &w.tile
	panel := f.Len(upTo(g.block, f.MR), c.d)
	for h := range halves {
		from := j0 + h*g.block
		if from >= j1 {
			halves[h].end = -1
			break
		}
		to := min(from+g.block, j1)
		r := c.between(i0, i1, from, to)
		if !g.far {
			r.end = -1
		}
		halves[h] = r
		if r.end < 0 {
			win, tk := g.win, w.tk
			if win.ld > 0 {
				tk = tk[(from-j0)*win.ld:]
			} else {
				win = c.queryWindow(r.lo, r.hi)
				tk = grow(&w.tk, (to-from)*win.ld+15)
				f.multiply(to-from, win.w, c.d, w.ka[h*panel:], c.queryTable(g.head, win.base), f.Len(16, c.d), tk, win.ld, nil, false)
			}
			k.addQueryBias(w, tk, r, win, from-j0, i0, i1, from, to)
			continue
		}
		if t.Row == nil {
			t.Row = grow(&w.row, 2*g.block)
			clear(t.Row)
		}
		copy(t.Row[from-j0:], w.farKey[r.end][from-j0:to-j0])
	}
	return halves
}

// gatherKey returns G, G[i, slot(i−j)] += dS_ij: dS itself, row after row one further back, or w.tq.
func (k *Kernels) gatherKey(w *attentionScratch, g *gradPart, r reachOf, win window, i0, i1, j0, j1 int) matrix {
	c, ds := &k.call.att, g.ds
	if r.straight {
		ds.at -= c.k2 - 1 - c.slot(i0-j0) - win.base
		ds.ld++
		return ds
	}
	tq := grow(&w.tq, (i1-i0)*win.ld+15)
	clear(tq)
	k.looks().Sum(tq, win.ld, w.dp[ds.at:], ds.ld, k.s.reversed, k.keySlot(i0, j0), win.base, i1-i0, j1-j0)
	return matrix{data: single(tq), ld: win.ld}
}

// gatherQuery adds to H, H[j, slot(i−j)] += dS_ij, for the keys j0 … j1, column col of dS on.
func (k *Kernels) gatherQuery(w *attentionScratch, g *gradPart, hk []float32, r reachOf, win window, i0, i1, j0, j1, col int) {
	c := &k.call.att
	q, nk := i1-i0, j1-j0
	ds := w.dp[g.ds.at+col:]
	if r.straight {
		k.p.AddTransposed(hk[c.slot(i0-j0)-win.base:], win.ld-1, ds, g.ds.ld, nk, q)
		return
	}
	k.looks().SumTurned(hk, win.ld, ds, g.ds.ld, c.slots, i0-j0+c.reach, win.base, nk, q)
}

// keyGradient adds G·Pk to dq and Gᵀ·Q to the part's sum of dPk; qc holds the q queries by terms.
func (k *Kernels) keyGradient(w *attentionScratch, g *gradPart, m matrix, win window, qc, dq []float32, q int) {
	c, f := &k.call.att, k.call.att.f
	grow(&w.pack, max(f.Len(upTo(q, f.MR), win.w), f.Len(upTo(win.w, f.MR), q)))
	f.multiplyOnce(m, q, c.d, win.w, w.pack, c.keyC[g.head*c.tableC()+f.Len(16, win.base):], f.Len(16, c.k2), dq, c.d, true)
	m.trans = true
	f.multiplyOnce(m, win.w, c.d, q, w.pack, qc, f.Len(16, q), c.partialAt(g.group, g.head, false)[win.base*c.d:], c.d, true)
}

// queryGradient adds H·Pq to rows of w.dk from at on, and Hᵀ·K to the part's sum of dPq; w.hk holds H of n keys, w.kc all
// keys of the tile.
func (k *Kernels) queryGradient(w *attentionScratch, g *gradPart, win window, at, n, all int) {
	c, f := &k.call.att, k.call.att.f
	m := matrix{data: single(w.hk), ld: win.ld}
	grow(&w.pack, max(f.Len(upTo(n, f.MR), win.w), f.Len(upTo(win.w, f.MR), n)))
	f.multiplyOnce(m, n, c.d, win.w, w.pack, c.queryC[g.head*c.tableC()+f.Len(16, win.base):], f.Len(16, c.k2), w.dk[at*c.d:], c.d, true)
	m.trans = true
	f.multiplyOnce(m, win.w, c.d, n, w.pack, w.kc[f.Len(16, at):], f.Len(16, all), c.partialAt(g.group, g.head, true)[win.base*c.d:], c.d, true)
}

// farQueryGradient adds what the far tiles of queries i0 … i1 give to dQ and to dPk.
func (k *Kernels) farQueryGradient(w *attentionScratch, g *gradPart, i0, i1 int) {
	c := &k.call.att
	for end, slot := range c.active {
		win := c.keyWindow(slot, slot)
		columnOf(&w.tq, w.sumQuery[end][i0-g.from:i1-g.from], win, c.k2-1-slot-win.base)
		k.keyGradient(w, g, matrix{data: single(w.tq), ld: win.ld}, win, w.qc[(i0-g.from)/g.block*g.terms:], w.dq[(i0-g.from)*c.d:], i1-i0)
	}
}

// columnOf sets buf to a tile of zeros, but for one column.
func columnOf(buf *[]float32, x []float32, win window, col int) {
	t := grow(buf, len(x)*win.ld+15)
	clear(t)
	for i, v := range x {
		t[i*win.ld+col] = v
	}
}

// dPosPart adds the groups' partials into rows of dPos; rows of slots not in use are 0.
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
			for group := range c.groups {
				k.p.Add(dst, dst, c.partialAt(group, head, query)[at*c.d:][:c.d])
			}
		}
	}
}
