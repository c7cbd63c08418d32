// Package printable makes text of unknown origin fit for a terminal.
//
// Log lines and file names may hold escape sequences that move the cursor, change colours or retitle a window, line ends
// that break a table, and bytes that are no UTF-8. String shows them as Go writes them in strings and leaves all other
// text as it is. It is for what people read; files and JSON keep the original bytes.
package printable

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

// String returns s with each control character, each character that is not printable (text direction marks, line
// separators) and each byte outside UTF-8 replaced by its escape sequence in Go: \x1b, \n, \u202e, \xff. A backslash stays
// one backslash, so the result cannot be turned back.
func String(s string) string {
	clean := true
	for _, r := range s {
		if r == utf8.RuneError || !strconv.IsPrint(r) {
			clean = false
			break
		}
	}
	if clean {
		return s
	}
	var b strings.Builder
	for len(s) > 0 {
		r, size := utf8.DecodeRuneInString(s)
		switch {
		case r == utf8.RuneError && size == 1:
			quoted := strconv.Quote(s[:1])
			b.WriteString(quoted[1 : len(quoted)-1])
		case strconv.IsPrint(r):
			b.WriteString(s[:size])
		default:
			quoted := strconv.QuoteRune(r)
			b.WriteString(quoted[1 : len(quoted)-1])
		}
		s = s[size:]
	}
	return b.String()
}
