package main

import (
	"time"

	"github.com/secencoder/secencoder/eval"
	"github.com/secencoder/secencoder/internal/progress"
)

type intrinsicCmd struct {
	Model     []string `sep:"none" required:"" placeholder:"DIR…" help:"Runs, checkpoints or model folders, side by side."`
	Data      string   `required:"" placeholder:"DIR" help:"Data folder."`
	Sets      []string `sep:"none" placeholder:"SET…" help:"Of idts, odts, valid, train (default: idts and odts)."`
	Context   int      `placeholder:"N" help:"Longest piece in tokens (default: the model's training context, else 512)."`
	Pieces    *int     `placeholder:"N" help:"Most pieces of each set, a sample fixed by the seed (default: all)."`
	MaxTokens *int64   `placeholder:"N" help:"Most tokens of each set, a sample fixed by the seed (default: all)."`
	DType     string   `name:"dtype" enum:"f32,bf16" default:"f32" placeholder:"D" help:"Type of activations, f32 or bf16."`
	Draws     *int     `placeholder:"N" help:"Bootstrap draws of the intervals (default 1,000)."`
	JSON      bool     `name:"json" help:"One JSON document on stdout."`
	CSV       string   `name:"csv" placeholder:"FILE" help:"Append a row for each figure."`
}

func (*intrinsicCmd) Help() string {
	return examples(
		"secencoder eval intrinsic --model out/run --data out/data",
		"secencoder eval intrinsic --model run-content run-all --data out/data --json --csv results.csv")
}

func (cmd *intrinsicCmd) Run(c *call) error {
	if err := c.remarkKernels(); err != nil {
		return err
	}
	o := eval.Options{
		Models: cmd.Model, Data: cmd.Data, Sets: cmd.Sets, Context: cmd.Context, DType: cmd.DType, Seed: c.seed(), Threads: c.kernelThreads(),
	}
	if cmd.Pieces != nil {
		o.Pieces = *cmd.Pieces
	}
	if cmd.MaxTokens != nil {
		o.MaxTokens = *cmd.MaxTokens
	}
	if cmd.Draws != nil {
		o.Draws = *cmd.Draws
	}
	// 0 means the default to the package; a person who gives it means something else.
	switch {
	case cmd.Pieces != nil && o.Pieces < 1:
		return usagef("--pieces %d: want 1 or more", o.Pieces)
	case cmd.MaxTokens != nil && o.MaxTokens < 1:
		return usagef("--max-tokens %d: want 1 or more", o.MaxTokens)
	case cmd.Draws != nil && o.Draws < 1:
		return usagef("--draws %d: want 1 or more", o.Draws)
	}
	started := time.Now()
	bar := progress.New(c.err, "evaluate", c.Quiet)
	o.Progress = bar.Staged("evaluate")
	report, err := eval.Intrinsic(c.ctx, o)
	bar.Done()
	if err != nil {
		return manifestHint(err)
	}
	if cmd.CSV != "" {
		if err := report.AppendCSV(cmd.CSV, started); err != nil {
			return err
		}
	}
	if cmd.JSON {
		return c.printJSON(report)
	}
	return report.Table(c.out)
}
