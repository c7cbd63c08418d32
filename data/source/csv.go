package source

import (
	"bufio"
	"bytes"
	"io"
	"slices"
)

// csvRows reads the rows of a CSV file whose first row is a header. A field in quotes may hold separators and line ends,
// "" in it stands for one quote; a quote anywhere else, and one that does not end its field, is text.
//
// A row with another number of fields than the header may be a row with text that looks like a quote, so only its first
// line is given out, as text, and reading goes on with the next line. Looking for the end of such a row costs up to
// limit bytes each time; wasted bounds that, after which each line is a row.
type csvRows struct {
	r         *bufio.Reader
	separator byte
	columns   int
	header    []byte   // the first row as it stands, without the line end
	keys      [][]byte // `{"a":`, `,"b":`, …
	limit     int      // bytes of a row, without its line end
	buf       []byte   // unread bytes are buf[pos:]
	pos       int
	err       error // of r, when buf holds all that came before it
	number    int64 // of the line at pos, from 1
	consumed  int64 // bytes
	wasted    int64 // bytes that were looked at for rows that came to nothing
	long      bool  // pos is in a line over the limit
	partial   bool  // of which a part was given out
	fields    []field
	clean     []byte
	out       []byte
}

// field is a part of a row: the bytes from start to end of the unread buffer, without the quotes around them.
type field struct {
	start, end int
	quoted     bool
}

// A file may waste wasteFloor bytes and wasteFactor times the bytes that it had so far.
const (
	wasteFloor  = 64 << 20
	wasteFactor = 4
)

func newCSV(r *bufio.Reader, separator byte, columns, limit int) *csvRows {
	return &csvRows{r: r, separator: separator, columns: columns, limit: limit, number: 1}
}

func (c *csvRows) line() int64 { return c.number }

func (c *csvRows) next() (frame, error) {
	if c.long {
		return c.part()
	}
	if c.keys == nil {
		if err := c.readHeader(); err != nil {
			return frame{}, err
		}
	}
	n, ok, err := c.row()
	if err != nil {
		return frame{}, err
	}
	if !ok {
		c.long = true
		return c.part()
	}
	b := c.buf[c.pos : c.pos+n]
	f := frame{line: c.number}
	switch text := trimEnd(b); {
	case isBlank(text):
		f.kind = kindEmpty
	case bytes.Equal(text, c.header):
		f.kind = kindHeader
	case len(c.fields) == c.columns:
		f.kind = kindJSON
		f.text = c.render(b)
	default:
		if first := bytes.IndexByte(b, '\n') + 1; first > 0 && first < n {
			c.wasted += int64(n)
			b = b[:first]
		}
		f.text = trimNUL(trimEnd(b))
		f.flags = Ragged
		if isBlank(f.text) {
			f.kind = kindEmpty
		}
	}
	c.advance(len(b))
	return f, nil
}

func (c *csvRows) advance(n int) {
	c.number += int64(bytes.Count(c.buf[c.pos:c.pos+n], []byte{'\n'}))
	c.pos += n
	c.consumed += int64(n)
}

// part gives out limit bytes of a line that is over the limit, or its rest. The first part counts as a ragged row.
func (c *csvRows) part() (frame, error) {
	b := c.window(c.limit + 2)
	f := frame{line: c.number, flags: Ragged}
	if c.partial {
		f.flags = Cut
	}
	end := bytes.IndexByte(b, '\n') + 1
	if end == 0 && len(b) < c.limit+2 {
		if c.err != io.EOF {
			return frame{}, c.err
		}
		end = len(b)
	}
	if text := trimEnd(b[:end]); end > 0 && len(text) <= c.limit {
		c.long, c.partial = false, false
		f.text = text
		c.advance(end)
		return f, nil
	}
	f.text = b[:cutPoint(b, c.limit)]
	c.partial = true
	c.advance(len(f.text))
	return f, nil
}

// readHeader reads the first row. detectText saw all of it, with its columns.
func (c *csvRows) readHeader() error {
	n, _, err := c.row()
	if err != nil {
		return err
	}
	b := c.buf[c.pos : c.pos+n]
	c.header = bytes.Clone(trimEnd(b))
	for i, f := range c.fields {
		key := []byte{','}
		if i == 0 {
			key[0] = '{'
		}
		c.clean = unquote(c.clean[:0], b, f)
		c.keys = append(c.keys, append(appendQuoted(key, c.clean), ':'))
	}
	c.columns = len(c.keys)
	c.advance(n)
	return nil
}

// render writes the row b, cut into c.fields, as a JSON object.
func (c *csvRows) render(b []byte) []byte {
	c.out = c.out[:0]
	for i, f := range c.fields {
		c.clean = unquote(c.clean[:0], b, f)
		c.out = append(c.out, c.keys[i]...)
		c.out = appendQuoted(c.out, c.clean)
	}
	c.out = append(c.out, '}')
	return c.out
}

