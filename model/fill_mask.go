package model

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/secencoder/secencoder/tokenizer"
)

// Mask is one [MASK] of a text with its most probable tokens.
type Mask struct {
	Position   int         `json:"position"` // index in the framed text, [CLS] is 0
	Candidates []Candidate `json:"candidates"`
}

// Candidate is one token in the place of a mask.
type Candidate struct {
	Token       string  `json:"token"` // its bytes as text, a leading space included
	ID          int     `json:"id"`
	Probability float64 `json:"probability"` // softmax over the whole vocabulary
}

// NoMaskError says that a text has no mask token, which FillMask needs.
type NoMaskError struct {
	Token string // how the tokenizer writes it: "[MASK]", "<mask>"
}

// Error returns the sentence.
func (e *NoMaskError) Error() string { return "the text has no " + e.Token }

// FillMask returns the top candidates of every [MASK] in text, most probable first, equal ones by ascending id. Only
// here special strings in the text are special tokens; [MASK] takes the spaces before it, so that a token with a leading
// space may stand there. A text without [MASK] (a *NoMaskError), a model without MLM head, and a length that Embed refuses are errors.
//
// Source: FillMaskPipeline, transformers 5.23.0.
func (e *Encoder) FillMask(ctx context.Context, text string, top int) ([]Mask, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return nil, errors.New("the encoder is closed")
	}
	if top < 1 {
		return nil, fmt.Errorf("%d candidates, want at least 1", top)
	}
	if !e.folder.Params.Heads().MLM {
		return nil, errors.New("the model has no head for masked tokens")
	}
	mask := e.folder.Tokenizer.Special().MASK
	if mask == tokenizer.NoToken {
		return nil, errors.New("the tokenizer has no mask token")
	}
	e.scratch = e.tok.AppendSpecial(e.scratch[:0], []byte(text))
	b := Batch{IDs: e.frame(nil, e.scratch)}
	if err := e.checkLength(len(b.IDs)); err != nil {
		return nil, err
	}
	b.Offsets = []int32{0, int32(len(b.IDs))}
	for i, id := range b.IDs {
		if id == int32(mask) {
			b.Masked = append(b.Masked, int32(i))
			b.Labels = append(b.Labels, 0) // read by no one: logits need none
		}
	}
	if len(b.Masked) == 0 {
		return nil, &NoMaskError{Token: e.folder.Tokenizer.Token(mask)}
	}
	plan, err := e.plan(ModeLogits, len(b.IDs), len(b.Masked))
	if err != nil {
		return nil, err
	}
	if err := plan.Run(ctx, &b, false); err != nil {
		return nil, err
	}
	v := e.folder.Config.VocabSize
	logits := plan.Logits()
	out := make([]Mask, len(b.Masked))
	for i, at := range b.Masked {
		out[i] = Mask{Position: int(at), Candidates: e.candidates(logits[i*v:(i+1)*v], top)}
	}
	return out, nil
}

// candidates takes the top tokens of one row of logits; the softmax is in float64. Rows of the embedding beyond the
// vocabulary (HF pads some models) count in the softmax, as in HF, but name no token.
func (e *Encoder) candidates(logits []float32, top int) []Candidate {
	order := make([]int, min(len(logits), e.folder.Tokenizer.VocabSize()))
	peak := math.Inf(-1)
	for _, x := range logits {
		peak = max(peak, float64(x))
	}
	var sum float64
	for _, x := range logits {
		sum += math.Exp(float64(x) - peak)
	}
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int {
		switch {
		case logits[a] > logits[b]:
			return -1
		case logits[a] < logits[b]:
			return 1
		}
		return 0
	})
	out := make([]Candidate, 0, top)
	for _, id := range order[:min(top, len(order))] {
		out = append(out, Candidate{
			Token: string(e.folder.Tokenizer.TokenBytes(uint32(id))), ID: id,
			Probability: math.Exp(float64(logits[id])-peak) / sum,
		})
	}
	return out
}
