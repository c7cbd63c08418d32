package build

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/secencoder/secencoder/data"
	"github.com/secencoder/secencoder/data/shard"
	"github.com/secencoder/secencoder/internal/atomicfile"
	"github.com/secencoder/secencoder/internal/manifest"
)

// Every file of a data folder, damaged anywhere, is found by Verify; cut short or missing, by OpenData already.
func TestDamagedFolder(t *testing.T) {
	out := filepath.Join(t.TempDir(), "data")
	mustRun(t, options(logs(t), out))
	for name, text := range tree(t, out) {
		path := filepath.Join(out, filepath.FromSlash(name))
		write := func(b []byte) {
			if err := os.WriteFile(path, b, 0o666); err != nil {
				t.Fatal(err)
			}
		}
		for _, at := range []int{0, len(text) / 3, len(text) / 2, len(text) - 1} {
			if name == manifest.Name {
				break // it has no hash of its own: its parents' children name it
			}
			bad := []byte(text)
			bad[at] ^= 1
			write(bad)
			if err := shard.Verify(out); !errors.Is(err, manifest.ErrCorrupt) || !strings.Contains(err.Error(), path) {
				t.Errorf("%s: byte %d flipped: got %v", name, at, err)
			}
		}
		write([]byte(text)[:len(text)-1])
		if _, err := shard.OpenData(out); !errors.Is(err, manifest.ErrCorrupt) || !strings.Contains(err.Error(), path) {
			// A manifest without its last line end is whole.
			if name != manifest.Name || err != nil {
				t.Errorf("%s cut: got %v", name, err)
			}
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		if _, err := shard.OpenData(out); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("%s missing: got %v", name, err)
		}
		write([]byte(text))
	}
	if err := shard.Verify(out); err != nil {
		t.Fatal(err)
	}
}

func TestForeignParts(t *testing.T) {
	in := logs(t)
	a, b := filepath.Join(t.TempDir(), "a"), filepath.Join(t.TempDir(), "b")
	mustRun(t, options(in, a))
	o := options(in, b)
	o.Tokenizer = "train:500"
	mustRun(t, o)
	// Another tokenizer, with a manifest that agrees to it.
	text, err := os.ReadFile(filepath.Join(b, shard.TokenizerName))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(a, shard.TokenizerName), text, 0o666); err != nil {
		t.Fatal(err)
	}
	m, err := manifest.Read(a)
	if err != nil {
		t.Fatal(err)
	}
	if err := manifest.Write(a, m); err != nil {
		t.Fatal(err)
	}
	if _, err := shard.OpenData(a); !errors.Is(err, shard.ErrCorrupt) || !strings.Contains(err.Error(), "made with tokenizer") {
		t.Errorf("foreign tokenizer: got %v", err)
	}
	m.Kind = "model"
	if err := manifest.Write(a, m); err != nil {
		t.Fatal(err)
	}
	if _, err := shard.OpenData(a); err == nil || !strings.Contains(err.Error(), `kind "model"`) {
		t.Errorf("model folder: got %v", err)
	}
	m.Kind, m.Extra = shard.Kind, []byte(`{"sets":{"test":{}}}`)
	if err := manifest.Write(a, m); err != nil {
		t.Fatal(err)
	}
	if _, err := shard.OpenData(a); !errors.Is(err, manifest.ErrCorrupt) {
		t.Errorf("unknown split: got %v", err)
	}
	if _, err := shard.OpenData(t.TempDir()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no manifest: got %v", err)
	}
	// A report that does not agree with the shards.
	m, err = manifest.Read(b)
	if err != nil {
		t.Fatal(err)
	}
	r, err := data.ParseReport(m.Extra)
	if err != nil {
		t.Fatal(err)
	}
	r.Sets["idts"] = data.Kept{Records: 987}
	if m.Extra, err = json.Marshal(r); err != nil {
		t.Fatal(err)
	}
	if err := manifest.Write(b, m); err != nil {
		t.Fatal(err)
	}
	if err := shard.Verify(b); !errors.Is(err, shard.ErrCorrupt) || !strings.Contains(err.Error(), "the manifest says 987") {
		t.Errorf("wrong counts: got %v", err)
	}
}

