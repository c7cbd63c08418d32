package tokenizer

import (
	"bytes"
	"encoding/binary"
	"hash/maphash"
	"math/bits"
)

// Two caches stand before the merging, both of fixed size: a piece's ids depend on its bytes alone, and 99 % of the pieces of logs are
// among the 16,384 most frequent. The short one is direct mapped, keys inline: 2^15 slots of 32 bytes stay in a core's L2 cache.
const (
	shortSlots = 1 << 15
	shortKey   = 16 // bytes
	shortIDs   = 3
)

type shortEntry struct {
	lo, hi uint64 // the key, zeros behind it
	n      uint8  // its length
	ids    uint8  // 0: empty
	id     [shortIDs]uint32
}

// holds reports whether the entry is that of a key; an empty one has length 0, which no key has.
func (s *shortEntry) holds(lo, hi uint64, n int) bool {
	return s.lo == lo && s.hi == hi && int(s.n) == n
}

// fill stores the ids of a key if they are few enough.
func (s *shortEntry) fill(lo, hi uint64, n int, ids []uint32) bool {
	if len(ids) > shortIDs {
		return false
	}
	s.lo, s.hi, s.n, s.ids = lo, hi, uint8(n), uint8(len(ids))
	copy(s.id[:], ids)
	return true
}

// loadKey packs text[p:p+n], 1 ≤ n ≤ 16, with zeros behind.
func loadKey(text []byte, p, n int) (lo, hi uint64) {
	if p+shortKey > len(text) {
		var b [shortKey]byte
		copy(b[:], text[p:p+n])
		return binary.LittleEndian.Uint64(b[:]), binary.LittleEndian.Uint64(b[8:])
	}
	lo = binary.LittleEndian.Uint64(text[p:])
	if n < 8 {
		return lo & (1<<(8*uint(n)) - 1), 0
	}
	// At n = 16 the shift is 64 and Go makes it 0, so the mask is all ones.
	return lo, binary.LittleEndian.Uint64(text[p+8:]) & (1<<(8*uint(n-8)) - 1)
}

func hashKey(lo, hi uint64, n int) uint64 {
	x, y := bits.Mul64((lo^uint64(n))*0x9E3779B97F4A7C15^hi, 0xD6E8FEB86659FD93)
	return x ^ y
}

// seed fills the first state of every encoder's short cache with the tokens that are pieces of their own, frequent ones (low ids)
// before rare.
func (t *Tokenizer) seed() {
	t.seedCache = make([]shortEntry, shortSlots)
	e := Encoder{t: t}
	var ids []uint32
	for _, v := range t.vocab {
		raw := t.TokenBytes(v.id)
		if t.special[v.id] || len(raw) < 2 || len(raw) > shortKey {
			continue
		}
		lo, hi := loadKey(raw, 0, len(raw))
		if slot := &t.seedCache[hashKey(lo, hi, len(raw))&(shortSlots-1)]; slot.ids == 0 {
			ids = e.merge(ids[:0], raw)
			slot.fill(lo, hi, len(raw), ids)
		}
	}
}

// longCache holds what the short one cannot: keys above 16 bytes, more than three ids. When its memory is full it starts anew, so it
// never grows.
type longCache struct {
	slots []longEntry
	keys  []byte
	ids   []uint32
}

type longEntry struct {
	hash   uint64
	key    uint32 // offset in keys
	id     uint32 // offset in ids
	keyLen uint16
	ids    uint16 // 0: empty
}

const (
	longSlots   = 1 << 13
	longKeys    = 256 << 10 // bytes
	longIDs     = 128 << 10
	longestKey  = 1 << 10
	longestIDs  = 1 << 10
	longEntries = longSlots - 1
)

var longSeed = maphash.MakeSeed()

func newLongCache() longCache {
	return longCache{slots: make([]longEntry, longSlots), keys: make([]byte, 0, longKeys), ids: make([]uint32, 0, longIDs)}
}

// get returns the ids of a piece, nil when it does not know them, and the slot for put.
func (c *longCache) get(piece []byte) (*longEntry, []uint32) {
	hash := maphash.Bytes(longSeed, piece)
	s := &c.slots[hash&longEntries]
	if s.ids > 0 && s.hash == hash && bytes.Equal(c.keys[s.key:s.key+uint32(s.keyLen)], piece) {
		return s, c.ids[s.id : s.id+uint32(s.ids)]
	}
	s.hash = hash
	s.ids = 0
	return s, nil
}

// put fills the slot that get gave for the same piece.
func (c *longCache) put(s *longEntry, piece []byte, ids []uint32) {
	if len(piece) > longestKey || len(ids) > longestIDs {
		return
	}
	if len(c.keys)+len(piece) > cap(c.keys) || len(c.ids)+len(ids) > cap(c.ids) {
		hash := s.hash
		clear(c.slots)
		c.keys, c.ids = c.keys[:0], c.ids[:0]
		s.hash = hash
	}
	s.key, s.keyLen = uint32(len(c.keys)), uint16(len(piece))
	s.id, s.ids = uint32(len(c.ids)), uint16(len(ids))
	c.keys = append(c.keys, piece...)
	c.ids = append(c.ids, ids...)
}
