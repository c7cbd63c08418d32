package source

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"unicode/utf8"

	"github.com/secencoder/secencoder/data"
	"github.com/secencoder/secencoder/internal/units"
)

// Render says what the text of a record is.
type Render uint8

const (
	// Auto keeps lines and JSON objects as they are and makes a JSON object of each CSV row.
	Auto Render = iota
	// Raw keeps every line as it is, those of CSV files and their header too.
	Raw
	// JSONL makes every record one JSON object: CSV rows as Auto does, JSON lines without the white space between their
	// tokens, other lines as {"message":"…"}.
	JSONL
)

// ParseRender reads the value of --render: "auto" (or nothing), "raw" or "jsonl".
func ParseRender(s string) (Render, error) {
	switch s {
	case "", "auto":
		return Auto, nil
	case "raw":
		return Raw, nil
	case "jsonl":
		return JSONL, nil
	}
	return 0, fmt.Errorf("unknown rendering %q (want auto, raw or jsonl)", s)
}

// DefaultMaxRecord is the length, in bytes, over which a record is cut.
const DefaultMaxRecord = 1 << 20

// Options are how a file is read.
type Options struct {
	MaxRecord int // bytes over which a record is cut; 0 means DefaultMaxRecord; at least 64
	Render    Render
}

// Flags say what is particular about a record.
type Flags uint8

const (
	Cut         Flags = 1 << iota // a further part of a record that was too long
	InvalidUTF8                   // not UTF-8
	Ragged                        // a CSV row with another number of fields than the header, as text
)

// Record is one record of a file.
type Record struct {
	Text    []byte // valid until the next call of Next
	Flags   Flags
	Empty   uint32 // lines of white space alone between this record and the one before
	Headers uint32 // CSV rows between this record and the one before that were the header again
	Line    int64  // line of the unpacked file in which it begins, from 1
}

// Counts returns what this record adds to the counts of its file, the lines passed over before it included.
func (r *Record) Counts() data.Counts {
	c := data.Counts{Records: 1, Bytes: int64(len(r.Text)), Empty: int64(r.Empty), Headers: int64(r.Headers)}
	if r.Flags&Cut != 0 {
		c.Cut = 1
	}
	if r.Flags&InvalidUTF8 != 0 {
		c.InvalidUTF8 = 1
	}
	if r.Flags&Ragged != 0 {
		c.Ragged = 1
	}
	return c
}

// ErrBinary says that a file holds no text. The error that wraps it says what the file is, where that is known.
var ErrBinary = errors.New("binary file")

// ReadError is an error in the middle of a file.
type ReadError struct {
	Path    string
	Line    int64 // of the unpacked file, where the next record would have begun, from 1
	Records int64 // that were read before
	Err     error
}

// Error returns the sentence: file, line, cause, and how many records were read.
func (e *ReadError) Error() string {
	return fmt.Sprintf("%s: line %d: %v; %s records were read", e.Path, e.Line, e.Err, units.Count(e.Records))
}

// Unwrap returns the cause.
func (e *ReadError) Unwrap() error { return e.Err }

// Reader reads the records of one file in order. It is not safe for concurrent use.
type Reader struct {
	name    string
	options Options
	packed  *unpacked
	disk    *counter
	close   io.Closer
	in      framer
	format  string
	records int64
	empty   uint32
	headers uint32
	scratch []byte // the rendered record
	rest    []byte // what is left of a rendered record over the limit
	restOf  Record
	err     error
}

// framer cuts an unpacked stream into raw records.
type framer interface {
	// next returns the next raw record. The error is io.EOF at the end.
	next() (frame, error)
	// line returns the line in which the next record begins, from 1.
	line() int64
}

// frame is a raw record, or a note that something was passed over.
type frame struct {
	text  []byte // valid until the next call
	line  int64
	kind  kind
	flags Flags
}

type kind uint8

const (
	kindLine   kind = iota // as it stands in the file
	kindJSON               // rendered by the framer
	kindEmpty              // white space alone
	kindHeader             // the header of a CSV file again
)

// Open opens the file, or standard input for the path Stdin (ctx then ends a read that waits), and finds out how it is
// packed and what it holds. The error wraps ErrBinary for a file that is no text, and is a *ReadError for a damaged one.
func Open(ctx context.Context, f data.File, o Options) (*Reader, error) {
	if f.Path == Stdin {
		in := waitFor(ctx, os.Stdin)
		r, err := NewReader("standard input", in, o)
		if err != nil {
			return nil, errors.Join(err, in.Close())
		}
		r.close = in
		return r, nil
	}
	file, err := openFile(ctx, f.Path)
	if err != nil {
		return nil, err
	}
	info, err := file.Stat()
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	var in io.Reader = file
	if !info.Mode().IsRegular() {
		in = waitFor(ctx, file) // a pipe, in which nothing may come for a while
	}
	r, err := NewReader(f.Path, in, o)
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	r.close = file
	return r, nil
}

