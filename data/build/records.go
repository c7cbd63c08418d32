package build

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"strings"

	"github.com/secencoder/secencoder/data"
	"github.com/secencoder/secencoder/data/shard"
	"github.com/secencoder/secencoder/data/source"
	"github.com/secencoder/secencoder/internal/manifest"
)

// RecordOptions say which records Records yields.
type RecordOptions struct {
	In       []string // files, folders, "-" for standard input, or data folders
	Exclude  []string // globs below In that are not read
	Progress func(done, total int64)
}

// Records yields the text of every record below In, in order: log files as Run reads them, a data folder as the decoded
// records of its train split. It is what a tokenizer is trained on without building a data folder first. A text is valid
// until the next one is asked for. The first error ends it: a damaged file is a *source.ReadError, and input without any
// record wraps ErrNothing. Binary files are passed over. Progress hears bytes on disk, where their number is known.
func Records(ctx context.Context, o RecordOptions) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		r := recordReader{ctx: ctx, o: o, yield: yield}
		err := r.all()
		if err == nil && r.count == 0 && !r.stopped {
			err = fmt.Errorf("%s: %w", strings.Join(o.In, ", "), ErrNothing)
		}
		if err != nil && !r.stopped {
			yield(nil, err)
		}
	}
}

type recordReader struct {
	ctx         context.Context
	o           RecordOptions
	yield       func([]byte, error) bool
	stopped     bool // the consumer wants no more
	count       int64
	done, total int64
}

func (r *recordReader) give(text []byte) bool {
	r.count++
	r.stopped = !r.yield(text, nil)
	return !r.stopped
}

func (r *recordReader) all() error {
	var text []string
	for _, in := range r.o.In {
		if !isDataFolder(in) {
			text = append(text, in)
			continue
		}
		if err := r.dataFolder(in); err != nil || r.stopped {
			return err
		}
	}
	list, err := source.List(r.ctx, source.ListOptions{In: text, Exclude: r.o.Exclude})
	if err != nil {
		return err
	}
	for _, f := range list.Files {
		r.total += f.Size
	}
	for _, f := range list.Files {
		if err := r.file(f); err != nil || r.stopped {
			return err
		}
	}
	return nil
}

// isDataFolder tells whether a folder's manifest says that Run wrote it.
func isDataFolder(path string) bool {
	if _, err := os.Stat(filepath.Join(path, manifest.Name)); err != nil {
		return false
	}
	m, err := manifest.Read(path)
	return err == nil && m.Kind == shard.Kind
}

func (r *recordReader) dataFolder(dir string) (err error) {
	d, err := shard.OpenData(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	set := d.Sets[data.Train]
	if set == nil {
		return fmt.Errorf("%s: no train split: %w", dir, fs.ErrNotExist)
	}
	var ids []uint32
	var text []byte
	for i := range set.Documents() {
		if err := r.ctx.Err(); err != nil {
			return err
		}
		if ids, _, err = set.Document(i, ids); err != nil {
			return err
		}
		text = d.Tokenizer.AppendDecode(text[:0], ids)
		if !r.give(text) {
			return nil
		}
	}
	return nil
}

func (r *recordReader) file(f data.File) (err error) {
	reader, err := source.Open(r.ctx, f, source.Options{})
	if errors.Is(err, source.ErrBinary) {
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, reader.Close()) }()
	for {
		if err := r.ctx.Err(); err != nil {
			return err
		}
		record, err := reader.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		if !r.give(record.Text) {
			return nil
		}
	}
	r.done += f.Size
	if r.o.Progress != nil {
		r.o.Progress(r.done, r.total)
	}
	return nil
}
