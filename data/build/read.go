package build

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/secencoder/secencoder/data"
	"github.com/secencoder/secencoder/data/dedup"
	"github.com/secencoder/secencoder/data/source"
	"github.com/secencoder/secencoder/internal/units"
)

// intake is what came out of reading: the counts of each source and file, the distinct records in the spool, and, for
// every record in order, the number of its text.
type intake struct {
	sources  []sourceState
	files    []fileState
	records  int64
	distinct dedup.Exact
	spool    *spool
	numbers  *os.File // u32 a record
	skipped  []data.FileNote
	failed   []data.FileNote
	unused   []string // patterns of Exclude that matched nothing
	removed  bool
}

type sourceState struct {
	data.SourceReport
	full      atomic.Bool // the limit of bytes is reached
	firstFile int         // its files are files[firstFile:endFile]
	endFile   int
	first     uint64 // place of its first record
}

type fileState struct {
	data.File
	source  int
	records int64
}

// stream is a file on its way from a reader to the one goroutine that takes records in order.
type stream struct {
	file    data.File
	source  *sourceState
	batches chan *batch
	stop    chan struct{} // closed when nobody wants more
}

// batch is a row of records of one file.
type batch struct {
	text    []byte
	records []record
	at      int64 // bytes of the file read so far, as it lies on disk
	// Of the last batch:
	last           bool
	format         string
	empty, headers uint32 // after the last record
	err            error
}

type record struct {
	end            uint32 // of its text in the batch
	empty, headers uint32
	flags          source.Flags
	key            dedup.Key
}

const (
	batchBytes   = 1 << 20
	batchRecords = 1 << 14
	// ahead is how many batches of one file may wait.
	ahead = 3
)

// numbersName and spoolName are the files in the folder under construction that are removed before it is finished.
const (
	numbersName = ".numbers"
	spoolName   = ".spool.zst"
)

// read reads all files, in parallel, and takes their records in the order of files. What it returns must be removed.
func (b *build) read(ctx context.Context, files []data.File) (in *intake, err error) {
	in = &intake{}
	var total int64
	for _, f := range files {
		if n := len(in.sources); n == 0 || in.sources[n-1].Name != f.Source {
			in.sources = append(in.sources, sourceState{SourceReport: data.SourceReport{Name: f.Source}, firstFile: len(in.files)})
		}
		in.files = append(in.files, fileState{File: f, source: len(in.sources) - 1})
		in.sources[len(in.sources)-1].endFile = len(in.files)
		total += f.Size
	}
	if in.spool, err = newSpool(ctx, b.dir.Path(spoolName), b.o.Threads); err != nil {
		return nil, err
	}
	if in.numbers, err = os.OpenFile(b.dir.Path(numbersName), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o666); err != nil {
		return nil, errors.Join(err, in.spool.remove())
	}
	if err := b.take(ctx, in, total); err != nil {
		return nil, errors.Join(err, in.remove())
	}
	if err := in.spool.finish(); err != nil {
		return nil, errors.Join(err, in.remove())
	}
	return in, nil
}

// take runs the readers and takes what they read.
func (b *build) take(ctx context.Context, in *intake, total int64) error {
	ctx, cancel := context.WithCancel(ctx)
	var readers sync.WaitGroup
	defer readers.Wait()
	defer cancel()

	jobs := make(chan *stream)
	order := make(chan *stream, 2*b.o.Threads)
	readers.Go(func() {
		defer close(order)
		defer close(jobs)
		for i := range in.files {
			s := &stream{
				file: in.files[i].File, source: &in.sources[in.files[i].source], batches: make(chan *batch, ahead), stop: make(chan struct{}),
			}
			// A stream waits for its turn before it is read, so the file whose turn it is always has a reader.
			select {
			case order <- s:
			case <-ctx.Done():
				return
			}
			select {
			case jobs <- s:
			case <-s.stop:
			case <-ctx.Done():
				return
			}
		}
	})
	for range b.o.Threads {
		readers.Go(func() {
			for s := range jobs {
				b.readFile(ctx, s)
			}
		})
	}
	w := bufio.NewWriterSize(in.numbers, 1<<18)
	var done int64
	for i := range in.files {
		var s *stream
		select {
		case s = <-order:
		case <-ctx.Done():
		}
		if s == nil {
			return context.Cause(ctx)
		}
		err := b.takeFile(ctx, in, i, s, w, done, total)
		close(s.stop)
		if err != nil {
			return err
		}
		done += in.files[i].Size
		b.o.Progress("read", done, total)
	}
	return w.Flush()
}

