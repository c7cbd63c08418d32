package blocked

import (
	"math"

	"github.com/secencoder/secencoder/internal/kernel"
)

// AttentionGrad runs tile by tile, scores rebuilt from LSE, one pass for all gradients: five products a tile, where two passes
// would take seven. Per tile, with dP = dO·Vᵀ and dS = P∘(dP − Δ)/σ, Δ_i = dO_i·O_i:
//
//	dV += Pᵀ·dO    dQ += dS·K + G·Pk    dK += dSᵀ·Q + H·Pq    dPk += Gᵀ·Q    dPq += Hᵀ·K
//
// where G[i, m] and H[j, m] sum dS_ij over slot(i−j) = m within the window of the tile. Where slots are distances, G is dS itself,
// read with another stride: between its rows there are zeros. Far tiles sum dS over rows and columns for the first or the
// last slot; the products with these sums are made once per part.
//
// The keys of a call are cut into groups by sizes alone: runs of whole pieces, or, of a piece that is much longer than a
// group, chunks. A part owns one head and one group: the rows of dK and dV, and a partial sum of dPk and dPq, which are added in
// the order of groups. Pieces in C chunks take C phases: in phase p chunk c meets the queries of chunk (c + p) mod C, so
// that no two parts of a phase write the same rows of dQ, and all parts are equally long; the order in which a row
// of dQ grows follows from the phases. No sum of dQ is kept anywhere else. (Partial sums of dQ per chunk would take C·T·H floats, a
// second pass 40 % more products.)
//
// Work holds the packed tables, 2 floats a token and head, at most 3 + 4/3·min(32, 96/A, T/512) sums of the position tables (3.1 MB
// each at H = 768, K = 256), and for BF16, where pieces may be cut, the float32 that DQKV is summed in: 3·H floats a token. A worker
// packs the queries of its part once: 20 bytes a query and column, 7.7 MB for the 6,048 queries of a chunk of 48,000 in 12 heads.
//
// Pieces of up to shortPiece tokens go by smaller tiles than those of the forward pass: Tk, H, dS and G of tiles of 112 queries by 224
// keys are more than the L2 cache holds. One layer of base, Zen 5, two threads, in turns, best slices: 96 tokens 5 % faster in
// BF16, 256 7 %, 384 1 %, 512 5 %, twice as much while others use the memory; 512 in float32 3 %. 1,024 tokens take the same time,
// 8,192 would take 1 to 4 % more, as their far tiles have neither Tk nor H.
// Tried: half as many keys and as many queries: 7 % slower at 512 tokens.
//
// With BF16, P and dS are rounded when their tile is done, G and H where they become factors of products.

const (
	shortPiece = 1024
	shortBlock = 64
)

// gradCall is what the gradient has beside the state of both.
type gradCall struct {
	delta, exponent []float32 // [head, token] Δ/σ; LSE·log2(e)
	partial         []float32 // [group, head, table, row, d], key rows reversed
	acc             []float32 // [T, 3H] DQKV itself, or what it is summed in
	cut, from       int       // first group that is a chunk; first group of this phase
	phase, phases   int
}

// gradGroupsOf returns how many groups n tokens should make. A group costs a sum of the position gradients of its own.
func gradGroupsOf(heads, n int) int { return max(1, min(32, parts(96, heads), n/512)) }

// maxGradGroups bounds the number of groups: chunks are rounded, and one run may be shorter than the others.
func maxGradGroups(heads, n int) int {
	g := gradGroupsOf(heads, n)
	return g + parts(g, 3) + 3
}

// attentionGradWork returns the words of Work of a call.
func (k *Kernels) attentionGradWork(a *kernel.AttentionGradArgs) int {
	c := attentionCall{f: k.attentionFormat(a.QKV), heads: a.A, d: a.D, k2: 2 * a.K, c2p: a.C2P, p2c: a.P2C}
	n := c.tables()*c.heads*(c.tableB()+c.tableC()+maxGradGroups(a.A, a.T)*c.k2*c.d) + 2*a.T*a.A
	if a.QKV.DType == kernel.BF16 && gradGroupsOf(a.A, a.T) > 1 {
		n += 3 * a.T * a.A * a.D
	}
	return n
}

