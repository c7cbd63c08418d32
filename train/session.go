package train

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"time"

	"github.com/secencoder/secencoder/data/batch"
	"github.com/secencoder/secencoder/eval"
	"github.com/secencoder/secencoder/internal/device"
	"github.com/secencoder/secencoder/internal/exec"
	"github.com/secencoder/secencoder/internal/filelock"
	"github.com/secencoder/secencoder/internal/kernel"
	"github.com/secencoder/secencoder/model"
	"github.com/secencoder/secencoder/tokenizer"
)

// hooks are for tests: a network that is no compiled model, gradients that are spoilt.
type hooks struct {
	network   func(s *session) (network, error)
	gradients func(step int, grads []float32)
}

// session is a run while it runs.
type session struct {
	o       *Options
	report  Reporter
	given   Settings // flags over file
	c       Config
	run     runStatus
	parents map[string]string

	lock        *filelock.Lock
	data        *dataset
	vocabulary  *batch.Vocabulary
	modelConfig *model.Config
	initSlot0   bool // the weights that the run began with had slot 0 trained
	device      *device.Device
	kernels     kernel.Kernels
	params      *model.Params
	net         network
	policy      exec.Policy
	packed      int64 // bytes of weights that a step packs once; 0: each product packs its own
	available   int64
	optimizer   *optimizer
	schedule    schedule
	sampler     *eval.Sampler
	loader      *batch.Prefetcher
	metrics     *table
	evals       *table
	curves      *events

	st       State
	saved    int // step of the newest checkpoint; 0: none
	samples  []eval.Sample
	finished bool
}

// open prepares a run up to its first step. What it finds wrong is said before the run folder changes.
func open(ctx context.Context, o *Options) (s *session, err error) {
	s = &session{o: o, report: o.Reporter, parents: map[string]string{}}
	if s.report == nil {
		s.report = silent{}
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
		}
	}()
	if err := s.layers(); err != nil {
		return s, err
	}
	if s.finished, err = s.isFinished(); err != nil || s.finished {
		return s, err
	}
	for _, part := range []func() error{
		s.openData, s.openModel, s.settings, s.openDevice, s.openVocabulary, s.openNetwork, s.acquire,
		func() error { return s.plan(ctx) }, s.place, s.start,
	} {
		if ctx.Err() != nil {
			return s, fmt.Errorf("interrupted before the first step: %w", ctx.Err())
		}
		if err := part(); err != nil {
			return s, err
		}
	}
	return s, nil
}

// layers merges flags, settings file and, for a resumed run, its config.yaml.
func (s *session) layers() error {
	s.given = s.o.Settings
	if s.o.ConfigFile != "" {
		f, err := readConfigFile(s.o.ConfigFile)
		if err != nil {
			return err
		}
		s.given = s.given.over(f.Settings)
		if s.o.Out == "" && f.Out != nil {
			s.o.Out = *f.Out
		}
	}
	switch {
	case s.given.Steps != nil && *s.given.Steps < 1:
		return usagef("--steps %d: want 1 or more", *s.given.Steps)
	case s.given.Time != nil && *s.given.Time <= 0:
		return usagef("--time %v: want more than 0", *s.given.Time)
	case s.o.Steps != nil && s.o.Time != nil:
		return usagef("both --steps and --time were given: one fixes the other")
	}
	if s.o.Out == "" {
		return usagef("no run folder given: --out RUN")
	}
	if err := s.given.absolute(); err != nil {
		return err
	}
	var err error
	if s.run, err = inspectRun(s.o.Out); err != nil {
		return err
	}
	switch {
	case s.run.begun && !s.o.Resume:
		return usageError{fmt.Errorf("%s: %w", s.o.Out, ErrUsed)}
	case !s.run.begun && s.run.other:
		return usagef("%s: holds files but no %s: not a run folder; choose another --out", s.o.Out, configName)
	case s.run.begun:
		s.c, err = resumed(s.run.config, s.given)
		return err
	}
	return nil
}

// absolute makes the paths of settings hold in any working directory.
func (g *Settings) absolute() error {
	for _, p := range []**string{&g.Data, &g.Init, &g.Size} {
		if *p == nil || p == &g.Size && !isConfigFile(**p) {
			continue
		}
		abs, err := absolute(**p)
		if err != nil {
			return err
		}
		*p = &abs
	}
	return nil
}

