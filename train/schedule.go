package train

import (
	"fmt"
	"math"
	"slices"
)

// schedule gives the learning rate of each step. With peak P, W warm-up steps, N steps and step s = 1 … N:
//
//	warm-up  s ≤ W:      P · s/W
//	linear   s > W:      P · (1 − p),            p = (s−W−1)/(N−W)
//	cosine   s > W:      P · (1 + cos πp)/2,     p as above
//	wsd      W < s ≤ N−D: P;  s > N−D: P · (1 − √p), p = (s−(N−D)−1)/D
//
// So the first step has rate P/W (HuggingFace's LambdaLR gives its first step 0, which trains nothing: our step s is its
// step s+1 during warm-up), the first step of a decay still has the peak, and the last step is above 0: no step is
// wasted. wsd is warm-up, stable, decay with ModernBERT's 1−√ decay; a run may branch off its stable part.
type schedule struct {
	kind                 string
	peak                 float64
	steps, warmup, decay int
}

var scheduleKinds = []string{"linear", "cosine", "wsd"}

func newSchedule(c *Config) (schedule, error) {
	s := schedule{c.Schedule, c.LearningRate, c.Steps, c.Warmup, c.DecaySteps}
	switch {
	case !slices.Contains(scheduleKinds, s.kind):
		return s, usagef("schedule %q: want linear, cosine or wsd", s.kind)
	case s.warmup < 0 || s.warmup >= s.steps:
		return s, usagef("warm-up of %d steps: want 0 … %d, for there are %d steps", s.warmup, s.steps-1, s.steps)
	case s.kind == "wsd" && (s.decay < 0 || s.warmup+s.decay > s.steps):
		return s, usagef("warm-up of %d and decay of %d steps do not fit into %d steps", s.warmup, s.decay, s.steps)
	case !(s.peak > 0) || math.IsInf(s.peak, 0):
		return s, usagef("learning rate %v: want a number above 0", s.peak)
	}
	return s, nil
}

// rate returns the learning rate of a step, 1 ≤ step ≤ steps.
func (s schedule) rate(step int) float64 {
	if step <= s.warmup {
		return s.peak * float64(step) / float64(s.warmup)
	}
	p := float64(step-s.warmup-1) / float64(s.steps-s.warmup)
	switch s.kind {
	case "linear":
		return s.peak * (1 - p)
	case "cosine":
		return s.peak * (1 + math.Cos(math.Pi*p)) / 2
	case "wsd":
		if begin := s.steps - s.decay; step > begin {
			return s.peak * (1 - math.Sqrt(float64(step-begin-1)/float64(s.decay)))
		}
		return s.peak
	}
	panic(fmt.Sprintf("internal error: schedule %q", s.kind))
}

// defaultWarmup is 6 % of the steps.
func defaultWarmup(steps int) int { return int(math.Round(0.06 * float64(steps))) }

// defaultDecay is the last 20 % of the steps.
func defaultDecay(steps int) int { return int(math.Round(0.2 * float64(steps))) }
