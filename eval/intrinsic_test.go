package eval

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/secencoder/secencoder/data/batch"
	"github.com/secencoder/secencoder/model"
	"github.com/secencoder/secencoder/tokenizer"
)

func intrinsic(t *testing.T, o Options) *Report {
	t.Helper()
	r, err := Intrinsic(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	for i := range r.Models {
		r.Models[i].Seconds = 0
	}
	return r
}

func marshal(t *testing.T, r *Report) string {
	t.Helper()
	text, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// keys returns the JSON value at a path of keys.
func keys(t *testing.T, text string, path ...string) any {
	t.Helper()
	var v any
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatal(err)
	}
	for _, k := range path {
		m, ok := v.(map[string]any)
		if !ok || m[k] == nil {
			t.Fatalf("no key %q of %v in %s", k, path, text)
		}
		v = m[k]
	}
	return v
}

func TestIntrinsicOfOneModel(t *testing.T) {
	tok := train(t, 320, line(1), line(2), line(3))
	o := Options{Models: []string{"toy"}, Data: makeData(t, tok), Threads: 1, open: toyOpener(tok)}
	r := intrinsic(t, o)
	text := marshal(t, r)
	for _, set := range []string{"idts", "odts"} {
		for _, figure := range []string{"perplexity", "accuracy", "tokens", "bits_per_byte"} {
			keys(t, text, "sets", set, figure)
			keys(t, text, "sets", set, "all", figure)
			keys(t, text, "sets", set, "baselines", "unigram", figure)
			keys(t, text, "sets", set, "baselines", "left_neighbour", figure)
			keys(t, text, "sets", set, "all", "baselines", "unigram", figure)
			keys(t, text, "sets", set, "sources", "web", figure)
			keys(t, text, "sets", set, "sources", "web", "all", figure)
			keys(t, text, "sets", set, "sources", "web", "baselines", "unigram", figure)
		}
		if p := keys(t, text, "sets", set, "perplexity").(float64); math.Abs(p-float64(tok.VocabSize())) > 1e-3 {
			t.Errorf("%s: perplexity %v, want %d", set, p, tok.VocabSize())
		}
	}
	if sets := keys(t, text, "sets").(map[string]any); len(sets) != 2 {
		t.Errorf("sets %v: valid and train were not asked for", sets)
	}
	idts := r.Models[0].Sets["idts"]
	if all, sum := idts.Tokens, idts.Sources["web"].Tokens+idts.Sources["=db"].Tokens; all != sum || all == 0 {
		t.Errorf("%d masked tokens, the sources have %d", all, sum)
	}
	// The train split holds the same kind of lines: knowing them helps on idts.
	if b := idts.Baselines; !(b.LeftNeighbour.CrossEntropy < b.Unigram.CrossEntropy && b.Unigram.CrossEntropy < idts.CrossEntropy) {
		t.Errorf("cross-entropies %v, %v, %v: want left neighbour < unigram < uniform", b.LeftNeighbour.CrossEntropy, b.Unigram.CrossEntropy, idts.CrossEntropy)
	}
	o.Threads = 3
	if again := marshal(t, intrinsic(t, o)); again != text {
		t.Errorf("three threads give\n%s\none gives\n%s", again, text)
	}
	o.Seed = 1
	if again := marshal(t, intrinsic(t, o)); again == text {
		t.Error("another seed gives the same figures")
	}
	o.Sets = []string{"train"}
	if r := intrinsic(t, o); r.Models[0].Sets["train"] == nil || len(r.Models[0].Sets) != 1 {
		t.Errorf("sets %v", r.Models[0].Sets)
	}
	for _, bad := range []Options{
		{Models: []string{"toy"}, Data: o.Data, Sets: []string{"test"}, open: o.open},
		{Data: o.Data, open: o.open},
		{Models: []string{"toy"}, Data: o.Data, Context: 2, open: o.open},
	} {
		if _, err := Intrinsic(context.Background(), bad); !errors.Is(err, ErrUsage) {
			t.Errorf("%+v: got %v", bad, err)
		}
	}
	if _, err := Intrinsic(context.Background(), Options{Models: []string{"toy"}, Data: o.Data, Sets: []string{"valid"}, open: o.open}); err == nil ||
		!strings.Contains(err.Error(), "has no set valid") {
		t.Errorf("an absent set: got %v", err)
	}
}

func TestIntrinsicOfAnotherTokenizer(t *testing.T) {
	own, other := train(t, 320, line(1), line(2), line(3)), train(t, 262, "abab")
	o := Options{Models: []string{"own", "other"}, Data: makeData(t, own), Threads: 1}
	o.open = func(path string, options *Options) (*opened, error) {
		if path == "own" {
			return toyOpener(own)(path, options)
		}
		return toyOpener(other)(path, options)
	}
	r := intrinsic(t, o)
	if r.Models[0].Retokenized || !r.Models[1].Retokenized {
		t.Errorf("retokenized: %v and %v", r.Models[0].Retokenized, r.Models[1].Retokenized)
	}
	if len(r.Remarks) != 2 {
		t.Errorf("remarks %q", r.Remarks)
	}
	text := marshal(t, r)
	if models := keys(t, text, "models").([]any); len(models) != 2 || models[0].(map[string]any)["sets"] == nil {
		t.Errorf("models %v", models)
	}
	var b strings.Builder
	if err := r.Table(&b); err != nil {
		t.Fatal(err)
	}
	if strings.Count(b.String(), "unigram (tokenizer") == 0 || !strings.Contains(b.String(), "only bits per byte compares") {
		t.Errorf("table:\n%s", b.String())
	}
	// Bytes alone make more tokens of the same text.
	if a, b := r.Models[0].Sets["idts"], r.Models[1].Sets["idts"]; a.All.Tokens >= b.All.Tokens || a.Documents != b.Documents {
		t.Errorf("%d and %d masked tokens, %d and %d documents", a.All.Tokens, b.All.Tokens, a.Documents, b.Documents)
	}
}

func TestRecodedDocumentsAreTheSameText(t *testing.T) {
	own, other := train(t, 320, line(1), line(2)), train(t, 262, "abab")
	e := own.NewEncoder()
	docs := memory{e.Append(nil, []byte(line(1))), nil, e.Append(nil, []byte("caf\xc3\xa9 \xff"))}
	r, err := recode(docs, newRecoder(own, other))
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{line(1), "", "caf\xc3\xa9 \xff"} {
		tokens, meta, err := r.Document(i, nil)
		if err != nil || r.Length(i) != len(tokens) || meta.Source != i%2 {
			t.Errorf("document %d: %d tokens, %v, %v", i, len(tokens), meta, err)
		}
		if got := string(other.AppendDecode(nil, tokens)); got != want {
			t.Errorf("document %d is %q, want %q", i, got, want)
		}
	}
}

func TestTableAndCSV(t *testing.T) {
	nan := Figure(math.NaN())
	m := Metrics{Perplexity: 2.5, PerplexityInterval: Interval{2.25, 2.75}, Accuracy: 0.5, AccuracyInterval: Interval{0.25, 0.75},
		BitsPerByte: 1234.5, BitsPerByteInterval: Interval{nan, nan}, CrossEntropy: 0.1, CrossEntropyInterval: Interval{0, 1}, Tokens: 40, Documents: 3}
	none := Metrics{Perplexity: nan, Accuracy: nan, BitsPerByte: nan, CrossEntropy: nan, PerplexityInterval: Interval{nan, nan},
		AccuracyInterval: Interval{nan, nan}, BitsPerByteInterval: Interval{nan, nan}, CrossEntropyInterval: Interval{nan, nan}}
	set := &SetReport{SourceReport: SourceReport{Measured: Measured{Metrics: m, Baselines: &Baselines{m, none}}, All: &Measured{Metrics: none}}}
	r := &Report{Models: []ModelReport{{Model: "runs/größe", Tokenizer: "ab", Context: 8, Sets: map[string]*SetReport{"odts": set}}}, Data: "/x/=data", Seed: 3, Remarks: []string{"A remark."}}
	var b strings.Builder
	if err := r.Table(&b); err != nil {
		t.Fatal(err)
	}
	want := `set   mask     model           perplexity         [95 %]  accuracy         [95 %]  bits/byte  masked
ODTS  content  runs/größe           2.500  2.250 … 2.750     0.500  0.250 … 0.750       1234      40
ODTS  content  unigram              2.500  2.250 … 2.750     0.500  0.250 … 0.750       1234      40
ODTS  content  left neighbour           -              -         -              -          -       0
ODTS  all      runs/größe               -              -         -              -          -       0
A remark.
`
	if b.String() != want {
		t.Errorf("got\n%s\nwant\n%s", b.String(), want)
	}

	path := filepath.Join(t.TempDir(), "results.csv")
	at := time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
	for range 2 {
		if err := r.AppendCSV(path, at); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	rows, err := csv.NewReader(strings.NewReader(string(text))).ReadAll()
	if err != nil || len(rows) != 1+2*4*4 || len(rows[0]) != 36 {
		t.Fatalf("%d rows, %v\n%s", len(rows), err, text)
	}
	cell := func(row int, column string) string {
		for i, name := range rows[0] {
			if name == column {
				return rows[row][i]
			}
		}
		t.Fatalf("no column %s", column)
		return ""
	}
	for column, want := range map[string]string{
		"schema_version": "1", "task": "intrinsic", "dataset": "'=data", "split": "odts", "variant": "mask=content", "system": "model",
		"metric": "perplexity", "value": "2.5", "ci_low": "2.25", "n": "40", "higher_is_better": "false", "started_at_utc": "2026-01-02T03:04:05Z",
	} {
		if got := cell(1, column); got != want {
			t.Errorf("%s is %q, want %q", column, got, want)
		}
	}
	if got := cell(4, "value"); got != "0.10000000000000001" { // 17 digits
		t.Errorf("cross-entropy is %q", got)
	}
	if got := cell(9, "value"); got != "" {
		t.Errorf("a figure that is not there is %q", got)
	}
	for name, content := range map[string]string{"header": "a,b\n", "cut": strings.TrimSuffix(string(text), "\n")} {
		if err := os.WriteFile(path, []byte(content), 0o666); err != nil {
			t.Fatal(err)
		}
		if err := r.AppendCSV(path, at); err == nil {
			t.Errorf("%s: appended", name)
		}
		if after, err := os.ReadFile(path); err != nil || string(after) != content {
			t.Errorf("%s: the file was changed: %v", name, err)
		}
	}
}

func TestSamplerIsFixed(t *testing.T) {
	v, err := batch.NewVocabulary(tokenizer.Special{PAD: 0, CLS: 1, SEP: 2, UNK: 3, MASK: 4}, handClasses)
	if err != nil {
		t.Fatal(err)
	}
	var docs memory
	for i := range 300 {
		docs = append(docs, []uint32{7, 5, uint32(7 + i%3), 6, 9})
	}
	tok := train(t, 262, "abab")
	o := batch.EvaluationOptions{Context: 16, T: 32, Pieces: 50, Tokens: 10_000}
	s, err := NewSampler([]Set{{"valid", docs}, {"idts", nil}, {"odts", memory{}}}, tok, v, o)
	if err != nil {
		t.Fatal(err)
	}
	if s.Tokens() != 50*7 {
		t.Errorf("%d tokens expected, want 350", s.Tokens())
	}
	u := &uniform{vocabulary: 10}
	first, err := s.Evaluate(context.Background(), u)
	if err != nil || len(first) != 1 || first[0].Documents != 50 || first[0].Masked != 50 || math.Abs(first[0].Perplexity-10) > 1e-5 {
		t.Fatalf("got %+v, %v", first, err)
	}
	again, err := s.Evaluate(context.Background(), u)
	if err != nil || again[0] != first[0] {
		t.Errorf("a second evaluation gives %+v, %v", again, err)
	}
}

func TestBetter(t *testing.T) {
	nan := math.NaN()
	for _, c := range []struct {
		a, b float64
		want bool
	}{{1, 2, true}, {2, 1, false}, {1, 1, false}, {nan, 1, false}, {1, nan, true}, {nan, nan, false}} {
		if Better(c.a, c.b) != c.want {
			t.Errorf("%v better than %v: want %v", c.a, c.b, c.want)
		}
	}
}

// TestIntrinsicOfACompiledModel runs the whole way on a small model that knows nothing: cross-entropy ln V, the same bits
// for any number of threads and any size of micro-batch.
func TestIntrinsicOfACompiledModel(t *testing.T) {
	tok := train(t, 300, line(1), line(2), line(3))
	cfg, _, err := model.Preset("tiny", tok.VocabSize())
	if err != nil {
		t.Fatal(err)
	}
	cfg.NumHiddenLayers, cfg.HiddenSize, cfg.NumAttentionHeads, cfg.IntermediateSize = 1, 16, 2, 32
	p, err := model.NewParams(cfg, model.Heads{MLM: true})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	p.Init(0)
	dir := filepath.Join(t.TempDir(), "model")
	if err := model.WriteFolder(dir, model.WriteOptions{
		Params: p, Tokenizer: tok, Provenance: model.Provenance{Tool: "test", Context: 24, Delimiters: tokenizer.DefaultDelimiters().String()},
	}); err != nil {
		t.Fatal(err)
	}
	o := Options{Models: []string{dir}, Data: makeData(t, tok), Threads: 1, Draws: 50}
	one := intrinsic(t, o)
	if m := one.Models[0]; m.Context != 24 || m.Parameters != int64(p.Elements()) || m.ModelHash == "" || m.Retokenized {
		t.Errorf("model %+v", m)
	}
	if ce := float64(one.Models[0].Sets["idts"].CrossEntropy); math.Abs(ce-math.Log(float64(tok.VocabSize()))) > 0.05 {
		t.Errorf("cross-entropy %v, want about %v", ce, math.Log(float64(tok.VocabSize())))
	}
	o.Threads = 2
	two := intrinsic(t, o)
	two.Threads = 1
	if marshal(t, one) != marshal(t, two) {
		t.Error("two threads give other figures than one")
	}
}

// Absolute positions end somewhere: a longer context is wrong use, and none is chosen by default.
func TestContextWithinAbsolutePositions(t *testing.T) {
	tok := train(t, 320, line(1), line(2), line(3))
	open := func(path string, o *Options) (*opened, error) {
		m, err := toyOpener(tok)(path, o)
		m.context, m.positions = 0, 40
		return m, err
	}
	o := Options{Models: []string{"toy"}, Data: makeData(t, tok), Threads: 1, Draws: 10, open: open}
	if got := intrinsic(t, o).Models[0].Context; got != 40 {
		t.Errorf("context %d by default, want the 40 positions that there are", got)
	}
	o.Context = 41
	if _, err := Intrinsic(t.Context(), o); !errors.Is(err, ErrUsage) || !strings.Contains(err.Error(), "max_position_embeddings") {
		t.Errorf("context 41: %v", err)
	}
}

// A sample is done when its pieces are, however many the set has.
func TestProgressOfASample(t *testing.T) {
	tok := train(t, 320, line(1), line(2), line(3))
	for _, pieces := range []int{0, 3} {
		last := map[string]float64{}
		intrinsic(t, Options{
			Models: []string{"toy"}, Data: makeData(t, tok), Threads: 1, Draws: 10, Pieces: pieces, open: toyOpener(tok),
			Progress: func(stage string, done, total int64) {
				share := float64(done) / float64(total)
				if share < last[stage] {
					t.Errorf("%d pieces: %s goes back from %v to %v", pieces, stage, last[stage], share)
				}
				last[stage] = share
			},
		})
		for _, set := range []string{"idts", "odts"} {
			if last[set] != 1 {
				t.Errorf("%d pieces: %s ends at %v", pieces, set, last[set])
			}
		}
	}
}
