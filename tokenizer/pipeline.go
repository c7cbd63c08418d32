package tokenizer

import (
	"slices"
	"unicode/utf8"
)

// pipeline is a Sequence of pre-tokenizers that ends in bytes: each stage cuts the pieces of the one before.
type pipeline struct {
	stages []stage
	prefix int // index of the stage before which each piece gets a leading space if it has none; -1: none
}

// pipeSpan is a piece in the pipeline's buffer. origin is the place of its first byte in the text; with virtual set that byte is a
// space that is not in the text, and origin one less than the place of the next.
type pipeSpan struct {
	start, end int
	origin     int
	virtual    bool
}

// pipeScratch is the memory of one run, the encoder's.
type pipeScratch struct {
	a, b []pipeSpan
	cuts []int
	buf  []byte
}

// stage cuts a piece. It appends pairs start, end to cuts, in order, without overlap and inside the piece; what they leave out is
// dropped.
type stage interface {
	cut(cuts []int, piece []byte) []int
}

// direct returns the scanner if the pipeline does nothing else, else nil.
func (p *pipeline) direct() *Scanner {
	if len(p.stages) == 1 && p.prefix < 0 {
		if s, ok := p.stages[0].(scannerStage); ok {
			return s.Scanner
		}
	}
	return nil
}

// run cuts text. The spans are in buf, which is text or the scratch; both are valid until the next run.
func (p *pipeline) run(w *pipeScratch, text []byte) (buf []byte, spans []pipeSpan) {
	if len(text) == 0 {
		return text, nil // not even a space before it
	}
	buf = text
	now, then := append(w.a[:0], pipeSpan{0, len(text), 0, false}), w.b[:0]
	for i, s := range p.stages {
		if i == p.prefix {
			buf = w.prefixed(now, text)
		}
		then = then[:0]
		for _, sp := range now {
			w.cuts = s.cut(w.cuts[:0], buf[sp.start:sp.end])
			for c := 0; c < len(w.cuts); c += 2 {
				a, b := w.cuts[c], w.cuts[c+1]
				then = append(then, pipeSpan{sp.start + a, sp.start + b, sp.origin + a, sp.virtual && a == 0})
			}
		}
		now, then = then, now
	}
	if p.prefix == len(p.stages) {
		buf = w.prefixed(now, text)
	}
	w.a, w.b = now, then
	return buf, slices.DeleteFunc(now, func(s pipeSpan) bool { return s.start == s.end })
}

// prefixed copies the pieces into the scratch with a space before each that has none. Source: tokenizers 0.23.3, ByteLevel with
// add_prefix_space; inside a Sequence that is every piece of the stages before.
func (w *pipeScratch) prefixed(spans []pipeSpan, text []byte) []byte {
	w.buf = w.buf[:0]
	for i, s := range spans {
		start := len(w.buf)
		if s.start == s.end || text[s.start] != ' ' {
			w.buf = append(w.buf, ' ')
			spans[i].virtual = true
			spans[i].origin--
		}
		w.buf = append(w.buf, text[s.start:s.end]...)
		spans[i].start, spans[i].end = start, len(w.buf)
	}
	return w.buf
}

type scannerStage struct{ *Scanner }

func (s scannerStage) cut(cuts []int, piece []byte) []int {
	for p := 0; p < len(piece); {
		end := s.Next(piece, p)
		cuts = append(cuts, p, end)
		p = end
	}
	return cuts
}

// behavior says what becomes of the characters that a classStage matches. Source: tokenizers 0.23.3, NormalizedString::split.
type behavior string

const (
	isolated           behavior = "Isolated"
	removed            behavior = "Removed"
	contiguous         behavior = "Contiguous"
	mergedWithPrevious behavior = "MergedWithPrevious"
	mergedWithNext     behavior = "MergedWithNext"
)

// classStage is Punctuation and Digits: single characters of a class are cut out.
type classStage struct {
	match    func(r rune) bool
	behavior behavior
	mapped   *[256]bool // after ByteLevel: the class of each byte's character, one byte a character
}

func (s classStage) next(piece []byte, p int) (size int, matches bool) {
	if s.mapped != nil {
		return 1, s.mapped[piece[p]]
	}
	r, n := utf8.DecodeRune(piece[p:])
	return n, s.match(r)
}

func (s classStage) cut(cuts []int, piece []byte) []int {
	start, was := 0, false // the open piece, and whether the character before p matched
	for p := 0; p < len(piece); {
		n, is := s.next(piece, p)
		border := is || was
		switch s.behavior {
		case contiguous:
			border = is != was
		case mergedWithPrevious:
			border = was
		case mergedWithNext:
			border = is
		}
		if border && p > start {
			if s.behavior != removed || !was {
				cuts = append(cuts, start, p)
			}
			start = p
		}
		p += n
		was = is
	}
	if start < len(piece) && (s.behavior != removed || !was) {
		cuts = append(cuts, start, len(piece))
	}
	return cuts
}

// whitespaceStage is Whitespace: runs of \w and runs of what is neither \w nor \s; white space is dropped.
type whitespaceStage struct{}

func (whitespaceStage) cut(cuts []int, piece []byte) []int {
	const space, word, other = 0, 1, 2
	start, was := 0, space
	for p := 0; p < len(piece); {
		r, n := utf8.DecodeRune(piece[p:])
		is := other
		switch {
		case isSpace(r):
			is = space
		case tableWord.has(r):
			is = word
		}
		if is != was {
			if was != space {
				cuts = append(cuts, start, p)
			}
			start, was = p, is
		}
		p += n
	}
	if was != space {
		cuts = append(cuts, start, len(piece))
	}
	return cuts
}
