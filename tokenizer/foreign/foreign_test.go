package foreign

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/secencoder/secencoder/tokenizer"
)

const goldens = "../testdata/goldens"

// TestKindsThatTokenizerRefuses: on plain lines the library gives HuggingFace's ids (scripts/parity/tokenizer/goldens.py).
func TestKindsThatTokenizerRefuses(t *testing.T) {
	for name, kind := range map[string]string{"wordpiece": "WordPiece", "unigram": "Unigram"} {
		path := filepath.Join(goldens, "kind-"+name+".json")
		if _, err := tokenizer.Load(path); !errors.Is(err, tokenizer.ErrUnsupported) {
			t.Errorf("%s: package tokenizer gives %v, want ErrUnsupported", name, err)
		}
		tok, err := Load(path)
		if err != nil {
			t.Fatal(err)
		}
		if tok.Kind() != kind || tok.VocabSize() < 400 {
			t.Errorf("%s: kind %s, %d tokens", name, tok.Kind(), tok.VocabSize())
		}
		data, err := os.ReadFile(filepath.Join(goldens, "kind-"+name+".lines.json"))
		if err != nil {
			t.Fatal(err)
		}
		var lines []struct {
			Text, Decoded string
			IDs           []uint32
		}
		if err := json.Unmarshal(data, &lines); err != nil {
			t.Fatal(err)
		}
		for _, l := range lines {
			ids, err := tok.Encode(l.Text, true)
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(ids, l.IDs) {
				t.Errorf("%s: %q:\n got %v\nwant %v", name, l.Text, ids, l.IDs)
			}
			text, err := tok.Decode(ids)
			if err != nil {
				t.Fatal(err)
			}
			// Unigram's text begins with a space that HuggingFace leaves out.
			if strings.TrimSpace(text) != l.Decoded {
				t.Errorf("%s: decoded %q, want %q", name, text, l.Decoded)
			}
		}
	}
}

// TestSecondOpinion: the library reads the files of ours that have no look-ahead, and HuggingFace's byte-level ones, and agrees with us
// on lines without runs of one letter, which it merges wrongly. (It also does not heed use_regex and lstrip: files with those are left out.)
func TestSecondOpinion(t *testing.T) {
	lines := []string{
		"Failed password for root from 10.0.1.2 port 22",
		"sudo: root : TTY=unknown ; PWD=/ ; USER=root",
		"user alice logged in",
	}
	for _, name := range []string{"run-none", "alnum-none", "foreign-punctuation"} {
		path := filepath.Join(goldens, name+".json")
		ours, err := tokenizer.Load(path)
		if err != nil {
			t.Fatal(err)
		}
		theirs, err := Load(path)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		for _, l := range lines {
			want, err := theirs.Encode(l, false)
			if err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			if got := ours.NewEncoder().Append(nil, []byte(l)); !slices.Equal(got, want) {
				t.Errorf("%s: %q: we %v, they %v", name, l, got, want)
			}
		}
	}
}

// TestPanicsAreErrors: a file of ours with look-ahead is one that the library panics on.
func TestPanicsAreErrors(t *testing.T) {
	if _, err := Load(filepath.Join(goldens, "run-all.json")); err == nil || !strings.Contains(err.Error(), "panics") {
		t.Errorf("look-ahead: %v", err)
	}
	for name, data := range map[string]string{"empty": "", "no model": "{}", "broken": `{"model":{"type":"WordPiece"}}`, "vocab": `{"model":{"type":"Unigram","vocab":3}}`} {
		if _, err := Parse([]byte(data)); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if _, err := Load(filepath.Join(t.TempDir(), "absent")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("absent: %v", err)
	}
}
