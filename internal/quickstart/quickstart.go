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
	"time"

	"github.com/secencoder/secencoder/internal/atomicfile"
	"github.com/secencoder/secencoder/internal/progress"
	"github.com/secencoder/secencoder/train"
)

// Options say what to run.
type Options struct {
	In      []string // the user's own logs; empty: generated ones
	Out     string   // folder to make
	Small   bool     // the form that takes under 40 seconds
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
	// ErrNotLearned says that the model is not better than the unigram baseline by ln 2 nats in distribution.
	ErrNotLearned = errors.New("the model did not learn enough")
)

// mark is the file that says whose folder Out is; done stands in it once everything is there.
const (
	mark      = ".quickstart"
	markBegun = "begun\n"
	markDone  = "done\n"
)

// parts are what Run makes in Out. A half-finished Out is begun anew: these, and nothing else, are removed.
var parts = []string{"logs", "labels", "data", "run", "hf"}

// Run does the chain. It makes Out with logs, data, run and hf in it; a finished one is refused with ErrFinished, a folder
// with other things in it with ErrForeign. It returns ErrNotLearned when the answer is no.
func Run(ctx context.Context, o Options) error {
	begun := time.Now()
	if err := claim(o.Out); err != nil {
		return err
	}
	if o.Remarks == nil {
		o.Remarks = io.Discard
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

// claim makes Out ours: absent, empty, or left half-finished by an earlier Run.
func claim(out string) error {
	entries, err := os.ReadDir(out)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return err
	case len(entries) > 0:
		text, err := os.ReadFile(filepath.Join(out, mark))
		if errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("%s: %w", out, ErrForeign)
		}
		if err != nil {
			return err
		}
		if string(text) == markDone {
			return fmt.Errorf("%s: %w", out, ErrFinished)
		}
		for _, part := range parts {
			if err := os.RemoveAll(filepath.Join(out, part)); err != nil {
				return err
			}
		}
	}
	if err := os.MkdirAll(out, 0o777); err != nil {
		return err
	}
	return writeMark(out, markBegun)
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
