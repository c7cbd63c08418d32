package tokenizer

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestClosedFormIDs: the special tokens and bytes have the same ids in every tokenizer that we train.
func TestClosedFormIDs(t *testing.T) {
	for _, tok := range ours(t) {
		if tok.Special() != (Special{0, 1, 2, 3, 4}) || tok.Special().Missing() != nil || tok.Holes() != 0 {
			t.Errorf("special tokens %+v, %d holes", tok.Special(), tok.Holes())
		}
		for b, id := range map[byte]uint32{'!': 5, '~': 98, 0xA1: 99, 0xFF: 192, 0: 193, '\t': 202, '\n': 203, ' ': 225, 0x7F: 226, 0x80: 227, 0xAD: 260} {
			if tok.byteID[b] != id || !bytes.Equal(tok.TokenBytes(id), []byte{b}) {
				t.Errorf("byte 0x%02X: id %d, want %d", b, tok.byteID[b], id)
			}
		}
	}
}

// TestSaveLoad: files are canonical, and HuggingFace's indented form of the same tokenizer is the same tokenizer.
func TestSaveLoad(t *testing.T) {
	dir := t.TempDir()
	for _, name := range append(goldenNames(t, false), goldenNames(t, true)...) {
		a := loadGolden(t, name)
		if err := a.Save(filepath.Join(dir, fileName)); err != nil {
			t.Fatal(err)
		}
		b, err := Load(dir)
		if err != nil {
			t.Fatal(err)
		}
		var indented bytes.Buffer
		if err := json.Indent(&indented, a.JSON(), "", "  "); err != nil {
			t.Fatal(err)
		}
		c, err := Parse(indented.Bytes())
		if err != nil {
			t.Fatal(err)
		}
		if a.Fingerprint() != b.Fingerprint() || a.Fingerprint() != c.Fingerprint() {
			t.Errorf("%s: another fingerprint after saving and loading", name)
		}
	}
	if _, err := Load(filepath.Join(dir, "absent")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("absent file: %v", err)
	}
}

func TestForeignSpecials(t *testing.T) {
	for name, want := range map[string]Special{
		"foreign-roberta":    {PAD: 1, CLS: 0, SEP: 2, UNK: 3, MASK: 4},
		"foreign-whitespace": {0, 1, 2, 3, 4},
		"foreign-gpt2":       {NoToken, NoToken, NoToken, NoToken, 421},
	} {
		if got := loadGolden(t, name).Special(); got != want {
			t.Errorf("%s: %+v, want %+v", name, got, want)
		}
	}
	if got := strings.Join(loadGolden(t, "foreign-gpt2").Special().Missing(), " "); got != "[PAD] [CLS] [SEP] [UNK]" {
		t.Errorf("missing: %s", got)
	}
}

// TestPostProcessorNamesFrame: the tokens that frame a text are those of the file's post-processor, whatever they are called.
func TestPostProcessorNamesFrame(t *testing.T) {
	for _, post := range []string{
		`{"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"[MASK]","type_id":0}},{"Sequence":{"id":"A","type_id":0}},{"SpecialToken":{"id":"[UNK]","type_id":0}}],"pair":[],"special_tokens":{"[MASK]":{"id":"[MASK]","ids":[4],"tokens":["[MASK]"]},"[UNK]":{"id":"[UNK]","ids":[3],"tokens":["[UNK]"]}}}`,
		`{"type":"RobertaProcessing","sep":["[UNK]",3],"cls":["[MASK]",4],"trim_offsets":true,"add_prefix_space":false}`,
		`{"type":"BertProcessing","sep":["[UNK]",3],"cls":["[MASK]",4]}`,
		`{"type":"Sequence","processors":[{"type":"ByteLevel","trim_offsets":false},{"type":"BertProcessing","sep":["[UNK]",3],"cls":["[MASK]",4]}]}`,
	} {
		tok, err := Parse(edit(t, func(f map[string]any) { f["post_processor"] = json.RawMessage(post) }))
		if err != nil {
			t.Fatal(err)
		}
		if s := tok.Special(); s.CLS != 4 || s.SEP != 3 {
			t.Errorf("%s: CLS %d, SEP %d, want 4 and 3", post, s.CLS, s.SEP)
		}
	}
}

