package train

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/secencoder/secencoder/data/batch"
	"github.com/secencoder/secencoder/eval"
)

// maxBadInARow is how many updates in a row may be left out for a loss or gradient that is not finite.
const maxBadInARow = 3

// train does the steps that are left.
func (s *session) train(ctx context.Context) error {
	if s.owed() {
		if _, err := s.evaluate(ctx); err != nil {
			return s.stopped(ctx, err)
		}
		if s.st.Step == s.c.Steps { // no checkpoint follows that would remove what was the best one until now
			if err := s.retain(); err != nil {
				return err
			}
		}
	}
	begun, before := time.Now(), s.st.Step
	for s.st.Step < s.c.Steps {
		if ctx.Err() != nil {
			return s.interrupted(ctx)
		}
		p, err := s.step(ctx)
		switch {
		case err != nil && errors.Is(err, ctx.Err()):
			return s.interrupted(ctx)
		case err != nil:
			return fmt.Errorf("step %d: %w", s.st.Step+1, err)
		}
		p.Left = time.Duration(float64(time.Since(begun)) / float64(s.st.Step-before) * float64(s.c.Steps-s.st.Step))
		s.report.Step(p)
		if s.st.BadInARow >= maxBadInARow {
			return fmt.Errorf("step %d: loss or gradient was not finite %d times in a row: %w", s.st.Step, s.st.BadInARow, ErrDiverged)
		}
		improved := false
		if s.evaluationDue() {
			if improved, err = s.evaluate(ctx); err != nil {
				return s.stopped(ctx, err)
			}
		}
		if improved || s.st.Step%s.c.CheckpointEvery == 0 || s.st.Step == s.c.Steps {
			if err := s.checkpoint(); err != nil {
				return err
			}
		}
	}
	return nil
}

// stopped handles an error of an evaluation: a cancelled context is an interruption, which keeps the step.
func (s *session) stopped(ctx context.Context, err error) error {
	if errors.Is(err, ctx.Err()) {
		return s.interrupted(ctx)
	}
	return fmt.Errorf("evaluation after step %d: %w", s.st.Step, err)
}

// interrupted writes a checkpoint of the steps done and returns the error of the cancelled context.
func (s *session) interrupted(ctx context.Context) error {
	if s.st.Step == 0 {
		return fmt.Errorf("interrupted before the first step: %w", ctx.Err())
	}
	if s.st.Step > s.saved {
		if err := s.checkpoint(); err != nil {
			return err
		}
	}
	return fmt.Errorf("interrupted after step %d, checkpoint %s: %w", s.st.Step, s.folder(s.st.Step), ctx.Err())
}

// evaluationDue tells whether the step just done is one that is evaluated: every EvalEvery steps, and the last one.
func (s *session) evaluationDue() bool {
	return s.c.EvalEvery > 0 && (s.st.Step%s.c.EvalEvery == 0 || s.st.Step == s.c.Steps)
}

// step draws the micro-batches of the next step and does its update, or leaves it out. State, metrics and curves then
// hold the step. After an error the state is the one before.
func (s *session) step(ctx context.Context) (Progress, error) {
	begun := time.Now()
	waited := s.loader.Waited()
	micros, err := s.loader.NextStep()
	if err != nil {
		return Progress{}, err
	}
	wait := (s.loader.Waited() - waited).Seconds()
	step := s.st.Step + 1
	masked, tokens, longest := census(micros)
	loss, norm, rate := math.NaN(), math.NaN(), s.schedule.rate(step)
	empty, bad := masked == 0, false
	if !empty {
		if loss, norm, err = s.gradients(ctx, micros, step, masked); err != nil {
			return Progress{}, err
		}
		if bad = !finite(loss) || !finite(norm); !bad {
			if err := s.optimizer.update(s.st.Updates+1, rate, norm); err != nil {
				return Progress{}, err
			}
		}
	}
	s.st.Step = step
	s.st.Tokens += tokens
	s.st.Loader = s.loader.State()
	s.st.Longest = max(s.st.Longest, longest)
	switch {
	case empty:
		s.st.Empty++
		s.report.Remark(fmt.Sprintf("step %d: nothing to predict in it (%d so far), no update", step, s.st.Empty))
	case bad:
		s.st.Bad++
		s.st.BadInARow++
		s.report.Remark(fmt.Sprintf("step %d: loss %v, gradient norm %v: not finite, no update (%d so far)", step, loss, norm, s.st.Bad))
	default:
		s.st.Updates++
		s.st.BadInARow = 0
		s.st.Loss = new(loss)
	}
	speed := float64(tokens) / max(time.Since(begun).Seconds(), 1e-9)
	if err := s.record(metricsRow{step, s.st.Tokens, loss, rate, norm, speed, wait, s.st.skipped()}); err != nil {
		return Progress{}, err
	}
	return Progress{
		Step: step, Steps: s.c.Steps, Tokens: s.st.Tokens, Loss: loss, Rate: rate, Norm: norm, TokensPerSecond: speed,
		Skipped: s.st.skipped(),
	}, nil
}

