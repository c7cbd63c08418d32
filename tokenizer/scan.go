package tokenizer

import "fmt"

// DigitRule says how digits are cut into pieces.
type DigitRule string

// SpaceRule says to which pieces one leading space is attached.
type SpaceRule string

// The rules that a scanner can follow. The empty string means the first of each group, the default.
const (
	DigitsRun   DigitRule = "run"   // a run of digits is one piece
	DigitsThree DigitRule = "d3"    // groups of three from the left: 4867 is 486, 7
	DigitsOne   DigitRule = "d1"    // each digit is one piece
	DigitsAlnum DigitRule = "alnum" // digits are letters: 02T7f is one piece

	SpaceAll  SpaceRule = "all"  // to words, numbers and punctuation
	SpaceWord SpaceRule = "word" // to words and numbers
	SpaceNone SpaceRule = "none" // to nothing: spaces are pieces of their own
)

// pieceCap is the largest number of code points in one piece, a leading space not counted. It bounds the work and the memory that a
// blob without punctuation (base64, hex) can cost; 16 instead of 64 cost 3.5 % more tokens on JSON events.
const pieceCap = 64

// pieceCapBytes ends a word that has no code point border, which only invalid UTF-8 can have.
const pieceCapBytes = 4 * pieceCap

// Classes of bytes. A byte of 0x80 and above is a letter, whatever code point it belongs to: so no Unicode table, and no version of
// one, has a part in the result.
const (
	classControl = iota
	classSpace
	classDigit
	classLetter
	classPunct
)

// Scanner cuts text into pieces, the units inside which BPE merges. The zero value is not usable; NewScanner makes one. A Scanner is
// read only and may be shared.
//
// With S the space, C the control bytes (0x00-0x1F, 0x7F), P the 32 ASCII punctuation bytes, D the digits and L everything else, a
// piece is: one C; one P; up to 64 digits; up to 64 code points of L; each but C with at most one space before it, where the space
// rule allows; or up to 64 spaces. Of a run of spaces the last belongs to what follows. Every byte is in exactly one piece.
type Scanner struct {
	class     [256]uint8
	attach    [256]bool // a space before this byte belongs to its piece
	maxDigits int
	digits    DigitRule
	space     SpaceRule
}

// NewScanner returns the scanner for two rules; empty strings are the defaults run and all. An unknown rule is an error.
func NewScanner(digits DigitRule, space SpaceRule) (*Scanner, error) {
	if digits == "" {
		digits = DigitsRun
	}
	if space == "" {
		space = SpaceAll
	}
	s := &Scanner{digits: digits, space: space, maxDigits: pieceCap}
	switch digits {
	case DigitsRun, DigitsAlnum:
	case DigitsThree:
		s.maxDigits = 3
	case DigitsOne:
		s.maxDigits = 1
	default:
		return nil, fmt.Errorf("unknown digit rule %q, want run, d3, d1 or alnum", digits)
	}
	if space != SpaceAll && space != SpaceWord && space != SpaceNone {
		return nil, fmt.Errorf("unknown space rule %q, want all, word or none", space)
	}
	for i := range s.class {
		c := byteClass(byte(i))
		s.attach[i] = space == SpaceAll && c >= classDigit || space == SpaceWord && (c == classDigit || c == classLetter)
		if c == classDigit && digits == DigitsAlnum {
			c = classLetter
		}
		s.class[i] = c
	}
	return s, nil
}

func byteClass(b byte) uint8 {
	switch {
	case b == ' ':
		return classSpace
	case b < 0x20 || b == 0x7F:
		return classControl
	case b >= '0' && b <= '9':
		return classDigit
	case b >= 'A' && b <= 'Z', b >= 'a' && b <= 'z', b >= 0x80:
		return classLetter
	}
	return classPunct
}

// Digits returns the digit rule.
func (s *Scanner) Digits() DigitRule { return s.digits }

// Space returns the space rule.
func (s *Scanner) Space() SpaceRule { return s.space }

// Next returns the end of the piece that starts at text[p], 0 ≤ p < len(text). It looks at one byte beyond the piece at most.
// Source: the regular expression that Regex returns, byte for byte.
func (s *Scanner) Next(text []byte, p int) int {
	q := p
	c := s.class[text[q]]
	if c == classSpace {
		if q+1 >= len(text) || !s.attach[text[q+1]] {
			return s.spaces(text, p)
		}
		q++
		c = s.class[text[q]]
	}
	switch c {
	case classLetter:
		return s.word(text, q)
	case classDigit:
		end := min(len(text), q+s.maxDigits)
		e := q + 1
		for e < end && s.class[text[e]] == classDigit {
			e++
		}
		return e
	}
	return q + 1
}

// spaces ends a run of spaces: 64 of them, or fewer when the run ends before, and then without the last if what follows takes it. It
// never looks to the end of a longer run, so a megabyte of spaces stays linear.
func (s *Scanner) spaces(text []byte, p int) int {
	n := p + 1
	for n < len(text) && n-p < pieceCap && text[n] == ' ' {
		n++
	}
	if n < len(text) && s.attach[text[n]] {
		return n - 1
	}
	return n
}

// word ends a run of letters: before the 65th byte that begins a code point, or after 256 bytes.
func (s *Scanner) word(text []byte, q int) int {
	end := min(len(text), q+pieceCapBytes)
	points := 0
	e := q
	for e < end && s.class[text[e]] == classLetter {
		if text[e]&0xC0 != 0x80 {
			if points == pieceCap {
				break
			}
			points++
		}
		e++
	}
	return e
}

// Regex returns the rules as the regular expression (Oniguruma syntax) that HuggingFace's Split pre-tokenizer runs. On valid UTF-8
// it gives the same pieces.
func (s *Scanner) Regex() string {
	const high = `\x{80}-\x{10FFFF}`
	letters, digits := "A-Za-z"+high, "[0-9]{1,64}"
	switch s.digits {
	case DigitsThree:
		digits = "[0-9]{1,3}"
	case DigitsOne:
		digits = "[0-9]"
	case DigitsAlnum:
		letters, digits = "0-9A-Za-z"+high, ""
	}
	word, mark, spaces := " ?", "", "| {1,64}"
	switch s.space {
	case SpaceAll:
		mark = " ?"
		spaces = "| {1,64}(?= [!-~" + high + "])| {1,64}"
	case SpaceWord:
		spaces = "| {1,64}(?= [0-9A-Za-z" + high + "])| {1,64}"
	case SpaceNone:
		word = ""
	}
	re := word + "[" + letters + "]{1,64}"
	if digits != "" {
		re += "|" + word + digits
	}
	return re + "|" + mark + "[!-/:-@\\[-`{-~]|[\\x00-\\x1F\\x7F]" + spaces
}

// scannerFor returns the scanner whose Regex is re, or nil: equality of strings, because no other test of a foreign pattern is safe.
func scannerFor(re string) *Scanner {
	for _, d := range []DigitRule{DigitsRun, DigitsThree, DigitsOne, DigitsAlnum} {
		for _, sp := range []SpaceRule{SpaceAll, SpaceWord, SpaceNone} {
			if s, err := NewScanner(d, sp); err == nil && s.Regex() == re {
				return s
			}
		}
	}
	return nil
}
