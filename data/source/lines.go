package source

import (
	"bufio"
	"bytes"
	"io"
)

// lines cuts a stream at LF. A line over limit bytes comes in parts.
type lines struct {
	r       *bufio.Reader
	limit   int
	buf     []byte // of a line that did not come out of r in one piece: what is not yet given out, after drop
	drop    int    // bytes of buf that were given out by the last call
	ended   bool   // buf holds the end of its line
	partial bool   // a part of the current line was given out
	number  int64  // of the current line, from 1
}

func newLines(r *bufio.Reader, limit int) *lines { return &lines{r: r, limit: limit, number: 1} }

func (l *lines) line() int64 { return l.number }

func (l *lines) next() (frame, error) {
	l.buf = l.buf[:copy(l.buf, l.buf[l.drop:])]
	l.drop = 0
	// With two bytes over the limit, which may be CR and LF, a line is known to be too long.
	for !l.ended && len(l.buf) <= l.limit+2 {
		b, err := l.r.ReadSlice('\n')
		if err == nil && len(l.buf) == 0 && len(b) <= l.limit {
			return l.whole(trimEnd(b)), nil
		}
		l.buf = append(l.buf, b...)
		switch {
		case err == nil:
			l.ended = true
		case err == io.EOF && len(l.buf) == 0:
			return frame{}, io.EOF
		case err == io.EOF:
			l.ended = true
		case err != bufio.ErrBufferFull:
			return frame{}, err // what came of the line is not whole
		}
	}
	if l.ended {
		if text := trimEnd(l.buf); len(text) <= l.limit {
			l.drop, l.ended = len(l.buf), false
			return l.whole(text), nil
		}
	}
	f := frame{text: l.buf[:cutPoint(l.buf, l.limit)], line: l.number, flags: l.cut()}
	l.partial, l.drop = true, len(f.text)
	return f, nil
}

func (l *lines) cut() Flags {
	if l.partial {
		return Cut
	}
	return 0
}

// whole gives out a line, or the last part of one, which is never empty.
func (l *lines) whole(text []byte) frame {
	f := frame{text: text, line: l.number, flags: l.cut()}
	l.number++
	if !l.partial {
		f.text = trimNUL(text)
		if isBlank(f.text) {
			f.kind = kindEmpty
		}
	}
	l.partial = false
	return f
}

// trimEnd removes LF or CR LF.
func trimEnd(b []byte) []byte {
	b, _ = bytes.CutSuffix(b, []byte{'\n'})
	b, _ = bytes.CutSuffix(b, []byte{'\r'})
	return b
}

// trimNUL removes the NUL bytes around a record, which a crash of a logger leaves.
func trimNUL(b []byte) []byte {
	if len(b) > 0 && (b[0] == 0 || b[len(b)-1] == 0) {
		return bytes.Trim(b, "\x00")
	}
	return b
}

func isBlank(b []byte) bool {
	for _, c := range b {
		if c != ' ' && (c < '\t' || c > '\r') {
			return false
		}
	}
	return true
}
