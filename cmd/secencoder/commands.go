package main

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"time"

	"github.com/alecthomas/kong"

	"github.com/secencoder/secencoder/internal/device"
	"github.com/secencoder/secencoder/internal/printable"
	"github.com/secencoder/secencoder/internal/units"
)

// commands is the flag table: help, docs/cli.md and the parser all come from it. A flag of slice type takes all words
// up to the next flag.
type commands struct {
	global

	Quickstart quickstartCmd `cmd:"" help:"The whole chain on generated logs, or on your own: from a folder of logs to an evaluated, exported model."`
	Data       struct {
		Synth   synthCmd   `cmd:"" help:"Generate labelled logs of one invented organisation."`
		Build   buildCmd   `cmd:"" help:"Logs to token shards: read, split, deduplicate, tokenize."`
		Inspect inspectCmd `cmd:"" help:"Show a sample as text with its mask."`
	} `cmd:"" help:"Logs: generate, build, inspect."`
	Tokenizer struct {
		Train   tokenizerTrainCmd   `cmd:"" help:"Train a byte-level BPE tokenizer."`
		Encode  tokenizerEncodeCmd  `cmd:"" help:"Lines to JSON arrays of ids."`
		Decode  tokenizerDecodeCmd  `cmd:"" help:"JSON arrays of ids to lines."`
		Inspect tokenizerInspectCmd `cmd:"" help:"Explain how a line is cut: token, id, bytes, class."`
	} `cmd:"" help:"Tokenizer: train, encode, decode, inspect."`
	Pretrain pretrainCmd `cmd:"" help:"Pretrain an encoder on a data folder."`
	Eval     struct {
		Intrinsic intrinsicCmd `cmd:"" help:"Perplexity and accuracy on held-out logs, with baselines."`
	} `cmd:"" help:"Evaluate models."`
	Embed    embedCmd    `cmd:"" help:"One vector a line."`
	FillMask fillMaskCmd `cmd:"" name:"fill-mask" help:"Candidates for each [MASK] of a text."`
	Export   exportCmd   `cmd:"" help:"Write a folder that HuggingFace transformers loads."`
	Import   importCmd   `cmd:"" help:"Read a HuggingFace folder and write ours."`
	Verify   verifyCmd   `cmd:"" help:"Check hashes, sizes and cross-references of a data, run or model folder."`
	Bench    benchCmd    `cmd:"" help:"Measure this machine."`
	Docs     docsCmd     `cmd:"" hidden:"" help:"Print docs/cli.md."`
	Info     infoCmd     `cmd:"" help:"Version, processor, kernels, GPUs, memory."`
}

// global flags mean the same everywhere.
type global struct {
	Threads *int    `placeholder:"N" help:"Worker threads; results do not depend on it (default: one a processor; one a physical core where kernels run)."`
	Seed    *uint64 `placeholder:"N" help:"Seed of every random choice (default 0)."`
	Quiet   bool    `help:"No progress and no remarks on stderr."`

	Version kong.VersionFlag `help:"Print the version."`
}

func (g *global) check() error {
	if g.Threads != nil && (*g.Threads < 1 || *g.Threads > 4096) {
		return usagef("--threads %d: want 1 or more, at most 4,096", *g.Threads)
	}
	// An unknown family is wrong use in every verb; one that this machine lacks only where kernels run.
	if _, err := device.Choose(""); errors.Is(err, device.ErrUnknownKernels) {
		return err
	}
	return nil
}

func (g *global) threads() int {
	if g.Threads == nil {
		return runtime.GOMAXPROCS(0)
	}
	return *g.Threads
}

// kernelThreads is threads where kernels run: by default one a physical core.
func (g *global) kernelThreads() int {
	if g.Threads == nil {
		return device.DefaultThreads()
	}
	return *g.Threads
}

func (g *global) seed() uint64 {
	if g.Seed == nil {
		return 0
	}
	return *g.Seed
}

// call is what a verb gets: the context that Ctrl-C cancels, the streams, the global flags.
type call struct {
	ctx context.Context
	*streams
	*global
}

// remark prints a line on stderr, or more, unless --quiet.
func (c *call) remark(format string, args ...any) {
	if c.Quiet {
		return
	}
	for line := range strings.SplitSeq(fmt.Sprintf(format, args...), "\n") {
		fmt.Fprintln(c.err, printable.String(line))
	}
}

// remarkKernels says once, before kernels run, that this processor has none but the slow ones.
func (c *call) remarkKernels() error {
	choice, err := device.Choose("")
	if err == nil && choice.Slow != "" {
		c.remark("%s", choice.Slow)
	}
	return err
}

// size is a flag value in bytes with a unit: 100MB, 32MiB, 512.
type size int64

func (s *size) UnmarshalText(text []byte) error {
	n, err := units.ParseSize(string(text))
	*s = size(n)
	return err
}

// duration is a flag value with a unit: 2h, 90s, 1h30m.
type duration time.Duration

func (d *duration) UnmarshalText(text []byte) error {
	v, err := units.ParseDuration(string(text))
	*d = duration(v)
	return err
}
