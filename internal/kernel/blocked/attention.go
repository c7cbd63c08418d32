package blocked

import (
	"math"

	"github.com/secencoder/secencoder/internal/kernel"
)

// Attention works on tiles of at most attentionBlock queries by as many keys of one piece and head; scores exist for one
// tile only, so memory does not grow with the length of a piece. Per tile of q queries, k keys, w slots between them:
//
//	S  = Q·Kᵀ                     2·q·k·d FLOP
//	Tq = Q·Pk[window]ᵀ            2·q·w·d     w = q+k−1 near the diagonal, down to 1 far from it
//	Tk = K·Pq[window]ᵀ            2·k·w·d
//	S_ij += Tq[i, s(i−j)] + Tk[j, s(i−j)]
//	O  = O·α + exp(S/σ − m)·V     2·q·k·d     with the running maximum m of each row
//
// The tables are packed once per call and head, the key table in reversed order of slots. Where slots are the distances
// themselves, row i of Tq then is a contiguous run of its row shifted by i, and Tk shifted so is the transpose of what S
// needs: the two sums are one addition and one transposed addition. A tile with one slot, as are 98 % of a document of
// 48,000 tokens (M = 512), adds a row and a column. In between each element looks its slot up.
//
// In a step of mini with pieces of about 45 tokens attention takes 6 to 9 % of the time, forward and backward; with
// pieces of 512 it takes a third, of which the look-ups are a twentieth (AVX-512, one thread). 24,000 tokens in one piece with two
// heads of 64 take 11 s of one core, forward and backward; what does not grow with the piece is below 1 MiB a worker.
// Tried: looking slots up in tiles with one slot: 55 % of the time of a piece of 48,000.
// Tried: looking slots up one by one: 8 % of a step of mini with pieces of 512; 1.4 % by permutation (AddLooked).
const attentionBlock = 112

// attentionScratch is what one worker needs for one tile.
type attentionScratch struct {
	qa, qc, oa, oc   []float32 // Q, dO of the query block: as A, and as B by terms
	kb, ka, kc       []float32 // K: as B by columns, as A, as B by terms
	vb               []float32 // V as B
	s, dp            []float32 // tile of scores, and of dP
	tq, tk           []float32 // bias tiles, and their gradients G, H
	pack             []float32 // A on the way into a product
	o                []float32 // output rows
	m, l, delta, lse []float32
	row              []float32
}

// attentionItem is a block of queries i0 … i1 of a piece that begins at token base and has n tokens.
type attentionItem struct{ piece, base, n, i0, i1 int32 }

// attentionCall is the state of one call, forward or gradient.
type attentionCall struct {
	f                                    *Format
	qkv, pos, out, lse, dOut, dQKV, dPos []float32
	slots                                []int16
	reach, heads, d, h, k2               int // k2: rows of one table
	c2p, p2c                             bool
	inv                                  float32
	drop                                 bool
	counter                              Counter
	threshold                            uint32
	scale                                float32
	groups, chunks                       int
	smooth                               bool      // from one distance to the next slots rise by 0 or 1
	active                               [2]int    // slots in use by the longest piece: first, last
	keyB, queryB                         []float32 // packed tables by columns, per head
	keyC, queryC                         []float32 // packed tables by terms, per head (gradient)
	partial                              []float32 // [chunk, head, table, row, d], key rows reversed
}

// Attention: see kernel.AttentionArgs.
func (k *Kernels) Attention(_ kernel.Stream, a *kernel.AttentionArgs) {
	k.begin(a.Header)
	defer k.end()
	c := &k.call.att
	*c = attentionCall{
		f:   &k.p.Single,
		qkv: a.QKV.F32(), pos: a.Pos.F32(), out: a.Out.F32(), lse: a.LSE.F32(), slots: a.Slots.I16(),
		reach: a.Reach, heads: a.A, d: a.D, h: a.A * a.D, k2: 2 * a.K, c2p: a.C2P, p2c: a.P2C,
		inv: 1 / a.Sigma, drop: a.Drop.On(), counter: k.counter(a.Drop.Site), threshold: a.Drop.HalfThreshold(), scale: a.Drop.Scale(),
	}
	work := a.Work.F32()
	c.keyB, work = cut(work, c.c2p, c.heads*c.tableB())
	c.queryB, _ = cut(work, c.p2c, c.heads*c.tableB())
	k.planAttention()
	k.run(2*c.heads, (*Kernels).packTablePart)
	k.run(c.heads*c.groups, (*Kernels).attentionPart)
}

