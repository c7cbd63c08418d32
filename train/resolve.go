package train

import (
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"

	"github.com/secencoder/secencoder/data/batch"
	"github.com/secencoder/secencoder/internal/units"
	"github.com/secencoder/secencoder/model"
	"github.com/secencoder/secencoder/tokenizer"
)

const (
	defaultSize            = "tiny"
	defaultSteps           = 10_000
	defaultCheckpointEvery = 500
	defaultEvalEvery       = 500

	longestNgram = 64 // package batch's bound
)

// defaults returns a configuration in which everything that a default exists for is set; steps, warm-up, decay and
// eval-every follow later (settle), because they depend on the number of steps.
func defaults(d model.TrainingDefaults, m *model.Config) Config {
	return Config{
		Size: defaultSize, Context: d.Context, TokensPerStep: d.TokensPerStep, Accumulate: 1,
		Memory: "auto", LearningRate: d.LearningRate, Schedule: "linear", Mask: "content", DType: "f32", Device: "cpu",
		CheckpointEvery: defaultCheckpointEvery, Keep: 2,
		MaskRate: 0.15, MaskShare: 0.8, RandomShare: 0.1, RateBase: "set", RandomFrom: "set", Draw: "exact", MaxNgram: 1,
		Delimiters:  tokenizer.DefaultDelimiters().String(),
		WeightDecay: 0.01, Beta1: 0.9, Beta2: 0.98, Epsilon: 1e-6, Clip: 1,
		Dropout: m.HiddenDropoutProb, AttentionDropout: m.AttentionProbsDropoutProb,
		EvalPieces: 2000, EvalTokens: 100_000,
	}
}

// settle fills in what depends on the number of steps and was not given. evalTokens is what one evaluation reads.
func (c *Config) settle(given Settings, evalTokens int64) {
	if given.Warmup == nil {
		c.Warmup = defaultWarmup(c.Steps)
	}
	if given.DecaySteps == nil {
		c.DecaySteps = min(defaultDecay(c.Steps), c.Steps-c.Warmup)
	}
	if given.EvalEvery == nil {
		c.EvalEvery = defaultInterval(c.Steps, c.stepTokens(), evalTokens)
	}
}

// defaultInterval returns the default steps between evaluations: 500, or more where that would spend over 10 % of the
// time. A token costs an evaluation, which has no backward pass, a third of what it costs a step. The last step is
// evaluated in any case.
func defaultInterval(steps, stepTokens int, evalTokens int64) int {
	cost := float64(evalTokens) / 3 / float64(stepTokens) // of one evaluation, in steps
	affordable := max(1, int(0.1*float64(steps)/max(cost, 1e-9)))
	return max(defaultEvalEvery, (steps+affordable-1)/affordable)
}

// microTokens returns T, the tokens of a micro-batch.
func (c *Config) microTokens() int { return max(c.TokensPerStep/c.Accumulate, c.Context) }

// stepTokens returns the places of a step, padding included.
func (c *Config) stepTokens() int { return c.microTokens() * c.Accumulate }

