// Package eval measures masked-language models on held-out logs: cross-entropy, perplexity, accuracy and bits per byte
// of masked tokens, with bootstrap intervals and two baselines counted on the training split.
//
// Begin with Intrinsic, which evaluates one or several model folders on a data folder and returns a Report that prints
// itself as a table (Report.Table), as JSON (encoding/json) and as rows of a CSV file (Report.AppendCSV). Training uses
// Sampler, the same measurement on a fixed small sample.
//
// Definitions. Masks follow the training rule with a fixed seed. The mask set "content" masks content tokens only and
// is primary; "all" draws from content tokens and delimiters. Cross-entropy is the float64 sum of nats over the masked
// tokens divided by their number, perplexity its exponential, accuracy the share of masked tokens that are the argmax
// over the whole vocabulary (ties go to the lowest id), bits per byte the sum of bits divided by the bytes of the masked
// tokens. The paper's Eq. 2 is written for a causal model; this is its masked counterpart. Figures of models with
// different tokenizers compare by bits per byte only.
//
// The package does not train, and it knows nothing of how a model computes: a Scorer gives nats and hits.
package eval

import (
	"context"
	"encoding/json"
	"math"

	"github.com/secencoder/secencoder/data/batch"
)

// Scorer computes what a model says about one micro-batch. It is used by one goroutine at a time.
type Scorer interface {
	// Score returns, for each masked position of m in its order, the negative log-likelihood of the label in nats and 1
	// where the argmax over the vocabulary (ties to the lowest id) is the label, else 0. The slices may be reused by the
	// next call. Dropout is off. Once ctx is cancelled it ends soon, with ctx's error.
	Score(ctx context.Context, m *batch.Micro) (nll, hit []float32, err error)
}

// Figure is a measured number. JSON has no NaN and no infinities: a Figure that is one becomes null, which says that
// there was nothing to measure.
type Figure float64

// MarshalJSON writes the shortest decimal that reads back as the same float64, or null.
func (f Figure) MarshalJSON() ([]byte, error) {
	if math.IsNaN(float64(f)) || math.IsInf(float64(f), 0) {
		return []byte("null"), nil
	}
	return json.Marshal(float64(f))
}

// UnmarshalJSON reads what MarshalJSON writes; null becomes NaN.
func (f *Figure) UnmarshalJSON(b []byte) error {
	if string(b) == "null" {
		*f = Figure(math.NaN())
		return nil
	}
	return json.Unmarshal(b, (*float64)(f))
}

// Interval is a 95 % interval, low end first; both ends are NaN when there is nothing to draw from.
type Interval [2]Figure

// Metrics are the figures of one system on one set under one mask set. Without masked tokens all figures are NaN.
type Metrics struct {
	Perplexity           Figure   `json:"perplexity"`
	PerplexityInterval   Interval `json:"perplexity_interval"`
	Accuracy             Figure   `json:"accuracy"`
	AccuracyInterval     Interval `json:"accuracy_interval"`
	BitsPerByte          Figure   `json:"bits_per_byte"` // comparable across tokenizers
	BitsPerByteInterval  Interval `json:"bits_per_byte_interval"`
	CrossEntropy         Figure   `json:"cross_entropy"` // nats per masked token
	CrossEntropyInterval Interval `json:"cross_entropy_interval"`
	Tokens               int64    `json:"tokens"`    // masked tokens
	Bytes                int64    `json:"bytes"`     // of the masked tokens
	Documents            int      `json:"documents"` // with at least one masked token
}

// Baselines are what needs no model. They see the same masks.
type Baselines struct {
	Unigram       Metrics `json:"unigram"`        // (train count + 0.5) / (sum + 0.5 · tokens of the mask set)
	LeftNeighbour Metrics `json:"left_neighbour"` // P(w | nearest unmasked token to the left), see Counts.Left
}

// Measured is a model and its baselines under one mask set.
type Measured struct {
	Metrics
	Baselines *Baselines `json:"baselines,omitempty"` // absent when there is no train split to count on
}

// SourceReport holds one source of a set.
type SourceReport struct {
	Measured           // mask set content
	All      *Measured `json:"all,omitempty"` // mask set all
}

// SetReport holds one set: the figures of mask set content on top, those of set all below, then each source.
type SetReport struct {
	SourceReport
	Sources map[string]*SourceReport `json:"sources"`
}

// ModelReport holds one model.
type ModelReport struct {
	Model       string                `json:"model"` // as it was named by the caller
	ModelHash   string                `json:"model_sha256,omitempty"`
	Tokenizer   string                `json:"tokenizer_sha256"`
	Parameters  int64                 `json:"parameters"`
	Context     int                   `json:"context"`
	Retokenized bool                  `json:"retokenized"` // records were decoded and encoded again with the model's tokenizer
	Seconds     float64               `json:"seconds"`
	Sets        map[string]*SetReport `json:"sets"`
}

// Report is the result of Intrinsic. Its JSON is the one ModelReport when there is one model, else an object with the
// key "models".
type Report struct {
	Models  []ModelReport
	Data    string // the data folder
	DataSHA string // SHA-256 of its manifest
	Seed    uint64
	Remarks []string // what a reader of the figures must know
	Kernels string
	DType   string // of activations
	Threads int
}

// MarshalJSON implements the form described at Report.
func (r *Report) MarshalJSON() ([]byte, error) {
	type tail struct {
		Data    string   `json:"data"`
		DataSHA string   `json:"data_sha256,omitempty"`
		Seed    uint64   `json:"seed"`
		Kernels string   `json:"kernels"`
		DType   string   `json:"dtype"`
		Remarks []string `json:"remarks,omitempty"`
	}
	t := tail{r.Data, r.DataSHA, r.Seed, r.Kernels, r.DType, r.Remarks}
	if len(r.Models) == 1 {
		return json.Marshal(struct {
			ModelReport
			tail
		}{r.Models[0], t})
	}
	return json.Marshal(struct {
		Models []ModelReport `json:"models"`
		tail
	}{r.Models, t})
}
