// Package quickstart runs the whole chain once, small, and tells what it does in a short account: logs, data folder,
// tokenizer, pretraining, evaluation against baselines, neighbours of one log line, export for HuggingFace.
//
// Begin with Run. Each stage is the public package that the verb of the same name calls, with the settings in stages.go;
// nothing here is special to the demonstration but the choice of sizes and the wording. It decides one thing itself:
// whether the model learned (Learned), which design calls the answer of quickstart.
package quickstart

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/secencoder/secencoder/data/synth"
	"github.com/secencoder/secencoder/internal/atomicfile"
	"github.com/secencoder/secencoder/internal/filelock"
	"github.com/secencoder/secencoder/internal/manifest"
	"github.com/secencoder/secencoder/internal/progress"
	"github.com/secencoder/secencoder/train"
)

// Options say what to run.
type Options struct {
	In    []string // the user's own logs; empty: generated ones
	Out   string   // folder to make
	Small bool     // the form that takes under 40 seconds
	// KeepGoing passes over damaged and unreadable files of In.
	KeepGoing bool

	Seed    uint64
	Threads int
	Tool    string         // program and version, for manifests
	Account io.Writer      // the short account: results
	Remarks io.Writer      // progress and remarks; nil for none
	Report  train.Reporter // hears the training; nil for none
	Quiet   bool
}

// Errors for decisions that a caller takes.
var (
	// ErrFinished says that Out holds a finished quickstart.
	ErrFinished = errors.New("holds a finished quickstart")
	// ErrForeign says that Out holds something else.
	ErrForeign = errors.New("is not empty and no quickstart")
	// ErrTheirs says that a half-finished Out holds something that no stage wrote.
	ErrTheirs = errors.New("is not quickstart's, and beginning anew would remove it")
	// ErrInside says that Out holds logs that are to be read: beginning anew would remove them.
	ErrInside = errors.New("holds an input")
	// ErrNotLearned says that the model is not better than the unigram baseline by ln 2 nats in distribution.
	ErrNotLearned = errors.New("the model did not learn enough")
)

// mark is the file that says whose folder Out is; done stands in it once everything is there. lockName is locked by the
// one Run that works in Out.
const (
	mark      = ".quickstart"
	markBegun = "begun\n"
	markDone  = "done\n"
	lockName  = ".lock"
)

// parts are what Run makes in Out. A half-finished Out is begun anew: these, and nothing else, are removed.
var parts = []string{"logs", "labels", "data", "run", "hf"}

// Run does the chain. It makes Out with logs, data, run and hf in it; a finished one is refused with ErrFinished, a folder
// with other things in it with ErrForeign, one that another process works in with filelock.ErrLocked, one that holds an
// input with ErrInside. It returns ErrNotLearned when the answer is no. When it fails before anything is made, Out is as
// it was.
func Run(ctx context.Context, o Options) error {
	begun := time.Now()
	if err := o.checkInputs(); err != nil {
		return err
	}
	c, err := claim(o.Out)
	if err != nil {
		return err
	}
	return errors.Join(run(ctx, begun, o), c.release())
}

func run(ctx context.Context, begun time.Time, o Options) error {
	if o.Remarks == nil {
		o.Remarks = io.Discard
	}
	if o.Report == nil {
		o.Report = &train.TextReporter{W: io.Discard}
	}
	s := &stages{Options: o, size: sizeOf(o.Small)}
	for _, stage := range []func(context.Context) error{s.logs, s.build, s.pretrain, s.evaluate, s.neighbours, s.export} {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := stage(ctx); err != nil {
			return err
		}
	}
	if err := s.close(); err != nil {
		return err
	}
	if err := writeMark(o.Out, markDone); err != nil {
		return err
	}
	if err := s.farewell(time.Since(begun)); err != nil {
		return err
	}
	return s.learned()
}

// checkInputs refuses inputs that are not there, or that lie in Out.
func (o *Options) checkInputs() error {
	out, err := filepath.Abs(o.Out)
	if err != nil {
		return err
	}
	if real, err := filepath.EvalSymlinks(out); err == nil {
		out = real
	}
	for _, in := range o.In {
		if in == "-" {
			continue
		}
		if _, err := os.Stat(in); err != nil {
			return err
		}
		abs, err := filepath.Abs(in)
		if err != nil {
			return err
		}
		if abs, err = filepath.EvalSymlinks(abs); err != nil {
			return err
		}
		if rel, err := filepath.Rel(out, abs); err == nil && filepath.IsLocal(rel) {
			return fmt.Errorf("%s: %w, %s", o.Out, ErrInside, in)
		}
	}
	return nil
}

// claimed is Out while Run works in it.
type claimed struct {
	out  string
	made bool // by us
	lock *filelock.Lock
}

