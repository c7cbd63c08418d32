package blocked

import (
	"math"

	"github.com/secencoder/secencoder/internal/kernel"
)

// Attention works on tiles of one piece and head: a block of queries by two blocks of keys. Scores exist for one tile only,
// so memory does not grow with the square of a piece. Per tile of q queries, k keys, w slots between them:
//
//	S  = Q·Kᵀ                     2·q·k·d FLOP
//	Tq = Q·Pk[window]ᵀ            2·q·w·d     w ≤ q+k−1 near the diagonal
//	Tk = K·Pq[window]ᵀ            2·k·w·d
//	S_ij += Tq[i, s(i−j)] + Tk[j, s(i−j)]
//	O  = O·α + exp(S/σ − m)·V     2·q·k·d     with the running maximum m of each row
//
// A part owns one head and one or two blocks of queries and makes Tq once for all keys. The keys and values of longer pieces are
// packed into Work before, once for all queries, a few heads at a time, at most 64 MiB or one head: read again from their
// rows, 3·H floats apart, they took a sixth of the time of 8,192 tokens, waiting for memory. So is Tk of pieces up to 4
// times the table, which saves a fifth of the products at 2,048 tokens; longer ones would read more of it from memory than
// that is worth, and make it for the window of two blocks of queries. The tables are packed once per call and head, the key
// table in reversed order of slots: where slots are the distances themselves, row i of Tq then is a contiguous run of its row
// shifted by i, and Tk shifted so is the transpose of what S needs. The two sums are one addition and one transposed addition.
// In tiles beyond the last bucket, 98 % of a document of 48,000 tokens (M = 512), all distances share the first or the last
// slot: the products with these two are made once per query and key, and the tile adds a row and a column inside the softmax. In
// between each element looks its slot up.
//
// Scores, softmax and sums are float32. P and dS are factors where they lie (Format.InPlace): of BF16 operands the loops over a
// tile leave them rounded (ScoreTile.Half), where products take BF16 at all.
//
// Work holds the packed tables, 2·K·H floats each, and for one head or as many as keep the workers busy 3 floats a token
// and column, and 2·K more for Tk: 138 MB at 48,000 tokens, H = 768, K = 256, 120 MB with BF16.
//
// Measured on one core of a shared AMD EPYC of family 26 (Zen 5), by processor time, best slices, one piece, 12 heads of 64;
// GFLOP/s of encoder counts (4·N·H and 4·W·H a token forward, 2.5 and 3 times that backward) and share of the multipliers:
//
//	tokens      float32 forward, backward    BF16 forward, backward    with dropout of 0.1: float32, BF16
//	512         180 (75 %), 190 (79 %)       309 (64 %), 313 (64 %)    170, 169; 284, 292
//	2,048       173 (71 %), 177 (72 %)       278 (58 %), 285 (60 %)    160, 151; 262, 249
//	8,192       188 (77 %), 188 (77 %)       315 (66 %), 308 (64 %)    165, 168; 266, 281
//	48,000      173, 181                     328, 332
//
// Figures with dropout and of 48,000 tokens are older. P and dS in place gain 3 % forward and 5 % backward in float32, 1 % in BF16.
// Of 8,192 tokens forward, with P packed, products take 79 % of the time, softmax 8 %, bringing P into panels 5 %. What
// keeps 2,048 tokens below is the windows: they make a fifth more products than are counted.
// Tried: keys and values packed from their rows by every part: 149 GFLOP/s where 166 came out; Tk for all queries at 8,192
// tokens: 255 with BF16 where windows make 294; slots looked up by rows: 5 to 15 % less; softmax by rows, tiles of 112 by
// 112, scores rescaled and shifted in passes of their own: 100.
const maxTileBlock = 128

// attentionScratch is what one worker needs.
type attentionScratch struct {
	qa, qc, oa, oc         []float32 // Q, dO of the query blocks: as A, and as B by terms
	kb, ka, kc             []float32 // K: as B by columns, as A, as B by terms
	vb                     []float32 // V as B
	s, dp                  []float32 // tile of scores, and of dP
	tq, tk, hk             []float32 // bias tiles, and their gradients G, H
	tqs                    []float32 // Tq for all keys
	pack                   []float32 // A on the way into a product
	o, dq, dk, dv          []float32 // results of a tile or a part
	m, l, alpha, sub, row  []float32
	farQuery, farKey       [2][]float32 // Q·Pk, K·Pq of the first and the last slot
	sumQuery, sumKey, sums [2][]float32 // sums of dS over far tiles
	wide                   [2][]float32 // rows of BF16 on the way
	keep                   []uint64
	tile                   ScoreTile
}