// takeFile takes the records of file i from its stream.
func (b *build) takeFile(ctx context.Context, in *intake, i int, s *stream, w io.Writer, done, total int64) error {
	file := &in.files[i]
	src := &in.sources[file.source]
	if src.full.Load() {
		return nil // not opened, or not wanted
	}
	for {
		var batch *batch
		select {
		case batch = <-s.batches:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		from := uint32(0)
		for k := range batch.records {
			r := &batch.records[k]
			text := batch.text[from:r.end]
			from = r.end
			if b.o.MaxSourceBytes > 0 && src.Bytes+int64(len(text)) > b.o.MaxSourceBytes {
				src.full.Store(true)
				src.Limited = true
				src.Files++
				return nil
			}
			if err := in.add(file, src, text, r, w); err != nil {
				return err
			}
		}
		b.o.Progress("read", done+batch.at, total)
		if !batch.last {
			batches.Put(batch)
			continue
		}
		src.Empty += int64(batch.empty)
		src.Headers += int64(batch.headers)
		return b.endFile(in, file, src, batch)
	}
}

// endFile counts how the reading of a file ended.
func (b *build) endFile(in *intake, file *fileState, src *sourceState, last *batch) error {
	switch {
	case last.err == nil:
		src.Files++
		if src.Formats == nil {
			src.Formats = map[string]int64{}
		}
		src.Formats[last.format]++
	case errors.Is(last.err, source.ErrBinary):
		src.FilesSkipped++
		in.skipped = append(in.skipped, data.FileNote{Path: file.Path, Reason: reason(last.err, file.Path)})
	case b.o.KeepGoing:
		src.FilesFailed++
		in.failed = append(in.failed, data.FileNote{Path: file.Path, Reason: reason(last.err, file.Path)})
	default:
		return last.err
	}
	return nil
}

// reason is the text of an error without the path in front.
func reason(err error, path string) string { return strings.TrimPrefix(err.Error(), path+": ") }

// add takes one record.
func (in *intake) add(file *fileState, src *sourceState, text []byte, r *record, w io.Writer) error {
	rec := source.Record{Text: text, Flags: r.flags, Empty: r.empty, Headers: r.headers}
	if src.Records >= math.MaxUint32 {
		return fmt.Errorf("source %s: more than %s records", src.Name, units.Count(uint32(math.MaxUint32)))
	}
	src.Counts.Add(rec.Counts())
	number, added, err := in.distinct.Add(r.key)
	if err != nil {
		return err
	}
	if added {
		if err := in.spool.add(text); err != nil {
			return err
		}
	}
	file.records++
	in.records++
	var n [4]byte
	binary.LittleEndian.PutUint32(n[:], number)
	_, err = w.Write(n[:])
	return err
}

var batches = sync.Pool{New: func() any { return &batch{text: make([]byte, 0, batchBytes+batchBytes/4)} }}

func newBatch() *batch {
	b := batches.Get().(*batch)
	*b = batch{text: b.text[:0], records: b.records[:0]}
	return b
}

// send gives a batch to the stream; false says that nobody wants more.
func (s *stream) send(ctx context.Context, b *batch) bool {
	select {
	case s.batches <- b:
		return true
	case <-s.stop:
	case <-ctx.Done():
	}
	return false
}

// readFile reads a file into its stream. Every stream that is wanted to its end gets a last batch.
func (b *build) readFile(ctx context.Context, s *stream) {
	if s.source.full.Load() {
		return
	}
	out := newBatch()
	end := func(err error) {
		out.last = true
		out.err = err
		s.send(ctx, out)
	}
	r, err := source.Open(ctx, s.file, source.Options{MaxRecord: int(b.o.MaxRecord), Render: b.render})
	if err != nil {
		end(err)
		return
	}
	for {
		rec, err := r.Next()
		if err != nil {
			out.format = r.Format()
			out.empty, out.headers = r.Skipped()
			out.at = r.Position()
			if err == io.EOF {
				err = nil
			}
			end(errors.Join(err, r.Close()))
			return
		}
		out.text = append(out.text, rec.Text...)
		out.records = append(out.records, record{
			end: uint32(len(out.text)), empty: rec.Empty, headers: rec.Headers, flags: rec.Flags, key: dedup.Hash(rec.Text),
		})
		if len(out.text) >= batchBytes || len(out.records) >= batchRecords {
			out.at = r.Position()
			if !s.send(ctx, out) {
				// The result is not used any more, and the file was only read.
				_ = r.Close()
				return
			}
			out = newBatch()
		}
	}
}

// nothing words the error of an input without records.
func (in *intake) nothing(paths []string) error {
	return fmt.Errorf("%s: %w: %s files, of which %s hold no text and %s are damaged or unreadable", strings.Join(paths, " "), ErrNothing,
		units.Count(len(in.files)), units.Count(len(in.skipped)), units.Count(len(in.failed)))
}

// remove deletes the files that are not part of the result. A second call does nothing.
func (in *intake) remove() error {
	if in.removed {
		return nil
	}
	in.removed = true
	return errors.Join(in.spool.remove(), in.numbers.Close(), os.Remove(in.numbers.Name()))
}
