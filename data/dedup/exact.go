// Package dedup finds equal records.
//
// Exact is the set of record texts seen so far, by their 128-bit xxh3 hash. It numbers the distinct texts in the order in
// which they are first seen. Which of several equal records stays is decided afterwards, when the splits are known:
// Choose is told every record with its split, and remembers for each distinct text the best place.
//
// Two different texts with one hash would be taken for equal; with n distinct texts the chance is n²/2^129, below 10^-18
// for ten thousand million records. The hash is not keyed: whoever can write into the logs can make collisions of a
// non-cryptographic hash with effort, and lose records of their own by it.
//
// Near duplicates are another stage, which works on the distinct texts: it would map their numbers to groups and call
// Choose with the group's number.
package dedup

import (
	"errors"
	"math"

	"github.com/zeebo/xxh3"

	"github.com/secencoder/secencoder/data"
)

// Key is the hash of a record's text.
type Key = xxh3.Uint128

// Hash returns the key of a record's text.
func Hash(text []byte) Key { return xxh3.Hash128(text) }

// ErrFull says that there are more distinct records than numbers for them, 2^32-2.
var ErrFull = errors.New("more than 4,294,967,294 distinct records")

// Exact is a set of keys, numbered from 0 in the order of their first Add. It takes 16 bytes a key, 8 bytes for its
// choice, and between 5 and 11 bytes of table. It is not safe for concurrent use.
type Exact struct {
	keys  []Key
	table []uint32 // number + 1 of a key, at a place that its low half gives; 0 is free
	best  []uint64 // by number: the least choice so far; see Choose
}

// Add returns the number of the key, and whether it was not there before.
func (e *Exact) Add(k Key) (number uint32, added bool, err error) {
	// At most three quarters full.
	if 4*len(e.keys) >= 3*len(e.table) {
		e.grow()
	}
	mask := uint64(len(e.table) - 1)
	for i := k.Lo & mask; ; i = (i + 1) & mask {
		n := e.table[i]
		if n == 0 {
			if len(e.keys) >= math.MaxUint32-1 {
				return 0, false, ErrFull
			}
			e.keys = append(e.keys, k)
			e.table[i] = uint32(len(e.keys))
			return uint32(len(e.keys) - 1), true, nil
		}
		if e.keys[n-1] == k {
			return n - 1, false, nil
		}
	}
}

func (e *Exact) grow() {
	size := max(1024, 2*len(e.table))
	e.table = make([]uint32, size)
	mask := uint64(size - 1)
	for n, k := range e.keys {
		i := k.Lo & mask
		for e.table[i] != 0 {
			i = (i + 1) & mask
		}
		e.table[i] = uint32(n + 1)
	}
}

// Len returns how many distinct keys there are.
func (e *Exact) Len() int { return max(len(e.keys), len(e.best)) }

const placeBits = 62

// Choose tells that a record with the number'th text stands at a place in a split. Of all records of a text the one
// stays whose split comes first in the order of data.Split (ODTS, IDTS, valid, train), and among those the one with the
// lowest place, whatever the order of the calls. place is below 2^62. The first call ends Add: keys and table are
// released.
func (e *Exact) Choose(number uint32, s data.Split, place uint64) {
	if e.best == nil {
		e.best = make([]uint64, len(e.keys))
		for i := range e.best {
			e.best[i] = math.MaxUint64
		}
		e.keys, e.table = nil, nil
	}
	e.best[number] = min(e.best[number], uint64(s)<<placeBits|place)
}

// Chosen returns the split and the place of the record that stays for the number'th text. It is right once Choose was
// called for every record.
func (e *Exact) Chosen(number uint32) (data.Split, uint64) {
	b := e.best[number]
	return data.Split(b >> placeBits), b & (1<<placeBits - 1)
}
