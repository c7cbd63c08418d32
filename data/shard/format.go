// Package shard stores documents as token ids on disk and reads them back in any order.
//
// A Set is the folder of one split (DATA/train): files 00000.shard, 00001.shard, … of the format in
// docs/formats/shards.md. A Writer appends documents and begins a new file when one is full; Open maps the files of a
// folder; OpenData opens every split of a data folder and checks that the shards belong to the folder's tokenizer.
//
// Shards hold bare tokens: no special tokens, no padding, no mask. Whether a token may be masked is a table by id, which
// the tokenizer and the delimiter set of a run give, so another set needs no new shards.
//
// Nothing in a file is believed before it is checked: sizes before allocation, the header at opening, every block of
// 64 KiB against its checksum before its first use, every id against the vocabulary. Errors wrap ErrCorrupt and name
// the file and the place.
package shard

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"github.com/zeebo/xxh3"
)

// ErrCorrupt says that a shard, or a folder of shards, is not what a Writer left there.
var ErrCorrupt = errors.New("corrupt shard")

// Meta says where a document comes from.
type Meta struct {
	Source int    // index into the set's sources
	Record uint32 // number of the record in its source, from 0, in the raw input
}

const (
	magic      = "SECSHARD"
	version    = 1
	headerSize = 128
	entrySize  = 16       // one index entry: u64 end, u32 record, u32 source
	blockSize  = 64 << 10 // bytes under one checksum
	flagLast   = 1        // the set has no shard after this one
)

// header is the first 128 bytes of a shard, little-endian:
//
//	0 magic, 8 version u32, 12 bytes per id u32, 16 vocabulary u32, 20 shard number u32, 24 tokenizer SHA-256,
//	56 documents u64, 64 tokens u64, 72 bytes of the source names u64, 80 sources u32, 84 flags u32,
//	88 block size u32, 92 zero u32, 96 xxh3 of the checksum table u64, 104 zero u64 ×2, 120 xxh3 of bytes 0 to 119.
type header struct {
	width       uint32 // bytes per id: 2 or 4
	vocabulary  uint32
	number      uint32
	tokenizer   [32]byte
	documents   uint64
	tokens      uint64
	sourceBytes uint64
	sources     uint32
	flags       uint32
	tableSum    uint64
}

func (h *header) marshal() []byte {
	b := make([]byte, headerSize)
	copy(b, magic)
	le := binary.LittleEndian
	le.PutUint32(b[8:], version)
	le.PutUint32(b[12:], h.width)
	le.PutUint32(b[16:], h.vocabulary)
	le.PutUint32(b[20:], h.number)
	copy(b[24:], h.tokenizer[:])
	le.PutUint64(b[56:], h.documents)
	le.PutUint64(b[64:], h.tokens)
	le.PutUint64(b[72:], h.sourceBytes)
	le.PutUint32(b[80:], h.sources)
	le.PutUint32(b[84:], h.flags)
	le.PutUint32(b[88:], blockSize)
	le.PutUint64(b[96:], h.tableSum)
	le.PutUint64(b[120:], xxh3.Hash(b[:120]))
	return b
}

func parseHeader(b []byte) (header, error) {
	var h header
	if len(b) < headerSize {
		return h, fmt.Errorf("%w: %d bytes, a header has %d", ErrCorrupt, len(b), headerSize)
	}
	if string(b[:8]) != magic {
		return h, fmt.Errorf("%w: begins with %q, want %q", ErrCorrupt, b[:8], magic)
	}
	le := binary.LittleEndian
	if v := le.Uint32(b[8:]); v != version {
		return h, fmt.Errorf("%w: format version %d, this program reads %d", ErrCorrupt, v, version)
	}
	if got, want := xxh3.Hash(b[:120]), le.Uint64(b[120:]); got != want {
		return h, fmt.Errorf("%w: header checksum %016x, want %016x", ErrCorrupt, got, want)
	}
	h.width = le.Uint32(b[12:])
	h.vocabulary = le.Uint32(b[16:])
	h.number = le.Uint32(b[20:])
	copy(h.tokenizer[:], b[24:])
	h.documents = le.Uint64(b[56:])
	h.tokens = le.Uint64(b[64:])
	h.sourceBytes = le.Uint64(b[72:])
	h.sources = le.Uint32(b[80:])
	h.flags = le.Uint32(b[84:])
	h.tableSum = le.Uint64(b[96:])
	if h.vocabulary == 0 || h.width != widthFor(h.vocabulary) {
		return h, fmt.Errorf("%w: %d bytes per id for a vocabulary of %d", ErrCorrupt, h.width, h.vocabulary)
	}
	if b := le.Uint32(b[88:]); b != blockSize {
		return h, fmt.Errorf("%w: block size %d, want %d", ErrCorrupt, b, blockSize)
	}
	return h, nil
}

// widthFor returns the bytes per id: ids below 65,536 fit 16 bits.
func widthFor(vocabulary uint32) uint32 {
	if vocabulary <= 1<<16 {
		return 2
	}
	return 4
}

// layout is where the sections of a shard lie, in bytes from the start of the file.
type layout struct {
	index   int64 // tokens are from headerSize to here, with zeros up to a multiple of 8
	sources int64
	table   int64 // end of the body; the body is what the block checksums cover, from headerSize
	blocks  int64
	size    int64 // of the whole file
}

// layout computes the sections from the counts, refusing counts whose sum overflows.
func (h *header) layout() (layout, error) {
	const limit = math.MaxInt64 / 64
	if h.tokens > limit || h.documents > limit || h.sourceBytes > limit {
		return layout{}, fmt.Errorf("%w: header claims %d tokens, %d documents, %d bytes of source names", ErrCorrupt, h.tokens, h.documents, h.sourceBytes)
	}
	var l layout
	l.index = headerSize + align8(int64(h.tokens)*int64(h.width))
	l.sources = l.index + int64(h.documents)*entrySize
	l.table = l.sources + align8(int64(h.sourceBytes))
	l.blocks = (l.table - headerSize + blockSize - 1) / blockSize
	l.size = l.table + 8*l.blocks
	return l, nil
}

func align8(n int64) int64 { return (n + 7) &^ 7 }

// fileName returns the name of shard n of a set.
func fileName(n int) string { return fmt.Sprintf("%05d.shard", n) }
