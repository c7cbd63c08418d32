package train

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/secencoder/secencoder/data"
	"github.com/secencoder/secencoder/data/shard"
	"github.com/secencoder/secencoder/internal/exec"
	"github.com/secencoder/secencoder/internal/manifest"
	"github.com/secencoder/secencoder/internal/units"
	"github.com/secencoder/secencoder/model"
	"github.com/secencoder/secencoder/tokenizer"
)

// oneDocument writes a data folder whose train split is one document of so many tokens, framing not counted.
func oneDocument(t *testing.T, tokens int) (dir string) {
	t.Helper()
	fixed, _ := fixture(t)
	tok, err := tokenizer.Load(filepath.Join(fixed, shard.TokenizerName))
	if err != nil {
		t.Fatal(err)
	}
	dir = filepath.Join(t.TempDir(), "data")
	if err := os.Mkdir(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	if err := tok.Save(filepath.Join(dir, shard.TokenizerName)); err != nil {
		t.Fatal(err)
	}
	w, err := shard.Create(filepath.Join(dir, data.Train.String()), shard.Options{
		Tokenizer: tok.Fingerprint(), VocabSize: tok.VocabSize(), Sources: []string{"auth"},
	})
	if err != nil {
		t.Fatal(err)
	}
	encoder := tok.NewEncoder()
	var ids []uint32
	for i := 0; len(ids) < tokens; i++ {
		ids = encoder.Append(ids, logLine(data.Train, i))
	}
	if err := w.Append(ids[:tokens], shard.Meta{}); err != nil {
		t.Fatal(err)
	}
	report := data.Report{Sets: map[string]data.Kept{data.Train.String(): {Records: w.Documents(), Tokens: w.Tokens()}}}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	extra, err := json.Marshal(report)
	if err != nil {
		t.Fatal(err)
	}
	if err := manifest.Write(dir, manifest.Manifest{Kind: shard.Kind, Tool: "test", Extra: extra}); err != nil {
		t.Fatal(err)
	}
	return dir
}

// One document of 48,000 tokens with its frame goes through loader, forward and backward pass and update as one piece,
// under a limit of 1 GiB for the whole process. Attention without tiles would take 9 GB for one matrix of scores.
func TestOneDocumentOf48000Tokens(t *testing.T) {
	if testing.Short() {
		t.Skip("attention over 48,000 tokens, forward and backward")
	}
	skipInPlainGo(t)
	const tokens = 48_000
	dir := oneDocument(t, tokens-2)
	c, _, err := model.Preset("tiny", 300)
	if err != nil {
		t.Fatal(err)
	}
	c.NumHiddenLayers, c.HiddenSize, c.NumAttentionHeads, c.IntermediateSize = 1, 32, 1, 64
	size := filepath.Join(t.TempDir(), "config.json")
	if err := os.WriteFile(size, c.JSON(), 0o666); err != nil {
		t.Fatal(err)
	}
	for _, dtype := range []string{"f32", "bf16"} {
		t.Run(dtype, func(t *testing.T) { trainOnce(t, dir, size, dtype, tokens) })
	}
}

// trainOnce does one step over a document of so many tokens, and checks what it leaves.
func trainOnce(t *testing.T, dir, size, dtype string, tokens int) {
	t.Helper()
	s := &session{report: silent{}, parents: map[string]string{}, o: &Options{
		Out: filepath.Join(t.TempDir(), "run"),
		Settings: Settings{
			Data: &dir, Size: &size, Steps: new(1), Context: &tokens, TokensPerStep: &tokens, Memory: new("1GiB"), DType: &dtype,
		},
	}}
	defer func() {
		if err := s.close(); err != nil {
			t.Error(err)
		}
	}()
	for _, part := range []func() error{s.layers, s.openData, s.openModel, s.settings, s.openDevice, s.openVocabulary, s.openNetwork} {
		if err := part(); err != nil {
			t.Fatal(err)
		}
	}
	loader, err := s.newLoader()
	if err != nil {
		t.Fatal(err)
	}
	micros, err := loader.NextStep()
	if err != nil {
		t.Fatal(err)
	}
	masked, n, longest := census(micros)
	if len(micros) != 1 || n != int64(tokens) || longest != tokens || masked < tokens/20 {
		t.Fatalf("%d micro-batches of %d tokens, the longest piece has %d, %d are masked", len(micros), n, longest, masked)
	}
	before := slices.Clone(s.params.Weights())
	loss, norm, err := s.gradients(context.Background(), micros, 1, masked)
	if err != nil {
		t.Fatal(err)
	}
	if !finite(loss) || loss < 1 || loss > 20 || !finite(norm) || norm == 0 {
		t.Errorf("loss %v, gradient norm %v", loss, norm)
	}
	if err := s.optimizer.update(1, 1e-3, norm); err != nil {
		t.Fatal(err)
	}
	for _, x := range s.params.Tensors() {
		w := s.params.Weight(x.Name)
		for _, v := range w {
			if !finite(float64(v)) {
				t.Fatalf("%s holds %v after the update", x.Name, v)
			}
		}
		// Biases begin at 0 and stay there where their gradient is 0 by analysis.
		if !x.ZeroGrad && !x.Idle && slices.Equal(w, before[x.Offset:x.Offset+x.Size()]) {
			t.Errorf("%s is what it was before the update", x.Name)
		}
	}
}

// What a run needs grows with its threads by the kernels' scratch.
func TestScratchCounts(t *testing.T) {
	need := map[int]int64{}
	for _, threads := range []int{1, 8} {
		settings := small(t, filepath.Join(t.TempDir(), "run"), 2)
		settings.hooks, settings.Threads = hooks{}, new(threads)
		settings.Memory = new("1MiB")
		_, err := open(context.Background(), &settings)
		if err == nil || !errors.Is(err, exec.ErrDoesNotFit) {
			t.Fatalf("got %v", err)
		}
		_, after, _ := strings.Cut(err.Error(), " need ")
		size, _, _ := strings.Cut(after, " of memory")
		if need[threads], err = units.ParseSize(strings.ReplaceAll(size, " ", "")); err != nil {
			t.Fatal(err)
		}
	}
	if more := need[8] - need[1]; more < 120e6 || more > 400e6 { // 20 MB a thread, and what the process has grown by in between
		t.Errorf("1 thread needs %d bytes, 8 need %d more, want about 140,000,000", need[1], more)
	}
}

// What does not fit is refused before any of it is taken, with the number that would be needed, and no run begins.
func TestMemoryIsRefusedBeforeItIsTaken(t *testing.T) {
	for name, o := range map[string]Settings{
		"a limit":              {Memory: new("1MiB")},
		"a limit and bf16":     {Memory: new("1MiB"), DType: new("bf16")},
		"a context of 48,000":  {Context: new(48_000), Memory: new("64MiB")},
		"more than there is":   {Size: new("xxlarge"), Context: new(65_000), TokensPerStep: new(1 << 24), Memory: new("none")},
		"more than there is 2": {Size: new("xxlarge"), TokensPerStep: new(1 << 24)},
	} {
		t.Run(name, func(t *testing.T) {
			out := filepath.Join(t.TempDir(), "run")
			settings := small(t, out, 2)
			settings.hooks = hooks{}
			settings.Settings = o.over(settings.Settings)
			s, err := open(context.Background(), &settings)
			if err == nil || !errors.Is(err, exec.ErrDoesNotFit) {
				t.Fatalf("got %v", err)
			}
			if text := err.Error(); !strings.Contains(text, "tokens a micro-batch on ") || !strings.Contains(text, "available") {
				t.Errorf("the numbers are missing: %v", text)
			}
			if s.params != nil || s.net != nil {
				t.Error("parameters or plans were made")
			}
			if _, err := os.Stat(out); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("the run folder: %v", err)
			}
		})
	}
}
