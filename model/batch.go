package model

import (
	"fmt"

	"github.com/secencoder/secencoder/internal/kernel"
)

// Batch is one micro-batch: pieces one after the other, each framed ([CLS] … [SEP]). Its slices are read during
// Plan.Run only.
type Batch struct {
	IDs         []int32 // token ids, at most T
	TypeIDs     []int32 // token_type_ids, one a token; nil: 0
	PositionIDs []int32 // position_ids, one a token; nil: the place in the piece. Only with position_biased_input
	Offsets     []int32 // first token of each piece, then the end of the last one: begins with 0, pieces+1 long

	Masked []int32 // token index of each masked position, ascending
	Labels []int32 // its label, the original id; nil where no loss is computed

	Ordinal uint32  // ordinal in the step of the first piece, for dropout
	Step    uint32  // optimizer step, for dropout
	Seed    uint64  // of the run, for dropout
	Scale   float32 // 1 / masked tokens of the whole step

	ClassLabels []int32   // labels of pieces (sequence head) or tokens (token head); negative: left out
	SoftLabels  []float32 // [pieces or tokens, labels], for soft labels and regression
	// Spans [pieces, 2] are the answers of question answering: the places of their first and last token in the piece. One
	// that is no place of the piece, negative or at least its length, leaves that column of the piece out of the loss. HF
	// leaves out places behind the sequence too, but takes negative ones for its first token.
	Spans []int32
}

// Pieces returns the number of pieces.
func (b *Batch) Pieces() int { return max(0, len(b.Offsets)-1) }

// check returns an error that names the first thing that does not fit the plan.
func (pl *Plan) check(b *Batch) error {
	n, T, cfg := len(b.IDs), pl.opts.Tokens, pl.cfg
	bad := func(format string, args ...any) error { return fmt.Errorf("batch: "+format, args...) }
	switch {
	case n == 0 || n > T:
		return bad("%d tokens, the plan holds 1 to %d", n, T)
	case b.TypeIDs != nil && len(b.TypeIDs) != n:
		return bad("%d token type ids for %d tokens", len(b.TypeIDs), n)
	case b.TypeIDs != nil && cfg.TypeVocabSize == 0:
		return bad("token type ids are given, but type_vocab_size is 0")
	case b.PositionIDs != nil && len(b.PositionIDs) != n:
		return bad("%d position ids for %d tokens", len(b.PositionIDs), n)
	case b.PositionIDs != nil && !cfg.PositionBiasedInput:
		return bad("position ids are given, but position_biased_input is off")
	case b.Pieces() < 1 || b.Pieces() > T/2:
		return bad("%d pieces, the plan holds 1 to %d", b.Pieces(), T/2)
	case b.Offsets[0] != 0 || int(b.Offsets[b.Pieces()]) != n:
		return bad("offsets run from %d to %d, want 0 to %d", b.Offsets[0], b.Offsets[b.Pieces()], n)
	}
	for i := range b.Pieces() {
		length := int(b.Offsets[i+1]) - int(b.Offsets[i])
		switch {
		case length < 1:
			return bad("piece %d has %d tokens", i, length)
		case length > kernel.MaxPiece:
			return bad("piece %d has %d tokens, at most %d are possible", i, length, kernel.MaxPiece)
		case length > pl.opts.MaxPiece:
			return bad("piece %d has %d tokens, the plan is for pieces of at most %d", i, length, pl.opts.MaxPiece)
		case cfg.PositionBiasedInput && b.PositionIDs == nil && length > cfg.MaxPositionEmbeddings:
			return bad("piece %d has %d tokens, the model's absolute positions end at %d", i, length, cfg.MaxPositionEmbeddings)
		}
	}
	if err := inRange("id", b.IDs, cfg.VocabSize); err != nil {
		return err
	}
	if err := inRange("token type id", b.TypeIDs, cfg.TypeVocabSize); err != nil {
		return err
	}
	if err := inRange("position id", b.PositionIDs, cfg.MaxPositionEmbeddings); err != nil {
		return err
	}
	return pl.checkTargets(b)
}

