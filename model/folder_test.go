package model

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/secencoder/secencoder/internal/manifest"
	"github.com/secencoder/secencoder/tokenizer"
)

func hfFolder(name string) string { return filepath.Join("testdata", "hf", name) }

// copyFolder copies a fixture so that a test may break it.
func copyFolder(t *testing.T, from string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "model")
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
	return to
}

// The folders that HF itself wrote hold weights from the shared counter: every value is known.
func TestReadHuggingFaceFolders(t *testing.T) {
	for _, tc := range []struct {
		name  string
		heads Heads
		round func(float32) float32
	}{
		{"legacy", Heads{MLM: true}, nil},
		{"newhead", Heads{MLM: true}, nil},
		{"sharded", Heads{MLM: true}, nil},
		{"bare", Heads{}, nil},
		{"sequence", Heads{Sequence: 3}, nil},
		{"token", Heads{Token: 5}, nil},
		{"question", Heads{Question: true}, nil},
		// One rounding to 8 and to 11 significant bits; small halves are subnormal, in steps of 2^-24.
		{"bf16", Heads{MLM: true}, func(x float32) float32 { return x * 0x1p-8 }},
		{"f16", Heads{MLM: true}, func(x float32) float32 { return max(x*0x1p-11, 0x1p-25) }},
	} {
		f, err := ReadFolder(hfFolder(tc.name), ReadOptions{})
		if err != nil {
			t.Errorf("%s: %v", tc.name, err)
			continue
		}
		if f.Params.Heads() != tc.heads || len(f.Ignored) != 0 {
			t.Errorf("%s: heads %+v, want %+v; ignored %v", tc.name, f.Params.Heads(), tc.heads, f.Ignored)
		}
		want, err := NewParams(f.Config, tc.heads)
		if err != nil {
			t.Fatal(err)
		}
		fillParams(want, strongScale)
		for i, w := range want.Weights() {
			var bound float32
			if tc.round != nil {
				bound = tc.round(float32(math.Abs(float64(w))))
			}
			if d := f.Params.Weights()[i] - w; d > bound || d < -bound {
				t.Errorf("%s: element %d is %v, want %v ± %v", tc.name, i, f.Params.Weights()[i], w, bound)
				break
			}
		}
		if err := errors.Join(want.Close(), f.Close()); err != nil {
			t.Fatal(err)
		}
	}
}

