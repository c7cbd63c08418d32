package shard

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/zeebo/xxh3"

	"github.com/secencoder/secencoder/internal/mmap"
)

// Set is an open folder of shards. All methods but Close may be called concurrently. Document i of a set is the i-th that
// was appended, across its files.
type Set struct {
	dir     string
	shards  []*reader
	first   []int // number in the set of each shard's first document
	docs    int
	tokens  int64
	sources []string
}

// Open maps the shards of dir. It checks headers, sizes and source names; tokens and index are checked when they are
// first read. The error wraps fs.ErrNotExist when there is no shard, and ErrCorrupt for a shard that is malformed, cut
// short, missing in the row, or of another set.
func Open(dir string) (*Set, error) {
	names, err := shardFiles(dir)
	if err != nil {
		return nil, err
	}
	s := &Set{dir: dir}
	for n, name := range names {
		r, err := openReader(name)
		if err != nil {
			return nil, errors.Join(err, s.Close())
		}
		s.shards = append(s.shards, r)
		if err := s.admit(n, r, n == len(names)-1); err != nil {
			return nil, errors.Join(fmt.Errorf("%s: %w", name, err), s.Close())
		}
	}
	return s, nil
}

func shardFiles(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir) // sorted by name
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), ".shard") {
			names = append(names, e.Name())
		}
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("%s holds no shards: %w", dir, os.ErrNotExist)
	}
	// By number: names have five digits or more.
	slices.SortStableFunc(names, func(a, b string) int {
		if len(a) != len(b) {
			return len(a) - len(b)
		}
		return strings.Compare(a, b)
	})
	for n, name := range names {
		if name != fileName(n) {
			return nil, fmt.Errorf("%s: %w: found %s, want %s", dir, ErrCorrupt, name, fileName(n))
		}
		names[n] = filepath.Join(dir, name)
	}
	return names, nil
}

// admit adds the counts of shard n and checks that it belongs to the same set as the first.
func (s *Set) admit(n int, r *reader, last bool) error {
	h, h0 := &r.h, &s.shards[0].h
	switch {
	case int(h.number) != n:
		return fmt.Errorf("%w: the header says shard %d, the name says %d", ErrCorrupt, h.number, n)
	case h.tokenizer != h0.tokenizer || h.vocabulary != h0.vocabulary || !slices.Equal(r.sources, s.shards[0].sources):
		return fmt.Errorf("%w: tokenizer, vocabulary or sources differ from shard 0", ErrCorrupt)
	case h.flags&flagLast != 0 && !last:
		return fmt.Errorf("%w: says that it is the last of the set, but more follow", ErrCorrupt)
	case h.flags&flagLast == 0 && last:
		return fmt.Errorf("%w: %s is missing", ErrCorrupt, fileName(n+1))
	}
	s.first = append(s.first, s.docs)
	s.docs += int(h.documents)
	s.tokens += int64(h.tokens)
	s.sources = s.shards[0].sources
	return nil
}

// Close unmaps the shards. No other method may be running or follow.
func (s *Set) Close() error {
	var errs []error
	for _, r := range s.shards {
		errs = append(errs, r.file.Close())
	}
	return errors.Join(errs...)
}

// Documents returns the number of documents.
func (s *Set) Documents() int { return s.docs }

// Tokens returns the number of tokens of all documents.
func (s *Set) Tokens() int64 { return s.tokens }

// Sources returns the names that Meta.Source points into. It must not be changed.
func (s *Set) Sources() []string { return s.sources }

// VocabSize returns the size of the vocabulary; every id is below it.
func (s *Set) VocabSize() int { return int(s.shards[0].h.vocabulary) }

// Tokenizer returns the fingerprint of the tokenizer that made the ids.
func (s *Set) Tokenizer() [32]byte { return s.shards[0].h.tokenizer }

// Dir returns the folder that the set was opened from.
func (s *Set) Dir() string { return s.dir }

func (s *Set) find(i int) (*reader, int, error) {
	if i < 0 || i >= s.docs {
		return nil, 0, fmt.Errorf("%s: document %d of %d", s.dir, i, s.docs)
	}
	// The last shard that begins at or before i; shards without documents begin where the next one does.
	n := sort.Search(len(s.first), func(k int) bool { return s.first[k] > i }) - 1
	return s.shards[n], i - s.first[n], nil
}

