package tokenizer

import (
	"unicode/utf8"
)

// matcher finds added tokens in text, leftmost and longest first: a trie over bytes. The zero value finds nothing.
type matcher struct {
	nodes []matchNode
	first [256]bool // a token begins with this byte
}

type matchNode struct {
	next  map[byte]int32
	token int32 // index in added_tokens, -1 when none ends here
}

func (m *matcher) add(content string, token int) {
	if m.nodes == nil {
		m.nodes = []matchNode{{token: -1}}
	}
	m.first[content[0]] = true
	at := int32(0)
	for i := range len(content) {
		next, ok := m.nodes[at].next[content[i]]
		if !ok {
			next = int32(len(m.nodes))
			m.nodes = append(m.nodes, matchNode{token: -1})
			if m.nodes[at].next == nil {
				m.nodes[at].next = make(map[byte]int32)
			}
			m.nodes[at].next[content[i]] = next
		}
		at = next
	}
	m.nodes[at].token = int32(token)
}

// find returns the first match at or after p, token -1 when there is none.
func (m *matcher) find(text []byte, p int) (start, end int, token int32) {
	if m.nodes == nil {
		return 0, 0, -1
	}
	for ; p < len(text); p++ {
		if !m.first[text[p]] {
			continue
		}
		token, at := int32(-1), int32(0)
		for i := p; i < len(text); i++ {
			next, ok := m.nodes[at].next[text[i]]
			if !ok {
				break
			}
			if at = next; m.nodes[at].token >= 0 {
				token, end = m.nodes[at].token, i+1
			}
		}
		if token >= 0 {
			return p, end, token
		}
	}
	return 0, 0, -1
}

// segment is a stretch of text: an added token, or with token -1 text to be cut and merged.
type segment struct {
	start, end int
	token      int32
}

// segments appends the segments of text[from:to]. Special tokens are found only if special is set. Source: tokenizers 0.23.3,
// AddedVocabulary::find_matches, where special unset is encode_special_tokens = true; a match that is turned down is not tried again
// with a shorter token.
func (t *Tokenizer) segments(dst []segment, m *matcher, text []byte, from, to int, special bool) []segment {
	text = text[:to]
	done := from
	for p := from; p < to; {
		start, end, token := m.find(text, p)
		if token < 0 {
			break
		}
		p = end
		a := &t.added[token]
		if a.special && !special {
			continue
		}
		if a.singleWord && (endsWithWord(text[from:start]) || startsWithWord(text[end:])) {
			continue
		}
		if a.lstrip {
			start = max(done, from+len(trimSpaceRight(text[from:start])))
		}
		if a.rstrip {
			end = to - len(trimSpaceLeft(text[end:]))
		}
		start = max(start, done) // a token that begins with a space which the one before has taken
		if done < start {
			dst = append(dst, segment{done, start, -1})
		}
		dst = append(dst, segment{start, end, token})
		done = end
	}
	if done < to {
		dst = append(dst, segment{done, to, -1})
	}
	return dst
}

func startsWithWord(b []byte) bool {
	r, n := utf8.DecodeRune(b)
	return n > 0 && tableWord.has(r)
}

func endsWithWord(b []byte) bool {
	r, n := utf8.DecodeLastRune(b)
	return n > 0 && tableWord.has(r)
}

func trimSpaceLeft(b []byte) []byte {
	for len(b) > 0 {
		r, n := utf8.DecodeRune(b)
		if !isSpace(r) {
			break
		}
		b = b[n:]
	}
	return b
}

func trimSpaceRight(b []byte) []byte {
	for len(b) > 0 {
		r, n := utf8.DecodeLastRune(b)
		if !isSpace(r) {
			break
		}
		b = b[:len(b)-n]
	}
	return b
}

// isSpace is Unicode's White_Space, 25 characters that have been the same since 2013.
func isSpace(r rune) bool {
	switch {
	case r >= '\t' && r <= '\r', r == ' ', r == 0x85, r == 0xA0, r == 0x1680, r >= 0x2000 && r <= 0x200A:
		return true
	case r == 0x2028, r == 0x2029, r == 0x202F, r == 0x205F, r == 0x3000:
		return true
	}
	return false
}
