package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/secencoder/secencoder/internal/bench"
	"github.com/secencoder/secencoder/internal/units"
	"github.com/secencoder/secencoder/model"
)

type benchCmd struct {
	What     string    `arg:"" enum:"gemm,train,infer,tokenizer" help:"gemm, train, infer or tokenizer."`
	Size     string    `placeholder:"S" help:"Preset (default: mini; gemm: the shapes of several)."`
	Context  int       `placeholder:"N" help:"Longest piece in tokens (default: the preset's)."`
	Tokens   int       `placeholder:"N" help:"Tokens of a micro-batch (default: the larger of the preset's and the context)."`
	DType    string    `name:"dtype" enum:"f32" default:"f32" placeholder:"D" help:"f32."`
	Memory   string    `placeholder:"M" help:"train: auto, none, cheap, layer, or a limit such as 8GiB."`
	Duration *duration `placeholder:"TIME" help:"How long to measure (default 5s)."`
	JSON     bool      `name:"json" help:"One JSON document on stdout."`
}

func (*benchCmd) Help() string {
	return examples("secencoder bench gemm", "secencoder bench train --size mini --context 512 --json")
}

func (cmd *benchCmd) Run(c *call) error {
	if cmd.Size != "" && !slices.Contains(model.PresetNames(), cmd.Size) {
		return usagef("--size %s: want one of %s", cmd.Size, strings.Join(model.PresetNames(), ", "))
	}
	if cmd.Context < 0 || cmd.Tokens < 0 || cmd.Context > 0 && cmd.Context < 3 || cmd.Tokens > 0 && cmd.Tokens < max(cmd.Context, 3) {
		return usagef("--context %d --tokens %d: want a context of 3 or more and at least as many tokens", cmd.Context, cmd.Tokens)
	}
	o := bench.Options{Size: cmd.Size, Context: cmd.Context, Tokens: cmd.Tokens, Threads: c.kernelThreads(), Memory: cmd.Memory, Seed: c.seed()}
	if cmd.Duration != nil {
		o.Duration = time.Duration(*cmd.Duration)
	}
	measure := map[string]func(context.Context, bench.Options) (*bench.Result, error){
		"gemm": bench.GEMM, "train": bench.Train, "infer": bench.Infer, "tokenizer": bench.Tokenizer,
	}[cmd.What]
	r, err := measure(c.ctx, o)
	if err != nil {
		return err
	}
	if cmd.JSON {
		return c.printJSON(r)
	}
	return c.printBench(r)
}

func (c *call) printBench(r *bench.Result) error {
	fmt.Fprintf(c.out, "%s on %s, kernels %s, %d threads\n", r.What, r.Machine.Processor, r.Machine.Kernels, r.Machine.Threads)
	w := tabwriter.NewWriter(c.out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "case\tthreads\tmedian\tbest tenth\tunit\tshare of peak\t")
	for _, s := range r.Slices {
		share := "-"
		if s.ShareOfPeak != nil {
			share = fmt.Sprintf("%.0f %%", 100**s.ShareOfPeak)
		}
		fmt.Fprintf(w, "%s\t%d\t%.1f\t%.1f\t%s\t%s\t\n", s.Case, s.Threads, s.Median, s.Best, s.Unit, share)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(c.out, "peak memory %s\n", units.FormatSize(r.PeakBytes))
	return err
}
