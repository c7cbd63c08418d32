package tokenizer

import (
	"fmt"
	"strings"
	"testing"
)

func TestDelimiterSet(t *testing.T) {
	if got := DefaultDelimiters().String(); got != "\"',:;{}[]()<>=|\\/&" {
		t.Errorf("default prints as %q", got)
	}
	for _, s := range []string{"", "\"", "/ \t\n", "zz..--a", defaultDelimiters + "._-", "~!@ABC01"} {
		a, err := ParseDelimiters(s)
		if err != nil {
			t.Fatal(err)
		}
		b, err := ParseDelimiters(a.String())
		if err != nil || a != b {
			t.Errorf("%q printed as %q and read back differs: %v", s, a, err)
		}
		for c := range 256 {
			want := c <= ' ' || c == 0x7F || c < 0x80 && strings.IndexByte(s, byte(c)) >= 0
			if a.Has(byte(c)) != want {
				t.Errorf("%q: byte 0x%02X in the set is %v", s, c, !want)
			}
		}
	}
	if _, err := ParseDelimiters("a·"); err == nil {
		t.Error("a character of two bytes was taken")
	}
}

func TestClasses(t *testing.T) {
	tok := loadGolden(t, "run-all")
	classes := tok.Classes(DefaultDelimiters())
	for id, c := range classes {
		raw := string(tok.TokenBytes(uint32(id)))
		want := ClassContent
		switch rest := strings.Trim(raw, " \t\n\v\f\r"); {
		case id < 5:
			want = ClassSpecial
		case strings.Trim(rest, "\"',:;{}[]()<>=|\\/&\x00\x01\x02\x03\x04\x05\x06\a\b\x0e\x0f\x10\x11\x12\x13\x14\x15\x16\x17\x18\x19\x1a\x1b\x1c\x1d\x1e\x1f\x7f") == "":
			want = ClassDelimiter
		}
		if c != want {
			t.Errorf("id %d %q: %s, want %s", id, raw, c, want)
		}
	}
	dots, err := ParseDelimiters(".")
	if err != nil {
		t.Fatal(err)
	}
	other := tok.Classes(dots)
	if other[5+'.'-'!'] != ClassDelimiter || other[5+':'-'!'] != ClassContent || other[225] != ClassDelimiter {
		t.Error("the set {.} has no effect")
	}
	if Class(9).String() != "Class(9)" {
		t.Error(Class(9))
	}
}

func ExampleTokenizer_Classes() {
	tok, err := Load("testdata/goldens/run-all.json")
	if err != nil {
		panic(err)
	}
	classes := tok.Classes(DefaultDelimiters())
	for _, id := range tok.NewEncoder().Append(nil, []byte("sudo: PWD=/ ; root")) {
		fmt.Printf("%q:%s ", tok.TokenBytes(id), classes[id])
	}
	// Output: "sudo":content ":":delimiter " PWD":content "=":delimiter "/":delimiter " ;":delimiter " root":content
}