// cut takes n elements off s when wanted.
func cut(s []float32, wanted bool, n int) (head, tail []float32) {
	if !wanted {
		return nil, s
	}
	return s[:n], s[n:]
}

// tableB and tableC are the words of one packed table: panels of 16 slots by d, and panels of 16 columns by 2K slots.
func (c *attentionCall) tableB() int { return c.f.Len(upTo(c.k2, 16), c.d) }
func (c *attentionCall) tableC() int { return c.f.Len(upTo(c.d, 16), c.k2) }

// slot returns the slot of the distance r.
func (c *attentionCall) slot(r int) int { return int(c.slots[r+c.reach]) }

// blockOf returns the tile size for a piece of n tokens: a multiple of 16, the same for all but the last tile.
func blockOf(n int) int {
	return upTo(parts(n, parts(n, attentionBlock)), 16)
}

// groupTokens is the number of queries that one part of the forward pass has at least.
const groupTokens = 128

// planAttention lists the blocks of queries, groups them, and finds the slots in use.
func (k *Kernels) planAttention() {
	c := &k.call.att
	items, starts, longest := k.s.items[:0], k.s.starts[:0], 1
	tokens := int32(groupTokens)
	for p := range k.h.Pieces() {
		base, n := k.h.Offsets[p], int(k.h.Offsets[p+1]-k.h.Offsets[p])
		longest = max(longest, n)
		for i := 0; i < n; i += blockOf(n) {
			i1 := min(i+blockOf(n), n)
			if tokens >= groupTokens {
				starts = append(starts, int32(len(items)))
				tokens = 0
			}
			tokens += int32(i1 - i)
			items = append(items, attentionItem{int32(p), base, int32(n), int32(i), int32(i1)})
		}
	}
	c.groups = len(starts)
	k.s.items, k.s.starts = items, append(starts, int32(len(items)))
	if c.c2p || c.p2c {
		c.active = [2]int{c.slot(1 - longest), c.slot(longest - 1)}
		k.reverseSlots(longest)
	}
}

// reverseSlots fills s.reversed: the row of the reversed key table at distance d = key − query, for |d| < n.
func (k *Kernels) reverseSlots(n int) {
	c := &k.call.att
	reversed := grow(&k.s.reversed, 2*n-1)
	c.smooth = true
	for at := range reversed {
		s := c.slot(n - 1 - at)
		reversed[at] = int16(c.k2 - 1 - s)
		if at > 0 && uint16(reversed[at]-reversed[at-1]) > 1 {
			c.smooth = false
		}
	}
}

// packTablePart packs one table of one head, the panels in use only.
func (k *Kernels) packTablePart(part, _ int) {
	c := &k.call.att
	head, query := part/2, part%2 == 1
	lo, hi := c.active[0], c.active[1]
	at, ld := head*c.d, c.h
	var b, t []float32
	if query {
		if !c.p2c {
			return
		}
		if c.c2p {
			at += c.k2 * c.h
		}
		b = c.queryB[head*c.tableB():][:c.tableB()]
		if c.queryC != nil {
			t = c.queryC[head*c.tableC():][:c.tableC()]
		}
	} else {
		if !c.c2p {
			return
		}
		at, ld = at+(c.k2-1)*c.h, -c.h
		lo, hi = c.k2-1-hi, c.k2-1-lo
		b = c.keyB[head*c.tableB():][:c.tableB()]
		if c.keyC != nil {
			t = c.keyC[head*c.tableC():][:c.tableC()]
		}
	}
	for r := lo &^ 15; r <= hi; r += 16 {
		c.f.PackRows(b[c.f.Len(r, c.d):], 16, single(c.pos), at+r*ld, ld, min(16, c.k2-r), c.d)
	}
	if t != nil {
		for j := 0; j < c.d; j += 16 {
			c.f.PackCols(t[c.f.Len(j, c.k2)+c.f.Len(16, lo&^15):], 16, single(c.pos), at+lo&^15*ld+j, ld, min(16, c.d-j), hi+1-lo&^15)
		}
	}
}

