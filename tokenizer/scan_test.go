package tokenizer

import (
	"bytes"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

var allDigits = []DigitRule{DigitsRun, DigitsThree, DigitsOne, DigitsAlnum}
var allSpaces = []SpaceRule{SpaceAll, SpaceWord, SpaceNone}

func allScanners(t testing.TB) []*Scanner {
	t.Helper()
	var list []*Scanner
	for _, d := range allDigits {
		for _, sp := range allSpaces {
			s, err := NewScanner(d, sp)
			if err != nil {
				t.Fatal(err)
			}
			list = append(list, s)
		}
	}
	return list
}

func pieces(s *Scanner, text []byte) []string {
	var list []string
	for p := 0; p < len(text); {
		end := s.Next(text, p)
		list = append(list, string(text[p:end]))
		p = end
	}
	return list
}

func TestScannerPieces(t *testing.T) {
	long := strings.Repeat("x", 64)
	for _, c := range []struct {
		digits DigitRule
		space  SpaceRule
		text   string
		want   []string
	}{
		{"", "", "TTY=unknown ; PWD=/", []string{"TTY", "=", "unknown", " ;", " PWD", "=", "/"}},
		{DigitsRun, SpaceWord, "TTY=unknown ; PWD=/", []string{"TTY", "=", "unknown", " ", ";", " PWD", "=", "/"}},
		{DigitsRun, SpaceNone, "a ; b", []string{"a", " ", ";", " ", "b"}},
		{DigitsRun, SpaceAll, "identify 4867", []string{"identify", " 4867"}},
		{DigitsThree, SpaceAll, "identify 4867", []string{"identify", " 486", "7"}},
		{DigitsOne, SpaceAll, "a 48", []string{"a", " 4", "8"}},
		{DigitsAlnum, SpaceAll, "02T7f x.9", []string{"02T7f", " x", ".", "9"}},
		{DigitsRun, SpaceAll, "a   b", []string{"a", "  ", " b"}},
		{DigitsRun, SpaceAll, "a   ", []string{"a", "   "}},
		{DigitsRun, SpaceAll, " \n", []string{" ", "\n"}},
		{DigitsRun, SpaceAll, "\r\n\t", []string{"\r", "\n", "\t"}},
		{DigitsRun, SpaceAll, "日本語\u00a0x", []string{"日本語\u00a0x"}},
		{DigitsRun, SpaceAll, " " + long + "y", []string{" " + long, "y"}},
		{DigitsRun, SpaceAll, strings.Repeat(" ", 66) + "a", []string{strings.Repeat(" ", 64), " ", " a"}},
		{DigitsRun, SpaceAll, strings.Repeat(" ", 65) + "a", []string{strings.Repeat(" ", 64), " a"}},
		{DigitsRun, SpaceAll, strings.Repeat("\x80", 300), []string{strings.Repeat("\x80", 256), strings.Repeat("\x80", 44)}},
	} {
		s, err := NewScanner(c.digits, c.space)
		if err != nil {
			t.Fatal(err)
		}
		if got := pieces(s, []byte(c.text)); !slices.Equal(got, c.want) {
			t.Errorf("%s, %s: %q:\n got %q\nwant %q", s.Digits(), s.Space(), c.text, got, c.want)
		}
	}
}

func TestScannerRefusesUnknownRules(t *testing.T) {
	for _, c := range [][2]string{{"d2", ""}, {"", "some"}} {
		if _, err := NewScanner(DigitRule(c[0]), SpaceRule(c[1])); err == nil {
			t.Errorf("%q: no error", c)
		}
	}
}

func TestScannerForFindsEveryRule(t *testing.T) {
	for _, s := range allScanners(t) {
		got := scannerFor(s.Regex())
		if got == nil || *got != *s {
			t.Errorf("%s, %s: %q is not found again", s.Digits(), s.Space(), s.Regex())
		}
	}
	if scannerFor(`\w+`) != nil {
		t.Error("a foreign expression is taken for one of ours")
	}
}

// regexReference runs the expression that Regex gives. Go's regexp has no look-ahead, so the one alternative that has it is done by hand;
// the others are taken from the string.
type regexReference struct {
	before, after []*regexp.Regexp
	follow        *regexp.Regexp // nil: no look-ahead
}

func newRegexReference(expr string) *regexReference {
	compile := func(list []string) (out []*regexp.Regexp) {
		for _, a := range list {
			if a != "" {
				out = append(out, regexp.MustCompile("^(?:"+a+")"))
			}
		}
		return out
	}
	head, tail, found := strings.Cut(expr, "| {1,64}(?=")
	if !found {
		return &regexReference{before: compile([]string{expr})}
	}
	follow, rest, _ := strings.Cut(tail, ")")
	return &regexReference{compile([]string{head}), compile([]string{strings.TrimPrefix(rest, "|")}), regexp.MustCompile("^" + follow)}
}

func (r *regexReference) next(b []byte) int {
	for _, re := range r.before {
		if m := re.FindIndex(b); m != nil {
			return m[1]
		}
	}
	if r.follow != nil {
		run := 0
		for run < len(b) && run < 64 && b[run] == ' ' {
			run++
		}
		for n := run; n > 0; n-- {
			if r.follow.Match(b[n:]) {
				return n
			}
		}
	}
	for _, re := range r.after {
		if m := re.FindIndex(b); m != nil {
			return m[1]
		}
	}
	return 0
}

// FuzzScanner holds the scanner against the expression that stands in the file, run by another engine than HuggingFace's.
func FuzzScanner(f *testing.F) {
	for _, s := range []string{"", " ", "a  b", "x=1 ; y", strings.Repeat(" ", 67) + "é", strings.Repeat("日", 66), "\xff\xfe 12", "\x00\x7f \t", strings.Repeat("1", 65)} {
		f.Add([]byte(s))
	}
	scanners := allScanners(f)
	var refs []*regexReference
	for _, s := range scanners {
		refs = append(refs, newRegexReference(s.Regex()))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		valid := utf8.Valid(text)
		for i, s := range scanners {
			for p := 0; p < len(text); {
				end := s.Next(text, p)
				if end <= p || end > len(text) || end-p > pieceCapBytes+1 {
					t.Fatalf("%s, %s: piece %d to %d of %d bytes", s.Digits(), s.Space(), p, end, len(text))
				}
				if want := p + refs[i].next(text[p:]); valid && end != want {
					t.Fatalf("%s, %s: %q at %d: got %q, want %q", s.Digits(), s.Space(), text, p, text[p:end], text[p:want])
				}
				p = end
			}
		}
	})
}

// TestScannerIsLinear would hang if runs were counted to their end for each piece.
func TestScannerIsLinear(t *testing.T) {
	for _, unit := range []string{" ", "a", "1", "\x80", "é", " ."} {
		text := bytes.Repeat([]byte(unit), (4<<20)/len(unit))
		for _, s := range allScanners(t)[:3] {
			n := 0
			for p := 0; p < len(text); p = s.Next(text, p) {
				n++
			}
			if n < len(text)/(pieceCapBytes+1) {
				t.Errorf("%q: %d pieces of %d bytes", unit, n, len(text))
			}
		}
	}
}

func ExampleScanner() {
	s, err := NewScanner(DigitsRun, SpaceAll)
	if err != nil {
		panic(err)
	}
	text := []byte("sshd[4867]: from 10.0.0.1 ;")
	for p := 0; p < len(text); {
		end := s.Next(text, p)
		fmt.Printf("%q ", text[p:end])
		p = end
	}
	// Output: "sshd" "[" "4867" "]" ":" " from" " 10" "." "0" "." "0" "." "1" " ;"
}