// attentionItem is a run of queries i0 … i1 of a piece that begins at token base and has n tokens; step is the piece's first
// tile of packed keys, or −1. In the gradient it is a run of keys, and step the number of keys of all runs of its piece but
// the last.
type attentionItem struct{ piece, base, n, i0, i1, step int32 }

// attentionCall is the state of one call, forward or gradient.
type attentionCall struct {
	f                      *Format
	qkv, pos, out, dOut    Values
	dQKV                   Values
	lse, dPos              []float32
	slots                  []int16
	reach, heads, d, h, k2 int // k2: rows of one table
	c2p, p2c               bool
	inv                    float32
	drop                   kernel.Dropout
	counter                Counter
	block, align           int // queries of a tile, half of its keys; windows begin at multiples of align
	short                  int // pieces of up to that many tokens are cut into blocks of shortBlock
	groups                 int
	smooth                 bool      // from one distance to the next slots rise by 0 or 1
	active                 [2]int    // slots in use by the longest piece: first, last
	keyB, queryB           []float32 // packed tables by columns, per head
	keyC, queryC           []float32 // packed tables by terms, per head (gradient)
	packed                 []float32 // keys, values and Tk of the heads of a round; see packedHead
	ends                   []float32 // [head of a round, 2, token] K·Pq of the first and the last slot
	firstHead, roundHeads  int
	tokens                 int
	gradCall
}

// Attention: see kernel.AttentionArgs.
func (k *Kernels) Attention(_ kernel.Stream, a *kernel.AttentionArgs) {
	k.begin(a.Header)
	defer k.end()
	c := &k.call.att
	*c = attentionCall{
		f:   k.attentionFormat(a.QKV),
		qkv: valuesOf(a.QKV), pos: valuesOf(a.Pos), out: valuesOf(a.Out), lse: a.LSE.F32(), slots: a.Slots.I16(),
		reach: a.Reach, heads: a.A, d: a.D, h: a.A * a.D, k2: 2 * a.K, c2p: a.C2P, p2c: a.P2C,
		inv: 1 / a.Sigma, drop: a.Drop, counter: k.counter(a.Drop.Site),
	}
	work := a.Work.F32()
	c.keyB, work = cut(work, c.c2p, c.heads*c.tableB())
	c.queryB, work = cut(work, c.p2c, c.heads*c.tableB())
	c.tokens = k.h.Tokens()
	round := k.headsAtOnce(c, a.T)
	c.packed, work = cut(work, true, round*c.packedHead(c.tokens))
	c.ends, _ = cut(work, true, round*2*c.tokens+15)
	k.planAttention()
	k.planQueries()
	k.run(2*c.heads, (*Kernels).packTablePart)
	for c.firstHead = 0; c.firstHead < c.heads; c.firstHead += round {
		c.roundHeads = min(round, c.heads-c.firstHead)
		k.run(c.roundHeads*len(k.s.tiles), (*Kernels).packKeysPart)
		k.run(c.roundHeads*c.groups, (*Kernels).attentionPart)
	}
}

// keyTile is a tile of keys that several parts read: token base + j0 on, n of them, packed at so many words of a head. Tk
// follows for all queries of the piece, where win.ld is not 0.
type keyTile struct {
	base, j0, n, at int32
	win             window
}

// packedHead returns the words that the packed keys and values of n tokens, and Tk, take in one head: pieces that are packed have
// more than 96 tokens, and each pads up to 15 columns of keys and 31 terms of values.
func (c *attentionCall) packedHead(n int) int {
	words := c.f.Len(upTo(n+n/3, 16), c.d) + c.f.Len(upTo(c.d, 16), n+n/3)
	if c.p2c && c.k2 <= maxWindow {
		words += (n + 1) * (upTo(c.k2, 16) + 16)
	}
	return words
}

// maxWindow is the widest Tq or Tk that is made at once.
const maxWindow = 1024

// keepsTk reports whether Tk of a piece of n tokens is made once for all its queries.
func (c *attentionCall) keepsTk(n int) bool { return c.p2c && c.k2 <= maxWindow && n <= 4*c.k2 }

// headsAtOnce returns how many heads of n tokens are packed at once: enough to keep the workers busy, so that caches hold what
// they can, within 64 MiB, at least one. Results do not depend on it.
func (k *Kernels) headsAtOnce(c *attentionCall, n int) int {
	busy := parts(4*k.pool.Workers(), parts(n, 2*maxTileBlock))
	return min(c.heads, max(1, min(busy, 1<<24/max(1, c.packedHead(n)))))
}