// isConfigFile tells a config.json given as size from the name of a preset.
func isConfigFile(size string) bool {
	return strings.HasSuffix(size, ".json") || strings.ContainsAny(size, `/\`)
}

// isFinished tells whether a resumed run has done all it promised, the evaluation of its last step included.
func (s *session) isFinished() (bool, error) {
	if len(s.run.steps) == 0 {
		return false, nil
	}
	newest := s.run.steps[len(s.run.steps)-1]
	folder := s.folder(newest)
	st, err := readState(folder)
	if err != nil {
		return false, &CheckpointError{folder, err}
	}
	if st.Step != newest || st.Steps != s.c.Steps || st.Seed != s.c.Seed {
		return false, &CheckpointError{folder, fmt.Errorf("%s: step %d of %d, seed %d: want step %d of %d, seed %d", filepath.Join(folder, stateName),
			st.Step, st.Steps, st.Seed, newest, s.c.Steps, s.c.Seed)}
	}
	s.st, s.saved = *st, newest
	if st.Step < st.Steps {
		return false, nil
	}
	if !s.evaluationDue() || st.Evaluated == st.Step {
		return true, nil
	}
	return hasRow(s.path(evalName), st.Step)
}

// settings resolves a fresh configuration; a resumed one is resolved already.
func (s *session) settings() error {
	if s.run.begun {
		return s.c.check()
	}
	s.given.fill(&s.c)
	if err := s.c.check(); err != nil {
		return err
	}
	if d := s.o.Settings.DecaySteps; d != nil && s.c.Schedule != "wsd" { // a settings file may be another run's, which has it
		return usagef("--decay-steps %d: only --schedule wsd has a final decay, %s has none", *d, s.c.Schedule)
	}
	if m := s.modelConfig; m.PositionBiasedInput && s.c.Context > m.MaxPositionEmbeddings {
		return usagef("--context %d: the model has absolute positions for %d tokens (max_position_embeddings)", s.c.Context, m.MaxPositionEmbeddings)
	}
	if s.timed() {
		return nil
	}
	if s.c.Steps == 0 {
		s.c.Steps = defaultSteps
	}
	settled := s.c
	settled.settle(s.given, 0)
	_, err := newSchedule(&settled)
	return err
}

// timed tells whether a probe has to fix the number of steps.
func (s *session) timed() bool { return s.c.Time > 0 && s.c.Steps == 0 }

func (s *session) openDevice() (err error) {
	s.device, err = device.Open(device.Options{Threads: s.c.Threads, Device: s.c.Device})
	if err != nil {
		var usage *device.UsageError
		if errors.As(err, &usage) {
			return usageError{err}
		}
		return err
	}
	s.kernels = s.device.Kernels()
	if s.saved > 0 && s.st.Kernels != s.kernels.Name() {
		s.report.Remark(fmt.Sprintf("the run was begun with kernels %s and goes on with %s: its bits may differ from those of an uninterrupted run",
			s.st.Kernels, s.kernels.Name()))
	}
	return nil
}

func (s *session) openData() (err error) {
	dir := s.c.Data
	if s.given.Data != nil {
		dir = *s.given.Data
	}
	if dir == "" {
		return usagef("no data folder given: --data DIR")
	}
	if s.data, err = openDataset(dir); err != nil {
		return err
	}
	s.c.Data = dir
	s.parents["data"] = s.data.hash
	for _, want := range append(s.run.parent, s.st.Data) {
		if want != "" && want != s.data.hash {
			return fmt.Errorf("%s: its manifest has the hash %.16s, the run was begun with data of %.16s", dir, s.data.hash, want)
		}
	}
	return nil
}

func (s *session) openVocabulary() error {
	set, err := tokenizer.ParseDelimiters(s.c.Delimiters)
	if err != nil {
		return usagef("--delimiters: %w", err)
	}
	if s.vocabulary, err = batch.NewVocabulary(s.data.tokenizer.Special(), s.data.tokenizer.Classes(set)); err != nil {
		return fmt.Errorf("%s: %w", s.data.dir, err)
	}
	o := batch.EvaluationOptions{
		Context: s.c.Context, T: s.c.microTokens(), Seed: s.c.Seed, Pieces: s.c.EvalPieces, Tokens: int64(s.c.EvalTokens),
		Mask: s.c.maskOptions(),
	}
	o.Mask.Set = batch.Content // primary in every evaluation, so that runs compare
	if s.sampler, err = eval.NewSampler(s.data.held, s.data.tokenizer, s.vocabulary, o); err != nil {
		return err
	}
	if len(s.data.held) == 0 && s.given.EvalEvery == nil && !s.run.begun {
		s.given.EvalEvery = new(0) // nothing to evaluate on
	}
	return nil
}

// openNetwork promises the memory, then takes it.
func (s *session) openNetwork() (err error) {
	fresh := s.params == nil
	if err := s.promise(); err != nil {
		return err
	}
	if fresh {
		if s.params, err = model.NewParams(s.modelConfig, model.Heads{MLM: true}); err != nil {
			return err
		}
		s.params.Init(s.c.Seed)
	}
	if err := errors.Join(s.params.AllocateGrads(), s.params.AllocateMoments()); err != nil {
		return err
	}
	s.optimizer = newOptimizer(s.kernels, s.params, &s.c)
	build := compiled
	if s.o.hooks.network != nil {
		build = s.o.hooks.network
	}
	if s.net, err = build(s); err != nil {
		return err
	}
	if s.o.PrintPlan != nil {
		return s.net.print(s.o.PrintPlan)
	}
	return nil
}

// acquire makes the run folder this run's own.
func (s *session) acquire() (err error) {
	if err := os.MkdirAll(s.o.Out, 0o777); err != nil {
		return err
	}
	if s.lock, err = filelock.TryLock(s.path(lockName)); err != nil {
		return fmt.Errorf("%s: %w", s.o.Out, err)
	}
	// Another run may have begun or gone on between the first look and the lock.
	now, err := inspectRun(s.o.Out)
	if err != nil {
		return err
	}
	if now.begun != s.run.begun || len(now.steps) != len(s.run.steps) ||
		len(now.steps) > 0 && now.steps[len(now.steps)-1] != s.run.steps[len(s.run.steps)-1] {
		return usageError{fmt.Errorf("%s: another run wrote to it just now: %w", s.o.Out, ErrUsed)}
	}
	return nil
}

// plan fixes the number of steps and tells what is going to happen.
func (s *session) plan(ctx context.Context) error {
	probes, limit := shortProbe, probeTime
	if s.timed() {
		probes, limit = timedProbe, max(probeTime, time.Duration(s.c.Time)/20)
	}
	step, err := s.probe(ctx, probes, limit)
	if err != nil {
		return err
	}
	evalTokens := s.sampler.Tokens()
	evalSteps := float64(evalTokens) / 3 / float64(s.c.stepTokens())
	if s.timed() {
		evaluate := s.given.EvalEvery == nil || *s.given.EvalEvery > 0
		s.c.Steps = stepsFor(time.Duration(s.c.Time), step, evalSteps, evaluate)
	}
	if !s.run.begun {
		s.c.settle(s.given, evalTokens)
	}
	if s.schedule, err = newSchedule(&s.c); err != nil {
		return err
	}
	left := s.c.Steps - s.st.Step
	expected := float64(step) * float64(left)
	if s.c.EvalEvery > 0 {
		evaluations := max(1, left/s.c.EvalEvery)
		expected += float64(step) * evalSteps * float64(evaluations)
	}
	p := Plan{
		Size: s.c.Size, Layers: s.modelConfig.NumHiddenLayers, Hidden: s.modelConfig.HiddenSize,
		Parameters: s.params.Elements(), Vocabulary: s.modelConfig.VocabSize,
		Documents: s.data.train.Documents(), TrainTokens: s.data.tokens,
		MemoryBytes: s.params.Bytes() + s.net.bytes(), Available: s.available, Recompute: s.policy.String(),
		Micro: s.c.microTokens(), Asked: s.c.TokensPerStep, Accumulate: s.c.Accumulate, Context: s.c.Context, Steps: s.c.Steps, Done: s.st.Step,
		StepTime: step, Expected: time.Duration(expected), EvalEvery: s.c.EvalEvery,
		Kernels: s.kernels.Name(), KernelsReason: s.device.Why(), Threads: s.device.Threads(),
	}
	s.report.Plan(p)
	return nil
}

// place puts optimizer, state and loader to where the run begins or goes on.
func (s *session) place() error {
	loader, err := s.newLoader()
	if err != nil {
		return err
	}
	first, second := s.params.Moments()
	clear(first)
	clear(second)
	clear(s.params.Grads())
	if s.saved == 0 {
		s.st = State{
			Schema: stateSchema, Steps: s.c.Steps, Seed: s.c.Seed, Data: s.data.hash, Tokenizer: fingerprint(s.data.tokenizer),
			Parameters: s.params.Elements(),
		}
	} else {
		if err := s.params.LoadOptimizer(filepath.Join(s.folder(s.saved), optimizerName)); err != nil {
			return &CheckpointError{s.folder(s.saved), err}
		}
		if err := loader.Restore(s.st.Loader); err != nil {
			return fmt.Errorf("%s: %w", filepath.Join(s.folder(s.saved), stateName), err)
		}
	}
	s.st.Loader = loader.State()
	s.loader = batch.NewPrefetcher(loader)
	return nil
}

// start opens the files that grow, after cutting what lies behind the step that the run goes on from.
func (s *session) start() (err error) {
	if !s.run.begun {
		if err := s.begin(); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(s.path(checkpointsName), 0o777); err != nil {
		return err
	}
	if err := s.sweep(); err != nil {
		return err
	}
	if s.metrics, err = createTable(s.path(metricsName), metricsColumns, s.st.Step); err != nil {
		return err
	}
	evaluated := s.st.Step
	if s.owed() {
		evaluated--
	}
	if s.evals, err = createTable(s.path(evalName), evalColumns, evaluated); err != nil {
		return err
	}
	if err := s.remarkLost(); err != nil {
		return err
	}
	if s.curves, err = createEvents(s.path(curvesName), s.st.Step+1, time.Now); err != nil {
		return err
	}
	if s.saved > 0 {
		return s.pointers()
	}
	return nil
}

// remarkLost says so where somebody removed what an earlier part of the run had written of its steps.
func (s *session) remarkLost() error {
	text, err := os.ReadFile(s.path(metricsName))
	if err != nil {
		return err
	}
	if rows := bytes.Count(text, []byte("\n")) - 1; rows < s.st.Step {
		s.report.Remark(fmt.Sprintf("%s has %d of the %d steps done so far: somebody removed the others", s.path(metricsName), rows, s.st.Step))
	}
	if _, err := os.Stat(s.path(curvesName)); errors.Is(err, fs.ErrNotExist) && s.st.Step > 0 {
		s.report.Remark(fmt.Sprintf("%s is gone: the curves begin anew at step %d", s.path(curvesName), s.st.Step+1))
	}
	return nil
}

// close gives everything back; parts that were never opened are passed over.
func (s *session) close() error {
	var errs []error
	if s.loader != nil {
		errs = append(errs, s.loader.Close())
	}
	for _, t := range []*table{s.metrics, s.evals} {
		if t != nil {
			errs = append(errs, t.close())
		}
	}
	if s.curves != nil {
		errs = append(errs, s.curves.close())
	}
	if s.net != nil {
		errs = append(errs, s.net.close())
	}
	if s.params != nil {
		errs = append(errs, s.params.Close())
	}
	if s.device != nil {
		errs = append(errs, s.device.Close())
	}
	if s.data != nil {
		errs = append(errs, s.data.close())
	}
	if s.lock != nil {
		errs = append(errs, s.lock.Unlock())
	}
	return errors.Join(errs...)
}

// result describes the run as it stands.
func (s *session) result() *Result {
	r := &Result{
		Finished: s.finished, Step: s.st.Step, Steps: s.c.Steps, Tokens: s.st.Tokens, Skipped: s.st.skipped(),
		Evaluations: s.samples,
	}
	if s.st.Loss != nil {
		r.Loss = *s.st.Loss
	}
	if s.saved > 0 {
		r.Last = s.folder(s.saved)
	}
	if line, err := os.ReadFile(s.path(checkpointsName, bestName)); err == nil {
		r.Best = s.path(checkpointsName, strings.TrimSpace(string(line)))
	}
	return r
}

// Tool returns the name and version of the program, as manifests state it.
func Tool() string {
	version := "(devel)"
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		version = info.Main.Version
	}
	return "secencoder " + version
}