// edit returns the smallest golden file with a change.
func edit(t testing.TB, change func(file map[string]any)) []byte {
	t.Helper()
	var file map[string]any
	readGolden(t, "alphabet.json", &file)
	change(file)
	data, err := json.Marshal(file)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestParseErrors(t *testing.T) {
	model := func(f map[string]any) map[string]any { return f["model"].(map[string]any) }
	vocab := func(f map[string]any) map[string]any { return model(f)["vocab"].(map[string]any) }
	pre := func(json_ string) func(map[string]any) {
		return func(f map[string]any) { f["pre_tokenizer"] = json.RawMessage(json_) }
	}
	for _, c := range []struct {
		name        string
		change      func(file map[string]any)
		unsupported bool
		want        string
	}{
		{"version", func(f map[string]any) { f["version"] = "2.0" }, false, `version: "2.0", want "1.0"`},
		{"field", func(f map[string]any) { f["note"] = 1 }, false, `unknown field "note"`},
		{"normalizer", func(f map[string]any) { f["normalizer"] = map[string]any{"type": "NFC"} }, true, `normalizer: "NFC"`},
		{"no model", func(f map[string]any) { delete(f, "model") }, false, "model: missing"},
		{"kind", func(f map[string]any) { model(f)["type"] = "WordPiece" }, true, `model.type: "WordPiece"`},
		{"dropout", func(f map[string]any) { model(f)["dropout"] = 0.1 }, true, "model.dropout: 0.1"},
		{"prefix", func(f map[string]any) { model(f)["continuing_subword_prefix"] = "##" }, true, "continuing_subword_prefix"},
		{"suffix", func(f map[string]any) { model(f)["end_of_word_suffix"] = "</w>" }, true, "end_of_word_suffix"},
		{"vocab list", func(f map[string]any) { model(f)["vocab"] = []int{} }, true, "want an object"},
		{"byte", func(f map[string]any) { delete(vocab(f), "Ġ") }, false, `1 of the 256 single bytes have no token, first 0x20 (as "Ġ")`},
		{"same id", func(f map[string]any) { vocab(f)["zz"] = 7 }, false, "id 7 stands for both"},
		{"text id", func(f map[string]any) { vocab(f)["zz"] = "8" }, false, `"zz": id 8 is not a number`},
		{"negative id", func(f map[string]any) { vocab(f)["zz"] = -1 }, false, "id -1 is not a whole number"},
		{"fraction", func(f map[string]any) { vocab(f)["zz"] = 1.5 }, false, "id 1.5 is not a whole number"},
		{"huge id", func(f map[string]any) { vocab(f)["zz"] = 4_000_000_000 }, false, "largest id is 4000000000 with only"},
		{"empty token", func(f map[string]any) { vocab(f)[""] = 261 }, false, "id 261: empty token"},
		{"merge", func(f map[string]any) { model(f)["merges"] = [][]string{{"a", "b"}} }, false, `model.merges[0]: "a" + "b": token "ab" is not in the vocabulary`},
		{"merge part", func(f map[string]any) { vocab(f)["ab"] = 261; model(f)["merges"] = []string{"a b", "ab Q日"} }, false, `model.merges[1]: "ab" + "Q日": token "Q日"`},
		{"merge of three", func(f map[string]any) { model(f)["merges"] = [][]string{{"a", "b", "c"}} }, false, "merge of 3 tokens"},
		{"merge text", func(f map[string]any) { model(f)["merges"] = []string{"a b c"} }, false, "want two tokens with one space"},
		{"forged special", func(f map[string]any) {
			vocab(f)["[P"] = 261
			vocab(f)["AD]"] = 262
			model(f)["merges"] = []string{"[P AD]"}
		}, false, `makes the special token "[PAD]"`},
		{"added id", func(f map[string]any) { f["added_tokens"].([]any)[0].(map[string]any)["id"] = 9 }, false, `id 9 is "[PAD]" here and "%" in model.vocab`},
		{"added without id", func(f map[string]any) { delete(f["added_tokens"].([]any)[0].(map[string]any), "id") }, false, "added_tokens[0]: id or content"},
		{"long added", func(f map[string]any) {
			f["added_tokens"] = []any{map[string]any{"id": 261, "content": strings.Repeat("x", 2000)}}
		}, false, "added_tokens[0]: content of 2000 bytes"},
		{"no pre-tokenizer", pre("null"), true, "pre_tokenizer: none"},
		{"unknown stage", pre(`{"type":"Metaspace","replacement":"_"}`), true, `type "Metaspace"`},
		{"unknown expression", pre(`{"type":"Sequence","pretokenizers":[{"type":"Split","pattern":{"Regex":"\\w+"},"behavior":"Isolated","invert":false},{"type":"ByteLevel"}]}`), true, `regular expression "\\w+" is not one of ours`},
		{"no byte level", pre(`{"type":"Digits","individual_digits":true}`), true, "no ByteLevel"},
		{"two byte levels", pre(`{"type":"Sequence","pretokenizers":[{"type":"ByteLevel"},{"type":"ByteLevel"}]}`), true, "a second ByteLevel"},
		{"behavior", pre(`{"type":"Sequence","pretokenizers":[{"type":"Punctuation","behavior":"Sometimes"},{"type":"ByteLevel"}]}`), false, `behavior "Sometimes"`},
		{"nested", pre(`{"type":"Sequence","pretokenizers":[{"type":"Sequence","pretokenizers":[]},{"type":"ByteLevel"}]}`), true, `type "Sequence"`},
	} {
		_, err := Parse(edit(t, c.change))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", c.name, err, c.want)
		}
		if errors.Is(err, ErrUnsupported) != c.unsupported {
			t.Errorf("%s: unsupported is %v: %v", c.name, !c.unsupported, err)
		}
	}
	good := string(edit(t, func(map[string]any) {}))
	for name, c := range map[string][2]string{
		"empty":        {"", "ends inside"},
		"cut short":    {good[:len(good)/2], "ends inside"},
		"not JSON":     {"hello", "line 1"},
		"bad line":     {"{\n\"version\":\"1.0\",\n!}", "line 3"},
		"twice":        {good + good, "something follows"},
		"not UTF-8":    {"{\"version\":\"\xff\"}", "not valid UTF-8"},
		"wrong type":   {`{"version":1}`, "version"},
		"token twice":  {strings.Replace(good, `"vocab":{`, `"vocab":{"a":69,`, 1), `token "a" stands there twice`},
		"vocab is not": {`{"pre_tokenizer":{"type":"ByteLevel"},"model":{"type":"BPE"}}`, "model.vocab: missing"},
	} {
		if _, err := Parse([]byte(c[0])); err == nil || !strings.Contains(err.Error(), c[1]) {
			t.Errorf("%s: got %v, want %q", name, err, c[1])
		}
	}
}