// AttentionGrad: see kernel.AttentionGradArgs.
func (k *Kernels) AttentionGrad(_ kernel.Stream, a *kernel.AttentionGradArgs) {
	k.begin(a.Header)
	defer k.end()
	c := &k.call.att
	*c = attentionCall{
		f:   k.attentionFormat(a.QKV),
		qkv: valuesOf(a.QKV), pos: valuesOf(a.Pos), out: valuesOf(a.Out), lse: a.LSE.F32(), dOut: valuesOf(a.DOut), slots: a.Slots.I16(),
		dQKV: valuesOf(a.DQKV), dPos: a.DPos.F32(),
		reach: a.Reach, heads: a.A, d: a.D, h: a.A * a.D, k2: 2 * a.K, c2p: a.C2P, p2c: a.P2C,
		inv: 1 / a.Sigma, drop: a.Drop, counter: k.counter(a.Drop.Site), short: shortPiece,
	}
	c.tokens = k.h.Tokens()
	work := a.Work.F32()
	c.keyB, work = cut(work, c.c2p, c.heads*c.tableB())
	c.queryB, work = cut(work, c.p2c, c.heads*c.tableB())
	c.keyC, work = cut(work, c.c2p, c.heads*c.tableC())
	c.queryC, work = cut(work, c.p2c, c.heads*c.tableC())
	c.delta, work = cut(work, true, c.heads*c.tokens)
	c.exponent, work = cut(work, true, c.heads*c.tokens)
	c.acc = c.dQKV.F32
	if c.acc == nil && gradGroupsOf(c.heads, c.tokens) > 1 {
		c.acc, work = cut(work, true, 3*c.h*c.tokens)
	}
	c.partial = work
	k.planAttention()
	k.planKeys()
	k.run(2*c.heads, (*Kernels).packTablePart)
	k.run(parts(c.tokens, rowsPerPart), (*Kernels).deltaPart)
	for c.phase = range c.phases {
		if c.phase > 0 {
			c.from = c.cut
		}
		k.run(c.heads*(c.groups-c.from), (*Kernels).attentionGradPart)
	}
	if c.dPos != nil {
		k.run(parts(c.tables()*c.k2, rowsPerPart), (*Kernels).dPosPart)
	}
}

// pairCost is the work of a piece in pairs of tokens: its tiles, and the position tables, which are wide for short ones.
func (c *attentionCall) pairCost(n int) int {
	if c.tables() == 0 {
		return n * n
	}
	return n * (n + min(2*n-1, c.k2))
}

// planKeys lists the groups: first the runs of whole pieces, then the chunks.
func (k *Kernels) planKeys() {
	c := &k.call.att
	total := 0
	for p := range k.h.Pieces() {
		total += c.pairCost(int(k.h.Offsets[p+1] - k.h.Offsets[p]))
	}
	target := max(1, total/gradGroupsOf(c.heads, c.tokens))
	chunks := func(n int) int { // of a piece of n tokens
		cost, tiles := c.pairCost(n), parts(n, 2*c.blockOf(n))
		if 2*cost <= 3*target {
			return 1
		}
		return min((cost+target/2)/target, tiles)
	}
	items, starts := k.s.items[:0], k.s.starts[:0]
	cost := target
	for p := range k.h.Pieces() {
		base, n := k.h.Offsets[p], k.h.Offsets[p+1]-k.h.Offsets[p]
		if chunks(int(n)) > 1 {
			continue
		}
		if cost >= target {
			starts = append(starts, int32(len(items)))
			cost = 0
		}
		cost += c.pairCost(int(n))
		items = append(items, attentionItem{piece: int32(p), base: base, n: n, i1: n, step: n})
	}
	c.cut, c.phases = len(starts), 1
	for p := range k.h.Pieces() {
		base, n := k.h.Offsets[p], int(k.h.Offsets[p+1]-k.h.Offsets[p])
		m := chunks(n)
		if m == 1 {
			continue
		}
		tile := 2 * c.blockOf(n)
		step := parts(parts(n, tile), m) * tile
		c.phases = max(c.phases, parts(n, step))
		for j := 0; j < n; j += step {
			starts = append(starts, int32(len(items)))
			items = append(items, attentionItem{piece: int32(p), base: base, n: int32(n), i0: int32(j), i1: int32(min(j+step, n)), step: int32(step)})
		}
	}
	c.groups = len(starts)
	k.s.items, k.s.starts = items, append(starts, int32(len(items)))
}

