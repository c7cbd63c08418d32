package tokenizer

import "unicode/utf8"

// gpt2Stage is ByteLevel with use_regex: GPT-2's
//
//	's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
//
// by hand, because Go's regexp has no look-ahead. L and N are tables asked from tokenizers 0.23.3 itself (unicode_tables.go). A byte
// that is not valid UTF-8 counts as neither letter, number nor space; HuggingFace never sees one.
type gpt2Stage struct{}

const (
	gpt2Space = iota
	gpt2Letter
	gpt2Number
	gpt2Other
)

func gpt2Class(b []byte) (class, size int) {
	if c := b[0]; c < utf8.RuneSelf {
		switch byteClass(c) {
		case classLetter:
			return gpt2Letter, 1
		case classDigit:
			return gpt2Number, 1
		}
		if isSpace(rune(c)) {
			return gpt2Space, 1
		}
		return gpt2Other, 1
	}
	r, n := utf8.DecodeRune(b)
	switch {
	case isSpace(r):
		return gpt2Space, n
	case tableLetter.has(r):
		return gpt2Letter, n
	case tableNumber.has(r):
		return gpt2Number, n
	}
	return gpt2Other, n
}

func (gpt2Stage) cut(cuts []int, piece []byte) []int {
	for p := 0; p < len(piece); {
		end := p + gpt2Next(piece[p:])
		cuts = append(cuts, p, end)
		p = end
	}
	return cuts
}

// gpt2Next returns the length of the first match of the expression, which is at the start of b, as every character is in some match.
func gpt2Next(b []byte) int {
	if n := contraction(b); n > 0 {
		return n
	}
	p := 0
	if b[0] == ' ' && len(b) > 1 {
		p = 1
	}
	class, _ := gpt2Class(b[p:])
	if class != gpt2Space {
		return gpt2Run(b, p, class)
	}
	// \s+ gives its last character back when something else follows, unless it is the only one.
	end, last := 0, 0
	for end < len(b) {
		c, n := gpt2Class(b[end:])
		if c != gpt2Space {
			break
		}
		last = end
		end += n
	}
	if end < len(b) && last > 0 {
		return last
	}
	return end
}

func gpt2Run(b []byte, p, class int) int {
	for p < len(b) {
		c, n := gpt2Class(b[p:])
		if c != class {
			break
		}
		p += n
	}
	return p
}

// contraction returns the length of 's 't 're 've 'm 'll 'd at the start of b, or 0.
func contraction(b []byte) int {
	if len(b) < 2 || b[0] != '\'' {
		return 0
	}
	switch b[1] {
	case 's', 't', 'm', 'd':
		return 2
	}
	if len(b) > 2 {
		switch string(b[1:3]) {
		case "re", "ve", "ll":
			return 3
		}
	}
	return 0
}