// openFile is os.Open that ctx ends: a named pipe opens only when somebody writes to it.
func openFile(ctx context.Context, path string) (*os.File, error) {
	if info, err := os.Stat(path); err != nil || info.Mode()&fs.ModeNamedPipe == 0 {
		return os.Open(path)
	}
	type opened struct {
		file *os.File
		err  error
	}
	result := make(chan opened, 1)
	go func() {
		file, err := os.Open(path)
		result <- opened{file, err}
	}()
	select {
	case o := <-result:
		return o.file, o.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// NewReader is Open for a stream; name stands in errors.
func NewReader(name string, in io.Reader, o Options) (*Reader, error) {
	if o.MaxRecord == 0 {
		o.MaxRecord = DefaultMaxRecord
	}
	if o.MaxRecord < 64 {
		return nil, fmt.Errorf("records of at most %d bytes: want 64 or more", o.MaxRecord)
	}
	r := &Reader{name: name, options: o, disk: &counter{r: in}}
	p, err := unpack(r.disk)
	if err != nil {
		return nil, &ReadError{Path: name, Line: 1, Err: err}
	}
	r.packed = p
	if err := r.detect(); err != nil {
		p.close()
		return nil, err
	}
	return r, nil
}

// detect looks at the beginning of the unpacked stream.
func (r *Reader) detect() error {
	sample, err := peek(r.packed.r)
	if err != nil && len(sample) == 0 && err != io.EOF {
		return &ReadError{Path: r.name, Line: 1, Err: err}
	}
	if order := utf16Mark(sample); order != nil {
		r.packed.layers += "utf16>"
		r.packed.r = bufio.NewReaderSize(&utf16Reader{in: r.packed.r, order: order}, bufferSize)
		if sample, err = peek(r.packed.r); err != nil && len(sample) == 0 && err != io.EOF {
			return &ReadError{Path: r.name, Line: 1, Err: err}
		}
	}
	if what := binaryKind(sample); what != "" {
		return fmt.Errorf("%s: %w (%s)", r.name, ErrBinary, what)
	}
	if bytes.HasPrefix(sample, utf8Mark) {
		if _, err := r.packed.r.Discard(len(utf8Mark)); err != nil {
			return &ReadError{Path: r.name, Line: 1, Err: err}
		}
		sample = sample[len(utf8Mark):]
	}
	whole := err == io.EOF
	format, separator, columns := detectText(sample, whole)
	r.format = r.packed.layers + format
	if format == "csv" && r.options.Render != Raw {
		// A row may be longer than a record, and the header, which was found in the sample, must be whole.
		r.in = newCSV(r.packed.r, separator, columns, max(r.options.MaxRecord, sampleSize))
	} else {
		r.in = newLines(r.packed.r, r.options.MaxRecord)
	}
	return nil
}

var utf8Mark = []byte("\xef\xbb\xbf")

// Format returns how the file is packed and what it holds, such as "lines", "jsonl", "gz>csv" or "zst>utf16>lines".
func (r *Reader) Format() string { return r.format }

// Position returns how many bytes of the file, as it lies on disk, were read so far.
func (r *Reader) Position() int64 { return r.disk.n }

// counter counts what is read.
type counter struct {
	r io.Reader
	n int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

// Skipped returns the lines of white space and the repeated CSV headers after the last record. It is meaningful when
// Next has returned io.EOF.
func (r *Reader) Skipped() (empty, headers uint32) { return r.empty, r.headers }

// Next returns the next record. At the end the error is io.EOF; any other is a *ReadError, and the records before it are
// whole. After an error every further call returns it again.
func (r *Reader) Next() (Record, error) {
	if r.err != nil {
		return Record{}, r.err
	}
	if len(r.rest) > 0 {
		return r.emit(r.rest, r.restOf), nil
	}
	for {
		f, err := r.in.next()
		if err != nil {
			if err != io.EOF {
				err = &ReadError{Path: r.name, Line: r.in.line(), Records: r.records, Err: err}
			}
			r.err = err
			return Record{}, err
		}
		switch f.kind {
		case kindEmpty:
			r.empty++
			continue
		case kindHeader:
			r.headers++
			continue
		}
		text := f.text
		if f.kind == kindLine && r.options.Render == JSONL {
			r.scratch = renderLine(r.scratch[:0], text)
			text = r.scratch
		}
		rec := Record{Flags: f.flags, Empty: r.empty, Headers: r.headers, Line: f.line}
		r.empty, r.headers = 0, 0
		return r.emit(text, rec), nil
	}
}

// emit gives out text, or its first part when it is over the limit.
func (r *Reader) emit(text []byte, rec Record) Record {
	r.rest = nil
	if len(text) > r.options.MaxRecord {
		n := cutPoint(text, r.options.MaxRecord)
		r.rest = text[n:]
		r.restOf = Record{Flags: Cut, Line: rec.Line}
		text = text[:n]
	}
	rec.Text = text
	if !utf8.Valid(text) {
		rec.Flags |= InvalidUTF8
	}
	r.records++
	return rec
}

// cutPoint returns the largest n of at most limit at which text may be cut without dividing a UTF-8 sequence.
func cutPoint(text []byte, limit int) int {
	n := limit
	for k := 0; k < utf8.UTFMax-1 && n > 1; k++ {
		if utf8.RuneStart(text[n]) {
			return n
		}
		n--
	}
	if utf8.RuneStart(text[n]) {
		return n
	}
	return limit // no UTF-8 here anyway
}

// Close closes the file. Records that were given out must not be used any more.
func (r *Reader) Close() error {
	r.packed.close()
	if r.close == nil {
		return nil
	}
	return r.close.Close()
}

// waitFor makes a reader whose Read returns when ctx ends, or Close is called, although the Read of in may wait for
// ever. That one is then left behind, which only a program's standard input justifies.
func waitFor(ctx context.Context, in io.Reader) io.ReadCloser {
	r, w := io.Pipe()
	go func() {
		_, err := io.CopyBuffer(struct{ io.Writer }{w}, struct{ io.Reader }{in}, make([]byte, bufferSize))
		w.CloseWithError(err) // nil gives io.EOF; a pipe's CloseWithError never fails
	}()
	context.AfterFunc(ctx, func() { w.CloseWithError(context.Cause(ctx)) })
	return r
}