// deltaPart fills Δ and the exponents of some rows.
func (k *Kernels) deltaPart(part, wi int) {
	c, w := &k.call.att, &k.workers[wi].att
	t0, t1 := span(part, rowsPerPart, c.tokens)
	for i := range w.wide {
		grow(&w.wide[i], c.h)
	}
	for t := t0; t < t1; t++ {
		out, dOut := k.wide(&c.out, t*c.h, c.h, w.wide[0]), k.wide(&c.dOut, t*c.h, c.h, w.wide[1])
		for head := range c.heads {
			at := head*c.tokens + t
			c.delta[at] = c.inv * k.p.Dot(out[head*c.d:][:c.d], dOut[head*c.d:][:c.d])
			c.exponent[at] = float32(float64(c.lse[t*c.heads+head]) * math.Log2E)
		}
	}
}

// partialAt returns the gradient rows [2K, d] of a table that one part sums.
func (c *attentionCall) partialAt(group, head int, query bool) []float32 {
	table := 0
	if query && c.c2p {
		table = 1
	}
	size := c.k2 * c.d
	return c.partial[((group*c.heads+head)*c.tables()+table)*size:][:size]
}

// activeRows returns the rows of a partial that may be other than zero.
func (c *attentionCall) activeRows(query bool) (lo, hi int) {
	if query {
		return c.active[0], c.active[1] + 1
	}
	return c.k2 - 1 - c.active[1], c.k2 - c.active[0]
}

// attentionGradPart runs one head over one group in one phase.
func (k *Kernels) attentionGradPart(part, wi int) {
	c := &k.call.att
	groups := c.groups - c.from
	g := gradPart{head: part / groups, group: c.from + part%groups}
	if c.phase == 0 {
		for _, query := range [2]bool{false, true} {
			if query && !c.p2c || !query && !c.c2p {
				continue
			}
			lo, hi := c.activeRows(query)
			lo -= lo % c.align // windows add zeros below
			clear(c.partialAt(g.group, g.head, query)[lo*c.d : hi*c.d])
		}
	}
	for _, it := range k.s.items[k.s.starts[g.group]:k.s.starts[g.group+1]] {
		if parts(int(it.n), int(it.step)) > c.phase {
			k.gradItem(&k.workers[wi].att, g, it)
		}
	}
}

// gradPart is what the tiles of one part share.
type gradPart struct {
	head, group                     int
	base, n, block                  int
	from, to                        int  // queries
	far                             bool // there may be far tiles
	panel, terms                    int  // words of a packed block of queries: as A, as B by terms
	query, key, value, turned, dOut matrix
	values                          matrix // turned
	ds                              matrix // dS, rows with zeros between them
	win                             window // of Tk and H, the same for all queries; ld is 0 where each tile has its own
}

