package shard

import (
	"encoding/binary"
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/zeebo/xxh3"
)

type document struct {
	tokens []uint32
	meta   Meta
}

func randomDocuments(seed uint64, n, vocabulary, sources int) []document {
	r := rand.New(rand.NewPCG(seed, 1))
	docs := make([]document, n)
	for i := range docs {
		length := r.IntN(40)
		switch r.IntN(20) {
		case 0:
			length = 0
		case 1:
			length = 70_000 // more than two blocks
		}
		d := document{tokens: make([]uint32, length), meta: Meta{Source: r.IntN(sources), Record: r.Uint32()}}
		for k := range d.tokens {
			d.tokens[k] = uint32(r.IntN(vocabulary))
		}
		docs[i] = d
	}
	return docs
}

func writeSet(t testing.TB, dir string, docs []document, o Options) {
	t.Helper()
	w, err := Create(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range docs {
		if err := w.Append(d.tokens, d.meta); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if w.Documents() != int64(len(docs)) {
		t.Fatalf("writer counts %d documents, want %d", w.Documents(), len(docs))
	}
}

func check(t *testing.T, s *Set, docs []document) {
	t.Helper()
	if s.Documents() != len(docs) {
		t.Fatalf("%d documents, want %d", s.Documents(), len(docs))
	}
	var tokens int64
	var dst []uint32
	for i, d := range docs {
		got, m, err := s.Document(i, dst)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(got, d.tokens) || m != d.meta || s.Length(i) != len(d.tokens) {
			t.Fatalf("document %d: got %d tokens %+v length %d, want %d tokens %+v", i, len(got), m, s.Length(i), len(d.tokens), d.meta)
		}
		dst = got
		tokens += int64(len(got))
	}
	if s.Tokens() != tokens {
		t.Fatalf("%d tokens, want %d", s.Tokens(), tokens)
	}
}

var fingerprint = [32]byte{1, 2, 3}

func TestRoundTrip(t *testing.T) {
	for _, vocabulary := range []int{1, 300, 1 << 16, 1<<16 + 1, 200_000} {
		for _, shardTokens := range []int64{0, 1, 100_000} {
			dir := filepath.Join(t.TempDir(), "set")
			docs := randomDocuments(uint64(vocabulary), 60, vocabulary, 3)
			o := Options{VocabSize: vocabulary, Tokenizer: fingerprint, Sources: []string{"auth", "", "web/ä"}, ShardTokens: shardTokens}
			writeSet(t, dir, docs, o)
			s, err := Open(dir)
			if err != nil {
				t.Fatal(err)
			}
			check(t, s, docs)
			if err := s.Verify(); err != nil {
				t.Fatal(err)
			}
			if s.Tokenizer() != fingerprint || s.VocabSize() != vocabulary || !slices.Equal(s.Sources(), o.Sources) {
				t.Fatalf("got %x %d %q", s.Tokenizer(), s.VocabSize(), s.Sources())
			}
			if shardTokens == 1 && len(s.shards) < 50 {
				t.Fatalf("%d shards, want one for nearly every document", len(s.shards))
			}
			for _, i := range []int{-1, len(docs)} {
				if _, _, err := s.Document(i, nil); err == nil {
					t.Fatalf("document %d: want an error", i)
				}
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestShardDocuments(t *testing.T) {
	dir := t.TempDir()
	docs := make([]document, 10)
	writeSet(t, dir, docs, Options{VocabSize: 5, Sources: []string{"a"}, ShardDocuments: 3})
	s, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if len(s.shards) != 4 {
		t.Fatalf("%d shards, want 4", len(s.shards))
	}
	check(t, s, docs)
}

func TestEmptySet(t *testing.T) {
	dir := t.TempDir()
	writeSet(t, dir, nil, Options{VocabSize: 5})
	s, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	check(t, s, nil)
}

func TestManyReaders(t *testing.T) {
	dir := t.TempDir()
	docs := randomDocuments(7, 200, 1000, 2)
	writeSet(t, dir, docs, Options{VocabSize: 1000, Sources: []string{"a", "b"}})
	s, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for i, d := range docs {
				got, m, err := s.Document(i, nil)
				if err != nil || !slices.Equal(got, d.tokens) || m != d.meta {
					t.Errorf("document %d: %v", i, err)
					return
				}
			}
		})
	}
	wg.Wait()
}

func TestWriterRefuses(t *testing.T) {
	dir := t.TempDir()
	if _, err := Create(dir, Options{VocabSize: 0}); err == nil {
		t.Error("vocabulary of 0: want an error")
	}
	w, err := Create(dir, Options{VocabSize: 5, Sources: []string{"a"}})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Append([]uint32{1, 5}, Meta{}); err == nil || !strings.Contains(err.Error(), "id 5") {
		t.Errorf("id out of range: got %v", err)
	}
	if err := w.Append(nil, Meta{Source: 1}); err == nil {
		t.Error("source out of range: want an error")
	}
	if err := w.Append([]uint32{1}, Meta{}); err != nil {
		t.Fatal(err)
	}
	if err := w.Abort(); err != nil {
		t.Fatal(err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 0 {
		t.Fatalf("after Abort: %v, %v", entries, err)
	}
	writeSet(t, dir, nil, Options{VocabSize: 5})
	if _, err := Create(dir, Options{VocabSize: 5}); !errors.Is(err, fs.ErrExist) {
		t.Errorf("over a set: got %v, want exist", err)
	}
}

// Every flipped byte of a shard must be found, by Open or by Verify, and must never give other tokens silently.
func TestEveryFlippedByte(t *testing.T) {
	dir := t.TempDir()
	docs := randomDocuments(3, 4, 300, 2)
	for i := range docs {
		docs[i].tokens = docs[i].tokens[:min(len(docs[i].tokens), 30)]
	}
	writeSet(t, dir, docs, Options{VocabSize: 300, Sources: []string{"a", "bc"}})
	name := filepath.Join(dir, fileName(0))
	good, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	for at := range good {
		bad := slices.Clone(good)
		bad[at] ^= 0x10
		if err := os.WriteFile(name, bad, 0o666); err != nil {
			t.Fatal(err)
		}
		s, err := Open(dir)
		if err == nil {
			err = s.Verify()
			if _, _, docErr := s.Document(0, nil); docErr == nil || s.Length(0) != 1 {
				t.Fatalf("byte %d: a document of a damaged block was given out", at)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
		}
		if !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), name) {
			t.Fatalf("byte %d: got %v, want ErrCorrupt naming %s", at, err, name)
		}
	}
	for size := range good {
		if err := os.WriteFile(name, good[:size], 0o666); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(dir); !errors.Is(err, ErrCorrupt) {
			t.Fatalf("cut to %d bytes: got %v, want ErrCorrupt", size, err)
		}
	}
}

func TestDamageFarBehind(t *testing.T) {
	dir := t.TempDir()
	docs := randomDocuments(4, 100, 300, 1)
	writeSet(t, dir, docs, Options{VocabSize: 300, Sources: []string{"a"}})
	name := filepath.Join(dir, fileName(0))
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	// Token bytes of the second block.
	if _, err := f.WriteAt([]byte{0xff, 0xff, 0xff}, headerSize+blockSize+100); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	s, err := Open(dir)
	if err != nil {
		t.Fatalf("opening reads no tokens: %v", err)
	}
	defer s.Close()
	if _, _, err := s.Document(0, nil); err != nil {
		t.Fatalf("the undamaged block: %v", err)
	}
	found := false
	for i := range docs {
		if _, _, err := s.Document(i, nil); err != nil {
			if !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), "bytes 65664 to 131200") {
				t.Fatalf("got %v, want ErrCorrupt with the block", err)
			}
			found = true
		}
	}
	if !found {
		t.Fatal("no document gave an error")
	}
}

func TestMissingAndForeignShards(t *testing.T) {
	docs := make([]document, 10)
	o := Options{VocabSize: 5, Sources: []string{"a"}, ShardDocuments: 3}
	for _, c := range []struct {
		harm func(dir string) error
		want string
	}{
		{func(d string) error { return os.Remove(filepath.Join(d, fileName(3))) }, fileName(3)},
		{func(d string) error { return os.Remove(filepath.Join(d, fileName(1))) }, fileName(1)},
		{func(d string) error { return os.Rename(filepath.Join(d, fileName(3)), filepath.Join(d, fileName(2))) }, "the last"},
		{func(d string) error {
			other := filepath.Join(d, "other")
			o := o
			o.Tokenizer = fingerprint
			writeSet(t, other, docs, o)
			return os.Rename(filepath.Join(other, fileName(1)), filepath.Join(d, fileName(1)))
		}, "differ from shard 0"},
	} {
		dir := t.TempDir()
		writeSet(t, dir, docs, o)
		if err := c.harm(dir); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(dir); !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), c.want) {
			if c.want != "the last" || !errors.Is(err, ErrCorrupt) { // the number in the header is compared first
				t.Errorf("got %v, want ErrCorrupt with %q", err, c.want)
			}
		}
	}
	if _, err := Open(t.TempDir()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("empty folder: got %v, want not exist", err)
	}
}