// claim makes Out ours: absent, empty, or left half-finished by an earlier Run.
func claim(out string) (c *claimed, err error) {
	if _, err := stateOf(out); err != nil {
		return nil, err
	}
	_, err = os.Stat(out)
	c = &claimed{out: out, made: errors.Is(err, fs.ErrNotExist)}
	if err := os.MkdirAll(out, 0o777); err != nil {
		return nil, err
	}
	if c.lock, err = filelock.TryLock(filepath.Join(out, lockName)); err != nil {
		if errors.Is(err, filelock.ErrLocked) {
			err = fmt.Errorf("%s: %w", out, filelock.ErrLocked)
		}
		return nil, err
	}
	begun, err := stateOf(out) // another Run may have ended since
	if err != nil {
		return nil, errors.Join(err, c.lock.Unlock())
	}
	if begun {
		if err := onlyOurs(out); err != nil {
			return nil, errors.Join(err, c.lock.Unlock())
		}
		for _, part := range parts {
			if err := os.RemoveAll(filepath.Join(out, part)); err != nil {
				return nil, errors.Join(err, c.lock.Unlock())
			}
		}
	}
	if err := writeMark(out, markBegun); err != nil {
		return nil, errors.Join(err, c.release())
	}
	return c, nil
}

// stateOf tells whether out was begun by an earlier Run. An out that is finished or not ours is an error.
func stateOf(out string) (begun bool, err error) {
	entries, err := os.ReadDir(out)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	entries = slices.DeleteFunc(entries, func(e fs.DirEntry) bool { return e.Name() == lockName })
	if len(entries) == 0 {
		return false, nil
	}
	text, err := os.ReadFile(filepath.Join(out, mark))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return false, fmt.Errorf("%s: %w", out, ErrForeign)
	case err != nil:
		return false, err
	case string(text) == markDone:
		return false, fmt.Errorf("%s: %w", out, ErrFinished)
	}
	return true, nil
}

// ours are the names that Run and the stages under it write at the top of each part; hidden ones are half-made things.
var ours = map[string]func(name string) bool{
	"logs": func(name string) bool {
		return slices.Contains(synth.Kinds(), strings.TrimSuffix(strings.TrimSuffix(name, ".log"), ".jsonl"))
	},
	"labels": func(name string) bool { return slices.Contains(synth.Kinds(), strings.TrimSuffix(name, ".jsonl")) },
	"data":   among(manifest.Name, "tokenizer.json", "train", "valid", "idts", "odts"),
	"run":    among(manifest.Name, "config.yaml", "model_config.json", "metrics.csv", "eval.csv", "tb", "checkpoints"),
	"hf":     func(string) bool { return true }, // written whole
}

func among(names ...string) func(string) bool {
	return func(name string) bool { return slices.Contains(names, name) }
}

// onlyOurs refuses to begin anew where a half-finished Out has come to hold something of somebody else: a file that no
// stage writes, or a run that was gone on with by hand (each start of a run writes an event file).
func onlyOurs(out string) error {
	for _, part := range parts {
		entries, err := os.ReadDir(filepath.Join(out, part))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		for _, e := range entries {
			if name := e.Name(); !strings.HasPrefix(name, ".") && !ours[part](name) {
				return fmt.Errorf("%s: %w", filepath.Join(out, part, name), ErrTheirs)
			}
		}
	}
	starts, err := os.ReadDir(filepath.Join(out, "run", "tb"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if len(starts) > 1 {
		return fmt.Errorf("%s: what was trained there since %w", filepath.Join(out, "run"), ErrTheirs)
	}
	return nil
}

// release gives Out back, and takes away the traces of a Run that made nothing.
func (c *claimed) release() error {
	lock := filepath.Join(c.out, lockName)
	removed := os.Remove(lock) // while it is held, so that nobody else's is removed; Windows removes no opened file
	err := c.lock.Unlock()
	if removed != nil {
		err = errors.Join(err, os.Remove(lock))
	}
	entries, readErr := os.ReadDir(c.out)
	if readErr != nil {
		return errors.Join(err, readErr)
	}
	if len(entries) > 1 || len(entries) == 1 && entries[0].Name() != mark {
		return err
	}
	if len(entries) == 1 {
		err = errors.Join(err, os.Remove(filepath.Join(c.out, mark)))
	}
	if c.made {
		err = errors.Join(err, os.Remove(c.out))
	}
	return err
}

func writeMark(out, state string) error {
	return atomicfile.WriteFile(filepath.Join(out, mark), func(w io.Writer) error {
		_, err := io.WriteString(w, state)
		return err
	})
}

// say writes one row of the account: a stage's name, then its text.
func (s *stages) say(stage, format string, args ...any) error {
	_, err := fmt.Fprintf(s.Account, "%-10s %s\n", stage, fmt.Sprintf(format, args...))
	return err
}

// bar shows the progress of one stage.
func (s *stages) bar(label string) *progress.Bar { return progress.New(s.Remarks, label, s.Quiet) }