// gradItem runs the keys of an item with the queries of this phase.
func (k *Kernels) gradItem(w *attentionScratch, g gradPart, it attentionItem) {
	c, f := &k.call.att, k.call.att.f
	d, n, step := c.d, int(it.n), int(it.step)
	chunks := parts(n, step)
	g.base, g.n, g.block = int(it.base), n, c.blockOf(n)
	g.from = (int(it.i0)/step + c.phase) % chunks * step
	g.to = min(g.from+step, n)
	g.query, g.key, g.value = c.rows(c.qkv, 3*c.h, 0, g.base, g.head), c.rows(c.qkv, 3*c.h, 1, g.base, g.head), c.rows(c.qkv, 3*c.h, 2, g.base, g.head)
	g.dOut = c.rows(c.dOut, c.h, 0, g.base, g.head)
	g.turned, g.values = g.key, g.value
	g.turned.trans, g.values.trans = true, true
	g.far = c.far(n)
	last := c.phase == chunks-1
	far := g.far && c.c2p
	if far {
		for end := range 2 {
			grow(&w.farQuery[end], upTo(g.to-g.from, 16))
			clear(grow(&w.sumQuery[end], upTo(g.to-g.from, 16)))
		}
	}
	g.panel, g.terms = f.Len(upTo(g.block, f.MR), d), f.Len(upTo(d, 16), g.block)
	blocks := parts(g.to-g.from, g.block)
	grow(&w.qa, blocks*g.panel)
	grow(&w.oa, blocks*g.panel)
	grow(&w.qc, blocks*g.terms)
	grow(&w.oc, blocks*g.terms)
	grow(&w.dq, (g.to-g.from)*d)
	for b := range blocks {
		i, i1 := g.from+b*g.block, min(g.from+(b+1)*g.block, g.to)
		f.panelsA(w.qa[b*g.panel:], g.query, i, i1, 0, d)
		f.panelsA(w.oa[b*g.panel:], g.dOut, i, i1, 0, d)
		f.panelsB(w.qc[b*g.terms:], g.query, i, i1, 0, d)
		f.panelsB(w.oc[b*g.terms:], g.dOut, i, i1, 0, d)
		if far {
			k.farColumns(w, &w.farQuery, i-g.from, i1-i, w.qa[b*g.panel:], g.head, false)
		}
	}
	// Rows of dS have at least block + align zeros before them.
	gap := g.block + 2*c.align
	g.ds = matrix{ld: 2*g.block + gap, at: gap}
	grow(&w.dp, gap+g.block*g.ds.ld)
	g.ds.data = single(w.dp)
	grow(&w.keep, 4*g.block+4)
	for i := range w.sums {
		grow(&w.sums[i], 2*g.block)
	}
	columns := 0
	for j0 := int(it.i0); j0 < int(it.i1); j0 += 2 * g.block {
		j1 := min(j0+2*g.block, int(it.i1))
		nk := j1 - j0
		if nk != columns {
			clear(w.dp)
			columns = nk
		}
		f.panelsB(grow(&w.kb, f.Len(upTo(nk, 16), d)), g.turned, 0, d, j0, j1)
		f.panelsB(grow(&w.vb, f.Len(upTo(nk, 16), d)), g.values, 0, d, j0, j1)
		f.panelsB(grow(&w.kc, f.Len(upTo(d, 16), nk)), g.key, j0, j1, 0, d)
		if c.p2c {
			panel := f.Len(upTo(g.block, f.MR), d)
			grow(&w.ka, 2*panel)
			for j := j0; j < j1; j += g.block {
				f.panelsA(w.ka[(j-j0)/g.block*panel:], g.key, j, min(j+g.block, j1), 0, d)
			}
			if g.far {
				for end := range 2 {
					grow(&w.farKey[end], 2*g.block)
					clear(grow(&w.sumKey[end], 2*g.block))
				}
				for j := j0; j < j1; j += g.block {
					k.farColumns(w, &w.farKey, j-j0, min(g.block, j1-j), w.ka[(j-j0)/g.block*panel:], g.head, true)
				}
			}
			k.keysBegin(w, &g, j0, j1)
		}
		grow(&w.dk, nk*d)
		grow(&w.dv, nk*d)
		for i := g.from; i < g.to; i += g.block {
			i1 := min(i+g.block, g.to)
			k.gradTile(w, &g, int(it.piece), i, i1, j0, j1, j0 > int(it.i0))
		}
		if c.p2c {
			k.keysDone(w, &g, j0, j1)
		}
		k.addGradient(&g, 1, j0, nk, w.dk, c.phase == 0, last)
		k.addGradient(&g, 2, j0, nk, w.dv, c.phase == 0, last)
	}
	if far {
		for i := g.from; i < g.to; i += g.block {
			k.farQueryGradient(w, &g, i, min(i+g.block, g.to))
		}
	}
	k.addGradient(&g, 0, g.from, g.to-g.from, w.dq, c.phase == 0, last)
}