// writeModel writes a tiny model folder of ours and returns its path.
func writeModel(t *testing.T, p Provenance) string {
	t.Helper()
	f, err := ReadFolder(hfFolder("legacy"), ReadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	out := filepath.Join(t.TempDir(), "ours")
	if err := WriteFolder(out, WriteOptions{Params: f.Params, Tokenizer: f.Tokenizer, Provenance: p}); err != nil {
		t.Fatal(err)
	}
	return out
}

func TestFolderRoundTrip(t *testing.T) {
	out := writeModel(t, Provenance{Tool: "secencoder test", Slot0Trained: true, Delimiters: `"<>&`, Steps: 3})
	a, err := ReadFolder(out, ReadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	if a.Manifest == nil || a.Manifest.Kind != "model" || a.Provenance.Delimiters != `"<>&` || !a.Config.Legacy {
		t.Errorf("read back: %+v", a)
	}
	again := filepath.Join(t.TempDir(), "again")
	if _, err := Export(TransferOptions{In: out, Out: again, Tool: "secencoder test"}); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{weightsName, "config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "modules.json", "1_Pooling/config.json", "README.md"} {
		x, err := os.ReadFile(filepath.Join(out, name))
		if err != nil {
			t.Fatal(err)
		}
		y, err := os.ReadFile(filepath.Join(again, name))
		if err != nil {
			t.Fatal(err)
		}
		if string(x) != string(y) {
			t.Errorf("%s differs after an export", name)
		}
	}
	if err := WriteFolder(out, WriteOptions{Params: a.Params, Tokenizer: a.Tokenizer}); err == nil {
		t.Error("a used folder was written over")
	}
	head := filepath.Join(t.TempDir(), "newhead")
	if _, err := Import(TransferOptions{In: hfFolder("sharded"), Out: head, NewHead: true}); err != nil {
		t.Fatal(err)
	}
	b, err := ReadFolder(head, ReadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if b.Config.Legacy || b.Config.TieWordEmbeddings || fmt.Sprint(a.Params.Weights()) != fmt.Sprint(b.Params.Weights()) {
		t.Error("the new head does not come back")
	}
}

// HF has no hash that would tell damage: a weight that is no number is named before anything is written.
func TestImportRefusesWeightsThatAreNoNumbers(t *testing.T) {
	for _, bad := range []float32{float32(math.NaN()), float32(math.Inf(-1))} {
		in, out := copyFolder(t, hfFolder("legacy")), filepath.Join(t.TempDir(), "out")
		f, err := ReadFolder(in, ReadOptions{})
		if err != nil {
			t.Fatal(err)
		}
		f.Params.Weight("deberta.encoder.layer.0.output.dense.bias")[3] = bad
		if err := errors.Join(f.Params.SaveWeights(filepath.Join(in, weightsName), false), f.Close()); err != nil {
			t.Fatal(err)
		}
		_, err = Import(TransferOptions{In: in, Out: out})
		if err == nil || !strings.Contains(err.Error(), `"deberta.encoder.layer.0.output.dense.bias"`) || !strings.Contains(err.Error(), "element 3") {
			t.Errorf("%v: %v", bad, err)
		}
		if _, err := os.Stat(out); err == nil {
			t.Errorf("%v: a folder was written", bad)
		}
	}
}

// One flipped bit anywhere in any file of a folder of ours is found. In manifest.json the bytes that no check can know
// (the tool's name) are passed over.
func TestFlippedByteIsFound(t *testing.T) {
	out := writeModel(t, Provenance{Tool: "secencoder test"})
	m, err := manifest.Read(out)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range m.Files {
		name := filepath.Join(out, filepath.FromSlash(e.Path))
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, at := range []int{0, len(data) / 2, len(data) - 1} {
			data[at] ^= 4
			if err := os.WriteFile(name, data, 0o666); err != nil {
				t.Fatal(err)
			}
			if f, err := ReadFolder(out, ReadOptions{}); err == nil || !strings.Contains(err.Error(), filepath.Base(name)) {
				t.Errorf("%s, byte %d: %v", e.Path, at, err)
				if err == nil {
					f.Close()
				}
			}
			data[at] ^= 4
		}
		if err := os.WriteFile(name, data[:len(data)-1], 0o666); err != nil {
			t.Fatal(err)
		}
		if _, err := ReadFolder(out, ReadOptions{}); err == nil {
			t.Errorf("%s cut short was read", e.Path)
		}
		if err := os.WriteFile(name, data, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	f, err := ReadFolder(out, ReadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
	for name, change := range map[string][2]string{
		"provenance":  {`"slot0_trained": false`, `"slot0_trained": true`},
		"no weights":  {weightsName, "model.safetensorz"},
		"other model": {`"schema": 1`, `"schema": 9`},
	} {
		text, err := os.ReadFile(filepath.Join(out, manifest.Name))
		if err != nil {
			t.Fatal(err)
		}
		// A manifest of schema 1 has no hash of itself that would find the change first.
		old := strings.Replace(string(text), `"schema": 2`, `"schema": 1`, 1)
		old = old[:strings.LastIndex(old, `,`)] + "\n}\n"
		broken := strings.Replace(old, change[0], change[1], 1)
		if broken == old {
			t.Fatalf("%s: the manifest has no %s", name, change[0])
		}
		if err := os.WriteFile(filepath.Join(out, manifest.Name), []byte(broken), 0o666); err != nil {
			t.Fatal(err)
		}
		if _, err := ReadFolder(out, ReadOptions{}); err == nil {
			t.Errorf("%s: a changed manifest was believed", name)
		}
		if err := os.WriteFile(filepath.Join(out, manifest.Name), text, 0o666); err != nil {
			t.Fatal(err)
		}
	}
}

// Row 1 stands in for row 0 in inference and export when no piece of the training reached it; never in training.
func TestSlot0(t *testing.T) {
	for _, trained := range []bool{false, true} {
		out := writeModel(t, Provenance{Slot0Trained: trained})
		for _, training := range []bool{false, true} {
			f, err := ReadFolder(out, ReadOptions{Training: training})
			if err != nil {
				t.Fatal(err)
			}
			w := f.Params.Weight(relName)
			h := f.Config.HiddenSize
			same := fmt.Sprint(w[:h]) == fmt.Sprint(w[h:2*h])
			if want := !trained && !training; same != want {
				t.Errorf("slot 0 trained %v, read for training %v: row 0 equals row 1: %v, want %v", trained, training, same, want)
			}
			f.Close()
		}
	}
	exported := filepath.Join(t.TempDir(), "out")
	if _, err := Export(TransferOptions{In: writeModel(t, Provenance{}), Out: exported}); err != nil {
		t.Fatal(err)
	}
	f, err := ReadFolder(exported, ReadOptions{Training: true})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if w, h := f.Params.Weight(relName), f.Config.HiddenSize; fmt.Sprint(w[:h]) != fmt.Sprint(w[h:2*h]) {
		t.Error("the exported table still has an untrained row")
	}
}

// HF pads the embeddings of some models beyond their vocabulary. Such a folder is imported, exported and read again.
func TestPaddedVocabulary(t *testing.T) {
	from := copyFolder(t, hfFolder("legacy"))
	f, err := ReadFolder(from, ReadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	c := f.Config
	wide, padded := c.HiddenSize, c.VocabSize+24
	var all []NamedTensor
	for _, x := range f.Params.Tensors() {
		shape, w := slices.Clone(x.Shape), f.Params.Weight(x.Name)
		if shape[0] == c.VocabSize {
			w = append(slices.Clone(w), make([]float32, 24*len(w)/c.VocabSize)...)
			shape[0] = padded
		}
		all = append(all, NamedTensor{x.Name, shape, w})
	}
	if err := saveTensors(filepath.Join(from, weightsName), all); err != nil {
		t.Fatal(err)
	}
	f.Close()
	path := filepath.Join(from, "config.json")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	text = bytes.Replace(text, fmt.Appendf(nil, `"vocab_size": %d`, c.VocabSize), fmt.Appendf(nil, `"vocab_size": %d`, padded), 1)
	if err := os.WriteFile(path, text, 0o666); err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(t.TempDir(), "imported")
	if _, err := Import(TransferOptions{In: from, Out: out}); err != nil {
		t.Fatal(err)
	}
	again, err := ReadFolder(out, ReadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if got := len(again.Params.Weight(wordName)); got != padded*wide {
		t.Errorf("%d weights in the word embedding, want %d", got, padded*wide)
	}
}

func TestBrokenFolders(t *testing.T) {
	rewrite := func(name, old, new string) func(t *testing.T, dir string) {
		return func(t *testing.T, dir string) {
			path := filepath.Join(dir, name)
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(string(text), old) {
				t.Fatalf("%s has no %s", name, old)
			}
			if err := os.WriteFile(path, []byte(strings.Replace(string(text), old, new, 1)), 0o666); err != nil {
				t.Fatal(err)
			}
		}
	}
	remove := func(name string) func(t *testing.T, dir string) {
		return func(t *testing.T, dir string) {
			if err := os.Remove(filepath.Join(dir, name)); err != nil {
				t.Fatal(err)
			}
		}
	}
	untied := func(t *testing.T, dir string) {
		f, err := ReadFolder(dir, ReadOptions{})
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		var all []NamedTensor
		for _, x := range f.Params.Tensors() {
			all = append(all, NamedTensor{x.Name, x.Shape, f.Params.Weight(x.Name)})
		}
		word := append([]float32{}, f.Params.Weight(wordName)...)
		word[7]++
		all = append(all, NamedTensor{decoderWeight, []int{f.Config.VocabSize, f.Config.HiddenSize}, word})
		if err := saveTensors(filepath.Join(dir, weightsName), all); err != nil {
			t.Fatal(err)
		}
	}
	otherTokenizer := func(t *testing.T, dir string) {
		tok, err := tokenizer.Load(filepath.Join(dir, "tokenizer.json"))
		if err != nil {
			t.Fatal(err)
		}
		last := tok.Token(uint32(tok.VocabSize() - 1))
		rewrite("tokenizer.json", last, "zzq")(t, dir)
	}
	for _, tc := range []struct {
		name, from string
		do         func(t *testing.T, dir string)
		why        string
	}{
		{"no weights", "legacy", remove(weightsName), weightsName},
		{"no tokenizer", "legacy", remove("tokenizer.json"), "tokenizer.json"},
		{"no config", "legacy", remove("config.json"), "neither a model folder"},
		{"other size", "legacy", rewrite("config.json", `"intermediate_size": 32`, `"intermediate_size": 33`), "shape"},
		{"another layer", "legacy", rewrite("config.json", `"num_hidden_layers": 1`, `"num_hidden_layers": 2`), "missing"},
		{"larger vocabulary than embedding", "legacy", rewrite("config.json", `"vocab_size": 280`, `"vocab_size": 270`), "does not belong"},
		{"pad token", "legacy", rewrite("config.json", `"pad_token_id": 0`, `"pad_token_id": 3`), "padding token"},
		{"shard missing", "sharded", remove("model-00002-of-00003.safetensors"), "model-00002"},
		{"shard outside", "sharded", rewrite(indexName, "model-00002-of-00003.safetensors", "../model.safetensors"), "in the folder"},
		{"shard without the tensor", "sharded", rewrite(indexName, "model-00002-of-00003.safetensors", "model-00001-of-00003.safetensors"), "has no tensor"},
		{"untied decoder", "legacy", untied, "untied"},
		{"tokenizer of other words", "legacy", otherTokenizer, ""},
	} {
		dir := copyFolder(t, hfFolder(tc.from))
		tc.do(t, dir)
		if f, err := ReadFolder(dir, ReadOptions{}); err == nil {
			f.Close()
			if tc.why != "" {
				t.Errorf("%s: was read", tc.name)
			}
		} else if !strings.Contains(err.Error(), tc.why) {
			t.Errorf("%s: %v, want an error with %q", tc.name, err, tc.why)
		}
	}
	// A folder of ours whose manifest was removed still names its tokenizer.
	ours := copyFolder(t, writeModel(t, Provenance{}))
	remove(manifest.Name)(t, ours)
	otherTokenizer(t, ours)
	if _, err := ReadFolder(ours, ReadOptions{}); err == nil || !strings.Contains(err.Error(), "tokenizer") {
		t.Errorf("another tokenizer in a folder of ours: %v", err)
	}
}

func TestResolveRunFolder(t *testing.T) {
	run := t.TempDir()
	if _, err := Resolve(run); err == nil || !strings.Contains(err.Error(), "checkpoints/best") {
		t.Errorf("an empty folder: %v", err)
	}
	for _, step := range []string{"step-5", "step-9"} {
		if err := os.CopyFS(filepath.Join(run, "checkpoints", step), os.DirFS(hfFolder("legacy"))); err != nil {
			t.Fatal(err)
		}
	}
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(run, "checkpoints", name), []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	want := func(step string) {
		t.Helper()
		if got, err := Resolve(run); err != nil || filepath.Base(got) != step {
			t.Errorf("resolved to %q, %v; want %s", got, err, step)
		}
	}
	write("last", "step-9\n")
	want("step-9")
	write("best", "step-5\n")
	want("step-5")
	for _, bad := range []string{"../../x", "step-7", ""} {
		write("best", bad)
		if _, err := Resolve(run); err == nil {
			t.Errorf("best names %q, which was believed", bad)
		}
	}
}

func TestOptimizerRoundTrip(t *testing.T) {
	f, err := ReadFolder(hfFolder("legacy"), ReadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	path := filepath.Join(t.TempDir(), optimizerName)
	if err := f.Params.SaveOptimizer(path); err == nil {
		t.Error("an optimizer state that is not there was saved")
	}
	if err := f.Params.AllocateMoments(); err != nil {
		t.Fatal(err)
	}
	m, v := f.Params.Moments()
	for i := range m {
		m[i], v[i] = float32(i), float32(-i)
	}
	if err := f.Params.SaveOptimizer(path); err != nil {
		t.Fatal(err)
	}
	q, err := NewParams(f.Config, Heads{MLM: true})
	if err != nil {
		t.Fatal(err)
	}
	defer q.Close()
	if err := q.LoadOptimizer(path); err != nil {
		t.Fatal(err)
	}
	m2, v2 := q.Moments()
	if fmt.Sprint(m, v) != fmt.Sprint(m2, v2) {
		t.Error("the moments differ after a round trip")
	}
	other, err := NewParams(f.Config, Heads{})
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if err := other.LoadOptimizer(path); err == nil {
		t.Error("the state of another layout was loaded")
	}
}

func TestInit(t *testing.T) {
	c, _, err := Preset("tiny", 1003)
	if err != nil {
		t.Fatal(err)
	}
	c.ConvKernelSize, c.ConvAct = 3, "gelu"
	p, err := NewParams(c, Heads{MLM: true})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	q, err := NewParams(c, Heads{Sequence: 2})
	if err != nil {
		t.Fatal(err)
	}
	defer q.Close()
	p.Init(7)
	q.Init(7)
	for _, x := range p.Tensors() {
		w := p.Weight(x.Name)
		if _, both := q.Lookup(x.Name); both && fmt.Sprint(w) != fmt.Sprint(q.Weight(x.Name)) {
			t.Errorf("%s depends on the heads", x.Name)
		}
		var sum, squares float64
		for _, v := range w {
			sum += float64(v)
			squares += float64(v) * float64(v)
		}
		n := float64(len(w))
		switch {
		case strings.HasSuffix(x.Name, "LayerNorm.weight"):
			if sum != n {
				t.Errorf("%s: sum %v, want all ones", x.Name, sum)
			}
		case strings.HasSuffix(x.Name, ".bias"):
			if squares != 0 {
				t.Errorf("%s is not zero", x.Name)
			}
		default:
			// Standard errors: of the mean σ/√n, of the deviation σ/√(2n); five of them, and the pad row's 1/V.
			deviation := math.Sqrt(squares / n)
			if math.Abs(sum/n) > 5*0.02/math.Sqrt(n) || math.Abs(deviation-0.02) > 5*0.02/math.Sqrt(2*n)+0.02/1003 {
				t.Errorf("%s: mean %v, deviation %v, want 0 and 0.02", x.Name, sum/n, deviation)
			}
		}
	}
	for _, v := range p.Weight(wordName)[:c.HiddenSize] {
		if v != 0 {
			t.Fatal("the padding token's row is not zero")
		}
	}
	before := append([]float32{}, p.Weights()...)
	p.Init(8)
	if fmt.Sprint(before) == fmt.Sprint(p.Weights()) {
		t.Error("the seed does not matter")
	}
}
