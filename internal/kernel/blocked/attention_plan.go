package blocked

// What attention and its gradient know before the first tile: which queries form a part, the packed position tables, and which
// window of them a tile needs.

// planAttention sets the block size and finds the slots in use.
func (k *Kernels) planAttention() {
	c := &k.call.att
	for c.block = maxTileBlock; c.block > 96 && c.block%c.f.MR != 0; {
		c.block -= 16
	}
	c.align = max(16, c.f.KR)
	longest := 1
	for p := range k.h.Pieces() {
		longest = max(longest, int(k.h.Offsets[p+1]-k.h.Offsets[p]))
	}
	if c.c2p || c.p2c {
		c.active = [2]int{c.slot(1 - longest), c.slot(longest - 1)}
		k.reverseSlots(longest)
	}
}

const (
	groupTokens = 128 // queries that one part of the forward pass has at least
	queryBlocks = 2   // blocks of queries of one item at most, of a piece that is cut
	wholeBlocks = 5   // of one that is not
	queryParts  = 64  // items of all heads aimed at
)

// planQueries lists the runs of query blocks and groups them.
func (k *Kernels) planQueries() {
	c := &k.call.att
	blocks := 0
	for p := range k.h.Pieces() {
		blocks += parts(int(k.h.Offsets[p+1]-k.h.Offsets[p]), c.block)
	}
	run := min(wholeBlocks, max(1, blocks*c.heads/queryParts))
	items, starts, tiles, at := k.s.items[:0], k.s.starts[:0], k.s.tiles[:0], 0
	tokens := int32(groupTokens)
	for p := range k.h.Pieces() {
		base, n := k.h.Offsets[p], int(k.h.Offsets[p+1]-k.h.Offsets[p])
		step := run * c.blockOf(n)
		if n > step {
			step = min(run, queryBlocks) * c.blockOf(n)
		}
		shared := int32(-1)
		if n > step {
			shared = int32(len(tiles))
			for j := 0; j < n; j += 2 * c.blockOf(n) {
				t := keyTile{base: base, j0: int32(j), n: int32(min(2*c.blockOf(n), n-j)), at: int32(at)}
				at += c.keyTileWords(int(t.n))
				if c.keepsTk(n) {
					r := c.between(0, n, j, j+int(t.n))
					t.win = c.queryWindow(r.lo, r.hi)
					at += int(t.n) * t.win.ld
				}
				tiles = append(tiles, t)
			}
		}
		for i := 0; i < n; i += step {
			i1 := min(i+step, n)
			if tokens >= groupTokens {
				starts = append(starts, int32(len(items)))
				tokens = 0
			}
			tokens += int32(i1 - i)
			items = append(items, attentionItem{piece: int32(p), base: base, n: int32(n), i0: int32(i), i1: int32(i1), step: shared})
		}
	}
	c.groups = len(starts)
	k.s.items, k.s.starts, k.s.tiles = items, append(starts, int32(len(items))), tiles
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
	f := c.f
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
	lo -= lo % c.align
	for r := lo; r <= hi; r += 16 {
		f.PackRows(b[f.Len(r, c.d):], 16, c.pos, at+r*ld, ld, min(16, c.k2-r), c.d)
	}
	if t != nil {
		for j := 0; j < c.d; j += 16 {
			f.PackCols(t[f.Len(j, c.k2)+f.Len(16, lo):], 16, c.pos, at+lo*ld+j, ld, min(16, c.d-j), hi+1-lo)
		}
	}
}

// window is a run of rows of a table, from a multiple of align, and the stride of the tile that it makes.
type window struct{ base, w, ld int }

// keyWindow and queryWindow cover the slots lo … hi, in the reversed key table and in the query table.
func (c *attentionCall) keyWindow(lo, hi int) window {
	first := c.k2 - 1 - hi
	base := first - first%c.align
	w := c.k2 - lo - base
	return window{base, w, upTo(w, 16)}
}

func (c *attentionCall) queryWindow(lo, hi int) window {
	base := lo - lo%c.align
	w := hi + 1 - base
	return window{base, w, upTo(w, 16)}
}

// reach of a tile: its slots, whether they are distances plus a constant, and which end they all share, or −1.
type reachOf struct {
	lo, hi   int
	straight bool
	end      int
}

// between returns the slots between queries i0 … i1 and keys j0 … j1.
func (c *attentionCall) between(i0, i1, j0, j1 int) reachOf {
	first, last := i0-j1+1, i1-1-j0
	r := reachOf{lo: c.slot(first), hi: c.slot(last), end: -1}
	r.straight = c.smooth && r.hi-r.lo == last-first
	if r.lo == r.hi {
		switch r.lo {
		case c.active[0]:
			r.end = 0
		case c.active[1]:
			r.end = 1
		}
	}
	return r
}

// far reports whether a piece of n tokens may have tiles whose slots are all the first or all the last one.
func (c *attentionCall) far(n int) bool {
	b := c.blockOf(n)
	return (c.c2p || c.p2c) && n > b && (c.slot(n-b) == c.active[1] || c.slot(b-n) == c.active[0])
}

// keyTable and queryTable return the packed table of a head from a row of it on, by columns.
func (c *attentionCall) keyTable(head, row int) []float32 {
	return c.keyB[head*c.tableB()+c.f.Len(row, c.d):]
}

func (c *attentionCall) queryTable(head, row int) []float32 {
	return c.queryB[head*c.tableB()+c.f.Len(row, c.d):]
}

// farColumns sets dst[end][i] to the product of each of n packed rows with the table row of the first and of the last slot.
func (k *Kernels) farColumns(w *attentionScratch, dst *[2][]float32, at, n int, a []float32, head int, query bool) {
	c := &k.call.att
	for end, slot := range c.active {
		win, table := window{}, []float32(nil)
		row := c.k2 - 1 - slot
		if query {
			win, row = c.queryWindow(slot, slot), slot
			table = c.queryTable(head, win.base)
		} else {
			win = c.keyWindow(slot, slot)
			table = c.keyTable(head, win.base)
		}
		t := grow(&w.tq, n*win.ld+15)
		c.f.multiply(n, win.w, c.d, a, table, c.f.Len(16, c.d), t, win.ld, nil, false)
		for i := range n {
			dst[end][at+i] = t[i*win.ld+row-win.base]
		}
	}
}