// addGradient adds rows to those of dQ, dK or dV (which is 0, 1, 2) from token i of the piece on: first of all, or last of all.
func (k *Kernels) addGradient(g *gradPart, which, i, rows int, x []float32, first, last bool) {
	c := &k.call.att
	d, ld := c.d, 3*c.h
	at := (g.base+i)*ld + which*c.h + g.head*d
	half := c.dQKV.BF16 != nil
	switch {
	case half && last:
		for r := range rows {
			row := x[r*d:][:d]
			if !first {
				k.p.Add(row, row, c.acc[at+r*ld:][:d])
			}
			k.p.Narrow(c.dQKV.BF16[at+r*ld:][:d], row)
		}
	case first:
		for r := range rows {
			copy(c.acc[at+r*ld:][:d], x[r*d:][:d])
		}
	default:
		k.p.Scores.AddRows(c.acc[at:], ld, x, d, rows, d)
	}
}

// gradTile runs one tile. The first keys of a part set its rows of dq, the first queries those of dk and dv.
func (k *Kernels) gradTile(w *attentionScratch, g *gradPart, piece, i0, i1, j0, j1 int, addQuery bool) {
	c, f := &k.call.att, k.call.att.f
	d, q, nk := c.d, i1-i0, j1-j0
	add := i0 > g.from
	b := (i0 - g.from) / g.block
	qa, oa := w.qa[b*g.panel:], w.oa[b*g.panel:]
	qc, oc := w.qc[b*g.terms:], w.oc[b*g.terms:]
	dq := w.dq[(i0-g.from)*d:]

	t := &w.tile
	at := g.head*c.tokens + g.base + i0
	*t = ScoreTile{
		Rows: q, Cols: nk, LD: upTo(nk, 16), Scale: float32(float64(c.inv) * math.Log2E), Sub: c.exponent[at:][:q],
		DP: w.dp[g.ds.at:], LDP: g.ds.ld, Delta: c.delta[at:][:q], Inner: c.inv,
		Drop: c.drop.On(), Counter: c.counter, Threshold: c.drop.HalfThreshold(), Kept: c.drop.Scale(), Keep: w.keep,
		Call: k.h.AttentionCall(piece, c.heads, g.head, i0) + uint64(j0/8),
	}
	t.share(&w.s, f.Half)
	f.multiply(q, nk, d, qa, w.kb, f.Len(16, d), t.S, t.LD, nil, false)
	r := reachOf{end: -1}
	var halves [2]reachOf
	if c.c2p {
		r = c.between(i0, i1, j0, j1)
		if !g.far {
			r.end = -1
		}
		if r.end < 0 {
			k.addKeyBias(w, r, qa, g.head, i0, i1, j0, j1)
		} else {
			col := w.farQuery[r.end][i0-g.from:]
			t.Sub = grow(&w.sub, q)
			for i := range t.Sub {
				t.Sub[i] = c.exponent[at+i] - t.Scale*col[i]
			}
		}
	}
	if c.p2c {
		halves = k.addQueryBiases(w, g, i0, i1, j0, j1)
	}
	f.multiply(q, nk, d, oa, w.vb, f.Len(16, d), t.DP, t.LDP, nil, false)
	if r.end >= 0 || c.p2c && (halves[0].end >= 0 || halves[1].end >= 0) {
		t.RowSum, t.ColSum = w.sums[0], w.sums[1]
		clear(t.ColSum)
		if r.end >= 0 {
			t.RowSum = w.sumQuery[r.end][i0-g.from:]
		}
	}
	k.p.Scores.Grad(t)
	for h, half := range halves {
		if c.p2c && half.end >= 0 && h*g.block < nk {
			from, to := h*g.block, min((h+1)*g.block, nk)
			sum := w.sumKey[half.end][from:to]
			k.p.Add(sum, sum, t.ColSum[from:to])
		}
	}

	p, ds := t.factors(g.ds)
	p.trans = true
	grow(&w.pack, max(f.Len(upTo(q, f.MR), nk), f.Len(upTo(nk, f.MR), q)))
	f.multiplyOnce(p, nk, d, q, w.pack, oc, f.Len(16, q), w.dv, d, add)
	f.multiplyOnce(ds, q, d, nk, w.pack, w.kc, f.Len(16, nk), dq, d, addQuery)
	ds.trans = true
	f.multiplyOnce(ds, nk, d, q, w.pack, qc, f.Len(16, q), w.dk, d, add)

	if c.c2p && r.end < 0 {
		win := c.keyWindow(r.lo, r.hi)
		k.keyGradient(w, g, k.gatherKey(w, g, r, win, i0, i1, j0, j1), win, qc, dq, q)
	}
	for h, half := range halves {
		if jh := j0 + h*g.block; c.p2c && half.end < 0 && jh < j1 {
			to, win := min(jh+g.block, j1), g.win
			hk := w.hk
			if win.ld > 0 {
				hk = hk[h*g.block*win.ld:]
			} else {
				win = c.queryWindow(half.lo, half.hi)
				hk = grow(&w.hk, (to-jh)*win.ld+15)
				clear(hk)
			}
			k.gatherQuery(w, g, hk, half, win, i0, i1, jh, to, jh-j0)
			if g.win.ld == 0 {
				k.queryGradient(w, g, win, jh-j0, to-jh, nk)
			}
		}
	}
}

