package train

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/secencoder/secencoder/data"
	"github.com/secencoder/secencoder/data/batch"
	"github.com/secencoder/secencoder/data/shard"
	"github.com/secencoder/secencoder/internal/manifest"
	"github.com/secencoder/secencoder/internal/rng"
	"github.com/secencoder/secencoder/model"
	"github.com/secencoder/secencoder/tokenizer"
)

// logLine makes line i of a small invented log.
func logLine(split data.Split, i int) []byte {
	r := rng.NewStream(7, rng.Synth, uint32(split), uint32(i), 0)
	users := []string{"alice", "bob", "carol", "dave"}
	verbs := []string{"accepted password", "failed password", "session opened", "session closed"}
	if split == data.ODTS {
		verbs = []string{"disk mounted", "disk removed"}
	}
	return fmt.Appendf(nil, `{"user":"%s","event":"%s","port":%d}`, users[r.Intn(4)], verbs[r.Intn(len(verbs))], 1000+r.Intn(20))
}

// makeData writes a small data folder: 400 train documents, 30 each in valid, idts and odts.
func makeData(dir string) error {
	var docs iter.Seq2[[]byte, error] = func(yield func([]byte, error) bool) {
		for i := range 400 {
			if !yield(logLine(data.Train, i), nil) {
				return
			}
		}
	}
	tok, _, err := tokenizer.Train(context.Background(), docs, tokenizer.TrainOptions{VocabSize: 300, Threads: 1})
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return err
	}
	if err := tok.Save(filepath.Join(dir, shard.TokenizerName)); err != nil {
		return err
	}
	report := data.Report{Sets: map[string]data.Kept{}}
	encoder := tok.NewEncoder()
	for _, split := range data.Splits() {
		n := 30
		if split == data.Train {
			n = 400
		}
		w, err := shard.Create(filepath.Join(dir, split.String()), shard.Options{
			Tokenizer: tok.Fingerprint(), VocabSize: tok.VocabSize(), Sources: []string{"auth", "disk"},
		})
		if err != nil {
			return err
		}
		for i := range n {
			if err := w.Append(encoder.Append(nil, logLine(split, i)), shard.Meta{Source: i % 2, Record: uint32(i)}); err != nil {
				return err
			}
		}
		report.Sets[split.String()] = data.Kept{Records: w.Documents(), Tokens: w.Tokens()}
		if err := w.Close(); err != nil {
			return err
		}
	}
	extra, err := json.Marshal(report)
	if err != nil {
		return err
	}
	return manifest.Write(dir, manifest.Manifest{Kind: shard.Kind, Tool: "test", Extra: extra})
}

// writeSmallModel writes the config.json of a model of 1 layer, 2 heads of 8.
func writeSmallModel(path string) error {
	c, _, err := model.Preset("tiny", 300)
	if err != nil {
		return err
	}
	c.NumHiddenLayers, c.HiddenSize, c.NumAttentionHeads, c.IntermediateSize = 1, 16, 2, 32
	return os.WriteFile(path, c.JSON(), 0o666)
}

// fixture is a data folder and a model size for tests; all tests share one.
func fixture(t *testing.T) (dataDir, size string) {
	t.Helper()
	return filepath.Join(shared, "data"), filepath.Join(shared, "small.json")
}

// small returns options of a run of a few steps on the fixture, on a toy network.
func small(t *testing.T, out string, steps int) Options {
	t.Helper()
	dir, size := fixture(t)
	return Options{
		Out: out,
		Settings: Settings{
			Data: &dir, Size: &size, Steps: &steps, Context: new(32), TokensPerStep: new(128), Accumulate: new(2),
			EvalEvery: new(4), CheckpointEvery: new(3), EvalPieces: new(10), LearningRate: new(0.05), Threads: new(1),
		},
		hooks: hooks{network: newToy},
	}
}

// toy predicts a masked token from its left neighbour: logits = word·word[left] + bias. It uses two of the model's
// tensors and leaves the others' gradients at zero.
type toy struct {
	p            *model.Params
	word, bias   []float32
	dWord, dBias []float32
	width        int
	p64          []float64
	nll, hit     []float32
}

func newToy(s *session) (network, error) {
	const word, bias = "deberta.embeddings.word_embeddings.weight", "cls.predictions.bias"
	return &toy{
		p: s.params, word: s.params.Weight(word), bias: s.params.Weight(bias),
		dWord: s.params.Grad(word), dBias: s.params.Grad(bias), width: s.modelConfig.HiddenSize,
		p64: make([]float64, s.modelConfig.VocabSize),
	}, nil
}

// predict fills p64 with the probabilities at a masked position and returns the left neighbour.
func (n *toy) predict(m *batch.Micro, i int) (left int) {
	left = int(m.IDs[m.MaskedPositions[i]-1])
	z := n.word[left*n.width : (left+1)*n.width]
	var total float64
	for v := range n.p64 {
		sum := float64(n.bias[v])
		for k, x := range n.word[v*n.width : (v+1)*n.width] {
			sum += float64(x) * float64(z[k])
		}
		n.p64[v] = math.Exp(sum)
		total += n.p64[v]
	}
	for v := range n.p64 {
		n.p64[v] /= total
	}
	return left
}

func (n *toy) run(ctx context.Context, m *batch.Micro, _ uint64, _ uint32, scale float32, accumulate bool) (float64, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	if !accumulate {
		clear(n.p.Grads())
	}
	var loss float64
	for i, label := range m.Labels {
		left := n.predict(m, i)
		loss -= math.Log(n.p64[label])
		for v := range n.p64 {
			d := n.p64[v]
			if v == int(label) {
				d--
			}
			d *= float64(scale)
			n.dBias[v] += float32(d)
			for k := range n.width {
				n.dWord[v*n.width+k] += float32(d * float64(n.word[left*n.width+k]))
				n.dWord[left*n.width+k] += float32(d * float64(n.word[v*n.width+k]))
			}
		}
	}
	return loss * float64(scale), nil
}

func (n *toy) Score(ctx context.Context, m *batch.Micro) (nll, hit []float32, err error) {
	n.nll, n.hit = n.nll[:0], n.hit[:0]
	for i, label := range m.Labels {
		n.predict(m, i)
		best := 0
		for v := range n.p64 {
			if n.p64[v] > n.p64[best] {
				best = v
			}
		}
		n.nll = append(n.nll, float32(-math.Log(n.p64[label])))
		h := float32(0)
		if best == int(label) {
			h = 1
		}
		n.hit = append(n.hit, h)
	}
	return n.nll, n.hit, nil
}

func (n *toy) bytes() int64          { return 0 }
func (n *toy) print(io.Writer) error { return nil }
func (n *toy) close() error          { return nil }
