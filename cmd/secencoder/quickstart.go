package main

import (
	"context"
	"errors"
	"io"

	"github.com/secencoder/secencoder/internal/quickstart"
)

type quickstartCmd struct {
	In    []string `sep:"none" placeholder:"PATH…" help:"Your own logs (files or folders); default: generated logs."`
	Out   string   `default:"secencoder-quickstart" placeholder:"DIR" help:"Folder to make."`
	Small bool     `help:"The form that takes under 40 seconds."`

	KeepGoing bool `help:"Count and pass over damaged files of your own logs instead of stopping."`
}

func (*quickstartCmd) Help() string {
	return examples("secencoder quickstart", "secencoder quickstart --in /var/log --out first-model")
}

func (cmd *quickstartCmd) Run(c *call) error {
	if err := c.remarkKernels(); err != nil {
		return err
	}
	remarks := c.err
	if c.Quiet {
		remarks = io.Discard
	}
	reporter := &trainReporter{c: c}
	err := quickstart.Run(c.ctx, quickstart.Options{
		In: cmd.In, Out: cmd.Out, Small: cmd.Small, KeepGoing: cmd.KeepGoing, Seed: c.seed(), Threads: c.kernelThreads(), Tool: toolName(),
		Account: c.out, Remarks: remarks, Report: reporter, Quiet: c.Quiet,
	})
	reporter.done()
	switch {
	case errors.Is(err, quickstart.ErrFinished):
		return &errUsage{hint(err, "choose another --out, or remove it")}
	case errors.Is(err, quickstart.ErrForeign), errors.Is(err, quickstart.ErrInside):
		return &errUsage{hint(err, "choose another --out")}
	case errors.Is(err, quickstart.ErrTheirs):
		return &errUsage{hint(err, "move it away, or choose another --out")}
	case errors.Is(err, context.Canceled):
		return hint(err, "the same command begins anew")
	case errors.Is(err, quickstart.ErrNotLearned):
		return hint(err, "train longer: secencoder pretrain --data %s/data --out longer --time 10m", cmd.Out)
	}
	return inHint(outHint(err), cmd.In)
}