// Length returns the number of tokens of document i. Where the index cannot be read it returns 1, so that a caller who
// reads documents by their length does not pass over this one, and Document gives the error; the same for an i that is
// out of range.
func (s *Set) Length(i int) int {
	r, k, err := s.find(i)
	if err != nil {
		return 1
	}
	start, end, _, err := r.entry(k)
	if err != nil {
		return 1
	}
	return int(end - start)
}

// Document returns the tokens of document i, in dst[:0] where its capacity allows, and where the document comes from.
// The result does not alias the file. Errors that come from the file's content wrap ErrCorrupt.
func (s *Set) Document(i int, dst []uint32) ([]uint32, Meta, error) {
	r, k, err := s.find(i)
	if err != nil {
		return nil, Meta{}, err
	}
	start, end, m, err := r.entry(k)
	if err != nil {
		return nil, Meta{}, err
	}
	dst, err = r.read(start, end, dst[:0])
	if err != nil {
		return nil, Meta{}, err
	}
	return dst, m, nil
}

// Verify reads every block of every shard and compares its checksum.
func (s *Set) Verify() error {
	for _, r := range s.shards {
		if err := r.ensure(headerSize, r.l.table); err != nil {
			return err
		}
	}
	return nil
}

// reader is one mapped shard.
type reader struct {
	name    string
	file    *mmap.File
	h       header
	l       layout
	sums    []byte          // the checksum table
	checked []atomic.Uint32 // one bit a block: compared and found right
	sources []string
}

func openReader(name string) (*reader, error) {
	f, err := mmap.Open(name)
	if err != nil {
		return nil, err
	}
	r := &reader{name: name, file: f}
	if err := r.open(); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", name, err), f.Close())
	}
	return r, nil
}

func (r *reader) open() error {
	size := int64(r.file.Len())
	b := make([]byte, min(size, headerSize))
	if err := r.readFull(b, 0); err != nil {
		return err
	}
	var err error
	if r.h, err = parseHeader(b); err != nil {
		return err
	}
	if r.l, err = r.h.layout(); err != nil {
		return err
	}
	if r.l.size != size {
		return fmt.Errorf("%w: %d bytes, want %d (%d documents, %d tokens)", ErrCorrupt, size, r.l.size, r.h.documents, r.h.tokens)
	}
	// From here on every count is bounded by the size of the file.
	r.sums = make([]byte, 8*r.l.blocks)
	if err := r.readFull(r.sums, r.l.table); err != nil {
		return err
	}
	if got := xxh3.Hash(r.sums); got != r.h.tableSum {
		return fmt.Errorf("%w: checksum table: checksum %016x, want %016x", ErrCorrupt, got, r.h.tableSum)
	}
	r.checked = make([]atomic.Uint32, (r.l.blocks+31)/32)
	return r.readSources()
}

func (r *reader) readSources() error {
	end := r.l.sources + int64(r.h.sourceBytes)
	if err := r.ensure(r.l.sources, end); err != nil {
		return err
	}
	b := make([]byte, r.h.sourceBytes)
	if err := r.readFull(b, r.l.sources); err != nil {
		return err
	}
	if uint64(r.h.sources) > r.h.sourceBytes/4 {
		return fmt.Errorf("%w: %d sources in %d bytes", ErrCorrupt, r.h.sources, r.h.sourceBytes)
	}
	r.sources = make([]string, r.h.sources)
	for i := range r.sources {
		if len(b) < 4 {
			return fmt.Errorf("%w: source names end at %d of %d", ErrCorrupt, i, r.h.sources)
		}
		n := int64(binary.LittleEndian.Uint32(b))
		if n > int64(len(b)-4) {
			return fmt.Errorf("%w: name of source %d has %d bytes, %d are left", ErrCorrupt, i, n, len(b)-4)
		}
		r.sources[i], b = string(b[4:4+n]), b[4+n:]
	}
	if len(b) > 0 {
		return fmt.Errorf("%w: %d bytes after the last source name", ErrCorrupt, len(b))
	}
	return nil
}