// attentionPart runs one head over one group of query blocks.
func (k *Kernels) attentionPart(part, w int) {
	c := &k.call.att
	head, group := part/c.groups, part%c.groups
	for _, it := range k.s.items[k.s.starts[group]:k.s.starts[group+1]] {
		k.attentionRows(&k.workers[w].att, head, it)
	}
}

func (k *Kernels) attentionRows(w *attentionScratch, head int, it attentionItem) {
	c := &k.call.att
	d, ld := c.d, 3*c.h
	base, n, i0, i1 := int(it.base), int(it.n), int(it.i0), int(it.i1)
	q := i1 - i0
	qkv := matrix{data: single(c.qkv), ld: ld, at: base*ld + head*d}
	c.f.panelsA(grow(&w.qa, c.f.Len(upTo(q, c.f.MR), d)), qkv, i0, i1, 0, d)
	o, m, l := grow(&w.o, q*d), grow(&w.m, q), grow(&w.l, q)
	for j0 := 0; j0 < n; j0 += blockOf(n) {
		j1 := min(j0+blockOf(n), n)
		t := tileOf{head: head, i0: i0, i1: i1, j0: j0, j1: j1}
		k.scores(w, &t, qkv)
		nk := j1 - j0
		for i := range q {
			row := w.s[i*t.ld:][:nk]
			top := k.p.Max(row)
			if j0 == 0 {
				m[i], l[i] = top, 0
			} else if top > m[i] {
				alpha := float32(math.Exp(float64(c.inv * (m[i] - top))))
				m[i] = top
				l[i] *= alpha
				k.p.Scale(o[i*d:][:d], o[i*d:][:d], alpha)
			}
			l[i] += k.p.ExpSum(row, row, c.inv, m[i])
			if c.drop {
				call := k.h.AttentionCall(int(it.piece), c.heads, head, i0+i) + uint64(j0/8)
				k.p.DropoutHalf(row, row, call, c.counter, c.threshold, c.scale)
			}
		}
		c.f.panelsA(grow(&w.pack, c.f.Len(upTo(q, c.f.MR), nk)), matrix{data: single(w.s), ld: t.ld}, 0, q, 0, nk)
		v := matrix{data: single(c.qkv), ld: ld, at: qkv.at + 2*c.h + j0*ld}
		c.f.panelsB(grow(&w.vb, c.f.Len(upTo(d, 16), nk)), v, 0, nk, 0, d)
		c.f.multiply(q, d, nk, w.pack, w.vb, c.f.Len(16, nk), o, d, nil, j0 > 0)
	}
	for i := range q {
		t := base + i0 + i
		k.p.Scale(c.out[t*c.h+head*d:][:d], o[i*d:][:d], 1/l[i])
		c.lse[t*c.heads+head] = float32(float64(c.inv)*float64(m[i]) + math.Log(float64(l[i])))
	}
}

// tileOf is one tile: queries i0 … i1 by keys j0 … j1 of a piece, and how its slots lie.
type tileOf struct {
	head, i0, i1, j0, j1 int
	ld                   int  // of the tile of scores
	straight, far        bool // slots are distances plus a constant here (none is passed over, then); there is one slot only
	slot                 int  // when far
	keyBase, keyW        int  // window of the reversed key table: its first row, a multiple of 16, and its width
	queryBase, queryW    int  // window of the query table
	keyLD, queryLD       int
}

