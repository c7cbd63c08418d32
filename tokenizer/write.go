package tokenizer

import (
	"io"
	"strconv"

	"github.com/secencoder/secencoder/internal/atomicfile"
)

// Save writes JSON to path, whole or not at all.
func (t *Tokenizer) Save(path string) error {
	return atomicfile.WriteFile(path, func(w io.Writer) error {
		_, err := w.Write(t.JSON())
		return err
	})
}

// JSON returns the tokenizer.json: compact, in HuggingFace's order of fields, ascending ids, one line feed at the end. Equal tokenizers
// have equal bytes, and Parse of it gives an equal tokenizer. For tokenizers that Train made it is what tokenizers 0.23.3 writes with
// pretty=False, plus the line feed. The caller owns the result.
func (t *Tokenizer) JSON() []byte {
	b := make([]byte, 0, 2048+len(t.raw)*4+len(t.vocab)*24)
	b = append(b, `{"version":"1.0","truncation":null,"padding":null,"added_tokens":[`...)
	for i, a := range t.added {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendAdded(b, a)
	}
	b = append(b, `],"normalizer":null,"pre_tokenizer":`...)
	b = append(b, t.preTokenizer...)
	b = append(b, `,"post_processor":`...)
	b = append(b, t.postProcessor...)
	b = append(b, `,"decoder":`...)
	b = append(b, t.decoder...)
	b = append(b, `,"model":{"type":"BPE","dropout":null,"unk_token":`...)
	if t.unk == nil {
		b = append(b, "null"...)
	} else {
		b = appendJSONString(b, *t.unk)
	}
	b = append(b, `,"continuing_subword_prefix":null,"end_of_word_suffix":null`...)
	b = appendBool(b, "fuse_unk", t.fuseUnk)
	b = appendBool(b, "byte_fallback", t.byteFallback)
	b = appendBool(b, "ignore_merges", t.ignoreMerges)
	b = append(b, `,"vocab":{`...)
	for i, v := range t.vocab {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(appendJSONString(b, v.token), ':')
		b = strconv.AppendUint(b, uint64(v.id), 10)
	}
	b = append(b, `},"merges":[`...)
	for i, m := range t.merges {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(appendJSONString(append(b, '['), t.strings[m.left]), ',')
		b = append(appendJSONString(b, t.strings[m.right]), ']')
	}
	return append(b, "]}}\n"...)
}

func appendAdded(b []byte, a addedToken) []byte {
	b = strconv.AppendUint(append(b, `{"id":`...), uint64(a.id), 10)
	b = appendJSONString(append(b, `,"content":`...), a.content)
	b = appendBool(b, "single_word", a.singleWord)
	b = appendBool(b, "lstrip", a.lstrip)
	b = appendBool(b, "rstrip", a.rstrip)
	b = appendBool(b, "normalized", a.normalized)
	return append(appendBool(b, "special", a.special), '}')
}

func appendBool(b []byte, name string, v bool) []byte {
	b = append(append(append(b, ',', '"'), name...), '"', ':')
	return strconv.AppendBool(b, v)
}

// appendJSONString quotes as serde_json does: only quote, backslash and control characters are escaped, so Ġ and <> stay readable.
func appendJSONString(b []byte, s string) []byte {
	const hex = "0123456789abcdef"
	b = append(b, '"')
	for i := range len(s) {
		c := s[i]
		switch {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case c >= 0x20:
			b = append(b, c)
		default:
			if k := indexByte("\b\f\n\r\t", c); k >= 0 {
				b = append(b, '\\', "bfnrt"[k])
			} else {
				b = append(b, `\u00`...)
				b = append(b, hex[c>>4], hex[c&15])
			}
		}
	}
	return append(b, '"')
}

func indexByte(s string, c byte) int {
	for i := range len(s) {
		if s[i] == c {
			return i
		}
	}
	return -1
}
