// Package train pretrains encoders: masked-language-model loss, AdamW, learning-rate schedules, evaluation during
// training, and run folders that can be interrupted at any moment and resumed bit for bit.
//
// Begin with Run. Options say what to do; fields that are not given take the defaults of the model size. The run folder
// it writes is described in docs/formats/run-folder.md.
//
// Words: a step draws the micro-batches of one optimizer update. The update is left out ("skipped", and counted) when
// nothing in it was masked or when its loss or gradient is not finite; the step still counts for the schedule, so that a
// run ends after the steps it promised. Updates are the steps that were not skipped; AdamW's bias correction counts them.
//
// Same options, same data, same kernel family: same bits, for any number of threads, with or without interruptions. What
// depends on time (tokens a second, waiting) is written to metrics only; --time fixes the number of steps before step 1.
//
// The package does not print: a Reporter hears what happens. It does not know the command line either.
package train

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/secencoder/secencoder/eval"
)

// Options are the settings that were given and what concerns this call only. The zero value of a setting, nil, means
// that it was not given.
type Options struct {
	Out        string // run folder
	Resume     bool   // go on with Out where it stopped
	ConfigFile string // YAML file of settings, overridden by Settings; "" for none
	Settings
	Reporter  Reporter  // hears what happens; nil: nobody
	PrintPlan io.Writer // receives the compiled plan before the first step; nil: nobody

	hooks hooks
}

// Result says how a run ended.
type Result struct {
	Finished    bool   // it was finished before this call, which changed nothing
	Step, Steps int    // steps done, steps promised
	Tokens      int64  // framed tokens seen, padding not counted
	Skipped     int    // updates left out
	Last, Best  string // checkpoint folders; "" when there is none
	Loss        float64
	Evaluations []eval.Sample // the last ones
}

// Errors for decisions that a caller takes.
var (
	// ErrUsage marks errors that come from how Run was asked: an unknown value, settings that contradict each other, a
	// used run folder. errors.Is finds it. It is eval.ErrUsage.
	ErrUsage = eval.ErrUsage
	// ErrUsed says that the run folder has a run in it and Resume was not asked for. It is an ErrUsage too.
	ErrUsed = errors.New("run folder is in use or finished")
	// ErrDiverged says that three updates in a row were not finite. The last checkpoint is intact.
	ErrDiverged = errors.New("training diverged")
)

// CheckpointError says that the checkpoint which a run would go on from cannot be read.
type CheckpointError struct {
	Folder string
	Err    error
}

// Error returns the cause, which names the file.
func (e *CheckpointError) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *CheckpointError) Unwrap() error { return e.Err }

// usageError is an error that errors.Is finds as ErrUsage.
type usageError struct{ err error }

func (e usageError) Error() string        { return e.err.Error() }
func (e usageError) Unwrap() error        { return e.err }
func (e usageError) Is(target error) bool { return target == ErrUsage }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// Run trains until the promised steps are done. When ctx is cancelled it leaves the step under way, writes a checkpoint
// of the step before, and returns an error that wraps ctx's; before the first step is done there is nothing to write. One
// run at a time uses a run folder; another fails at once. Errors name the file or the step.
func Run(ctx context.Context, o Options) (*Result, error) {
	s, err := open(ctx, &o)
	if err != nil {
		return nil, err
	}
	if s.finished {
		return s.result(), s.close()
	}
	err = s.train(ctx)
	if closing := s.close(); err == nil {
		err = closing
	}
	return s.result(), err
}