// A hostile file with right checksums may claim anything in header and index.
func TestHostileCounts(t *testing.T) {
	base := func() header {
		return header{width: 2, vocabulary: 10, flags: flagLast}
	}
	for name, change := range map[string]func(*header){
		"tokens":    func(h *header) { h.tokens = 1 << 62 },
		"documents": func(h *header) { h.documents = 1<<64 - 1 },
		"names":     func(h *header) { h.sourceBytes = 1 << 40 },
		"sources":   func(h *header) { h.sources = 1 << 31 },
		"width":     func(h *header) { h.width = 4 },
	} {
		h := base()
		h.tableSum = xxh3.Hash(nil)
		change(&h)
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, fileName(0)), h.marshal(), 0o666); err != nil {
			t.Fatal(err)
		}
		if s, err := Open(dir); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: got %v, %v, want ErrCorrupt", name, s, err)
		}
	}
	// An index whose ends descend, and an id outside the vocabulary.
	h := base()
	h.documents, h.tokens, h.sources, h.sourceBytes = 2, 4, 1, 4
	body := make([]byte, 8+2*entrySize+8)
	body[0] = 77
	le := binary.LittleEndian
	le.PutUint64(body[8:], 3)
	le.PutUint64(body[8+entrySize:], 2)
	sums := le.AppendUint64(nil, xxh3.Hash(body))
	h.tableSum = xxh3.Hash(sums)
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, fileName(0)), slices.Concat(h.marshal(), body, sums), 0o666); err != nil {
		t.Fatal(err)
	}
	s, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for i, want := range []string{"id 77", "tokens 3 to 2"} {
		if _, _, err := s.Document(i, nil); !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), want) {
			t.Errorf("document %d: got %v, want ErrCorrupt with %q", i, err, want)
		}
	}
	if s.Length(1) != 1 {
		t.Errorf("length of a document that cannot be read: %d, want 1", s.Length(1))
	}
}