// keysBegin makes Tk of the keys j0 … j1 for all queries of the part, where it is not too wide, and clears H.
func (k *Kernels) keysBegin(w *attentionScratch, g *gradPart, j0, j1 int) {
	c, f := &k.call.att, k.call.att.f
	g.win = window{}
	r := c.between(g.from, g.to, j0, j1)
	if r.hi-r.lo >= maxWindow || g.far && r.end >= 0 {
		return
	}
	g.win = c.queryWindow(r.lo, r.hi)
	tk := grow(&w.tk, (j1-j0)*g.win.ld+15)
	clear(grow(&w.hk, (j1-j0)*g.win.ld+15))
	for j := j0; j < j1; j += g.block {
		a := w.ka[(j-j0)/g.block*f.Len(upTo(g.block, f.MR), c.d):]
		f.multiply(min(g.block, j1-j), g.win.w, c.d, a, c.queryTable(g.head, g.win.base), f.Len(16, c.d), tk[(j-j0)*g.win.ld:], g.win.ld, nil, false)
	}
}

// keysDone adds what H and the far tiles of keys j0 … j1 give to w.dk and to dPq.
func (k *Kernels) keysDone(w *attentionScratch, g *gradPart, j0, j1 int) {
	c := &k.call.att
	nk := j1 - j0
	if g.win.ld == 0 {
		if g.far {
			for end, slot := range c.active {
				win := c.queryWindow(slot, slot)
				columnOf(&w.hk, w.sumKey[end][:nk], win, slot-win.base)
				k.queryGradient(w, g, win, 0, nk, nk)
			}
		}
		return
	}
	if g.far {
		for end, slot := range c.active {
			if col := slot - g.win.base; col >= 0 && col < g.win.w {
				for j, x := range w.sumKey[end][:nk] {
					w.hk[j*g.win.ld+col] += x
				}
			}
		}
	}
	k.queryGradient(w, g, g.win, 0, nk, nk)
}