// readFull copies len(b) bytes from offset off out of the mapping.
func (r *reader) readFull(b []byte, off int64) error {
	n, err := r.file.ReadAt(b, off)
	if n == len(b) {
		return nil
	}
	if err == io.EOF {
		return fmt.Errorf("%w: ends at byte %d, wanted %d bytes from %d", ErrCorrupt, r.file.Len(), len(b), off)
	}
	return fmt.Errorf("%w: %w", ErrCorrupt, err)
}

var blocks = sync.Pool{New: func() any { b := make([]byte, blockSize); return &b }}

// ensure compares the checksums of the blocks that hold bytes from to to of the file, those that were not compared yet.
// Two goroutines may compare the same block; both come to the same result.
func (r *reader) ensure(from, to int64) error {
	if from >= to {
		return nil
	}
	for k := (from - headerSize) / blockSize; k <= (to-1-headerSize)/blockSize; k++ {
		word, bit := &r.checked[k/32], uint32(1)<<(k%32)
		if word.Load()&bit != 0 {
			continue
		}
		p := blocks.Get().(*[]byte)
		at := headerSize + k*blockSize
		b := (*p)[:min(blockSize, r.l.table-at)]
		err := r.readFull(b, at)
		if err == nil {
			if got, want := xxh3.Hash(b), binary.LittleEndian.Uint64(r.sums[8*k:]); got != want {
				err = fmt.Errorf("%w: bytes %d to %d: checksum %016x, want %016x", ErrCorrupt, at, at+int64(len(b)), got, want)
			}
		}
		blocks.Put(p)
		if err != nil {
			return fmt.Errorf("%s: %w", r.name, err)
		}
		word.Or(bit)
	}
	return nil
}

// entry returns the range of document k of this shard, in tokens, and its origin.
func (r *reader) entry(k int) (start, end uint64, m Meta, err error) {
	var b [2 * entrySize]byte
	at := r.l.index + int64(k)*entrySize
	from := at
	part := b[entrySize:]
	if k > 0 {
		from, part = at-entrySize, b[:]
	}
	if err := r.ensure(from, at+entrySize); err != nil {
		return 0, 0, Meta{}, err
	}
	if err := r.readFull(part, from); err != nil {
		return 0, 0, Meta{}, fmt.Errorf("%s: %w", r.name, err)
	}
	le := binary.LittleEndian
	start, end = le.Uint64(b[:]), le.Uint64(b[entrySize:])
	m = Meta{Record: le.Uint32(b[entrySize+8:]), Source: int(le.Uint32(b[entrySize+12:]))}
	if start > end || end > r.h.tokens || m.Source >= len(r.sources) {
		return 0, 0, Meta{}, fmt.Errorf("%s: %w: index entry %d: tokens %d to %d of %d, source %d of %d",
			r.name, ErrCorrupt, k, start, end, r.h.tokens, m.Source, len(r.sources))
	}
	return start, end, m, nil
}

// read appends the ids from start to end to dst.
func (r *reader) read(start, end uint64, dst []uint32) ([]uint32, error) {
	width := int64(r.h.width)
	from, to := headerSize+int64(start)*width, headerSize+int64(end)*width
	if err := r.ensure(from, to); err != nil {
		return nil, err
	}
	dst = slices.Grow(dst, int(end-start))
	p := blocks.Get().(*[]byte)
	defer blocks.Put(p)
	for from < to {
		b := (*p)[:min(blockSize, to-from)]
		if err := r.readFull(b, from); err != nil {
			return nil, fmt.Errorf("%s: %w", r.name, err)
		}
		done := len(dst)
		if width == 2 {
			for i := 0; i < len(b); i += 2 {
				dst = append(dst, uint32(b[i])|uint32(b[i+1])<<8)
			}
		} else {
			for i := 0; i < len(b); i += 4 {
				dst = append(dst, binary.LittleEndian.Uint32(b[i:]))
			}
		}
		for i, id := range dst[done:] {
			if id >= r.h.vocabulary {
				return nil, fmt.Errorf("%s: %w: byte %d: id %d, the vocabulary has %d", r.name, ErrCorrupt, from+int64(i)*width, id, r.h.vocabulary)
			}
		}
		from += int64(len(b))
	}
	return dst, nil
}
