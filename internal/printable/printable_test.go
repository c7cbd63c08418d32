package printable

import (
	"strconv"
	"testing"
	"unicode/utf8"
)

func TestString(t *testing.T) {
	for in, want := range map[string]string{
		"":                        "",
		`as "it" is: C:\x ü 日本 😀`: `as "it" is: C:\x ü 日本 😀`,
		"\x1b[31mred\x07":         `\x1b[31mred\a`,
		"a\tb\r\nc\x00\x7f":       `a\tb\r\nc\x00\x7f`,
		"\xff\xfe ü\xc3":          `\xff\xfe ü\xc3`,
		"\u202egnp.exe\u2028":     `\u202egnp.exe\u2028`,
		"\ufffd kept":             "\ufffd kept",
	} {
		if got := String(in); got != want {
			t.Errorf("%q: got %s, want %s", in, got, want)
		}
	}
}

func FuzzString(f *testing.F) {
	f.Add("a\x1b\xff\u202e")
	f.Fuzz(func(t *testing.T, in string) {
		got := String(in)
		for _, r := range got {
			if !strconv.IsPrint(r) {
				t.Fatalf("%q: %q holds %q", in, got, r)
			}
		}
		if !utf8.ValidString(got) || String(got) != got {
			t.Fatalf("%q: %q is not stable UTF-8", in, got)
		}
	})
}
