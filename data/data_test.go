package data

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestSplitNames(t *testing.T) {
	for _, s := range Splits() {
		if got, err := ParseSplit(s.String()); err != nil || got != s {
			t.Errorf("%v: got %v, %v", s, got, err)
		}
	}
	if _, err := ParseSplit("test"); err == nil {
		t.Error("test: want an error")
	}
	if Split(9).String() != "split 9" {
		t.Errorf("got %q", Split(9).String())
	}
}

func TestReportRoundTrip(t *testing.T) {
	k := Kept{Records: 1, Bytes: 2, Tokens: 3, Delimiters: 1}
	var sum Kept
	sum.Add(k)
	sum.Add(k)
	if sum.DelimiterShare != 1.0/3 || sum.Tokens != 6 {
		t.Errorf("got %+v", sum)
	}
	var c Counts
	c.Add(Counts{1, 2, 3, 4, 5, 6, 7})
	c.Add(Counts{1, 2, 3, 4, 5, 6, 7})
	if c != (Counts{2, 4, 6, 8, 10, 12, 14}) {
		t.Errorf("got %+v", c)
	}
	r := Report{
		Sources: []SourceReport{{Name: "a", Files: 1, Counts: c, Kept: map[string]Kept{"train": sum}, Formats: map[string]int64{"lines": 1}}},
		Sets:    map[string]Kept{"train": sum},
		Skipped: []FileNote{{"x", "binary"}},
	}
	text, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	got, err := ParseReport(text)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(r, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	for _, bad := range []string{``, `[]`, `{"sets":{"test":{}}}`} {
		if _, err := ParseReport([]byte(bad)); err == nil {
			t.Errorf("%s: want an error", bad)
		}
	}
}
