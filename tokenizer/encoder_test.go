package tokenizer

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/secencoder/secencoder/internal/alloctest"
)

func ours(t testing.TB) []*Tokenizer {
	t.Helper()
	var list []*Tokenizer
	for _, name := range goldenNames(t, false) {
		list = append(list, loadGolden(t, name))
	}
	return list
}

// FuzzRoundTrip: decode(encode(x)) == x for any bytes, spans touch each other, and no id is special.
func FuzzRoundTrip(f *testing.F) {
	for _, s := range []string{"", paperLine, "\xff\xfe\x00 \x80", "[MASK] [CLS]", "日本語 é 😀", strings.Repeat("ab", 300), strings.Repeat("\xc3", 400)} {
		f.Add([]byte(s))
	}
	var texts goldenTexts
	readGolden(f, "strings.json", &texts)
	for _, s := range texts.Texts {
		f.Add([]byte(s))
	}
	var encoders []*Encoder
	for _, t := range ours(f) {
		encoders = append(encoders, t.NewEncoder())
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		for _, e := range encoders {
			ids := e.Append(nil, text)
			if got := e.t.AppendDecode(nil, ids); !bytes.Equal(got, text) {
				t.Fatalf("%q came back as %q", text, got)
			}
			spans := e.AppendSpans(nil, text, false)
			if len(spans) != len(ids) {
				t.Fatalf("%q: %d spans, %d ids", text, len(spans), len(ids))
			}
			at := 0
			for i, s := range spans {
				if s.ID != ids[i] || s.Start != at || e.t.IsSpecial(s.ID) || string(e.t.TokenBytes(s.ID)) != string(text[s.Start:s.End]) {
					t.Fatalf("%q: span %d is %+v, id %d, want start %d", text, i, s, ids[i], at)
				}
				at = s.End
			}
			if at != len(text) {
				t.Fatalf("%q: spans end at %d", text, at)
			}
			for _, id := range e.AppendSpecial(nil, text) {
				if int(id) >= e.t.VocabSize() {
					t.Fatalf("%q: id %d", text, id)
				}
			}
		}
	})
}

// TestLossless is the same over random bytes, with more of them than seeds are.
func TestLossless(t *testing.T) {
	const seed = 7
	rng := rand.New(rand.NewPCG(seed, 0))
	for _, tok := range ours(t) {
		enc := tok.NewEncoder()
		for range 300 {
			text := make([]byte, rng.IntN(400))
			for i := range text {
				text[i] = byte(rng.Uint32())
				if rng.IntN(2) == 0 {
					text[i] = " aA0.\n"[rng.IntN(6)]
				}
			}
			if got := tok.AppendDecode(nil, enc.Append(nil, text)); !bytes.Equal(got, text) {
				t.Fatalf("seed %d: %q came back as %q", seed, text, got)
			}
		}
	}
}

// TestMergeLongEqualsShort: the heap and the linear search are the same function, runs of one letter included.
func TestMergeLongEqualsShort(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 0))
	for _, tok := range ours(t) {
		e := tok.NewEncoder()
		for range 400 {
			letters := []string{"0", "a", "abrt", "ssh root=/", "eéâ\xe6\x97"}[rng.IntN(5)]
			piece := make([]byte, 1+rng.IntN(90))
			for i := range piece {
				piece[i] = letters[rng.IntN(len(letters))]
			}
			if a, b := e.mergeShort(nil, piece), e.mergeLong(nil, piece); !slices.Equal(a, b) {
				t.Fatalf("%q: short %v, long %v", piece, a, b)
			}
		}
	}
}

// TestCachesForgetNothingWrong: many more distinct pieces than the caches hold, against an encoder that is always new.
func TestCachesForgetNothingWrong(t *testing.T) {
	tok := loadGolden(t, "alnum-all")
	warm := tok.NewEncoder()
	rng := rand.New(rand.NewPCG(5, 0))
	long := make([][]byte, 5000) // together more than the long cache, so that it starts anew, and they come again after that
	for i := range long {
		long[i] = fmt.Appendf(nil, " %x%x%x", rng.Uint64(), rng.Uint64(), rng.Uint64()>>(rng.IntN(8)*8))
	}
	for i := range 60000 {
		text := fmt.Appendf(nil, " %x", rng.Uint64()>>(rng.IntN(8)*8))
		if i%2 == 0 {
			text = long[rng.IntN(len(long))]
		}
		if i%9 == 0 {
			text = fmt.Appendf(nil, " %x%x", rng.Uint64(), rng.Uint64())
		}
		if i%7 == 0 {
			text = []byte(paperLine)
		}
		var want []uint32
		for _, p := range pieces(tok.direct, text) {
			want = warm.merge(want, []byte(p))
		}
		if got := warm.Append(nil, text); !slices.Equal(got, want) {
			t.Fatalf("text %d %q: got %v, want %v", i, text, got, want)
		}
	}
}

// TestShortKeyHasLength: zero bytes at the end of a key are not the zeros behind it.
func TestShortKeyHasLength(t *testing.T) {
	text := []byte("ab\x00\x00\x00\x00")
	var s shortEntry
	lo, hi := loadKey(text, 0, 2)
	s.fill(lo, hi, 2, []uint32{7})
	for n := 2; n <= len(text); n++ {
		lo, hi := loadKey(text, 0, n)
		if s.holds(lo, hi, n) != (n == 2) {
			t.Errorf("the entry of %q holds %q", text[:2], text[:n])
		}
	}
	// The two ways of loading, near the end of the text and far from it, give one key.
	for n := 1; n <= shortKey; n++ {
		piece := []byte("0123456789abcdef")[:n]
		lo, hi := loadKey(piece, 0, n)
		if lo2, hi2 := loadKey(append(slices.Clone(piece), "________________"...), 0, n); lo != lo2 || hi != hi2 {
			t.Errorf("%q: %x %x near the end, %x %x before it", piece, lo, hi, lo2, hi2)
		}
	}
}

