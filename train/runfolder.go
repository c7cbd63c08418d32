package train

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/secencoder/secencoder/internal/atomicfile"
	"github.com/secencoder/secencoder/internal/manifest"
	"github.com/secencoder/secencoder/model"
)

// Names in a run folder; docs/formats/run-folder.md describes them.
const (
	configName      = "config.yaml"
	modelConfigName = "model_config.json"
	metricsName     = "metrics.csv"
	evalName        = "eval.csv"
	curvesName      = "tb"
	checkpointsName = "checkpoints"
	lockName        = ".lock"
	lastName        = "last"
	bestName        = "best"
	optimizerName   = "optimizer.safetensors"
	stepPrefix      = "step-"
	removedPrefix   = ".removed-"
)

// runStatus is what a run folder holds before a run begins or goes on.
type runStatus struct {
	begun  bool     // it has a config.yaml
	config Config   // of it
	other  bool     // it holds files but no config.yaml
	steps  []int    // checkpoints, ascending
	parent []string // hash of the data folder that the run was begun with, when known
}

// inspectRun looks at a run folder without changing anything. An absent folder is an empty one.
func inspectRun(out string) (runStatus, error) {
	var st runStatus
	entries, err := os.ReadDir(out)
	if errors.Is(err, fs.ErrNotExist) {
		return st, nil
	}
	if err != nil {
		return st, err
	}
	for _, e := range entries {
		switch name := e.Name(); {
		case name == configName:
			st.begun = true
		case name == modelConfigName || name == manifest.Name || name == checkpointsName:
			// begin writes them before config.yaml; a run killed in between has not begun.
		case !strings.HasPrefix(name, "."):
			st.other = true
		}
	}
	if st.steps, err = checkpoints(out); err != nil {
		return st, err
	}
	if !st.begun {
		st.other = st.other || len(st.steps) > 0
		st.steps = nil
		return st, nil
	}
	path := filepath.Join(out, configName)
	f, err := readConfigFile(path)
	if err != nil {
		return st, fmt.Errorf("%w: %s", ErrDamaged, err) // the run's file, not what was asked for: no ErrUsage
	}
	if err := checkConfig(out); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return st, err
	}
	f.fill(&st.config)
	if err := errors.Join(st.config.check(), st.config.checkSteps()); err != nil {
		return st, fmt.Errorf("%s: %w: %s", path, ErrDamaged, err)
	}
	m, err := manifest.Read(out)
	switch {
	case err == nil:
		st.parent = append(st.parent, m.Parents["data"])
	case !errors.Is(err, fs.ErrNotExist):
		return st, err
	}
	return st, nil
}

// checkSteps refuses a resolved configuration without a number of steps.
func (c *Config) checkSteps() error {
	if c.Steps < 1 {
		return usagef("steps is %d, want 1 or more", c.Steps)
	}
	_, err := newSchedule(c)
	return err
}

