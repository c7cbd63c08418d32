package eval

import (
	"math"
	"slices"

	"github.com/secencoder/secencoder/data/batch"
	"github.com/secencoder/secencoder/tokenizer"
)

// Counts are the token and neighbour counts of a train split under one tokenizer, from which both baselines follow.
// Add documents, then call For. A Counts is used by one goroutine at a time.
//
// Memory: 8 bytes a vocabulary entry and about 24 bytes a distinct pair of neighbours.
type Counts struct {
	cls     uint32
	context int
	classes []tokenizer.Class
	tokens  []int64 // by id
	pairs   pairTable
}

// NewCounts returns empty counts. classes tells content, delimiter and special tokens apart by id; context is the
// longest framed piece, at whose cuts the left neighbour is [CLS].
func NewCounts(classes []tokenizer.Class, cls uint32, context int) *Counts {
	return &Counts{cls: cls, context: context, classes: classes, tokens: make([]int64, len(classes))}
}

// Add counts one document of bare tokens. Ids outside the vocabulary must not occur.
func (c *Counts) Add(document []uint32) {
	step := c.context - 2
	for i, id := range document {
		if c.classes[id] == tokenizer.ClassSpecial {
			continue
		}
		left := c.cls
		if i%step != 0 {
			left = document[i-1]
		}
		c.tokens[id]++
		c.pairs.add(uint64(left)<<32 | uint64(id))
	}
}

// baseline answers for one mask set. It is read-only after its making.
//
// Unigram: P(w) = (n(w) + 0.5) / (Σ n + 0.5·|S|) over the tokens S of the mask set.
// Left: P(w | c) = λ·n(c, w)/n(c) + (1−λ)·P(w), λ = n(c)/(n(c) + 10), c the nearest unmasked token to the left, n(c, w)
// how often w of S stood directly behind c. With λ written out it is (n(c, w) + 10·P(w)) / (n(c) + 10).
type baseline struct {
	counts []int64 // by id, 0 outside the set
	total  float64 // Σ (count + 0.5)
	best   int32   // the most probable token, ties to the lowest id

	start []int64 // [V+1] row of each left neighbour in next
	next  []pair  // ascending ids within a row
	rows  []float64
	tops  []int32 // by left neighbour: the most probable token behind it
}

type pair struct {
	id    int32
	count uint32
}

const leftWeight = 10 // of the unigram distribution, in counts

// forSet returns the baselines of a mask set.
func (c *Counts) forSet(set batch.MaskSet) *baseline {
	inside := func(id uint32) bool {
		return c.classes[id] == tokenizer.ClassContent || set == batch.All && c.classes[id] == tokenizer.ClassDelimiter
	}
	v := len(c.classes)
	b := &baseline{counts: make([]int64, v), best: -1, start: make([]int64, v+1), rows: make([]float64, v), tops: make([]int32, v)}
	for id, n := range c.tokens {
		if !inside(uint32(id)) {
			continue
		}
		b.counts[id] = n
		b.total += float64(n) + 0.5
		if b.best < 0 || n > b.counts[b.best] {
			b.best = int32(id)
		}
	}
	keys := c.pairs.sorted()
	b.next = make([]pair, 0, len(keys))
	row := 0
	for _, k := range keys {
		left, id := int(k.key>>32), uint32(k.key)
		if !inside(id) {
			continue
		}
		for row < left {
			row++
			b.start[row] = int64(len(b.next))
		}
		b.next = append(b.next, pair{int32(id), k.count})
		b.rows[left] += float64(k.count)
	}
	for row < v {
		row++
		b.start[row] = int64(len(b.next))
	}
	for left := range b.tops {
		b.tops[left] = b.top(left)
	}
	return b
}

// p returns the unigram probability of a token of the set.
func (b *baseline) p(id int32) float64 { return (float64(b.counts[id]) + 0.5) / b.total }

// unigram returns the nats of a label, and whether it is the most probable token.
func (b *baseline) unigram(label int32) (nats float64, first bool) {
	return -math.Log(b.p(label)), label == b.best
}

// left returns the nats of a label behind a neighbour, and whether it is the most probable token there.
func (b *baseline) left(neighbour, label int32) (nats float64, first bool) {
	row := b.next[b.start[neighbour]:b.start[neighbour+1]]
	n := 0.0
	if i, ok := slices.BinarySearchFunc(row, label, func(p pair, id int32) int { return int(p.id) - int(id) }); ok {
		n = float64(row[i].count)
	}
	return -math.Log((n + leftWeight*b.p(label)) / (b.rows[neighbour] + leftWeight)), label == b.tops[neighbour]
}

// top returns the most probable token behind a neighbour: one of its row, or the most probable token of all, since
// outside the row only the unigram part differs.
func (b *baseline) top(neighbour int) int32 {
	best := b.best
	if best < 0 {
		return best
	}
	weight := leftWeight * b.p(best)
	for _, p := range b.next[b.start[neighbour]:b.start[neighbour+1]] {
		w := float64(p.count) + leftWeight*b.p(p.id)
		// The best unigram token may itself be in the row; it is then met here with its count.
		if w > weight || w == weight && p.id < best {
			best, weight = p.id, w
		}
	}
	return best
}

// pairTable counts 64-bit keys by open addressing: a Go map would take about three times the memory.
type pairTable struct {
	keys   []uint64 // key + 1; 0 is free
	counts []uint32
	used   int
}

func (t *pairTable) add(key uint64) {
	if t.used*4 >= len(t.keys)*3 {
		t.grow()
	}
	i := t.find(key)
	if t.keys[i] == 0 {
		t.keys[i] = key + 1
		t.used++
	}
	if t.counts[i] < math.MaxUint32 {
		t.counts[i]++
	}
}

func (t *pairTable) find(key uint64) int {
	mask := len(t.keys) - 1
	// Fibonacci hashing (Knuth, TAOCP 3, 6.4): the high bits of a product with 2^64 divided by the golden ratio.
	i := int((key^key>>32)*0x9E3779B97F4A7C15>>32) & mask
	for t.keys[i] != 0 && t.keys[i] != key+1 {
		i = (i + 1) & mask
	}
	return i
}

func (t *pairTable) grow() {
	old := *t
	size := max(1<<12, 2*len(old.keys))
	t.keys, t.counts = make([]uint64, size), make([]uint32, size)
	for i, k := range old.keys {
		if k != 0 {
			j := t.find(k - 1)
			t.keys[j], t.counts[j] = k, old.counts[i]
		}
	}
}

type keyCount struct {
	key   uint64
	count uint32
}

// sorted returns the counts by ascending key.
func (t *pairTable) sorted() []keyCount {
	list := make([]keyCount, 0, t.used)
	for i, k := range t.keys {
		if k != 0 {
			list = append(list, keyCount{k - 1, t.counts[i]})
		}
	}
	slices.SortFunc(list, func(a, b keyCount) int {
		if a.key < b.key {
			return -1
		}
		return 1
	})
	return list
}
