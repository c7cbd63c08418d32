package tokenizer

import "slices"

// Encoder turns text into ids. It holds caches and scratch memory, about 2 MiB, so each goroutine takes one of its own and keeps it;
// it must not be used by two at a time. After warm-up it allocates nothing but what dst needs to grow.
type Encoder struct {
	t     *Tokenizer
	short []shortEntry
	long  longCache
	work  mergeScratch
	cut   pipeScratch
	segs  [2][]segment
}

// NewEncoder returns an encoder with the vocabulary already in its cache.
func (t *Tokenizer) NewEncoder() *Encoder {
	t.seedOnce.Do(t.seed)
	return &Encoder{t: t, short: slices.Clone(t.seedCache), long: newLongCache()}
}

// Append appends the ids of text to dst and returns it. Nothing is added to them, and special strings inside text are plain text. Added
// tokens that are not special, which only foreign files have, are found. On valid UTF-8 the ids are those of HuggingFace with
// encode_special_tokens set and add_special_tokens unset. text is neither kept nor changed.
func (e *Encoder) Append(dst []uint32, text []byte) []uint32 {
	if !e.t.visible {
		return e.plain(dst, text)
	}
	return e.appendSegments(dst, text, false)
}

// AppendSpecial is Append, but special strings become their tokens: [MASK] takes the white space before it, as HuggingFace's does.
// It is for text that a user wrote to be filled in, never for logs: a log line could forge a token.
func (e *Encoder) AppendSpecial(dst []uint32, text []byte) []uint32 {
	return e.appendSegments(dst, text, true)
}

func (e *Encoder) appendSegments(dst []uint32, text []byte, special bool) []uint32 {
	for _, s := range e.split(text, special) {
		if s.token >= 0 {
			dst = append(dst, e.t.added[s.token].id)
		} else {
			dst = e.plain(dst, text[s.start:s.end])
		}
	}
	return dst
}

// split finds the added tokens: first those that are not normalized, in all of the text, then the others in what is left.
func (e *Encoder) split(text []byte, special bool) []segment {
	t := e.t
	a := t.segments(e.segs[0][:0], &t.exact, text, 0, len(text), special)
	b := e.segs[1][:0]
	for _, s := range a {
		if s.token >= 0 {
			b = append(b, s)
		} else {
			b = t.segments(b, &t.folded, text, s.start, s.end, special)
		}
	}
	e.segs[0], e.segs[1] = a, b
	return b
}

// plain encodes text that holds no added token.
func (e *Encoder) plain(dst []uint32, text []byte) []uint32 {
	if e.t.direct != nil {
		return e.scanned(dst, text)
	}
	buf, spans := e.t.pipe.run(&e.cut, text)
	for _, s := range spans {
		dst = e.piece(dst, buf, s.start, s.end)
	}
	return dst
}

// scanned is plain for the pipeline that is one Scanner: the hot loop. A control byte or punctuation, alone or after a space, needs no
// look-up: more than half of the pieces of a JSON log are such.
func (e *Encoder) scanned(dst []uint32, text []byte) []uint32 {
	t, s := e.t, e.t.direct
	for p := 0; p < len(text); {
		b := text[p]
		switch c := s.class[b]; {
		case c == classPunct || c == classControl:
			dst = append(dst, t.byteID[b])
			p++
			continue
		case c == classSpace && p+1 < len(text) && s.class[text[p+1]] == classPunct && s.attach[text[p+1]]:
			b = text[p+1]
			if id := t.spaceID[b]; id != NoToken {
				dst = append(dst, id)
			} else {
				dst = append(dst, t.byteID[' '], t.byteID[b])
			}
			p += 2
			continue
		}
		end := s.Next(text, p)
		dst = e.piece(dst, text, p, end)
		p = end
	}
	return dst
}

// piece appends the ids of the piece text[start:end], from a cache if it is there.
func (e *Encoder) piece(dst []uint32, text []byte, start, end int) []uint32 {
	n := end - start
	if n == 1 {
		return append(dst, e.t.byteID[text[start]])
	}
	if n > shortKey {
		return e.longPiece(dst, text[start:end])
	}
	lo, hi := loadKey(text, start, n)
	slot := &e.short[hashKey(lo, hi, n)&(shortSlots-1)]
	if slot.holds(lo, hi, n) {
		// Three are written and as many kept as there are: a loop costs more than the writes.
		m := len(dst)
		return append(dst, slot.id[0], slot.id[1], slot.id[2])[:m+int(slot.ids)]
	}
	m := len(dst)
	dst = e.merge(dst, text[start:end])
	if slot.fill(lo, hi, n, dst[m:]) {
		return dst
	}
	return e.longPiece(dst[:m], text[start:end])
}

func (e *Encoder) longPiece(dst []uint32, piece []byte) []uint32 {
	slot, ids := e.long.get(piece)
	if ids != nil {
		return append(dst, ids...)
	}
	m := len(dst)
	dst = e.merge(dst, piece)
	e.long.put(slot, piece, dst[m:])
	return dst
}

// Span is a token with its place in the text: the bytes Start to End (exclusive). Tokens of a foreign file with add_prefix_space may
// stand for a space that is not in the text; their span leaves it out.
type Span struct {
	ID         uint32
	Start, End int
}

// AppendSpans appends the tokens of text with their places: the ids are those of Append, or with special those of AppendSpecial. The
// spans of our own tokenizers touch each other and cover the text, but for the white space before [MASK], which is part of it.
func (e *Encoder) AppendSpans(dst []Span, text []byte, special bool) []Span {
	var ids []uint32
	for _, seg := range e.split(text, special) {
		if seg.token >= 0 {
			dst = append(dst, Span{e.t.added[seg.token].id, seg.start, seg.end})
			continue
		}
		buf, spans := e.t.pipe.run(&e.cut, text[seg.start:seg.end])
		for _, s := range spans {
			at := seg.start + s.origin
			first := at
			if s.virtual {
				first++
			}
			ids = e.piece(ids[:0], buf, s.start, s.end)
			for _, id := range ids {
				end := at + len(e.t.TokenBytes(id))
				dst = append(dst, Span{id, max(at, first), max(end, first)})
				at = end
			}
		}
	}
	return dst
}
