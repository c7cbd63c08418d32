package shard

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/secencoder/secencoder/data"
	"github.com/secencoder/secencoder/internal/manifest"
	"github.com/secencoder/secencoder/tokenizer"
)

// Kind is the kind of a data folder in its manifest.
const Kind = "data"

// TokenizerName is the file of a data folder that holds its tokenizer.
const TokenizerName = "tokenizer.json"

// Data is an open data folder: its manifest, its tokenizer and a set for each split that it has. The sets may be used
// concurrently.
type Data struct {
	Dir       string
	Manifest  manifest.Manifest
	Report    data.Report // what the build counted, from the manifest
	Tokenizer *tokenizer.Tokenizer
	Sets      map[data.Split]*Set // a split without records is no key
}

// OpenData opens a data folder. It reads the manifest, compares the size of every file with it, loads the tokenizer, and
// opens the shards of every split; every set must carry the tokenizer's fingerprint. Checksums of tokens are compared
// when they are first read. Errors name the file; they wrap fs.ErrNotExist when dir has no manifest, and
// manifest.ErrCorrupt, ErrCorrupt or the tokenizer's error when a part is damaged.
func OpenData(dir string) (*Data, error) {
	m, err := manifest.Read(dir)
	if err != nil {
		return nil, err
	}
	if m.Kind != Kind {
		return nil, fmt.Errorf("%s: a folder of kind %q, want %q", filepath.Join(dir, manifest.Name), m.Kind, Kind)
	}
	d := &Data{Dir: dir, Manifest: m, Sets: map[data.Split]*Set{}}
	if d.Report, err = data.ParseReport(m.Extra); err != nil {
		return nil, fmt.Errorf("%s: %w: %w", filepath.Join(dir, manifest.Name), manifest.ErrCorrupt, err)
	}
	if err := m.Check(dir); err != nil {
		return nil, err
	}
	if d.Tokenizer, err = tokenizer.Load(filepath.Join(dir, TokenizerName)); err != nil {
		return nil, err
	}
	for _, s := range data.Splits() {
		set, err := Open(filepath.Join(dir, s.String()))
		if errors.Is(err, fs.ErrNotExist) && !d.lists(s) {
			continue
		}
		if err != nil {
			return nil, errors.Join(err, d.Close())
		}
		d.Sets[s] = set
		if got, want := set.Tokenizer(), d.Tokenizer.Fingerprint(); got != want {
			return nil, errors.Join(fmt.Errorf("%s: %w: made with tokenizer %x, %s is %x", filepath.Join(dir, s.String()), ErrCorrupt,
				got[:8], filepath.Join(dir, TokenizerName), want[:8]), d.Close())
		}
		if got, want := set.VocabSize(), d.Tokenizer.VocabSize(); got != want {
			return nil, errors.Join(fmt.Errorf("%s: %w: vocabulary of %d, the tokenizer has %d", filepath.Join(dir, s.String()), ErrCorrupt, got, want), d.Close())
		}
	}
	return d, nil
}

// lists tells whether the report says that the split has records.
func (d *Data) lists(s data.Split) bool {
	_, ok := d.Report.Sets[s.String()]
	return ok
}

// Hash returns the hash of the folder's manifest, by which folders made from it name it as their parent.
func (d *Data) Hash() (string, error) { return manifest.Hash(d.Dir) }

// Close closes the sets.
func (d *Data) Close() error {
	var errs []error
	for _, s := range data.Splits() {
		if set := d.Sets[s]; set != nil {
			errs = append(errs, set.Close())
		}
	}
	return errors.Join(errs...)
}

// Verify checks everything that a data folder promises: sizes and SHA-256 of all files, every block of every shard, the
// tokenizer against the shards, and the counts of the report against the sets. The first difference is the error.
func Verify(dir string) error {
	if err := manifest.Verify(dir); err != nil {
		return err
	}
	d, err := OpenData(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.verify(), d.Close())
}

func (d *Data) verify() error {
	for _, s := range data.Splits() {
		set := d.Sets[s]
		if set == nil {
			continue
		}
		if err := set.Verify(); err != nil {
			return err
		}
		r := d.Report.Sets[s.String()]
		if int64(set.Documents()) != r.Records || set.Tokens() != r.Tokens {
			return fmt.Errorf("%s%c%s: %w: %d documents with %d tokens, the manifest says %d with %d", d.Dir, os.PathSeparator, s, ErrCorrupt,
				set.Documents(), set.Tokens(), r.Records, r.Tokens)
		}
	}
	return nil
}