// TestAppendAllocatesNothing: no line takes anything but AppendSpans, which may take a little for each.
func TestAppendAllocatesNothing(t *testing.T) {
	lines := trainingLines(t)[:100]
	enc := loadGolden(t, "run-all").NewEncoder()
	foreign := loadGolden(t, "foreign-roberta").NewEncoder()
	ids := make([]uint32, 0, 1<<16)
	spans := make([]Span, 0, 1<<16)
	for name, f := range map[string]func(line []byte){
		"Append":         func(line []byte) { ids = enc.Append(ids[:0], line) },
		"AppendSpecial":  func(line []byte) { ids = enc.AppendSpecial(ids[:0], line) },
		"Append foreign": func(line []byte) { ids = foreign.Append(ids[:0], line) },
		"AppendSpans":    func(line []byte) { spans = enc.AppendSpans(spans[:0], line, false) },
	} {
		n := alloctest.Fewest(func() {
			for _, l := range lines {
				f(l)
			}
		})
		if n != 0 && name != "AppendSpans" || n > 1000 {
			t.Errorf("%s: %v allocations for %d lines", name, n, len(lines))
		}
	}
}

func TestEncodersRunSideBySide(t *testing.T) {
	tok := loadGolden(t, "run-all")
	lines := trainingLines(t)
	want := tok.NewEncoder().Append(nil, bytes.Join(lines, nil))
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			if got := tok.NewEncoder().Append(nil, bytes.Join(lines, nil)); !slices.Equal(got, want) {
				t.Error("another result beside others")
			}
		})
	}
	wg.Wait()
}

func TestSpecialStringsArePlainText(t *testing.T) {
	tok := loadGolden(t, "run-all")
	e := tok.NewEncoder()
	text := []byte("user=[MASK] x[SEP]")
	for _, id := range e.Append(nil, text) {
		if tok.IsSpecial(id) {
			t.Errorf("Append made the special token %s of a log line", tok.Token(id))
		}
	}
	s := tok.Special()
	got := e.AppendSpecial(nil, text)
	if !slices.Contains(got, s.MASK) || got[len(got)-1] != s.SEP {
		t.Errorf("AppendSpecial gave %s", show(tok, got))
	}
	if dec := tok.AppendDecode(nil, got); string(dec) != "user= x" {
		t.Errorf("decoded %q", dec)
	}
	spans := e.AppendSpans(nil, []byte("a  [MASK]b"), true)
	if m := spans[1]; m != (Span{s.MASK, 1, 9}) {
		t.Errorf("[MASK] with the white space before it is %+v", m)
	}
}

// TestForeignSpans: pieces that are dropped leave gaps, a prefixed space is not in the text.
func TestForeignSpans(t *testing.T) {
	for _, name := range goldenNames(t, true) {
		tok := loadGolden(t, name)
		e := tok.NewEncoder()
		for _, line := range trainingLines(t)[:64] {
			ids, last := e.Append(nil, line), 0
			spans := e.AppendSpans(nil, line, false)
			if len(ids) != len(spans) {
				t.Fatalf("%s: %d ids, %d spans", name, len(ids), len(spans))
			}
			for i, s := range spans {
				raw := string(tok.TokenBytes(s.ID))
				got := string(line[s.Start:s.End])
				prefixed := strings.HasPrefix(raw, " ") && raw[1:] == got
				taken := strings.TrimSpace(got) == raw // an added token with lstrip or rstrip
				if s.ID != ids[i] || s.Start < last || got != raw && !prefixed && !taken {
					t.Fatalf("%s: %q: span %d %+v is %q, token %q", name, line, i, s, got, raw)
				}
				last = s.End
			}
		}
	}
}

func TestCheckIDs(t *testing.T) {
	tok := loadGolden(t, "alphabet")
	if err := tok.CheckIDs([]uint32{0, 260}); err != nil {
		t.Error(err)
	}
	if err := tok.CheckIDs([]uint32{0, 261}); err == nil || !strings.Contains(err.Error(), "id 261 at place 1") {
		t.Errorf("got %v", err)
	}
	if got := tok.AppendDecode(nil, []uint32{5, 261, NoToken, 1, 6}); string(got) != "!\"" {
		t.Errorf("decoded %q", got)
	}
	if tok.TokenBytes(NoToken) != nil || tok.Token(261) != "" || tok.IsSpecial(NoToken) {
		t.Error("an id outside the vocabulary has a token")
	}
}

func ExampleEncoder_AppendSpans() {
	tok, err := Load("testdata/goldens/run-all.json")
	if err != nil {
		panic(err)
	}
	text := []byte("sudo: root ; netns 4867")
	classes := tok.Classes(DefaultDelimiters())
	for _, s := range tok.NewEncoder().AppendSpans(nil, text, false) {
		fmt.Printf("%d-%d %q %s\n", s.Start, s.End, text[s.Start:s.End], classes[s.ID])
	}
	// Output:
	// 0-4 "sudo" content
	// 4-5 ":" delimiter
	// 5-10 " root" content
	// 10-12 " ;" delimiter
	// 12-18 " netns" content
	// 18-23 " 4867" content
}