// unquote appends the text of a field of b.
func unquote(dst, b []byte, f field) []byte {
	b = b[f.start:f.end]
	for f.quoted {
		i := bytes.Index(b, []byte(`""`))
		if i < 0 {
			break
		}
		dst = append(dst, b[:i+1]...)
		b = b[i+2:]
	}
	return append(dst, b...)
}

// row finds the next row: n bytes with their line end, and c.fields. ok is false when no line ends within the limit.
// The error is io.EOF when nothing is left; another error of the stream comes once the whole rows before it are out.
func (c *csvRows) row() (n int, ok bool, err error) {
	multi := c.wasted <= wasteFloor+wasteFactor*c.consumed
	most := c.limit + 2 // CR and LF do not count
	for want := 1; ; {
		b := c.window(want)
		if len(b) == 0 {
			return 0, false, c.err
		}
		all := c.err != nil && len(b) == len(c.buf)-c.pos // nothing follows b
		n, end := c.scan(b, multi, all && c.err == io.EOF)
		switch {
		case end == rowWhole:
			return n, true, nil
		case end == rowUnclosed || len(b) == most && multi && bytes.IndexByte(b, '\n') >= 0:
			c.wasted += int64(len(b))
			multi = false
		case len(b) == most:
			return 0, false, nil
		case all:
			return 0, false, c.err // the stream broke inside the row
		default:
			want = min(2*len(b)+1, most)
		}
	}
}

// window returns the unread bytes: at least want, unless the stream ends before, and at most limit and a line end, so
// that what is found in it does not depend on the portions in which the stream comes.
func (c *csvRows) window(want int) []byte {
	for len(c.buf)-c.pos < want && c.err == nil {
		c.buf = c.buf[:copy(c.buf, c.buf[c.pos:])]
		c.pos = 0
		c.buf = slices.Grow(c.buf, max(want-len(c.buf), bufferSize/4))
		var n int
		n, c.err = c.r.Read(c.buf[len(c.buf):cap(c.buf)])
		c.buf = c.buf[:len(c.buf)+n]
	}
	b := c.buf[c.pos:]
	return b[:min(len(b), c.limit+2)]
}

type rowEnd uint8

const (
	rowWhole    rowEnd = iota
	rowMore            // the row does not end in the window
	rowUnclosed        // a quote was not closed at the end of the file, and line ends follow it
)

// scan parses one row at the beginning of b into c.fields; n are its bytes when it is whole. multi lets a field in
// quotes hold line ends; last says that the file ends with b.
func (c *csvRows) scan(b []byte, multi, last bool) (n int, end rowEnd) {
	if !multi {
		if i := bytes.IndexByte(b, '\n'); i >= 0 {
			b, last = b[:i+1], true
		}
	}
	c.fields = c.fields[:0]
	for i := 0; ; {
		f, after, end := scanField(b, i, c.separator, last)
		switch end {
		case endsNowhere:
			return 0, rowMore
		case endsUnclosed:
			if j := bytes.IndexByte(b[f.start:], '\n'); j >= 0 && f.start+j+1 < len(b) {
				return 0, rowUnclosed
			}
			end = endsRow
		}
		c.fields = append(c.fields, f)
		i = after
		if end == endsRow {
			return after, rowWhole
		}
	}
}

type fieldEnd uint8

const (
	endsField    fieldEnd = iota
	endsRow               // with a line end, or the end of the file
	endsNowhere           // the end of b came first, and more follows
	endsUnclosed          // the file ends before the quote is closed: the quote is text
)

// scanField parses the field of b that begins at i. after is where the next field, or the next row, begins. last says
// that nothing follows b.
func scanField(b []byte, i int, separator byte, last bool) (f field, after int, end fieldEnd) {
	if i < len(b) && b[i] == '"' {
		return scanQuoted(b, i, separator, last)
	}
	for j := i; j < len(b); j++ {
		switch b[j] {
		case separator:
			return field{start: i, end: j}, j + 1, endsField
		case '\n':
			return field{start: i, end: i + len(trimEnd(b[i:j+1]))}, j + 1, endsRow
		}
	}
	if !last {
		return field{}, 0, endsNowhere
	}
	return field{start: i, end: i + len(trimEnd(b[i:]))}, len(b), endsRow
}

func scanQuoted(b []byte, i int, separator byte, last bool) (f field, after int, end fieldEnd) {
	for j := i + 1; ; {
		k := bytes.IndexByte(b[j:], '"')
		if k < 0 {
			if !last {
				return field{}, 0, endsNowhere
			}
			return field{start: i, end: i + len(trimEnd(b[i:]))}, len(b), endsUnclosed
		}
		j += k + 1 // behind the quote
		f := field{start: i + 1, end: j - 1, quoted: true}
		rest := b[j:]
		switch {
		case len(rest) == 0 || len(rest) == 1 && rest[0] == '\r':
			if !last {
				return field{}, 0, endsNowhere
			}
			return f, len(b), endsRow
		case rest[0] == '"':
			j++
		case rest[0] == separator:
			return f, j + 1, endsField
		case rest[0] == '\n':
			return f, j + 1, endsRow
		case rest[0] == '\r' && rest[1] == '\n':
			return f, j + 2, endsRow
		}
	}
}