// check refuses values that mean nothing. Errors are ErrUsage and name the flag.
func (c *Config) check() error {
	share := func(v float64) bool { return v >= 0 && v < 1 }
	for _, bad := range []struct {
		is   bool
		text string
	}{
		{c.Data == "", "no data folder given: --data DIR"},
		{c.Context < 3 || c.Context > batch.MaxContext, fmt.Sprintf("--context %d: want 3 … %d", c.Context, batch.MaxContext)},
		{c.TokensPerStep < 1 || c.TokensPerStep > 1<<30, fmt.Sprintf("--tokens-per-step %d: want 1 … %d", c.TokensPerStep, 1<<30)},
		{c.Accumulate < 1 || c.Accumulate > 1<<20, fmt.Sprintf("--accumulate %d: want 1 or more", c.Accumulate)},
		{c.Steps < 0 || c.Steps > math.MaxInt32, fmt.Sprintf("--steps %d: want 1 … %d", c.Steps, math.MaxInt32)},
		{c.Time < 0, fmt.Sprintf("--time %v: want more than 0", c.Time)},
		{!slices.Contains([]string{"f32", "bf16"}, c.DType), fmt.Sprintf("--dtype %s: want f32 or bf16", c.DType)},
		{c.EvalEvery < 0, fmt.Sprintf("--eval-every %d: want 0 or more", c.EvalEvery)},
		{c.CheckpointEvery < 1, fmt.Sprintf("--checkpoint-every %d: want 1 or more", c.CheckpointEvery)},
		{c.Keep < 0, fmt.Sprintf("--keep %d: want 0 or more", c.Keep)},
		{!slices.Contains([]string{"content", "all"}, c.Mask), fmt.Sprintf("--mask %s: want content or all", c.Mask)},
		{!slices.Contains(scheduleKinds, c.Schedule), fmt.Sprintf("--schedule %s: want linear, cosine or wsd", c.Schedule)},
		{!slices.Contains([]string{"set", "piece"}, c.RateBase), fmt.Sprintf("--rate-base %s: want set or piece", c.RateBase)},
		{!slices.Contains([]string{"set", "vocabulary"}, c.RandomFrom), fmt.Sprintf("--random-from %s: want set or vocabulary", c.RandomFrom)},
		{!slices.Contains([]string{"exact", "bernoulli"}, c.Draw), fmt.Sprintf("--draw %s: want exact or bernoulli", c.Draw)},
		{!(c.MaskRate > 0 && c.MaskRate <= 1), fmt.Sprintf("--mask-rate %v: want more than 0, at most 1", c.MaskRate)},
		{!(c.MaskShare >= 0 && c.RandomShare >= 0 && c.MaskShare+c.RandomShare <= 1+0x1p-40),
			fmt.Sprintf("--mask-share %v and --random-share %v: want two parts of 1", c.MaskShare, c.RandomShare)},
		{c.MaxNgram < 1 || c.MaxNgram > longestNgram, fmt.Sprintf("--max-ngram %d: want 1 … %d", c.MaxNgram, longestNgram)},
		{c.MaxNgram > 1 && c.Draw == "bernoulli", "--draw bernoulli masks single tokens: --max-ngram wants --draw exact"},
		{!(c.LearningRate > 0) || math.IsInf(c.LearningRate, 0), fmt.Sprintf("--learning-rate %v: want a number above 0", c.LearningRate)},
		{!(c.WeightDecay >= 0) || math.IsInf(c.WeightDecay, 0), fmt.Sprintf("--weight-decay %v: want 0 or more", c.WeightDecay)},
		{!share(c.Beta1), fmt.Sprintf("--beta1 %v: want 0 or more, less than 1", c.Beta1)},
		{!share(c.Beta2), fmt.Sprintf("--beta2 %v: want 0 or more, less than 1", c.Beta2)},
		{!(c.Epsilon > 0) || math.IsInf(c.Epsilon, 0), fmt.Sprintf("--epsilon %v: want a number above 0", c.Epsilon)},
		{!(c.Clip >= 0) || math.IsInf(c.Clip, 0), fmt.Sprintf("--clip %v: want 0 or more", c.Clip)},
		{!share(c.Dropout), fmt.Sprintf("--dropout %v: want 0 or more, less than 1", c.Dropout)},
		{!share(c.AttentionDropout), fmt.Sprintf("--attention-dropout %v: want 0 or more, less than 1", c.AttentionDropout)},
		{c.EvalPieces < 1, fmt.Sprintf("--eval-pieces %d: want 1 or more", c.EvalPieces)},
		{c.EvalTokens < 1, fmt.Sprintf("--eval-tokens %d: want 1 or more", c.EvalTokens)},
		{c.Threads < 0, fmt.Sprintf("--threads %d: want 1 or more", c.Threads)},
	} {
		if bad.is {
			return usagef("%s", bad.text)
		}
	}
	if _, _, err := parseMemory(c.Memory); err != nil {
		return err
	}
	if _, err := tokenizer.ParseDelimiters(c.Delimiters); err != nil {
		return usagef("--delimiters: %w", err)
	}
	return nil
}

// parseMemory reads --memory: the name of a recomputation policy ("auto" included), or a limit in bytes.
func parseMemory(s string) (policy string, limit int64, err error) {
	switch s {
	case "auto", "none", "cheap", "layer":
		return s, 0, nil
	}
	limit, err = units.ParseSize(s)
	if err != nil || limit < 1 {
		return "", 0, usagef("--memory %s: want auto, none, cheap, layer or a size such as 8GiB", s)
	}
	return "", limit, nil
}

// maskOptions returns the corruption as the batch loader wants it.
func (c *Config) maskOptions() batch.MaskOptions {
	o := batch.MaskOptions{Rate: c.MaskRate, MaskShare: c.MaskShare, RandomShare: c.RandomShare, MaxNgram: c.MaxNgram}
	if c.Mask == "all" {
		o.Set = batch.All
	}
	if c.RateBase == "piece" {
		o.RateBase = batch.RateOfPiece
	}
	if c.RandomFrom == "vocabulary" {
		o.RandomFrom = batch.RandomFromVocabulary
	}
	if c.Draw == "bernoulli" {
		o.Draw = batch.Bernoulli
	}
	return o
}

// mayDiffer are the settings that a resumed run may be given anew: they change no result. A device may change too, and
// then bits may differ. The data folder may have moved: its hash is compared.
var mayDiffer = []string{"data", "memory", "keep", "threads", "device"}

// resumed returns the configuration of a stopped run with what may be given anew, and refuses everything else that is
// given and differs.
func resumed(stored Config, given Settings) (Config, error) {
	next := stored
	given.fill(&next)
	from, to := reflect.ValueOf(stored), reflect.ValueOf(next)
	var changed []string
	for i := range from.NumField() {
		key := from.Type().Field(i).Tag.Get("yaml")
		if slices.Contains(mayDiffer, key) || from.Field(i).Equal(to.Field(i)) {
			continue
		}
		changed = append(changed, fmt.Sprintf("--%s is %v, the run was begun with %v",
			strings.ReplaceAll(key, "_", "-"), to.Field(i), from.Field(i)))
	}
	if len(changed) > 0 {
		return stored, usagef("a resumed run keeps its settings: %s", strings.Join(changed, "; "))
	}
	return next, nil
}
