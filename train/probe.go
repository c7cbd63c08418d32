package train

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/secencoder/secencoder/data/batch"
)

const (
	timedProbe = 10 // steps, when --time asks for a number of steps
	shortProbe = 3  // steps, when only the expected time is wanted

	probeTime = 10 * time.Second // a probe that has taken longer ends with the step that it is at
)

// probe measures the time of a step by doing some: it draws, computes gradients, and updates. The update's target is the
// gradient arena, so the weights are never touched; gradients and moments hold garbage afterwards, and whoever begins a
// run clears or loads them. The first step, which touches all memory for the first time, is left out; the median of the
// others is the answer. Where steps are long it makes do with fewer, one at least: none begins after limit. It ends with
// an error between two kernels when ctx is cancelled.
func (s *session) probe(ctx context.Context, steps int, limit time.Duration) (time.Duration, error) {
	loader, err := s.newLoader()
	if err != nil {
		return 0, err
	}
	var times []time.Duration
	began := time.Now()
	idle := *s.optimizer
	idle.weights = idle.grads
	for i := range steps {
		if i > 0 && time.Since(began) > limit {
			break
		}
		if ctx.Err() != nil {
			return 0, fmt.Errorf("interrupted before the first step: %w", ctx.Err())
		}
		begun := time.Now()
		micros, err := loader.NextStep()
		if err != nil {
			return 0, fmt.Errorf("probe: %w", err)
		}
		masked, _, _ := census(micros)
		if masked > 0 {
			_, norm, err := s.gradients(ctx, micros, i+1, masked)
			switch {
			case err != nil && errors.Is(err, ctx.Err()):
				return 0, fmt.Errorf("interrupted before the first step: %w", err)
			case err != nil:
				return 0, fmt.Errorf("probe: %w", err)
			}
			if err := idle.update(i+1, s.c.LearningRate, norm); err != nil {
				return 0, fmt.Errorf("probe: %w", err)
			}
		}
		times = append(times, time.Since(begun))
	}
	if len(times) > 1 {
		times = times[1:]
	}
	slices.Sort(times)
	return times[len(times)/2], nil
}

// stepsFor returns how many steps fit into a time, evaluations included: evaluations take a tenth of it at most, and the
// last step is evaluated in any case. At least one.
func stepsFor(budget, step time.Duration, evalSteps float64, evaluate bool) int {
	n := float64(budget) / float64(max(step, 1))
	if evaluate {
		n -= max(min(evalSteps, n/2), n/11)
	}
	return max(1, min(int(n), 1<<31-1))
}

// newLoader returns a loader at the start of the data.
func (s *session) newLoader() (*batch.Loader, error) {
	return batch.NewLoader(s.data.train, s.vocabulary, batch.Options{
		Context: s.c.Context, T: s.c.microTokens(), Accumulate: s.c.Accumulate, Seed: s.c.Seed, Mask: s.c.maskOptions(),
	})
}
