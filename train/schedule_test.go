package train

import (
	"errors"
	"math"
	"testing"
)

func TestScheduleValues(t *testing.T) {
	const u = 0x1p-50 // a few roundings of float64
	for _, c := range []struct {
		name string
		s    schedule
		want map[int]float64
	}{
		{"linear", schedule{"linear", 1, 10, 4, 0}, map[int]float64{1: 0.25, 2: 0.5, 4: 1, 5: 1, 6: 5. / 6, 10: 1. / 6}},
		{"linear without warm-up", schedule{"linear", 2, 4, 0, 0}, map[int]float64{1: 2, 2: 1.5, 4: 0.5}},
		{"cosine", schedule{"cosine", 1, 8, 4, 0}, map[int]float64{4: 1, 5: 1, 6: (1 + math.Sqrt2/2) / 2, 7: 0.5, 8: (1 - math.Sqrt2/2) / 2}},
		{"wsd", schedule{"wsd", 1, 10, 2, 4}, map[int]float64{1: 0.5, 2: 1, 6: 1, 7: 1, 8: 0.5, 10: 1 - math.Sqrt(0.75)}},
		{"wsd without decay", schedule{"wsd", 1, 10, 2, 0}, map[int]float64{1: 0.5, 10: 1}},
		{"one step", schedule{"linear", 3, 1, 0, 0}, map[int]float64{1: 3}},
	} {
		for step, want := range c.want {
			if got := c.s.rate(step); math.Abs(got-want) > u {
				t.Errorf("%s: step %d has rate %v, want %v", c.name, step, got, want)
			}
		}
		for step := 1; step <= c.s.steps; step++ {
			if r := c.s.rate(step); !(r > 0 && r <= c.s.peak) {
				t.Errorf("%s: step %d has rate %v, want above 0 and at most %v", c.name, step, r, c.s.peak)
			}
		}
	}
}

func TestScheduleRefuses(t *testing.T) {
	for name, c := range map[string]Config{
		"kind":    {Schedule: "step", LearningRate: 1, Steps: 10},
		"warm-up": {Schedule: "linear", LearningRate: 1, Steps: 10, Warmup: 10},
		"decay":   {Schedule: "wsd", LearningRate: 1, Steps: 10, Warmup: 5, DecaySteps: 6},
		"rate":    {Schedule: "linear", LearningRate: 0, Steps: 10},
	} {
		if _, err := newSchedule(&c); !errors.Is(err, ErrUsage) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestStepsFor(t *testing.T) {
	for _, c := range []struct {
		budget, step int64
		cost         float64
		evaluate     bool
		want         int
	}{
		{1000, 10, 0, false, 100},
		{1000, 10, 50, false, 100},
		{1100, 10, 5, true, 100}, // a tenth of the steps' time for evaluations
		{1000, 10, 20, true, 80}, // one evaluation costs more than that
		{1000, 10, 500, true, 50},
		{5, 10, 0, true, 1},
	} {
		if got := stepsFor(durationOf(c.budget), durationOf(c.step), c.cost, c.evaluate); got != c.want {
			t.Errorf("%+v: got %d", c, got)
		}
	}
}

func TestDefaultIntervalStaysUnderATenth(t *testing.T) {
	for _, c := range []struct {
		steps, stepTokens int
		evalTokens        int64
	}{{10_000, 512, 200_000}, {10_000, 8192, 300_000}, {1500, 512, 200_000}, {100, 512, 300_000}, {10_000, 512, 0}} {
		every := defaultInterval(c.steps, c.stepTokens, c.evalTokens)
		evaluations := (c.steps + every - 1) / every
		cost := float64(evaluations) * float64(c.evalTokens) / 3 / float64(c.stepTokens)
		if every < 500 || evaluations > 1 && cost > 0.1*float64(c.steps) {
			t.Errorf("%+v: every %d steps: %d evaluations cost %.0f steps", c, every, evaluations, cost)
		}
	}
}