// packKeysPart packs one tile of keys and its values in one head of the round.
func (k *Kernels) packKeysPart(part, wi int) {
	c, f, w := &k.call.att, k.call.att.f, &k.workers[wi].att
	t := k.s.tiles[part/c.roundHeads]
	at := part % c.roundHeads
	head, base, j0, j1 := c.firstHead+at, int(t.base), int(t.j0), int(t.j0+t.n)
	key, value := c.rows(c.qkv, 3*c.h, 1, base, head), c.rows(c.qkv, 3*c.h, 2, base, head)
	if c.p2c {
		f.panelsA(grow(&w.ka, f.Len(upTo(j1-j0, f.MR), c.d)), key, j0, j1, 0, c.d)
		ends := c.ends[at*2*c.tokens:][:2*c.tokens]
		dst := [2][]float32{ends[:c.tokens], ends[c.tokens:]}
		k.farColumns(w, &dst, base+j0, j1-j0, w.ka, head, true)
	}
	dst := c.packed[at*c.packedHead(c.tokens)+int(t.at):]
	if t.win.ld > 0 {
		tk := dst[c.keyTileWords(j1-j0):]
		f.multiply(j1-j0, t.win.w, c.d, w.ka, c.queryTable(head, t.win.base), f.Len(16, c.d), tk, t.win.ld, nil, false)
	}
	key.trans = true
	f.panelsB(dst, key, 0, c.d, j0, j1)
	f.panelsB(dst[f.Len(upTo(j1-j0, 16), c.d):], value, j0, j1, 0, c.d)
}

// keyTileWords returns the words of n packed keys and values.
func (c *attentionCall) keyTileWords(n int) int {
	return c.f.Len(upTo(n, 16), c.d) + c.f.Len(upTo(c.d, 16), n)
}

// attentionFormat returns the format of a call's products.
func (k *Kernels) attentionFormat(qkv kernel.Buf) *Format {
	if qkv.DType == kernel.BF16 {
		return &k.p.Half
	}
	return &k.p.Single
}

// attentionWork returns the words of Work of a call.
func (k *Kernels) attentionWork(a *kernel.AttentionArgs) int {
	c := attentionCall{f: k.attentionFormat(a.QKV), heads: a.A, d: a.D, k2: 2 * a.K, c2p: a.C2P, p2c: a.P2C}
	round := k.headsAtOnce(&c, a.T)
	return c.tables()*c.heads*c.tableB() + round*(c.packedHead(a.T)+2*a.T) + 15
}

