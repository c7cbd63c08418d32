// Package verify checks that a data, run or model folder is what its writer left: the size and SHA-256 of every file, and
// that the parts belong together (tokenizer and shards, weights and configuration, checkpoint names and folders, parents).
//
// Begin with Path, which finds out what a folder is. A finding is one sentence with the place; the first one ends the
// check, because what follows a broken file says little. The package repairs nothing.
package verify

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/secencoder/secencoder/data"
	"github.com/secencoder/secencoder/data/shard"
	"github.com/secencoder/secencoder/internal/manifest"
	"github.com/secencoder/secencoder/internal/units"
	"github.com/secencoder/secencoder/model"
	"github.com/secencoder/secencoder/train"
)

// ErrUnknown says that a path holds nothing that this package knows.
var ErrUnknown = errors.New("neither a data folder, a run folder nor a model folder")

// Report lists what was checked, a line each, in the order of the checks.
type Report struct {
	Kind   string   `json:"kind"` // data, run, model or checkpoint
	Checks []string `json:"checks"`
	Bytes  int64    `json:"bytes"` // hashed
}

func (r *Report) add(format string, args ...any) {
	r.Checks = append(r.Checks, fmt.Sprintf(format, args...))
}

// Path checks the folder at path. The error names what is broken, with what was found and what was expected; the Report
// holds what was found right before it. ctx ends a check between two files.
func Path(ctx context.Context, path string) (*Report, error) {
	r := &Report{}
	if info, err := os.Stat(path); err != nil {
		return r, err
	} else if !info.IsDir() {
		return r, fmt.Errorf("%s: is a file: %w", path, ErrUnknown)
	}
	has := func(name string) bool {
		_, err := os.Stat(filepath.Join(path, name))
		return err == nil
	}
	switch {
	case has("config.yaml") || has("checkpoints"):
		r.Kind = "run"
		return r, r.run(ctx, path)
	case has("config.json"):
		r.Kind = "model"
		return r, r.model(path)
	case has(manifest.Name) || has(data.Train.String()):
		r.Kind = "data"
		return r, r.data(path)
	}
	return r, fmt.Errorf("%s: %w", path, ErrUnknown)
}

// count adds the files of a manifest that was compared.
func (r *Report) count(dir string, m manifest.Manifest) {
	var total int64
	for _, f := range m.Files {
		total += f.Size
	}
	r.Bytes += total
	r.add("%s: %d files, %s: sizes and SHA-256 agree with the manifest", dir, len(m.Files), units.FormatSize(total))
}

func (r *Report) data(dir string) (err error) {
	if err := shard.Verify(dir); err != nil {
		return err
	}
	d, err := shard.OpenData(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	r.count(dir, d.Manifest)
	for _, split := range data.Splits() {
		if set := d.Sets[split]; set != nil {
			r.add("%s: %s documents, %s tokens: every block agrees with its checksum, the tokenizer is theirs", filepath.Join(dir, split.String()),
				units.Count(set.Documents()), units.Count(set.Tokens()))
		}
	}
	return nil
}

func (r *Report) model(dir string) (err error) {
	if _, err := os.Stat(filepath.Join(dir, manifest.Name)); err == nil {
		m, err := manifest.Read(dir)
		if err != nil {
			return err
		}
		if err := manifest.Verify(dir); err != nil {
			return err
		}
		r.count(dir, m)
		if m.Kind != "model" && m.Kind != "checkpoint" {
			return fmt.Errorf("%s: manifest kind is %q, want \"model\" or \"checkpoint\"", dir, m.Kind)
		}
		r.Kind = m.Kind
	} else {
		r.add("%s: no manifest, as HuggingFace folders have none: structure only", dir)
	}
	f, err := model.ReadFolder(dir, model.ReadOptions{Training: true})
	if err != nil {
		return err
	}
	r.add("%s: %s parameters fit the configuration, the tokenizer belongs to them", dir, units.Count(f.Params.Elements()))
	return f.Close()
}

// checkpoint checks a folder that the run wrote, which always has a manifest.
func (r *Report) checkpoint(dir string) error {
	if _, err := os.Stat(filepath.Join(dir, manifest.Name)); err != nil {
		return err
	}
	return r.model(dir)
}

func (r *Report) run(ctx context.Context, dir string) error {
	m, err := manifest.Read(dir)
	if err != nil {
		return err
	}
	if m.Kind != "run" {
		return fmt.Errorf("%s: manifest kind is %q, want \"run\"", dir, m.Kind)
	}
	r.add("%s: manifest names its parents: %s", dir, parents(m.Parents))
	if err := manifest.Verify(dir); err != nil {
		return err
	}
	if _, err := os.Stat(filepath.Join(dir, "config.yaml")); err != nil {
		return err
	}
	if len(m.Files) > 0 { // runs begun by earlier versions list none
		r.count(dir, m)
	}
	checkpoints := filepath.Join(dir, "checkpoints")
	entries, err := os.ReadDir(checkpoints)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	found := 0
	for _, e := range entries {
		if err := ctx.Err(); err != nil {
			return err
		}
		if !e.IsDir() || strings.HasPrefix(e.Name(), ".") {
			continue
		}
		if err := r.checkpoint(filepath.Join(checkpoints, e.Name())); err != nil {
			return err
		}
		found++
	}
	r.Kind = "run"
	lines, err := train.Check(dir)
	if err != nil {
		return err
	}
	r.Checks = append(r.Checks, lines...)
	if found == 0 {
		return nil
	}
	for _, name := range []string{"last", "best"} {
		line, err := os.ReadFile(filepath.Join(checkpoints, name))
		if errors.Is(err, fs.ErrNotExist) && name == "best" {
			continue // nothing was evaluated
		}
		if err != nil {
			return err
		}
		step, ended := strings.CutSuffix(string(line), "\n")
		if !ended || !filepath.IsLocal(step) || filepath.Base(step) != step {
			return fmt.Errorf("%s: holds %q, want one line with the name of a folder beside it", filepath.Join(checkpoints, name), line)
		}
		if _, err := os.Stat(filepath.Join(checkpoints, step, "config.json")); err != nil {
			return fmt.Errorf("%s: names %q, which is no checkpoint: %w", filepath.Join(checkpoints, name), step, err)
		}
		r.add("%s: %s", filepath.Join(checkpoints, name), step)
	}
	return nil
}

func parents(p map[string]string) string {
	if len(p) == 0 {
		return "none"
	}
	var s []string
	for role, hash := range p {
		s = append(s, role+" "+hash[:min(16, len(hash))])
	}
	slices.Sort(s)
	return strings.Join(s, ", ")
}
