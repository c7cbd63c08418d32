package tokenizer

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// The goldens are HuggingFace's; scripts/parity/tokenizer/goldens.py makes them.
const goldens = "testdata/goldens"

type goldenTexts struct {
	Texts, Special []string
}

type goldenIDs struct {
	Digits         DigitRule
	Space          SpaceRule
	VocabSize      int   `json:"vocab_size"`
	MinFrequency   int64 `json:"min_frequency"`
	Plain, Special [][]uint32
}

func readGolden(t testing.TB, name string, to any) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(goldens, name))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, to); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
}

// goldenNames returns the names of the tokenizers in the goldens, ours or the foreign ones.
func goldenNames(t testing.TB, foreign bool) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(goldens, "*.ids.json"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no goldens: %v", err)
	}
	var names []string
	for _, f := range files {
		name := strings.TrimSuffix(filepath.Base(f), ".ids.json")
		if strings.HasPrefix(name, "foreign-") == foreign {
			names = append(names, name)
		}
	}
	return names
}

func trainingLines(t testing.TB) [][]byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(goldens, "train.txt"))
	if err != nil {
		t.Fatal(err)
	}
	return bytes.Split(bytes.TrimSuffix(data, []byte("\n")), []byte("\n"))
}

// each gives records the way that a source does: the same memory again and again.
func each(records [][]byte) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		var buf []byte
		for _, r := range records {
			buf = append(buf[:0], r...)
			if !yield(buf, nil) {
				return
			}
		}
	}
}

func loadGolden(t testing.TB, name string) *Tokenizer {
	t.Helper()
	tok, err := Load(filepath.Join(goldens, name+".json"))
	if err != nil {
		t.Fatal(err)
	}
	return tok
}

// TestTrainEqualsHuggingFace compares the whole file: vocabulary, merges one by one, and all around them.
func TestTrainEqualsHuggingFace(t *testing.T) {
	lines := trainingLines(t)
	for _, name := range goldenNames(t, false) {
		t.Run(name, func(t *testing.T) {
			var g goldenIDs
			readGolden(t, name+".ids.json", &g)
			tok, report, err := Train(context.Background(), each(lines), TrainOptions{
				VocabSize: g.VocabSize, MinFrequency: g.MinFrequency, Digits: g.Digits, Space: g.Space, Threads: 2,
			})
			if err != nil {
				t.Fatal(err)
			}
			want := loadGolden(t, name)
			if tok.VocabSize() != want.VocabSize() {
				t.Errorf("vocabulary: got %d, want %d", tok.VocabSize(), want.VocabSize())
			}
			for i := range min(len(tok.merges), len(want.merges)) {
				if a, b := tok.merges[i], want.merges[i]; a != b {
					t.Fatalf("merge %d: got %q + %q, want %q + %q", i, tok.Token(a.left), tok.Token(a.right), want.Token(b.left), want.Token(b.right))
				}
			}
			data, err := os.ReadFile(filepath.Join(goldens, name+".json"))
			if err != nil {
				t.Fatal(err)
			}
			if got := tok.JSON(); !bytes.Equal(got, data) {
				at := 0
				for at < min(len(got), len(data)) && got[at] == data[at] {
					at++
				}
				t.Errorf("file differs at byte %d: got …%.80q, want …%.80q", at, got[at:], data[at:])
			}
			if report.Shortfall() != g.VocabSize-want.VocabSize() || report.VocabSize != want.VocabSize() {
				t.Errorf("report: %+v", report)
			}
		})
	}
}

// TestEncodeEqualsHuggingFace compares ids under every golden tokenizer, ours and foreign.
func TestEncodeEqualsHuggingFace(t *testing.T) {
	var texts goldenTexts
	readGolden(t, "strings.json", &texts)
	for _, name := range append(goldenNames(t, false), goldenNames(t, true)...) {
		t.Run(name, func(t *testing.T) {
			var g goldenIDs
			readGolden(t, name+".ids.json", &g)
			tok := loadGolden(t, name)
			enc := tok.NewEncoder()
			for round := range 2 { // the second from the caches
				for i, text := range texts.Texts {
					if got := enc.Append(nil, []byte(text)); !slices.Equal(got, g.Plain[i]) {
						t.Errorf("round %d: text %d, %q:\n got %s\nwant %s", round, i, text, show(tok, got), show(tok, g.Plain[i]))
					}
				}
				for i, text := range texts.Special {
					if got := enc.AppendSpecial(nil, []byte(text)); !slices.Equal(got, g.Special[i]) {
						t.Errorf("round %d: special %d, %q:\n got %s\nwant %s", round, i, text, show(tok, got), show(tok, g.Special[i]))
					}
				}
			}
		})
	}
}

// TestGPT2Pieces: where the expression of ByteLevel cuts, which ids alone may hide.
func TestGPT2Pieces(t *testing.T) {
	var texts goldenTexts
	readGolden(t, "strings.json", &texts)
	var want [][]int
	readGolden(t, "gpt2.pieces.json", &want)
	for i, text := range texts.Texts {
		var got []int
		cuts := gpt2Stage{}.cut(nil, []byte(text))
		for k := 0; k < len(cuts); k += 2 {
			got = append(got, cuts[k+1]-cuts[k])
		}
		if !slices.Equal(got, want[i]) {
			t.Errorf("text %d, %q: lengths %v, want %v", i, text, got, want[i])
		}
	}
}

func show(tok *Tokenizer, ids []uint32) string {
	var b strings.Builder
	for _, id := range ids {
		fmt.Fprintf(&b, "%d %q ", id, tok.Token(id))
	}
	return b.String()
}