// TestAddedTokens: control characters survive the file, and after a match the search goes on behind it.
func TestAddedTokens(t *testing.T) {
	odd := "\x1f\b\"\\\n\x00é\u2028"
	var added []any
	for i, s := range []string{odd, "aa", "ab", "aabb"} {
		added = append(added, map[string]any{"id": 261 + i, "content": s})
	}
	a, err := Parse(edit(t, func(f map[string]any) { f["added_tokens"] = added }))
	if err != nil {
		t.Fatal(err)
	}
	b, err := Parse(a.JSON())
	if err != nil {
		t.Fatal(err)
	}
	if string(b.TokenBytes(261)) != odd || a.Fingerprint() != b.Fingerprint() {
		t.Errorf("got %q, want %q", b.TokenBytes(261), odd)
	}
	letter := func(c byte) uint32 { return a.byteID[c] }
	for text, want := range map[string][]uint32{
		"aab":       {262, letter('b')},
		"aabb":      {264},
		"aaab":      {262, 263},
		"x" + odd:   {letter('x'), 261},
		"abaabaabb": {263, 262, letter('b'), 264},
	} {
		if got := b.NewEncoder().Append(nil, []byte(text)); !slices.Equal(got, want) {
			t.Errorf("%q: got %v, want %v", text, got, want)
		}
	}
}

// TestHoles: ids without token are allowed, counted, and harmless.
func TestHoles(t *testing.T) {
	tok, err := Parse(edit(t, func(f map[string]any) {
		f["model"].(map[string]any)["vocab"].(map[string]any)["ab"] = 300
		f["model"].(map[string]any)["merges"] = []string{"a b"}
	}))
	if err != nil {
		t.Fatal(err)
	}
	if tok.VocabSize() != 301 || tok.Holes() != 39 || tok.TokenBytes(299) != nil {
		t.Errorf("size %d, holes %d, bytes %q", tok.VocabSize(), tok.Holes(), tok.TokenBytes(299))
	}
	if c := tok.Classes(DefaultDelimiters()); c[299] != ClassSpecial || c[300] != ClassContent {
		t.Errorf("classes %v %v", c[299], c[300])
	}
}

// FuzzParse: no panic, and what is read is written and read again to the same.
func FuzzParse(f *testing.F) {
	for _, name := range []string{"alphabet", "foreign-gpt2", "foreign-falcon", "foreign-roberta", "foreign-split"} {
		f.Add(loadGolden(f, name).JSON())
	}
	f.Add([]byte(`{"version":"1.0","model":{"vocab":{"a":0},"merges":["a a"]}}`))
	f.Add([]byte(`{"pre_tokenizer":{"type":"Sequence","pretokenizers":null},"model":null}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		tok, err := Parse(data)
		if err != nil {
			return
		}
		text := []byte("it's  [MASK] 4867 日\xff<mask> ")
		e := tok.NewEncoder()
		for _, ids := range [][]uint32{e.Append(nil, text), e.AppendSpecial(nil, text)} {
			if err := tok.CheckIDs(ids); err != nil {
				t.Fatal(err)
			}
			tok.AppendDecode(nil, ids)
		}
		e.AppendSpans(nil, text, true)
		again, err := Parse(tok.JSON())
		if err != nil {
			t.Fatalf("our own file is refused: %v", err)
		}
		if !bytes.Equal(again.JSON(), tok.JSON()) {
			t.Fatalf("read and written:\n%s\n%s", tok.JSON(), again.JSON())
		}
	})
}