func finite(v float64) bool { return !math.IsNaN(v) && !math.IsInf(v, 0) }

// census counts what a step holds: masked tokens, framed tokens, and the tokens of its longest piece.
func census(micros []*batch.Micro) (masked int, tokens int64, longest int) {
	for _, m := range micros {
		masked += len(m.Labels)
		tokens += int64(m.Tokens())
		for i := range m.Pieces {
			longest = max(longest, int(m.Offsets[i+1]-m.Offsets[i]))
		}
	}
	return masked, tokens, longest
}

// gradients runs the micro-batches of a step and returns its loss, the mean nats of its masked tokens, and the norm of
// the gradients in the arena. Micro-batches without masked tokens have neither loss nor gradient and are passed over.
func (s *session) gradients(ctx context.Context, micros []*batch.Micro, step, masked int) (loss, norm float64, err error) {
	scale := float32(1 / float64(masked))
	accumulate := false
	for _, m := range micros {
		if len(m.Labels) == 0 {
			continue
		}
		part, err := s.net.run(ctx, m, s.c.Seed, uint32(step), scale, accumulate)
		if err != nil {
			return 0, 0, err
		}
		loss += part
		accumulate = true
	}
	s.params.ZeroAnalyticGrads()
	if s.o.hooks.gradients != nil && s.loader != nil {
		s.o.hooks.gradients(step, s.params.Grads())
	}
	norm, err = s.optimizer.norm()
	return loss, norm, err
}

// record writes a step to metrics.csv and to the curves.
func (s *session) record(r metricsRow) error {
	if err := s.metrics.add(r.String()); err != nil {
		return err
	}
	return s.curves.add(r.step,
		scalar{"train/loss", r.loss}, scalar{"train/learning_rate", r.rate}, scalar{"train/gradient_norm", r.norm},
		scalar{"train/tokens_per_second", r.tokensPerSecond}, scalar{"train/skipped", float64(r.skipped)})
}

// owed tells whether the evaluation of the step that the run goes on from was interrupted: its checkpoint was written
// without it.
func (s *session) owed() bool {
	return s.st.Step > 0 && s.evaluationDue() && s.st.Evaluated < s.st.Step
}

// evaluate measures the samples, writes them down, and tells whether the valid set improved. An owed evaluation belongs
// to a checkpoint that stands already: when it is the best one, checkpoints/best says so before eval.csv has its rows,
// for the rows are what tells a later resume that nothing is owed any more. All rows are written at once.
func (s *session) evaluate(ctx context.Context) (improved bool, err error) {
	samples, err := s.sampler.Evaluate(ctx, s.net)
	if err != nil {
		return false, err
	}
	s.samples = samples
	s.st.Evaluated = s.st.Step
	rows := ""
	for _, sample := range samples {
		rows += evalRow(s.st.Step, s.st.Tokens, sample)
		if sample.Set == "valid" && finite(sample.CrossEntropy) &&
			(s.st.Best == nil || eval.Better(sample.CrossEntropy, s.st.Best.CrossEntropy)) {
			s.st.Best = &Best{Step: s.st.Step, CrossEntropy: sample.CrossEntropy, Perplexity: min(sample.Perplexity, math.MaxFloat64)}
			improved = true
		}
	}
	if s.saved == s.st.Step {
		if err := s.pointers(); err != nil {
			return false, err
		}
	}
	if err := s.evals.add(rows); err != nil {
		return false, err
	}
	for _, sample := range samples {
		if err := s.curves.add(s.st.Step,
			scalar{"eval/" + sample.Set + "/perplexity", sample.Perplexity},
			scalar{"eval/" + sample.Set + "/accuracy", sample.Accuracy},
			scalar{"eval/" + sample.Set + "/bits_per_byte", sample.BitsPerByte}); err != nil {
			return false, err
		}
	}
	s.report.Evaluated(s.st.Step, samples, improved)
	return improved, nil
}
