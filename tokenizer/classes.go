package tokenizer

import (
	"fmt"
	"strings"
)

// Class is what a token is to the masked-LM objective.
type Class uint8

// The classes: content is masked and predicted, delimiters only where a run asks for it, special tokens never.
const (
	ClassContent Class = iota
	ClassDelimiter
	ClassSpecial
)

// String returns content, delimiter or special.
func (c Class) String() string {
	switch c {
	case ClassContent:
		return "content"
	case ClassDelimiter:
		return "delimiter"
	case ClassSpecial:
		return "special"
	}
	return fmt.Sprintf("Class(%d)", uint8(c))
}

// defaultDelimiters is the structure of JSON, key=value and paths. The paper names double quotes; dots, hyphens and underscores are left
// out because inside addresses, dates and names they are content.
const defaultDelimiters = "\"',:;{}[]()<>=|\\/&"

// DelimiterSet is a set of bytes: some ASCII characters, and always white space and control characters. Sets can be compared with ==.
// The zero value holds white space and control characters only.
type DelimiterSet struct {
	low, high uint64 // bits 0-63 and 64-127, without white space and control characters
}

// DefaultDelimiters returns the set "\"',:;{}[]()<>=|\\/&" and white space and control characters.
func DefaultDelimiters() DelimiterSet {
	d, err := ParseDelimiters(defaultDelimiters)
	if err != nil {
		panic("internal error: " + err.Error())
	}
	return d
}

// ParseDelimiters reads a set from its characters, in any order: visible ASCII; white space and control characters may be named and are
// in it anyway. A character outside ASCII is an error, as its bytes are parts of others too.
func ParseDelimiters(s string) (DelimiterSet, error) {
	var d DelimiterSet
	for i, r := range s {
		switch {
		case r >= 0x80:
			return DelimiterSet{}, fmt.Errorf("delimiters: byte %d: %q is not ASCII", i, r)
		case isBlank(byte(r)):
		case r < 64:
			d.low |= 1 << r
		default:
			d.high |= 1 << (r - 64)
		}
	}
	return d, nil
}

// String returns the visible characters of the set: those of the default in its order, then others ascending. ParseDelimiters reads it
// back to an equal set.
func (d DelimiterSet) String() string {
	var b strings.Builder
	for i := range len(defaultDelimiters) {
		if d.Has(defaultDelimiters[i]) {
			b.WriteByte(defaultDelimiters[i])
		}
	}
	for c := byte('!'); c < 0x7F; c++ {
		if d.Has(c) && strings.IndexByte(defaultDelimiters, c) < 0 {
			b.WriteByte(c)
		}
	}
	return b.String()
}

// Has reports whether a byte is in the set.
func (d DelimiterSet) Has(b byte) bool {
	return isBlank(b) || b < 64 && d.low>>b&1 == 1 || b >= 64 && b < 128 && d.high>>(b-64)&1 == 1
}

// isBlank is true for ASCII's white space and control characters.
func isBlank(b byte) bool { return b <= ' ' || b == 0x7F }

// Classes returns the class of each id. Special tokens, and ids without token, are ClassSpecial. A token all of whose bytes are in set,
// white space left aside, is a delimiter; so is one of white space alone. Everything else is content.
func (t *Tokenizer) Classes(set DelimiterSet) []Class {
	classes := make([]Class, t.VocabSize()) // [V]
	for id := range classes {
		classes[id] = t.class(uint32(id), set)
	}
	return classes
}

func (t *Tokenizer) class(id uint32, set DelimiterSet) Class {
	if t.special[id] || t.strings[id] == "" {
		return ClassSpecial
	}
	for _, b := range t.TokenBytes(id) {
		if !set.Has(b) {
			return ClassContent
		}
	}
	return ClassDelimiter
}
