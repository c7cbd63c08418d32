package source

import (
	"bytes"
	"encoding/json"
)

// renderLine appends line as one JSON object: an object without the white space between its tokens, anything else as
// {"message":"…"}.
func renderLine(dst, line []byte) []byte {
	if t := bytes.TrimSpace(line); len(t) > 0 && t[0] == '{' {
		var b bytes.Buffer
		if json.Compact(&b, t) == nil {
			return append(dst, b.Bytes()...)
		}
	}
	dst = append(dst, `{"message":`...)
	dst = appendQuoted(dst, line)
	return append(dst, '}')
}

const hexDigits = "0123456789abcdef"

// appendQuoted appends s as a JSON string. Only what JSON demands is escaped, so that the text stays close to the
// original; bytes that are no UTF-8 are kept.
func appendQuoted(dst, s []byte) []byte {
	dst = append(dst, '"')
	from := 0
	for i, c := range s {
		if c >= 0x20 && c != '"' && c != '\\' {
			continue
		}
		dst = append(dst, s[from:i]...)
		from = i + 1
		switch c {
		case '"', '\\':
			dst = append(dst, '\\', c)
		case '\n':
			dst = append(dst, '\\', 'n')
		case '\r':
			dst = append(dst, '\\', 'r')
		case '\t':
			dst = append(dst, '\\', 't')
		default:
			dst = append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
		}
	}
	dst = append(dst, s[from:]...)
	return append(dst, '"')
}