func FuzzOpen(f *testing.F) {
	dir := f.TempDir()
	writeSet(f, dir, []document{{[]uint32{1, 2, 3}, Meta{0, 7}}, {nil, Meta{1, 8}}, {[]uint32{299}, Meta{1, 9}}},
		Options{VocabSize: 300, Sources: []string{"a", "b"}})
	good, err := os.ReadFile(filepath.Join(dir, fileName(0)))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add(good[:headerSize])
	f.Add([]byte(magic))
	f.Fuzz(func(t *testing.T, raw []byte) {
		// Right checksums let the fuzzer reach what is behind them.
		if len(raw) >= headerSize {
			raw = slices.Clone(raw)
			copy(raw, good[:12])
			binary.LittleEndian.PutUint32(raw[88:], blockSize)
			fixSums(raw)
		}
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, fileName(0)), raw, 0o666); err != nil {
			t.Fatal(err)
		}
		s, err := Open(dir)
		if err != nil {
			if !errors.Is(err, ErrCorrupt) {
				t.Fatalf("error does not wrap ErrCorrupt: %v", err)
			}
			return
		}
		for i := range s.Documents() {
			tokens, m, err := s.Document(i, nil)
			if err != nil {
				continue
			}
			if len(tokens) != s.Length(i) || m.Source >= len(s.Sources()) {
				t.Fatalf("document %d: %d tokens, length %d, source %d of %d", i, len(tokens), s.Length(i), m.Source, len(s.Sources()))
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

// fixSums makes the checksums of raw right where its counts allow.
func fixSums(raw []byte) {
	le := binary.LittleEndian
	le.PutUint64(raw[120:], xxh3.Hash(raw[:120]))
	h, err := parseHeader(raw)
	if err != nil {
		return
	}
	l, err := h.layout()
	if err != nil || l.size != int64(len(raw)) {
		return
	}
	for k := range l.blocks {
		from := headerSize + k*blockSize
		le.PutUint64(raw[l.table+8*k:], xxh3.Hash(raw[from:min(from+blockSize, l.table)]))
	}
	le.PutUint64(raw[96:], xxh3.Hash(raw[l.table:]))
	le.PutUint64(raw[120:], xxh3.Hash(raw[:120]))
}

func BenchmarkDocument(b *testing.B) {
	dir := b.TempDir()
	docs := make([]document, 100_000)
	for i := range docs {
		docs[i].tokens = make([]uint32, 100)
	}
	writeSet(b, dir, docs, Options{VocabSize: 300, Sources: []string{"a"}})
	s, err := Open(dir)
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	var dst []uint32
	b.SetBytes(200)
	for i := 0; b.Loop(); i++ {
		if dst, _, err = s.Document(i*7919%len(docs), dst); err != nil {
			b.Fatal(err)
		}
	}
}
