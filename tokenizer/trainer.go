package tokenizer

import (
	"context"
	"math/bits"
)

// trainer is the state of the merge loop. A word is a run of symbols in one flat array; when a pair in it is merged it is compacted in
// place. A pair knows its count and the words that it may be in; the list only ever misses nothing, it may name words that have lost the
// pair. The queue is lazy: an entry's count may be out of date, but only too high, because a pair's count only falls after the step that
// made it (no token is made by two pairs, so no later merge makes new places for an old pair). So the first entry that is up to date is
// the exact maximum.
type trainer struct {
	symbols []uint32
	start   []int   // [words] the first place of each word in symbols …
	length  []int32 // [words] … and how many of them are left
	counts  []int64 // [words]

	index  pairIndex
	pairs  []pairState
	queue  pairQueue
	merges []merge

	lastCount int64
}

type pairState struct {
	key   uint64
	count int64
	words []int32 // ascending, no word twice
}

func newTrainer(words []word) *trainer {
	total := 0
	for _, w := range words {
		total += len(w.text)
	}
	tr := &trainer{
		symbols: make([]uint32, 0, total),
		start:   make([]int, 0, len(words)),
		length:  make([]int32, 0, len(words)),
		counts:  make([]int64, 0, len(words)),
		index:   newPairIndex(),
	}
	for _, w := range words {
		tr.start = append(tr.start, len(tr.symbols))
		tr.length = append(tr.length, int32(len(w.text)))
		tr.counts = append(tr.counts, w.count)
		for _, b := range w.text {
			tr.symbols = append(tr.symbols, uint32(len(specialNames))+byteRank[b])
		}
	}
	tr.countPairs()
	return tr
}

// countPairs counts the pairs of bytes; overlapping ones count each, as in HuggingFace: "aaa" has the pair a, a twice.
func (tr *trainer) countPairs() {
	for w := range tr.counts {
		s := tr.word(w)
		for i := 1; i < len(s); i++ {
			tr.add(pairKey(s[i-1], s[i]), tr.counts[w], int32(w))
		}
	}
	for i := range tr.pairs {
		tr.queue.push(queued{tr.pairs[i].count, tr.pairs[i].key, int32(i)})
	}
}

func (tr *trainer) word(w int) []uint32 {
	return tr.symbols[tr.start[w] : tr.start[w]+int(tr.length[w])]
}

// add changes a pair's count and, with word ≥ 0, notes that the word has it.
func (tr *trainer) add(key uint64, by int64, word int32) {
	i, fresh := tr.index.get(key, int32(len(tr.pairs)))
	if fresh {
		tr.pairs = append(tr.pairs, pairState{key: key})
	}
	p := &tr.pairs[i]
	p.count += by
	if word >= 0 && (len(p.words) == 0 || p.words[len(p.words)-1] != word) {
		p.words = append(p.words, word)
	}
}

// run merges until the vocabulary is full or no pair is frequent enough.
func (tr *trainer) run(ctx context.Context, o *TrainOptions) error {
	least := max(1, o.MinFrequency)
	for next := firstMerge; int(next) < o.VocabSize && len(tr.queue) > 0; {
		top := tr.queue[0]
		p := &tr.pairs[top.pair]
		if p.count != top.count {
			tr.queue.fixTop(p.count, least)
			continue
		}
		if top.count < least {
			break
		}
		tr.queue.pop()
		tr.merge(top.pair, next, least)
		tr.lastCount = top.count
		if next++; next&255 == 0 {
			o.Progress("merge", int64(next), int64(o.VocabSize))
			if err := context.Cause(ctx); err != nil {
				return err
			}
		}
	}
	o.Progress("merge", int64(firstMerge)+int64(len(tr.merges)), int64(o.VocabSize))
	return nil
}