// checkpoints lists the steps of the checkpoints of a run, ascending. A checkpoint appears whole or not at all, so every
// folder of that name is a complete one.
func checkpoints(out string) ([]int, error) {
	entries, err := os.ReadDir(filepath.Join(out, checkpointsName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var steps []int
	for _, e := range entries {
		digits, ok := strings.CutPrefix(e.Name(), stepPrefix)
		if step, err := strconv.Atoi(digits); ok && err == nil && step > 0 && e.IsDir() && strconv.Itoa(step) == digits {
			steps = append(steps, step)
		}
	}
	slices.Sort(steps)
	return steps, nil
}

// begin writes what describes a run: config.yaml last, because its presence is what makes a folder a run.
func (s *session) begin() error {
	if err := os.MkdirAll(s.path(checkpointsName), 0o777); err != nil {
		return err
	}
	settings, err := json.Marshal(s.c.values())
	if err != nil {
		return err
	}
	modelConfig, config := s.modelConfig.JSON(), sealed(s.c.yaml())
	text, err := manifest.Marshal(manifest.Manifest{
		Kind: "run", Tool: Tool(), Config: settings, Parents: s.parents,
		Files: []manifest.FileEntry{manifest.Entry(modelConfigName, modelConfig)},
	})
	if err != nil {
		return err
	}
	for _, f := range []struct {
		name    string
		content []byte
	}{
		{modelConfigName, modelConfig},
		{manifest.Name, text},
		{configName, config},
	} {
		if err := writeFile(s.path(f.name), f.content); err != nil {
			return err
		}
	}
	return nil
}

// seal is the last line of config.yaml, a comment. The manifest cannot hash the file, because runs that differ in threads
// or in where their data lie have one manifest.
const seal = "# SHA-256 of the lines above: "

func sealed(text string) []byte {
	return fmt.Appendf(nil, "%s%s%x\n", text, seal, sha256.Sum256([]byte(text)))
}

func writeFile(path string, content []byte) error {
	return atomicfile.WriteFile(path, func(w io.Writer) error {
		_, err := w.Write(content)
		return err
	})
}

// path returns a path in the run folder.
func (s *session) path(name ...string) string {
	return filepath.Join(append([]string{s.o.Out}, name...)...)
}

// folder returns the checkpoint folder of a step.
func (s *session) folder(step int) string {
	return s.path(checkpointsName, stepPrefix+strconv.Itoa(step))
}

// checkpoint writes the folder of the step just done, points last (and best, when it is this step) to it, and removes
// what retention does not keep. Metrics and curves reach the disk before the checkpoint does, so that a resumed run
// finds every row up to it.
func (s *session) checkpoint() error {
	if err := errors.Join(s.metrics.sync(), s.evals.sync(), s.curves.sync()); err != nil {
		return err
	}
	step := s.st.Step
	s.st.Kernels, s.st.Tool = s.kernels.Name(), Tool()
	p, err := s.provenance()
	if err != nil {
		return err
	}
	settings, err := json.Marshal(s.c.values())
	if err != nil {
		return err
	}
	folder := s.folder(step)
	if err := model.WriteFolder(folder, model.WriteOptions{
		Kind: "checkpoint", Params: s.params, Tokenizer: s.data.tokenizer, Provenance: p, Parents: s.parents, Settings: settings,
		More: func(path func(name ...string) string) error {
			if err := s.params.SaveOptimizer(path(optimizerName)); err != nil {
				return err
			}
			f, err := os.Create(path(stateName))
			if err != nil {
				return err
			}
			return errors.Join(s.st.write(f), f.Close())
		},
	}); err != nil {
		return fmt.Errorf("checkpoint: %w", err)
	}
	s.saved = step
	if err := s.pointers(); err != nil {
		return err
	}
	if err := s.retain(); err != nil {
		return err
	}
	s.report.Checkpoint(step, folder)
	return nil
}

// provenance describes the weights of the step just done.
func (s *session) provenance() (model.Provenance, error) {
	p := model.Provenance{
		Tool: Tool(), Slot0Trained: s.initSlot0 || slot0Trained(s.modelConfig, s.st.Longest), Size: s.c.Size,
		Steps: int64(s.st.Step), Tokens: s.st.Tokens, Context: s.c.Context, Seed: s.c.Seed, Mask: s.c.Mask,
		MaskRate: s.c.MaskRate, Delimiters: s.c.Delimiters, Data: s.data.hash,
	}
	if strings.HasSuffix(p.Size, ".json") {
		p.Size = ""
	}
	if len(s.samples) > 0 && s.st.Evaluated == s.st.Step {
		sets := map[string]map[string]any{}
		for _, x := range s.samples {
			if x.Masked > 0 && finite(x.Perplexity) {
				sets[x.Set] = map[string]any{"perplexity": x.Perplexity, "accuracy": x.Accuracy, "masked_tokens": x.Masked}
			}
		}
		var err error
		if p.Evaluation, err = json.Marshal(map[string]any{"step": s.st.Evaluated, "sampled": sets}); err != nil {
			return p, err
		}
	}
	return p, nil
}

// slot0Trained tells whether a piece of longest tokens reaches row 0 of the position table.
func slot0Trained(c *model.Config, longest int) bool {
	if !c.RelativeAttention || longest < 2 {
		return !c.RelativeAttention
	}
	slots, err := c.SlotTable(longest - 1)
	return err == nil && slots[0] == 0
}

// pointers writes checkpoints/best, when there is one, and then checkpoints/last: where last names the newest checkpoint,
// best is up to date too.
func (s *session) pointers() error {
	if s.st.Best != nil {
		if err := writeFile(s.path(checkpointsName, bestName), []byte(filepath.Base(s.folder(s.st.Best.Step))+"\n")); err != nil {
			return err
		}
	}
	return writeFile(s.path(checkpointsName, lastName), []byte(filepath.Base(s.folder(s.saved))+"\n"))
}

// retain removes checkpoints but the last one, the best one and the newest Keep others. A folder gets another name
// first, so that a half-removed one is never taken for a checkpoint.
func (s *session) retain() error {
	steps, err := checkpoints(s.o.Out)
	if err != nil {
		return err
	}
	others := slices.DeleteFunc(steps, func(step int) bool {
		return step == s.saved || s.st.Best != nil && step == s.st.Best.Step
	})
	for _, step := range others[:max(0, len(others)-s.c.Keep)] {
		removed := s.path(checkpointsName, removedPrefix+stepPrefix+strconv.Itoa(step))
		if err := errors.Join(os.RemoveAll(removed), os.Rename(s.folder(step), removed), os.RemoveAll(removed)); err != nil {
			return err
		}
	}
	return nil
}

// sweep removes what a killed run left half-written or half-removed. The run holds its lock.
func (s *session) sweep() error {
	var errs []error
	for _, dir := range []string{s.o.Out, s.path(checkpointsName)} {
		entries, err := os.ReadDir(dir)
		errs = append(errs, err)
		for _, e := range entries {
			if name := e.Name(); strings.HasPrefix(name, removedPrefix) || name[0] == '.' &&
				(strings.HasSuffix(name, ".tmp") || strings.Contains(name, ".tmp-") || strings.HasSuffix(name, ".partial")) {
				errs = append(errs, os.RemoveAll(filepath.Join(dir, name)))
			}
		}
	}
	return errors.Join(errs...)
}
