package shard

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"

	"github.com/zeebo/xxh3"
)

// Options are the properties of a set, the same for each of its shards.
type Options struct {
	VocabSize int      // ids are below it; up to 65,536 they take two bytes, else four
	Tokenizer [32]byte // fingerprint of the tokenizer that made the ids
	Sources   []string // names that Meta.Source points into
	// ShardTokens begins a new shard when the current one has that many tokens or more; 0 means 2^27 (256 MiB of
	// two-byte ids). A document is never divided. The same for ShardDocuments, 0 means 2^22: the index of the
	// current shard, 16 bytes a document, stays in memory.
	ShardTokens    int64
	ShardDocuments int64
}

// Writer appends documents to a set. It is not safe for concurrent use. Files are synced by whoever makes the folder
// durable (atomicfile.Dir.Commit), not by the Writer.
type Writer struct {
	dir     string
	options Options
	width   uint32
	names   []byte // the source section
	number  int
	tokens  int64 // of the whole set
	docs    int64

	file  *os.File // nil between shards
	block []byte   // body bytes that are not yet a whole block
	sums  []byte   // checksums of the whole blocks written
	index []byte
	own   uint64 // tokens of this shard
}

// Create makes the folder dir, when it is not there, and begins a set in it. The folder must hold no shard.
func Create(dir string, o Options) (*Writer, error) {
	if o.VocabSize < 1 || int64(o.VocabSize) > math.MaxUint32 {
		return nil, fmt.Errorf("shards in %s: vocabulary of %d", dir, o.VocabSize)
	}
	if o.ShardTokens == 0 {
		o.ShardTokens = 1 << 27
	}
	if o.ShardDocuments == 0 {
		o.ShardDocuments = 1 << 22
	}
	if o.ShardTokens < 0 || o.ShardDocuments < 0 {
		return nil, fmt.Errorf("shards in %s: %d tokens, %d documents a shard", dir, o.ShardTokens, o.ShardDocuments)
	}
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return nil, err
	}
	if _, err := os.Stat(filepath.Join(dir, fileName(0))); !errors.Is(err, fs.ErrNotExist) {
		return nil, errors.Join(fmt.Errorf("%s: %w", filepath.Join(dir, fileName(0)), fs.ErrExist), err)
	}
	w := &Writer{dir: dir, options: o, width: widthFor(uint32(o.VocabSize)), block: make([]byte, 0, blockSize)}
	for _, s := range o.Sources {
		w.names = binary.LittleEndian.AppendUint32(w.names, uint32(len(s)))
		w.names = append(w.names, s...)
	}
	return w, nil
}

// Append adds one document, which may be empty. tokens is not kept. After an error the set is broken and only Abort is
// left.
func (w *Writer) Append(tokens []uint32, m Meta) error {
	if m.Source < 0 || m.Source >= len(w.options.Sources) {
		return fmt.Errorf("%s: document %d: source %d of %d", w.dir, w.docs, m.Source, len(w.options.Sources))
	}
	for i, id := range tokens {
		if int64(id) >= int64(w.options.VocabSize) {
			return fmt.Errorf("%s: document %d: token %d has id %d, the vocabulary has %d", w.dir, w.docs, i, id, w.options.VocabSize)
		}
	}
	if w.file != nil && (int64(w.own) >= w.options.ShardTokens || int64(len(w.index)/entrySize) >= w.options.ShardDocuments) {
		if err := w.finish(0); err != nil {
			return err
		}
	}
	if w.file == nil {
		if err := w.begin(); err != nil {
			return err
		}
	}
	for len(tokens) > 0 {
		n := min(len(tokens), (blockSize-len(w.block))/int(w.width))
		if w.width == 2 {
			for _, id := range tokens[:n] {
				w.block = append(w.block, byte(id), byte(id>>8))
			}
		} else {
			for _, id := range tokens[:n] {
				w.block = binary.LittleEndian.AppendUint32(w.block, id)
			}
		}
		tokens = tokens[n:]
		w.own += uint64(n)
		w.tokens += int64(n)
		if len(w.block) == blockSize {
			if err := w.flush(); err != nil {
				return err
			}
		}
	}
	w.index = binary.LittleEndian.AppendUint64(w.index, w.own)
	w.index = binary.LittleEndian.AppendUint32(w.index, m.Record)
	w.index = binary.LittleEndian.AppendUint32(w.index, uint32(m.Source))
	w.docs++
	return nil
}

// Documents returns the number of documents appended.
func (w *Writer) Documents() int64 { return w.docs }

// Tokens returns the number of tokens appended.
func (w *Writer) Tokens() int64 { return w.tokens }

// Close finishes the set. A set without documents has one shard without documents. After an error, Abort removes what
// is there.
func (w *Writer) Close() error {
	if w.file == nil {
		if err := w.begin(); err != nil {
			return err
		}
	}
	return w.finish(flagLast)
}

// Abort closes the current file and removes every shard of the set; the folder stays.
func (w *Writer) Abort() error {
	var errs []error
	if w.file != nil {
		errs = append(errs, w.file.Close())
		w.file = nil
	}
	for n := 0; n <= w.number; n++ {
		if err := os.Remove(filepath.Join(w.dir, fileName(n))); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func (w *Writer) begin() error {
	f, err := os.OpenFile(filepath.Join(w.dir, fileName(w.number)), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return err
	}
	w.file, w.block, w.sums, w.index, w.own = f, w.block[:0], w.sums[:0], w.index[:0], 0
	// The counts are known at the end; until then the place of the header holds zeros, which no reader accepts.
	_, err = f.Write(make([]byte, headerSize))
	return err
}

// flush writes what is in block and notes its checksum.
func (w *Writer) flush() error {
	if len(w.block) == 0 {
		return nil
	}
	w.sums = binary.LittleEndian.AppendUint64(w.sums, xxh3.Hash(w.block))
	_, err := w.file.Write(w.block)
	w.block = w.block[:0]
	return err
}

func (w *Writer) body(b []byte) error {
	for len(b) > 0 {
		n := min(len(b), blockSize-len(w.block))
		w.block = append(w.block, b[:n]...)
		b = b[n:]
		if len(w.block) == blockSize {
			if err := w.flush(); err != nil {
				return err
			}
		}
	}
	return nil
}

func (w *Writer) finish(flags uint32) error {
	h := header{
		width: w.width, vocabulary: uint32(w.options.VocabSize), number: uint32(w.number), tokenizer: w.options.Tokenizer,
		documents: uint64(len(w.index) / entrySize), tokens: w.own, sourceBytes: uint64(len(w.names)),
		sources: uint32(len(w.options.Sources)), flags: flags,
	}
	var zeros [8]byte
	tokenBytes, nameBytes := int64(w.own)*int64(w.width), int64(len(w.names))
	for _, part := range [][]byte{zeros[:align8(tokenBytes)-tokenBytes], w.index, w.names, zeros[:align8(nameBytes)-nameBytes]} {
		if err := w.body(part); err != nil {
			return err
		}
	}
	if err := w.flush(); err != nil {
		return err
	}
	if _, err := w.file.Write(w.sums); err != nil {
		return err
	}
	h.tableSum = xxh3.Hash(w.sums)
	if _, err := w.file.WriteAt(h.marshal(), 0); err != nil {
		return err
	}
	f := w.file
	w.file = nil
	w.number++
	return f.Close()
}