// merge makes a pair one symbol wherever it is, from left to right in each word.
func (tr *trainer) merge(pair int32, made uint32, least int64) {
	key := tr.pairs[pair].key
	left, right := uint32(key>>32), uint32(key)
	words := tr.pairs[pair].words
	tr.merges = append(tr.merges, merge{left, right, made})
	created := len(tr.pairs)
	for _, w := range words {
		s, by := tr.word(int(w)), tr.counts[w]
		out := 0
		for i := 0; i < len(s); {
			if i+1 == len(s) || s[i] != left || s[i+1] != right {
				s[out] = s[i]
				out++
				i++
				continue
			}
			if out > 0 {
				tr.add(pairKey(s[out-1], left), -by, -1)
				tr.add(pairKey(s[out-1], made), by, w)
			}
			if i+2 < len(s) {
				tr.add(pairKey(right, s[i+2]), -by, -1)
				tr.add(pairKey(made, s[i+2]), by, w)
			}
			s[out] = made
			out++
			i += 2
		}
		tr.length[w] = int32(out)
	}
	// Pairs below the limit can never rise to it, so the queue need not hold them, nor we their words.
	for i := created; i < len(tr.pairs); i++ {
		if p := &tr.pairs[i]; p.count >= least {
			tr.queue.push(queued{p.count, p.key, int32(i)})
		} else {
			p.words = nil
		}
	}
	tr.pairs[pair].words = nil
	tr.pairs[pair].count = 0
}

// pairIndex finds the number of a pair: open addressing, at most 3/4 full.
type pairIndex struct {
	slots []indexSlot
	used  int
}

type indexSlot struct {
	key  uint64
	pair int32 // plus one; 0: empty
}

func newPairIndex() pairIndex { return pairIndex{slots: make([]indexSlot, 1<<12)} }

// get returns the number of a pair; one that is not there gets next, and fresh is true.
func (x *pairIndex) get(key uint64, next int32) (pair int32, fresh bool) {
	if 4*x.used >= 3*len(x.slots) {
		old := x.slots
		x.slots = make([]indexSlot, 2*len(old))
		for _, s := range old {
			if s.pair != 0 {
				*x.slot(s.key) = s
			}
		}
	}
	s := x.slot(key)
	if s.pair == 0 {
		*s = indexSlot{key, next + 1}
		x.used++
		return next, true
	}
	return s.pair - 1, false
}

func (x *pairIndex) slot(key uint64) *indexSlot {
	mask := uint64(len(x.slots) - 1)
	hi, lo := bits.Mul64(key^0x9E3779B97F4A7C15, 0xD6E8FEB86659FD93)
	for i := (hi ^ lo) & mask; ; i = (i + 1) & mask {
		if s := &x.slots[i]; s.pair == 0 || s.key == key {
			return s
		}
	}
}

// queued is a pair with the count that it had when it was put in.
type queued struct {
	count int64
	key   uint64
	pair  int32
}

// before is the order of merges: count descending, then left id, then right id ascending.
func (a queued) before(b queued) bool {
	if a.count != b.count {
		return a.count > b.count
	}
	return a.key < b.key
}

// pairQueue is a heap with four children a node, the first by before on top.
type pairQueue []queued

func (q *pairQueue) push(e queued) {
	*q = append(*q, e)
	h := *q
	i := len(h) - 1
	for i > 0 {
		up := (i - 1) / 4
		if !e.before(h[up]) {
			break
		}
		h[i] = h[up]
		i = up
	}
	h[i] = e
}

func (q *pairQueue) pop() {
	h := *q
	last := h[len(h)-1]
	*q = h[:len(h)-1]
	if len(*q) > 0 {
		q.sink(last)
	}
}

// fixTop gives the first entry its present count, or drops it when that is below least.
func (q *pairQueue) fixTop(count, least int64) {
	if count < least {
		q.pop()
		return
	}
	top := (*q)[0]
	top.count = count
	q.sink(top)
}

// sink puts e in place of the first entry.
func (q *pairQueue) sink(e queued) {
	h := *q
	i := 0
	for {
		best, first := i, 4*i+1
		least := e
		for c := first; c < min(first+4, len(h)); c++ {
			if h[c].before(least) {
				best, least = c, h[c]
			}
		}
		if best == i {
			h[i] = e
			return
		}
		h[i] = least
		i = best
	}
}