func TestStandardInput(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	old := os.Stdin
	os.Stdin = r
	defer func() { os.Stdin = old }()
	go func() {
		for i := range 500 {
			fmt.Fprintf(w, "record %d\n", i/2)
		}
		w.Close()
	}()
	out := filepath.Join(t.TempDir(), "data")
	rep := mustRun(t, Options{In: []string{"-"}, Out: out, Tokenizer: "train:270"})
	if rep.Total.Records != 500 || rep.Total.Duplicates != 250 || rep.Sources[0].Name != "stdin" {
		t.Fatalf("got %+v", rep.Total)
	}
}

// Ctrl-C ends a build that waits for standard input.
func TestCancelWhileWaiting(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	old := os.Stdin
	os.Stdin = r
	defer func() { os.Stdin = old }()
	parent := t.TempDir()
	ctx, cancel := context.WithCancel(context.Background())
	go cancel()
	_, err = Run(ctx, Options{In: []string{"-"}, Out: filepath.Join(parent, "data"), KeepGoing: true})
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v, want cancelled", err)
	}
	if entries, err := os.ReadDir(parent); err != nil || len(entries) != 0 {
		t.Fatalf("left behind %v, %v", entries, err)
	}
}

// A file that vanished between listing and reading.
func TestVanishedFile(t *testing.T) {
	for _, keepGoing := range []bool{false, true} {
		o := options(logs(t), filepath.Join(t.TempDir(), "data"))
		o.KeepGoing = keepGoing
		b, err := prepare(o)
		if err != nil {
			t.Fatal(err)
		}
		if b.dir, err = atomicfile.CreateDir(o.Out); err != nil {
			t.Fatal(err)
		}
		defer b.dir.Abort()
		list, _, err := b.list(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		gone := list.Files[1].Path
		if err := os.Remove(gone); err != nil {
			t.Fatal(err)
		}
		in, err := b.read(context.Background(), list.Files)
		if !keepGoing {
			if !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), gone) {
				t.Errorf("got %v, want an error that names %s", err, gone)
			}
			continue
		}
		if err != nil || len(in.failed) != 1 || in.failed[0].Path != gone {
			t.Fatalf("got %v, failed %+v", err, in.failed)
		}
		if err := in.remove(); err != nil {
			t.Fatal(err)
		}
	}
}

// A disk that fills up while records are spooled.
func TestFullDisk(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux has /dev/full")
	}
	s, err := newSpool(context.Background(), filepath.Join(t.TempDir(), "spool"), 2)
	if err != nil {
		t.Fatal(err)
	}
	real := s.file
	full, err := os.OpenFile("/dev/full", os.O_RDWR, 0)
	if err != nil {
		t.Skip(err)
	}
	s.file = full
	line := bytes.Repeat([]byte("x"), 1000)
	for range 20_000 {
		if err = s.add(line); err != nil {
			break
		}
	}
	if err == nil {
		err = s.finish()
	}
	if err := wordFull("OUT", err); !errors.Is(err, ErrSpace) || !strings.HasPrefix(err.Error(), "OUT: not enough disk space") {
		t.Errorf("got %v, want ErrSpace", err)
	}
	if err := errors.Join(s.remove(), real.Close()); err != nil {
		t.Fatal(err)
	}
}

// The spool gives back what was put in, also records larger than a chunk.
func TestSpool(t *testing.T) {
	s, err := newSpool(context.Background(), filepath.Join(t.TempDir(), "spool"), 3)
	if err != nil {
		t.Fatal(err)
	}
	text := func(i uint32) []byte { return bytes.Repeat([]byte{byte(i)}, int(i*i*1700%(3*chunkBytes))) }
	const n = 60
	for i := range uint32(n) {
		if err := s.add(text(i)); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.finish(); err != nil {
		t.Fatal(err)
	}
	next := uint32(0)
	if err := s.each(context.Background(), func(number uint32, got []byte) bool {
		if number != next || !bytes.Equal(got, text(number)) {
			t.Fatalf("record %d: got number %d with %d bytes", next, number, len(got))
		}
		next++
		return true
	}); err != nil || next != n {
		t.Fatalf("%d records, %v", next, err)
	}
	if err := s.remove(); err != nil {
		t.Fatal(err)
	}
}

func TestNotesAreBounded(t *testing.T) {
	in := &intake{skipped: make([]data.FileNote, data.MaxNotes+5)}
	if r := in.report(nil); len(r.Skipped) != data.MaxNotes || r.Notes["skipped"] != data.MaxNotes+5 {
		t.Errorf("%d notes, %v", len(r.Skipped), r.Notes)
	}
}
