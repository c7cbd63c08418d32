package eval

import (
	"context"
	"fmt"
	"math"

	"github.com/secencoder/secencoder/data/batch"
	"github.com/secencoder/secencoder/tokenizer"
)

// Set is a named set of documents.
type Set struct {
	Name      string // "valid", "idts", "odts", "train"
	Documents batch.Documents
}

// Sample is the result of a sampled evaluation of one set.
type Sample struct {
	Set          string
	CrossEntropy float64 // nats per masked token; NaN when nothing was masked
	Perplexity   float64
	Accuracy     float64
	BitsPerByte  float64
	Masked       int64 // masked tokens
	Documents    int
}

// Sampler evaluates fixed samples of several sets again and again during training. The sample and its masks follow from
// the seed, so figures of one run, and of runs with one seed and tokenizer, compare. It is used by one goroutine at a
// time.
type Sampler struct {
	sets       []sampledSet
	tokenBytes []int32
	tokens     int64
}

type sampledSet struct {
	name string
	e    *batch.Evaluation
}

// NewSampler prepares the samples. o.Pieces and o.Tokens limit each set (EvaluationOptions.Sample gives the usual ones);
// sets without documents are left out. It reads nothing yet but document lengths.
func NewSampler(sets []Set, t *tokenizer.Tokenizer, v *batch.Vocabulary, o batch.EvaluationOptions) (*Sampler, error) {
	s := &Sampler{tokenBytes: tokenLengths(t)}
	for _, set := range sets {
		if set.Documents == nil || set.Documents.Documents() == 0 {
			continue
		}
		e, err := batch.NewEvaluation(set.Documents, v, o)
		if err != nil {
			return nil, fmt.Errorf("set %s: %w", set.Name, err)
		}
		s.sets = append(s.sets, sampledSet{set.Name, e})
		s.tokens += sampleTokens(set.Documents, o)
	}
	return s, nil
}

// sampleTokens returns about how many framed tokens a sample of a set has: the mean document times the documents that
// the limits allow.
func sampleTokens(docs batch.Documents, o batch.EvaluationOptions) int64 {
	const look = 1000 // documents, evenly spaced, give the mean length well enough for a plan
	n := docs.Documents()
	var pieces, tokens, seen int64
	for i := 0; i < n; i += max(1, n/look) {
		length := docs.Length(i)
		p := int64(batch.PieceCount(length, o.Context))
		pieces += p
		tokens += int64(length) + 2*p
		seen++
	}
	scale := float64(n) / float64(seen)
	all, count := float64(tokens)*scale, float64(pieces)*scale
	if o.Pieces > 0 && count > float64(o.Pieces) {
		all *= float64(o.Pieces) / count
	}
	if o.Tokens > 0 {
		all = min(all, float64(o.Tokens))
	}
	return int64(all)
}

// Tokens returns about how many framed tokens one Evaluate reads, all sets together.
func (s *Sampler) Tokens() int64 { return s.tokens }

// Evaluate measures every set. It ends soon when ctx is cancelled.
func (s *Sampler) Evaluate(ctx context.Context, scorer Scorer) ([]Sample, error) {
	var samples []Sample
	for _, set := range s.sets {
		m, err := measure(ctx, scorer, set.e, s.tokenBytes, nil, nil)
		if err != nil {
			return nil, fmt.Errorf("set %s: %w", set.name, err)
		}
		var total sums
		documents := 0
		for i := range m.documents {
			total.add(&m.documents[i])
			documents += int(one(m.documents[i].masked > 0))
		}
		f := total.of(ofModel)
		samples = append(samples, Sample{
			Set: set.name, CrossEntropy: f[figCrossEntropy], Perplexity: f[figPerplexity], Accuracy: f[figAccuracy],
			BitsPerByte: f[figBitsPerByte], Masked: total.masked, Documents: documents,
		})
	}
	return samples, nil
}

// Better reports whether cross-entropy a improves on b; NaN improves on nothing, everything else improves on NaN.
func Better(a, b float64) bool { return a < b || !math.IsNaN(a) && math.IsNaN(b) }

// tokenLengths returns the number of bytes of each id; 0 for special tokens.
func tokenLengths(t *tokenizer.Tokenizer) []int32 {
	lengths := make([]int32, t.VocabSize())
	for id := range lengths {
		if !t.IsSpecial(uint32(id)) {
			lengths[id] = int32(len(t.TokenBytes(uint32(id))))
		}
	}
	return lengths
}