// scores fills w.s with the tile's unscaled scores. w.qa holds the queries.
func (k *Kernels) scores(w *attentionScratch, t *tileOf, qkv matrix) {
	c := &k.call.att
	d := c.d
	q, nk := t.i1-t.i0, t.j1-t.j0
	t.ld = upTo(nk, 16)
	key := matrix{data: qkv.data, ld: qkv.ld, at: qkv.at + c.h, trans: true}
	c.f.panelsB(grow(&w.kb, c.f.Len(upTo(nk, 16), d)), key, 0, d, t.j0, t.j1)
	c.f.multiply(q, nk, d, w.qa, w.kb, c.f.Len(16, d), grow(&w.s, q*t.ld), t.ld, nil, false)
	if !c.c2p && !c.p2c {
		return
	}
	rLo, rHi := t.i0-t.j1+1, t.i1-1-t.j0
	lo, hi := c.slot(rLo), c.slot(rHi)
	t.straight, t.far, t.slot = c.smooth && hi-lo == rHi-rLo, hi == lo, lo
	if c.c2p {
		first := c.k2 - 1 - hi
		t.keyBase = first &^ 15
		t.keyW = c.k2 - lo - t.keyBase
		t.keyLD = upTo(t.keyW, 16)
		table := c.keyB[t.head*c.tableB()+c.f.Len(t.keyBase, d):]
		c.f.multiply(q, t.keyW, d, w.qa, table, c.f.Len(16, d), grow(&w.tq, q*t.keyLD+15), t.keyLD, nil, false)
		if !t.far {
			k.addKeyBias(w, t)
		}
	}
	if c.p2c {
		t.queryBase = lo &^ 15
		t.queryW = hi + 1 - t.queryBase
		t.queryLD = upTo(t.queryW, 16)
		key.trans = false
		c.f.panelsA(grow(&w.ka, c.f.Len(upTo(nk, c.f.MR), d)), key, t.j0, t.j1, 0, d)
		table := c.queryB[t.head*c.tableB()+c.f.Len(t.queryBase, d):]
		c.f.multiply(nk, t.queryW, d, w.ka, table, c.f.Len(16, d), grow(&w.tk, nk*t.queryLD+15), t.queryLD, nil, false)
		if !t.far {
			k.addQueryBias(w, t)
		}
	}
	if t.far {
		k.addFar(w, t)
	}
}

// addFar adds both bias terms of a tile with one slot: a column and a row.
func (k *Kernels) addFar(w *attentionScratch, t *tileOf) {
	c := &k.call.att
	nk := t.j1 - t.j0
	row := grow(&w.row, nk)
	for j := range row {
		row[j] = 0
		if c.p2c {
			row[j] = w.tk[j*t.queryLD+t.slot-t.queryBase]
		}
	}
	for i := range t.i1 - t.i0 {
		bias := float32(0)
		if c.c2p {
			bias = w.tq[i*t.keyLD+c.k2-1-t.slot-t.keyBase]
		}
		k.p.Shift(w.s[i*t.ld:][:nk], row, bias)
	}
}

// addKeyBias: S_ij += Tq[i, slot(i−j)].
func (k *Kernels) addKeyBias(w *attentionScratch, t *tileOf) {
	c := &k.call.att
	nk := t.j1 - t.j0
	for i := t.i0; i < t.i1; i++ {
		row, bias := w.s[(i-t.i0)*t.ld:][:nk], w.tq[(i-t.i0)*t.keyLD:][:t.keyW]
		if t.straight {
			k.p.Add(row, row, bias[c.k2-1-c.slot(i-t.j0)-t.keyBase:])
			continue
		}
		k.addLooked(row, bias, k.keySlots(i, t.j0), t.keyBase)
	}
}

// addQueryBias: S_ij += Tk[j, slot(i−j)].
func (k *Kernels) addQueryBias(w *attentionScratch, t *tileOf) {
	c := &k.call.att
	q, nk := t.i1-t.i0, t.j1-t.j0
	if t.straight {
		k.p.AddTransposed(w.s, t.ld, w.tk[c.slot(t.i0-t.j0)-t.queryBase:], t.queryLD-1, q, nk)
		return
	}
	ld := upTo(q, 16)
	looked := grow(&w.dp, nk*ld)
	clear(looked)
	for j := range nk {
		k.addLooked(looked[j*ld:][:q], w.tk[j*t.queryLD:][:t.queryW], c.slots[t.i0-t.j0-j+c.reach:], t.queryBase)
	}
	k.p.AddTransposed(w.s, t.ld, looked, ld, q, nk)
}

// keySlots returns the rows of the reversed key table for query i and the keys from j0 on.
func (k *Kernels) keySlots(i, j0 int) []int16 {
	return k.s.reversed[len(k.s.reversed)/2+j0-i:]
}

// addLooked and sumLooked use the family's loops where no slot is passed over: those need that.
func (k *Kernels) addLooked(x, table []float32, index []int16, base int) {
	if k.call.att.smooth {
		k.p.AddLooked(x, table, index, base)
	} else {
		addLooked(x, table, index, base)
	}
}

func (k *Kernels) sumLooked(x, table []float32, index []int16, base int) {
	if k.call.att.smooth {
		k.p.SumLooked(x, table, index, base)
	} else {
		sumLooked(x, table, index, base)
	}
}