// checkTargets checks masked positions and labels.
func (pl *Plan) checkTargets(b *Batch) error {
	n := len(b.IDs)
	bad := func(format string, args ...any) error { return fmt.Errorf("batch: "+format, args...) }
	last := int32(-1)
	for i, m := range b.Masked {
		if m <= last || int(m) >= n {
			return bad("masked position %d is token %d, want ascending and below %d", i, m, n)
		}
		last = m
	}
	switch {
	case b.Labels != nil && len(b.Labels) != len(b.Masked):
		return bad("%d labels for %d masked positions", len(b.Labels), len(b.Masked))
	case pl.opts.Mode.masked() && pl.graph.loss != nil && b.Labels == nil && len(b.Masked) > 0:
		return bad("masked positions have no labels")
	case pl.opts.Mode == ModeLogits && len(b.Masked) > pl.opts.MaskedCap:
		return bad("%d masked positions, the plan gives logits for at most %d", len(b.Masked), pl.opts.MaskedCap)
	}
	if err := inRange("label", b.Labels, pl.cfg.VocabSize); err != nil {
		return err
	}
	if pl.graph.labels == nil {
		return nil
	}
	if pl.opts.Mode == ModeQuestion {
		if want := spanLogits * b.Pieces(); len(b.Spans) != want {
			return bad("%d ends of spans, want %d for %d pieces", len(b.Spans), want, b.Pieces())
		}
		return nil
	}
	rows := pl.rows(b)
	if pl.kind == kernel.CrossEntropy {
		if len(b.ClassLabels) != rows {
			return bad("%d class labels for %d rows", len(b.ClassLabels), rows)
		}
		for i, l := range b.ClassLabels {
			if int(l) >= pl.cfg.NumLabels {
				return bad("class label %d is %d, want below %d", i, l, pl.cfg.NumLabels)
			}
		}
		return nil
	}
	if want := rows * pl.cfg.NumLabels; len(b.SoftLabels) != want {
		return bad("%d soft labels, want %d rows of %d", len(b.SoftLabels), rows, pl.cfg.NumLabels)
	}
	return nil
}

func inRange(what string, ids []int32, below int) error {
	for i, id := range ids {
		if id < 0 || int(id) >= below {
			return fmt.Errorf("batch: %s %d is %d, want 0 to %d", what, i, id, below-1)
		}
	}
	return nil
}

// rows returns the rows that a batch fills of the logits of classification and question answering.
func (pl *Plan) rows(b *Batch) int {
	if pl.opts.Mode == ModeToken || pl.opts.Mode == ModeQuestion {
		return len(b.IDs)
	}
	return b.Pieces()
}

// fill writes a checked batch into the plan's inputs.
func (pl *Plan) fill(b *Batch) {
	T := pl.opts.Tokens
	pack := kernel.Pack{
		Offsets: b.Offsets, Masked: b.Masked, Labels: b.Labels, Step: b.Step, Seed: b.Seed, Ordinal: b.Ordinal, Scale: b.Scale,
	}
	if b.Labels == nil {
		pack.Labels = pl.noLabels[:len(b.Masked)]
	}
	pack.Fill(pl.header, T)
	copy(pl.ids, b.IDs)
	if pl.typeIDs != nil {
		clear(pl.typeIDs)
		copy(pl.typeIDs, b.TypeIDs)
	}
	if pl.positionIDs != nil {
		if b.PositionIDs != nil {
			copy(pl.positionIDs, b.PositionIDs)
		} else {
			copy(pl.positionIDs[:len(b.IDs)], kernel.ViewHeader(pl.header, T).Place)
		}
	}
	if pl.opts.Mode == ModeQuestion {
		copy(pl.classLabels, b.Spans)
	} else {
		copy(pl.classLabels, b.ClassLabels)
	}
	copy(pl.softLabels, b.SoftLabels)
	pl.tokens, pl.pieces, pl.masked, pl.logitRows = len(b.IDs), b.Pieces(), len(b.Masked), pl.rows(b)
	if pl.opts.Mode == ModeLogits {
		pl.logitRows = len(b.Masked)
	}
}
