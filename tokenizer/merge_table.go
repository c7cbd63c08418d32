package tokenizer

import "math/bits"

// mergeTable finds the merge of two neighbouring ids: open addressing, at most half full.
type mergeTable struct {
	slots []mergeSlot
	mask  uint64
}

type mergeSlot struct {
	key  uint64 // left<<32 | right
	rank uint32
	id   uint32
}

// noKey marks an empty slot; no pair has it, because NoToken is never an id.
const noKey = ^uint64(0)

func newMergeTable(n int) mergeTable {
	size := 1 << bits.Len(uint(2*n+1))
	t := mergeTable{slots: make([]mergeSlot, size), mask: uint64(size - 1)}
	for i := range t.slots {
		t.slots[i].key = noKey
	}
	return t
}

func pairKey(left, right uint32) uint64 { return uint64(left)<<32 | uint64(right) }

func (t *mergeTable) slot(key uint64) *mergeSlot {
	h := key * 0x9E3779B97F4A7C15
	for i := (h ^ h>>29) & t.mask; ; i = (i + 1) & t.mask {
		if s := &t.slots[i]; s.key == key || s.key == noKey {
			return s
		}
	}
}

// put records a merge; of two for one pair the later stays, as in HuggingFace's loader.
func (t *mergeTable) put(left, right, rank, id uint32) {
	s := t.slot(pairKey(left, right))
	*s = mergeSlot{key: pairKey(left, right), rank: rank, id: id}
}

func (t *mergeTable) get(left, right uint32) (rank, id uint32, ok bool) {
	s := t.slot(pairKey(left, right))
	return s.rank, s.id, s.key != noKey
}
