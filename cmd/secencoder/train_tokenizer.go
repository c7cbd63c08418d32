package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/secencoder/secencoder/data"
	"github.com/secencoder/secencoder/data/build"
	"github.com/secencoder/secencoder/data/source"
	"github.com/secencoder/secencoder/internal/progress"
	"github.com/secencoder/secencoder/internal/units"
	"github.com/secencoder/secencoder/tokenizer"
)

type tokenizerTrainCmd struct {
	In           []string `sep:"none" required:"" placeholder:"PATH…" help:"Text (files, folders), a data folder (its train split, decoded), or - for standard input."`
	Out          string   `required:"" placeholder:"FILE" help:"tokenizer.json to write."`
	VocabSize    int      `default:"29952" placeholder:"N" help:"Ids, special tokens and bytes included."`
	Digits       string   `default:"run" enum:"run,d3,d1,alnum" placeholder:"RULE" help:"How digits are cut: run (whole), d3 (threes), d1 (single), alnum (digits are letters)."`
	Space        string   `default:"all" enum:"all,word,none" placeholder:"RULE" help:"What takes one leading space: all, word (words and numbers), none."`
	MinFrequency int64    `placeholder:"N" help:"Stop at pairs rarer than this."`
	Exclude      []string `sep:"none" placeholder:"GLOB…" help:"Paths below an --in that are not read."`
	JSON         bool     `name:"json" help:"One JSON document on stdout."`
}

func (*tokenizerTrainCmd) Help() string {
	return examples(
		"secencoder tokenizer train --in /var/log --out tokenizer.json",
		"zcat *.gz | secencoder tokenizer train --in - --out threes.json --vocab-size 16384 --digits d3")
}

func (cmd *tokenizerTrainCmd) Run(c *call) error {
	if err := cmd.check(); err != nil {
		return err
	}
	bar := progress.New(c.err, "tokenizer", c.Quiet)
	var reading error // names its place itself
	records := func(yield func([]byte, error) bool) {
		for text, err := range build.Records(c.ctx, build.RecordOptions{In: cmd.In, Exclude: cmd.Exclude}) {
			reading = err
			if !yield(text, err) {
				return
			}
		}
	}
	tok, report, err := tokenizer.Train(c.ctx, records, tokenizer.TrainOptions{
		VocabSize: cmd.VocabSize, Digits: tokenizer.DigitRule(cmd.Digits), Space: tokenizer.SpaceRule(cmd.Space), MinFrequency: cmd.MinFrequency,
		Threads: c.threads(), Progress: bar.Staged("tokenizer"),
	})
	bar.Done()
	if reading != nil {
		err = reading
	}
	var damaged *source.ReadError
	switch {
	case errors.As(err, &damaged):
		return hint(err, "leave it out with --exclude")
	case err != nil:
		return inHint(err, nil)
	}
	if err := tok.Save(cmd.Out); err != nil {
		return err
	}
	if cmd.JSON {
		return c.printJSON(report)
	}
	if n := report.Shortfall(); n > 0 {
		why := ""
		if cmd.MinFrequency > 1 {
			why = fmt.Sprintf(" that stand there %s times", units.Count(cmd.MinFrequency))
		}
		c.remark("%s ids fewer than asked for: the text has no more pairs%s", units.Count(n), why)
	}
	_, err = fmt.Fprintf(c.out, "%s: %s ids from %s records, %s; longest token %d bytes\n", cmd.Out, units.Count(tok.VocabSize()),
		units.Count(report.Documents), units.FormatSize(report.Bytes), report.LongestToken)
	return err
}

// check refuses what would fail only after the training.
func (cmd *tokenizerTrainCmd) check() error {
	if cmd.VocabSize < 1 {
		return usagef("--vocab-size %d: want 261 or more", cmd.VocabSize)
	}
	if cmd.MinFrequency < 0 {
		return usagef("--min-frequency %d: want no negative number", cmd.MinFrequency)
	}
	for _, p := range cmd.Exclude {
		if _, err := data.CompileGlob(p, false); err != nil {
			return usagef("--exclude: %w", err)
		}
	}
	if info, err := os.Stat(cmd.Out); err == nil && info.IsDir() {
		return hint(usagef("--out %s: is a folder, want a file", cmd.Out), "such as %s", filepath.Join(cmd.Out, "tokenizer.json"))
	}
	if err := unusedFile(cmd.Out); err != nil {
		return err
	}
	parent := filepath.Dir(cmd.Out)
	switch info, err := os.Stat(parent); {
	case errors.Is(err, fs.ErrNotExist):
		return hint(fmt.Errorf("--out %s: no folder %s", cmd.Out, parent), "make it first")
	case err != nil:
		return err
	case !info.IsDir():
		return fmt.Errorf("--out %s: %s is no folder", cmd.Out, parent)
	}
	return nil
}