// cut takes n elements off s when wanted.
func cut(s []float32, wanted bool, n int) (head, tail []float32) {
	if !wanted {
		return nil, s
	}
	return s[:n], s[n:]
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

// tableB and tableC are the words of one packed table: panels of 16 slots by d, and panels of 16 columns by 2K slots.
func (c *attentionCall) tableB() int { return c.f.Len(upTo(c.k2, 16), c.d) }
func (c *attentionCall) tableC() int { return c.f.Len(upTo(c.d, 16), c.k2) }

// slot returns the slot of the distance r.
func (c *attentionCall) slot(r int) int { return int(c.slots[r+c.reach]) }

// blockOf returns the block size for a piece of n tokens: a multiple of align, the same for all but the last block.
func (c *attentionCall) blockOf(n int) int {
	block := c.block
	if n <= c.short {
		block = shortBlock
	}
	return upTo(parts(n, parts(n, block)), c.align)
}

// rows returns the rows of a piece in one head: which is 0 for queries, 1 for keys, 2 for values.
func (c *attentionCall) rows(v Values, width, which, base, head int) matrix {
	return matrix{data: v, ld: width, at: base*width + which*c.h + head*c.d}
}

// attentionPart runs one head over one group of query blocks.
func (k *Kernels) attentionPart(part, w int) {
	c := &k.call.att
	head, group := c.firstHead+part/c.groups, part%c.groups
	for _, it := range k.s.items[k.s.starts[group]:k.s.starts[group+1]] {
		k.attentionRows(&k.workers[w].att, head, it)
	}
}

func (k *Kernels) attentionRows(w *attentionScratch, head int, it attentionItem) {
	c, f := &k.call.att, k.call.att.f
	d := c.d
	base, n, i0, i1 := int(it.base), int(it.n), int(it.i0), int(it.i1)
	block := c.blockOf(n)
	query, key, value := c.rows(c.qkv, 3*c.h, 0, base, head), c.rows(c.qkv, 3*c.h, 1, base, head), c.rows(c.qkv, 3*c.h, 2, base, head)
	turned := key
	turned.trans = true
	panel, rows := f.Len(upTo(block, f.MR), d), upTo(i1-i0, 16)
	grow(&w.qa, parts(i1-i0, block)*panel)
	for b := i0; b < i1; b += block {
		f.panelsA(w.qa[(b-i0)/block*panel:], query, b, min(b+block, i1), 0, d)
	}
	o, m, l := grow(&w.o, (i1-i0)*d), grow(&w.m, rows), grow(&w.l, rows)
	far := c.far(n)
	if far && c.c2p {
		for end := range w.farQuery {
			grow(&w.farQuery[end], rows)
		}
	}
	var wins [wholeBlocks]window // of Tq for all keys
	var tqs [wholeBlocks][]float32
	if c.c2p {
		for b := i0; b < i1; b += block {
			at := (b - i0) / block
			q := min(block, i1-b)
			if r := c.between(b, b+q, 0, n); r.hi-r.lo < maxWindow && len(w.m) <= queryBlocks*maxTileBlock {
				wins[at] = c.keyWindow(r.lo, r.hi)
				grow(&w.tqs, parts(i1-i0, block)*block*(min(upTo(c.k2, 16), maxWindow)+64)+15)
				tqs[at] = w.tqs[at*(len(w.tqs)-15)/parts(i1-i0, block):]
				f.multiply(q, wins[at].w, d, w.qa[at*panel:], c.keyTable(head, wins[at].base), f.Len(16, d), tqs[at], wins[at].ld, nil, false)
			}
			if far {
				k.farColumns(w, &w.farQuery, b-i0, q, w.qa[at*panel:], head, false)
			}
		}
	}
	for i := range m {
		m[i], l[i] = float32(math.Inf(-1)), 0
	}
	t := &w.tile
	*t = ScoreTile{
		Scale: float32(float64(c.inv) * math.Log2E), Alpha: grow(&w.alpha, block), Sub: grow(&w.sub, block),
		Drop: c.drop.On(), Counter: c.counter, Threshold: c.drop.HalfThreshold(), Keep: grow(&w.keep, 4*block+4),
	}
	for j0 := 0; j0 < n; j0 += 2 * block {
		j1 := min(j0+2*block, n)
		nk := j1 - j0
		var kb, vb, ends []float32
		if it.step < 0 {
			kb, vb = grow(&w.kb, f.Len(upTo(nk, 16), d)), grow(&w.vb, f.Len(upTo(d, 16), nk))
			f.panelsB(kb, turned, 0, d, j0, j1)
			f.panelsB(vb, value, j0, j1, 0, d)
		} else {
			kb = c.packed[(head-c.firstHead)*c.packedHead(c.tokens)+int(k.s.tiles[int(it.step)+j0/(2*block)].at):]
			vb = kb[f.Len(upTo(nk, 16), d):]
			ends = c.ends[(head-c.firstHead)*2*c.tokens+base+j0:]
		}
		var win window
		var tk []float32
		all := reachOf{end: -1}
		if c.p2c {
			all = c.between(i0, i1, j0, j1)
			if ends == nil {
				all.end = -1
			} else {
				win = k.s.tiles[int(it.step)+j0/(2*block)].win
				tk = kb[c.keyTileWords(nk):]
			}
			if all.end < 0 && win.ld == 0 {
				win = c.queryWindow(all.lo, all.hi)
				tk = grow(&w.tk, nk*win.ld+15)
				f.panelsA(grow(&w.ka, f.Len(upTo(nk, f.MR), d)), key, j0, j1, 0, d)
				f.multiply(nk, win.w, d, w.ka, c.queryTable(head, win.base), f.Len(16, d), tk, win.ld, nil, false)
			}
		}
		for b := i0; b < i1; b += block {
			b1 := min(b+block, i1)
			q := b1 - b
			qa := w.qa[(b-i0)/block*panel:]
			t.Rows, t.Cols, t.LD, t.Row, t.Col = q, nk, upTo(nk, 16), nil, nil
			t.share(&w.s, f.Half)
			r := reachOf{end: -1}
			if c.c2p || c.p2c {
				r = c.between(b, b1, j0, j1)
				if c.p2c && ends != nil && r.lo < r.hi {
					k.p.Scores.Fetch(tk, win.ld, c.slots, b-j0+c.reach, win.base, nk, min(c.slot(b1-1-j0)-c.slot(b-j0), q)/16+2)
				}
			}
			f.multiply(q, nk, d, qa, kb, f.Len(16, d), t.S, t.LD, nil, false)
			if c.c2p || c.p2c {
				if c.c2p {
					at := (b - i0) / block
					switch {
					case far && r.end >= 0:
						t.Col = w.farQuery[r.end][b-i0:]
					case tqs[at] != nil:
						k.addKeyTile(t, tqs[at], r, wins[at], b, b1, j0, j1)
					default:
						k.addKeyBias(w, r, qa, head, b, b1, j0, j1)
					}
				}
				if c.p2c {
					if all.end >= 0 {
						t.Row = ends[all.end*c.tokens:]
					} else if r.lo == r.hi {
						t.Row = grow(&w.row, t.LD)
						for j := range nk {
							t.Row[j] = tk[j*win.ld+r.lo-win.base]
						}
					} else {
						k.addQueryBias(w, tk, r, win, 0, b, b1, j0, j1)
					}
				}
			}
			t.M, t.L = m[b-i0:], l[b-i0:]
			t.Call = k.h.AttentionCall(int(it.piece), c.heads, head, b) + uint64(j0/8)
			k.p.Scores.Softmax(t)
			ob := o[(b-i0)*d:]
			if j0 > 0 {
				for i, alpha := range t.Alpha[:q] {
					if alpha != 1 {
						k.p.Scale(ob[i*d:][:d], ob[i*d:][:d], alpha)
					}
				}
			}
			grow(&w.pack, f.Len(upTo(q, f.MR), nk))
			p, _ := t.factors(matrix{})
			f.multiplyOnce(p, q, d, nk, w.pack, vb, f.Len(16, nk), ob, d, j0 > 0)
		}
	}
	kept := c.drop.Scale()
	for i := range i1 - i0 {
		at := base + i0 + i
		row := o[i*d:][:d]
		x := c.out.dest(at*c.h+head*d, d, row)
		k.p.Scale(x, row, kept/l[i])
		k.stored(&c.out, at*c.h+head*d, x)
		c.lse[at*c.heads+head] = float32(float64(m[i])*math.Ln2 + math.Log(float64(l[i])))
	}
}

// addKeyBias: S_ij += Tq[i, slot(i−j)].
func (k *Kernels) addKeyBias(w *attentionScratch, r reachOf, qa []float32, head, i0, i1, j0, j1 int) {
	c, t := &k.call.att, &w.tile
	win := c.keyWindow(r.lo, r.hi)
	q := i1 - i0
	tq := grow(&w.tq, q*win.ld+15)
	c.f.multiply(q, win.w, c.d, qa, c.keyTable(head, win.base), c.f.Len(16, c.d), tq, win.ld, nil, false)
	k.addKeyTile(t, tq, r, win, i0, i1, j0, j1)
}

// addKeyTile adds the elements of Tq that a tile of scores looks up.
func (k *Kernels) addKeyTile(t *ScoreTile, tq []float32, r reachOf, win window, i0, i1, j0, j1 int) {
	c := &k.call.att
	if r.straight {
		k.p.Scores.AddRows(t.S, t.LD, tq[c.k2-1-c.slot(i0-j0)-win.base:], win.ld-1, i1-i0, j1-j0)
		return
	}
	k.looks().Look(t.S, t.LD, tq, win.ld, k.s.reversed, k.keySlot(i0, j0), win.base, i1-i0, j1-j0)
}

// addQueryBias: S_ij += Tk[j, slot(i−j)] for keys j0 … j1, which are the rows of tk and the columns of the tile from col on.
func (k *Kernels) addQueryBias(w *attentionScratch, tk []float32, r reachOf, win window, col, i0, i1, j0, j1 int) {
	c, t := &k.call.att, &w.tile
	q, nk := i1-i0, j1-j0
	s := t.S[col:]
	if r.straight {
		k.p.AddTransposed(s, t.LD, tk[c.slot(i0-j0)-win.base:], win.ld-1, q, nk)
		return
	}
	k.looks().LookTurned(s, t.LD, tk, win.ld, c.slots, i0-j0+c.reach, win.base, nk, q)
}

// keySlot returns where s.reversed has the row of the reversed key table for query i and key j.
func (k *Kernels) keySlot(i, j int) int { return len(k.s.reversed)/2 + j - i }

// looks returns the family's loops where no slot is passed over: they need that.
func (k *Kernels) looks() *ScoreLoops {
	if k.call.att.smooth {
		return &k.p.Scores
	}
	return &plainLooks
}
