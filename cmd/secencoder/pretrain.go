package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/secencoder/secencoder/eval"
	"github.com/secencoder/secencoder/internal/progress"
	"github.com/secencoder/secencoder/internal/units"
	"github.com/secencoder/secencoder/train"
)

type pretrainCmd struct {
	Out    string `required:"" placeholder:"RUN" help:"Run folder to write, or to go on with under --resume."`
	Config string `placeholder:"FILE" help:"YAML file of settings (flag names with underscores); flags win over it."`
	Resume bool   `help:"Go on with RUN where it stopped; settings not given come from RUN/config.yaml."`
	train.Settings
	PrintPlan bool `help:"Print the compiled plan (order, memory, workspaces) on stderr before the first step."`
}

func (*pretrainCmd) Help() string {
	return examples(
		"secencoder pretrain --data out/data --out out/run --size mini --time 1h",
		"secencoder pretrain --out out/run --resume")
}

func (cmd *pretrainCmd) Run(c *call) error {
	o := train.Options{Out: cmd.Out, Resume: cmd.Resume, ConfigFile: cmd.Config, Settings: cmd.Settings}
	o.Threads, o.Seed = c.Threads, c.Seed
	if err := c.remarkKernels(); err != nil {
		return err
	}
	reporter := &trainReporter{c: c}
	o.Reporter = reporter
	if cmd.PrintPlan {
		o.PrintPlan = c.err
	}
	settled := context.AfterFunc(c.ctx, func() {
		c.remark("stopping: the step under way is left, the steps before go into a checkpoint; Ctrl-C again leaves at once, and a resumed run begins at an older one")
	})
	result, err := train.Run(c.ctx, o)
	settled()
	reporter.done()
	if err != nil {
		return trainFailure(err, cmd.Out, result)
	}
	if result.Finished {
		c.remark("%s: finished before, %d of %d steps; nothing to do", cmd.Out, result.Step, result.Steps)
		return nil
	}
	if result.Step > 0 && result.Skipped >= result.Step {
		c.remark("no step changed the weights: nothing in the data could be masked, or every gradient was infinite; see the column skipped of %s",
			filepath.Join(cmd.Out, "metrics.csv"))
	}
	return printTrained(c.out, result)
}

// printTrained says how a run ended: the table of the last evaluation and where the checkpoints are.
func printTrained(w io.Writer, r *train.Result) error {
	var b strings.Builder
	loss := "-" // nothing was ever masked
	if r.Skipped < r.Step {
		loss = fmt.Sprintf("%.3f", r.Loss)
	}
	fmt.Fprintf(&b, "steps %d, loss %s, %d tokens, %d updates skipped\n", r.Step, loss, r.Tokens, r.Skipped)
	for _, s := range r.Evaluations {
		fmt.Fprintf(&b, "%-6s perplexity %8.2f  accuracy %.3f  (sample of %d masked tokens)\n", s.Set, s.Perplexity, s.Accuracy, s.Masked)
	}
	fmt.Fprintf(&b, "last   %s\n", r.Last)
	if r.Best != "" {
		fmt.Fprintf(&b, "best   %s\n", r.Best)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// trainFailure adds what the person can do.
func trainFailure(err error, out string, r *train.Result) error {
	var broken *train.CheckpointError
	switch {
	case errors.Is(err, context.Canceled) && r != nil && r.Last != "":
		return hint(err, "the checkpoint %s is written; go on with: secencoder pretrain --out %s --resume", r.Last, out)
	case errors.Is(err, context.Canceled) && r != nil:
		return hint(err, "no step was done; begin anew with: secencoder pretrain --out %s --resume", out)
	case errors.Is(err, train.ErrUsed):
		return hint(err, "go on with it: secencoder pretrain --out %s --resume, or choose another --out", out)
	case errors.As(err, &broken):
		return hint(err, "remove %s, and --resume goes on from the checkpoint before it", broken.Folder)
	case errors.Is(err, train.ErrDiverged) && r != nil && r.Last != "":
		return hint(err, "the checkpoint %s is intact; begin another run with a lower --learning-rate", r.Last)
	case errors.Is(err, train.ErrDiverged):
		return hint(err, "there was no checkpoint yet; begin another run with a lower --learning-rate")
	}
	return manifestHint(err)
}

// afterInterrupt keeps the part of an interrupted call's error that says what was saved.
func afterInterrupt(err error) string {
	var h *errHint
	if errors.As(err, &h) {
		return "; " + h.hint
	}
	return ""
}

// trainReporter shows a run on stderr: a bar on a terminal, plain lines elsewhere.
type trainReporter struct {
	c   *call
	bar *progress.Bar
}

func (t *trainReporter) done() { t.bar.Done() }

// Plan implements train.Reporter.
func (t *trainReporter) Plan(p train.Plan) {
	for _, line := range p.Lines() {
		t.c.remark("%s", line)
	}
	t.bar = progress.New(t.c.err, "train", t.c.Quiet)
	t.bar.From(int64(p.Done))
}

// Step implements train.Reporter.
func (t *trainReporter) Step(p train.Progress) {
	note := fmt.Sprintf("step %s of %s  loss %.3f  %s tokens/s", units.Count(p.Step), units.Count(p.Steps), p.Loss,
		units.Count(int64(p.TokensPerSecond)))
	if p.Skipped > 0 {
		note += fmt.Sprintf("  %d skipped", p.Skipped)
	}
	t.bar.Set(int64(p.Step), int64(p.Steps), note)
}

// Evaluated implements train.Reporter.
func (t *trainReporter) Evaluated(step int, samples []eval.Sample, best bool) {
	var lines strings.Builder
	(&train.TextReporter{W: &lines}).Evaluated(step, samples, best)
	t.bar.Note("%s", strings.TrimRight(lines.String(), "\n"))
}

// Checkpoint implements train.Reporter.
func (t *trainReporter) Checkpoint(int, string) {}

// Remark implements train.Reporter.
func (t *trainReporter) Remark(text string) {
	if t.bar == nil {
		t.c.remark("%s", text)
		return
	}
	t.bar.Note("%s", text)
}
