package eval

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/secencoder/secencoder/data"
	"github.com/secencoder/secencoder/data/batch"
	"github.com/secencoder/secencoder/data/shard"
	"github.com/secencoder/secencoder/internal/manifest"
	"github.com/secencoder/secencoder/tokenizer"
)

// train makes a tokenizer from a few lines.
func train(t *testing.T, size int, lines ...string) *tokenizer.Tokenizer {
	t.Helper()
	tok, _, err := tokenizer.Train(context.Background(), func(yield func([]byte, error) bool) {
		for _, l := range lines {
			if !yield([]byte(l), nil) {
				return
			}
		}
	}, tokenizer.TrainOptions{VocabSize: size, Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	return tok
}

// line makes line i of an invented log.
func line(i int) string {
	return fmt.Sprintf(`{"user":"user%d","action":"login","port":%d}`, i*7%5, 1000+i*13%17)
}

// makeData writes a data folder: 100 train documents, 20 idts of two sources, 10 odts, no valid.
func makeData(t *testing.T, tok *tokenizer.Tokenizer) string {
	t.Helper()
	dir := t.TempDir()
	if err := tok.Save(filepath.Join(dir, shard.TokenizerName)); err != nil {
		t.Fatal(err)
	}
	report := data.Report{Sets: map[string]data.Kept{}}
	encoder := tok.NewEncoder()
	for split, n := range map[data.Split]int{data.Train: 100, data.IDTS: 20, data.ODTS: 10} {
		w, err := shard.Create(filepath.Join(dir, split.String()), shard.Options{
			Tokenizer: tok.Fingerprint(), VocabSize: tok.VocabSize(), Sources: []string{"web", "=db"},
		})
		if err != nil {
			t.Fatal(err)
		}
		for i := range n {
			text := line(i)
			if split == data.ODTS {
				text = "disk mounted on node" + text[len(text)-5:]
			}
			if err := w.Append(encoder.Append(nil, []byte(text)), shard.Meta{Source: i % 2, Record: uint32(i)}); err != nil {
				t.Fatal(err)
			}
		}
		report.Sets[split.String()] = data.Kept{Records: w.Documents(), Tokens: w.Tokens()}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
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

// uniform gives every token the same probability and never hits; its perplexity is the vocabulary, on any text.
type uniform struct {
	vocabulary int
	batches    int
}

func (u *uniform) Score(ctx context.Context, m *batch.Micro) (nll, hit []float32, err error) {
	u.batches++
	nll = make([]float32, len(m.Labels))
	for i := range nll {
		nll[i] = float32(math.Log(float64(u.vocabulary)))
	}
	return nll, make([]float32, len(m.Labels)), nil
}

// toyOpener opens any path as the uniform model over a tokenizer.
func toyOpener(tok *tokenizer.Tokenizer) func(string, *Options) (*opened, error) {
	return func(path string, o *Options) (*opened, error) {
		if _, err := os.Stat(path); err == nil {
			return nil, fmt.Errorf("%s: the toy has no file", path)
		}
		return &opened{
			tokenizer: tok, hash: "abc", parameters: 7, context: 64, kernels: "toy", threads: o.Threads,
			scorer: func(int, int) (Scorer, error) { return &uniform{vocabulary: tok.VocabSize()}, nil },
			close:  func() error { return nil },
		}, nil
	}
}

// memory is a set of documents in memory.
type memory [][]uint32

func (m memory) Documents() int   { return len(m) }
func (m memory) Length(i int) int { return len(m[i]) }
func (m memory) Document(i int, dst []uint32) ([]uint32, batch.Meta, error) {
	return append(dst[:0], m[i]...), batch.Meta{Source: i % 2}, nil
}
