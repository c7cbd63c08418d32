package tokenizer

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"iter"
	"slices"
	"sync"
)

// word is a distinct piece and how often it was seen.
type word struct {
	text  []byte
	count int64
}

// wordTable counts pieces of one goroutine: up to 16 bytes inline by open addressing, longer ones in a map.
type wordTable struct {
	slots  []wordSlot
	used   int
	long   map[string]int
	counts []int64 // of long
	pieces int64
}

type wordSlot struct {
	lo, hi uint64
	count  int64 // 0: empty
	n      uint8
}

func newWordTable() *wordTable {
	return &wordTable{slots: make([]wordSlot, 1<<12), long: make(map[string]int)}
}

// add counts the pieces of a text. Pieces of one byte form no pair and are only counted in sum.
func (w *wordTable) add(s *Scanner, text []byte) {
	for p := 0; p < len(text); {
		end := s.Next(text, p)
		n := end - p
		switch {
		case n == 1:
		case n <= shortKey:
			lo, hi := loadKey(text, p, n)
			w.bump(lo, hi, n, 1)
		default:
			w.bumpLong(text[p:end], 1)
		}
		w.pieces++
		p = end
	}
}

func (w *wordTable) bump(lo, hi uint64, n int, by int64) {
	mask := uint64(len(w.slots) - 1)
	for i := hashKey(lo, hi, n) & mask; ; i = (i + 1) & mask {
		s := &w.slots[i]
		if s.count == 0 {
			*s = wordSlot{lo, hi, by, uint8(n)}
			if w.used++; 4*w.used > 3*len(w.slots) {
				w.grow()
			}
			return
		}
		if s.lo == lo && s.hi == hi && int(s.n) == n {
			s.count += by
			return
		}
	}
}

func (w *wordTable) grow() {
	old := w.slots
	w.slots, w.used = make([]wordSlot, 2*len(old)), 0
	for i := range old {
		if s := &old[i]; s.count > 0 {
			w.bump(s.lo, s.hi, int(s.n), s.count)
		}
	}
}

func (w *wordTable) bumpLong(piece []byte, by int64) {
	i, ok := w.long[string(piece)]
	if !ok {
		i = len(w.counts)
		w.counts = append(w.counts, 0)
		w.long[string(piece)] = i
	}
	w.counts[i] += by
}

// merge adds the counts of another table.
func (w *wordTable) merge(other *wordTable) {
	for i := range other.slots {
		if s := &other.slots[i]; s.count > 0 {
			w.bump(s.lo, s.hi, int(s.n), s.count)
		}
	}
	for text, i := range other.long {
		w.bumpLong([]byte(text), other.counts[i])
	}
	w.pieces += other.pieces
}

// words returns the pieces sorted by their bytes, an order that no thread has a part in.
func (w *wordTable) words() []word {
	list := make([]word, 0, w.used+len(w.long))
	arena := make([]byte, 0, w.used*shortKey)
	for i := range w.slots {
		s := &w.slots[i]
		if s.count == 0 {
			continue
		}
		var b [shortKey]byte
		binary.LittleEndian.PutUint64(b[:], s.lo)
		binary.LittleEndian.PutUint64(b[8:], s.hi)
		at := len(arena)
		arena = append(arena, b[:s.n]...)
		list = append(list, word{arena[at:len(arena):len(arena)], s.count})
	}
	for text, i := range w.long {
		list = append(list, word{[]byte(text), w.counts[i]})
	}
	slices.SortFunc(list, func(a, b word) int { return bytes.Compare(a.text, b.text) })
	return list
}

// block is a batch of records for one goroutine.
type block struct {
	text []byte
	ends []int
}

// blockBytes is the size at which a block is handed on: large enough that handing on costs nothing.
const blockBytes = 1 << 20

// countWords reads all of docs and counts its pieces. Sums do not depend on order, so the result does not on the number of threads.
func countWords(ctx context.Context, docs iter.Seq2[[]byte, error], scan *Scanner, o *TrainOptions, report *Report) ([]word, error) {
	full := make(chan *block, o.Threads)
	free := make(chan *block, 2*o.Threads+1)
	for range cap(free) {
		free <- new(block)
	}
	tables := make([]*wordTable, o.Threads)
	var wg sync.WaitGroup
	for i := range tables {
		tables[i] = newWordTable()
		wg.Go(func() {
			for b := range full {
				start := 0
				for _, end := range b.ends {
					tables[i].add(scan, b.text[start:end])
					start = end
				}
				b.text, b.ends = b.text[:0], b.ends[:0]
				free <- b
			}
		})
	}
	err := feed(ctx, docs, full, free, o, report)
	close(full)
	wg.Wait()
	if err != nil {
		return nil, err
	}
	for _, t := range tables[1:] {
		tables[0].merge(t)
	}
	words := tables[0].words()
	report.Pieces, report.DistinctPieces = tables[0].pieces, len(words)
	return words, nil
}

func feed(ctx context.Context, docs iter.Seq2[[]byte, error], full, free chan *block, o *TrainOptions, report *Report) error {
	b := <-free
	for text, err := range docs {
		if err != nil {
			return fmt.Errorf("training text, record %d: %w", report.Documents+1, err)
		}
		if err := context.Cause(ctx); err != nil {
			return err
		}
		report.Documents++
		report.Bytes += int64(len(text))
		b.text = append(b.text, text...)
		b.ends = append(b.ends, len(b.text))
		if len(b.text) < blockBytes {
			continue
		}
		full <- b
		b = <-free
		o.Progress("count", report.Bytes, 0)
	}
	full <- b
	o.Progress("count", report.Bytes, 0)
	return context.Cause(ctx)
}
