package eval

import (
	"context"
	"errors"
	"fmt"

	"github.com/secencoder/secencoder/data/batch"
	"github.com/secencoder/secencoder/internal/manifest"
	"github.com/secencoder/secencoder/model"
)

// openModel opens a model folder for scoring. Only a model with a masked-LM head can be scored.
func openModel(path string, o *Options) (m *opened, err error) {
	dtype, err := model.ParseDType(o.DType)
	if err != nil {
		return nil, err
	}
	e, err := model.Load(path, model.WithThreads(o.Threads), model.WithDevice(o.Device), model.WithKernels(o.Kernels))
	if err != nil {
		return nil, err
	}
	f := e.Folder()
	if !f.Params.Heads().MLM {
		return nil, errors.Join(fmt.Errorf("%s: the model has no masked-LM head, so there is nothing to measure", f.Path), e.Close())
	}
	s := &planScorer{}
	m = &opened{
		tokenizer: f.Tokenizer, parameters: int64(f.Params.Elements()), context: f.Provenance.Context,
		delimiters: f.Provenance.Delimiters, kernels: e.Device().Family(), threads: e.Device().Threads(),
		scorer: func(context, tokens int) (Scorer, error) {
			s.plan, err = model.Compile(e.Device(), f.Config, f.Params, model.CompileOptions{
				Tokens: tokens, MaxPiece: context, Mode: model.ModeEval, DType: dtype,
			})
			return s, err
		},
		close: func() error {
			if s.plan == nil {
				return e.Close()
			}
			return errors.Join(s.plan.Close(), e.Close())
		},
	}
	if f.Config.PositionBiasedInput {
		m.positions = f.Config.MaxPositionEmbeddings
	}
	if f.Manifest != nil {
		if m.hash, err = manifest.Hash(f.Path); err != nil {
			return nil, errors.Join(err, m.close())
		}
	}
	return m, nil
}

// planScorer scores with a compiled plan.
type planScorer struct {
	plan  *model.Plan
	batch model.Batch
}

// Score implements Scorer.
func (s *planScorer) Score(ctx context.Context, m *batch.Micro) (nll, hit []float32, err error) {
	if len(m.Labels) == 0 {
		return nil, nil, nil
	}
	s.batch = model.Batch{
		IDs: m.IDs[:m.Tokens()], Offsets: m.Offsets, Masked: m.MaskedPositions, Labels: m.Labels, Scale: 1,
	}
	if err := s.plan.Run(ctx, &s.batch, false); err != nil {
		return nil, nil, err
	}
	return s.plan.NLL(), s.plan.Hit(), nil
}
