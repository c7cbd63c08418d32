package tokenizer

// mergeScratch is the memory of one merging.
type mergeScratch struct {
	ids   []uint32
	ranks []uint32 // of the pair that begins here
	made  []uint32 // what that pair becomes
	next  []int32
	prev  []int32
	queue []uint64
}

const noRank = ^uint32(0)

// shortPiece is the length in bytes up to which a linear search for the lowest rank beats a heap.
const shortPiece = 40

// keepScratch is the length above which scratch memory is given back after use.
const keepScratch = 1 << 16

// merge appends the ids of one piece: BPE without cache. Of all pairs of neighbours that have a merge the one with the lowest rank is
// merged, the leftmost on a tie, until none has. Source: tokenizers 0.23.3, models/bpe/word.rs, merge_all.
func (e *Encoder) merge(dst []uint32, piece []byte) []uint32 {
	if e.t.ignoreMerges {
		if id, ok := e.t.whole[string(piece)]; ok {
			return append(dst, id)
		}
	}
	if len(piece) <= shortPiece {
		return e.mergeShort(dst, piece)
	}
	return e.mergeLong(dst, piece)
}

func (t *Tokenizer) pair(left, right uint32) (rank, made uint32) {
	rank, made, ok := t.table.get(left, right)
	if !ok {
		return noRank, 0
	}
	return rank, made
}

// mergeShort is quadratic in the length, with small numbers.
func (e *Encoder) mergeShort(dst []uint32, piece []byte) []uint32 {
	w := &e.work
	ids, ranks, made := w.ids[:0], w.ranks[:0], w.made[:0]
	for i, b := range piece {
		ids = append(ids, e.t.byteID[b])
		if i > 0 {
			r, m := e.t.pair(ids[i-1], ids[i])
			ranks, made = append(ranks, r), append(made, m)
		}
	}
	w.ids, w.ranks, w.made = ids, ranks, made
	for {
		best, at := noRank, -1
		for i, r := range ranks {
			if r < best {
				best, at = r, i
			}
		}
		if at < 0 {
			return append(dst, ids...)
		}
		ids[at] = made[at]
		ids = append(ids[:at+1], ids[at+2:]...)
		ranks = append(ranks[:at], ranks[at+1:]...)
		made = append(made[:at], made[at+1:]...)
		if at < len(ranks) {
			ranks[at], made[at] = e.t.pair(ids[at], ids[at+1])
		}
		if at > 0 {
			ranks[at-1], made[at-1] = e.t.pair(ids[at-1], ids[at])
		}
	}
}

// mergeLong keeps the pairs in a heap by (rank, place) and the symbols in a linked list: n log n, so that no input is quadratic. An
// entry whose pair has changed since is known by its rank, which belongs to one pair only.
func (e *Encoder) mergeLong(dst []uint32, piece []byte) []uint32 {
	w := &e.work
	ids, next, prev, queue := w.ids[:0], w.next[:0], w.prev[:0], w.queue[:0]
	for i, b := range piece {
		ids = append(ids, e.t.byteID[b])
		next, prev = append(next, int32(i+1)), append(prev, int32(i-1))
	}
	end := int32(len(ids))
	for i := range ids[1:] {
		if rank, _ := e.t.pair(ids[i], ids[i+1]); rank != noRank {
			queue = pushKey(queue, uint64(rank)<<32|uint64(i))
		}
	}
	for len(queue) > 0 {
		var key uint64
		key, queue = popKey(queue)
		at := int32(uint32(key))
		right := next[at]
		if ids[at] == NoToken || right == end {
			continue
		}
		rank, made := e.t.pair(ids[at], ids[right])
		if rank == noRank || rank != uint32(key>>32) {
			continue
		}
		ids[at], ids[right] = made, NoToken
		next[at] = next[right]
		if next[at] != end {
			prev[next[at]] = at
			if rank, _ := e.t.pair(made, ids[next[at]]); rank != noRank {
				queue = pushKey(queue, uint64(rank)<<32|uint64(at))
			}
		}
		if left := prev[at]; left >= 0 {
			if rank, _ := e.t.pair(ids[left], made); rank != noRank {
				queue = pushKey(queue, uint64(rank)<<32|uint64(left))
			}
		}
	}
	for i := int32(0); i != end; i = next[i] {
		dst = append(dst, ids[i])
	}
	w.ids, w.next, w.prev, w.queue = ids, next, prev, queue
	if len(piece) > keepScratch {
		*w = mergeScratch{}
	}
	return dst
}

// pushKey adds to a binary heap with the smallest key on top.
func pushKey(h []uint64, key uint64) []uint64 {
	h = append(h, key)
	for i := len(h) - 1; i > 0; {
		up := (i - 1) / 2
		if h[up] <= h[i] {
			break
		}
		h[up], h[i] = h[i], h[up]
		i = up
	}
	return h
}

// popKey takes the smallest key of a heap that is not empty.
func popKey(h []uint64) (uint64, []uint64) {
	top := h[0]
	n := len(h) - 1
	h[0] = h[n]
	h = h[:n]
	for i := 0; ; {
		child := 2*i + 1
		if child >= n {
			return top, h
		}
		if child+1 < n && h[child+1] < h[child] {
			child++
		}
		if h[i] <= h[child] {
			return top, h
		}
		h[i], h[child] = h[child], h[i]
		i = child
	}
}
