package main

import (
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/secencoder/secencoder/data"
	"github.com/secencoder/secencoder/data/build"
	"github.com/secencoder/secencoder/internal/printable"
	"github.com/secencoder/secencoder/internal/progress"
	"github.com/secencoder/secencoder/internal/units"
)

type buildCmd struct {
	In             []string `sep:"none" required:"" placeholder:"PATH…" help:"Files, folders, or - for standard input: plain lines, JSON lines, CSV, each also gzip or zstd, found out by content."`
	Out            string   `required:"" placeholder:"DIR" help:"Data folder to write; must not hold anything."`
	Tokenizer      string   `required:"" placeholder:"FILE|train[:SIZE]" help:"A tokenizer.json, or train: one is trained on the train split (29,952 ids, or SIZE)."`
	ODTS           []string `sep:"none" name:"odts" placeholder:"NAME…" help:"Sources held out whole: a source's name, or a path prefix or glob below an --in (default: chosen by hash when there are four sources or more)."`
	SourceDepth    int      `default:"1" placeholder:"N" help:"A source is named by its first N folders below --in."`
	Exclude        []string `sep:"none" placeholder:"GLOB…" help:"Paths below an --in that are not read; ** stands for any folders."`
	MaxSourceBytes size     `placeholder:"SIZE" help:"Most bytes that are read of each source (default: all)."`
	MaxRecord      size     `default:"1MiB" placeholder:"SIZE" help:"Longer records are cut into records."`
	Render         string   `placeholder:"raw|jsonl" help:"Text of a record: raw keeps the original bytes, jsonl makes one JSON object of each; default: raw, but CSV rows become JSON objects."`
	KeepGoing      bool     `help:"Count and pass over damaged files instead of stopping."`
	JSON           bool     `name:"json" help:"One JSON document on stdout."`
}

func (*buildCmd) Help() string {
	return examples(
		"secencoder data build --in /var/log --out data --tokenizer train",
		"zcat old/*.gz | secencoder data build --in - logs --out more --tokenizer tokenizer.json --odts vpn --exclude '**/*.md'")
}

func (cmd *buildCmd) Run(c *call) error {
	if cmd.SourceDepth < 1 {
		return usagef("--source-depth %d: want 1 or more", cmd.SourceDepth)
	}
	if cmd.MaxRecord < 1 {
		return usagef("--max-record %d: want 64 bytes or more", cmd.MaxRecord)
	}
	bar := progress.New(c.err, "data build", c.Quiet)
	report, err := build.Run(c.ctx, build.Options{
		In: cmd.In, Out: cmd.Out, Tokenizer: cmd.Tokenizer, ODTS: cmd.ODTS, SourceDepth: cmd.SourceDepth, Exclude: cmd.Exclude,
		MaxSourceBytes: int64(cmd.MaxSourceBytes), MaxRecord: int64(cmd.MaxRecord), Render: cmd.Render, KeepGoing: cmd.KeepGoing,
		Seed: c.seed(), Threads: c.threads(), Tool: toolName(),
		Progress: bar.Staged("data build"),
	})
	bar.Done()
	if err != nil {
		return inHint(outHint(err), cmd.In)
	}
	for _, note := range report.Skipped {
		c.remark("skipped %s: %s", note.Path, note.Reason)
	}
	for _, pattern := range report.Unused {
		c.remark("--exclude %s matched nothing: patterns are held against paths below an --in", pattern)
	}
	for _, note := range report.Failed {
		c.remark("passed over %s: %s", note.Path, note.Reason)
	}
	if cmd.JSON {
		return c.printJSON(report)
	}
	return c.printBuild(cmd.Out, &report.Report)
}

// printBuild prints a line a source and the sets.
func (c *call) printBuild(out string, r *data.Report) error {
	w := tabwriter.NewWriter(c.out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprint(w, "source\tfiles\trecords\tduplicates\tmoved\t")
	for _, split := range data.Splits() {
		fmt.Fprintf(w, "%s\t", split)
	}
	fmt.Fprintln(w)
	row := func(name string, s *data.SourceReport) {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t", printable.String(name), units.Count(s.Files), units.Count(s.Records), units.Count(s.Duplicates), units.Count(s.Moved))
		for _, split := range data.Splits() {
			fmt.Fprintf(w, "%s\t", units.Count(s.Kept[split.String()].Records))
		}
		fmt.Fprintln(w)
	}
	for i := range r.Sources {
		row(r.Sources[i].Name, &r.Sources[i])
	}
	row("total", &r.Total)
	fmt.Fprint(w, "tokens\t\t\t\t\t")
	for _, split := range data.Splits() {
		fmt.Fprintf(w, "%s\t", units.Count(r.Sets[split.String()].Tokens))
	}
	fmt.Fprintln(w)
	if err := w.Flush(); err != nil {
		return err
	}
	var remarks []string
	if n := r.Total.Cut; n > 0 {
		remarks = append(remarks, count(n, "part")+" of records that were too long")
	}
	if n := r.Total.InvalidUTF8; n > 0 {
		remarks = append(remarks, count(n, "record")+" outside UTF-8")
	}
	if n := r.Total.Ragged; n > 0 {
		remarks = append(remarks, count(n, "ragged CSV row")+" kept as text")
	}
	if n := r.Total.FilesSkipped; n > 0 {
		remarks = append(remarks, count(n, "binary file")+" skipped")
	}
	if n := max(r.Total.FilesFailed, int64(len(r.Failed)), r.Notes["failed"]); n > 0 {
		remarks = append(remarks, count(n, "damaged or unreadable file")+" passed over")
	}
	if len(remarks) > 0 {
		c.remark("%s", strings.Join(remarks, "; "))
	}
	vocabulary := units.Count(r.Tokenizer.VocabSize) + " ids"
	if r.Tokenizer.Trained && r.Tokenizer.VocabSize < r.Tokenizer.WantedSize {
		vocabulary += fmt.Sprintf(" (%s were asked for: the text has no more pairs)", units.Count(r.Tokenizer.WantedSize))
	}
	_, err := fmt.Fprintf(c.out, "%s: tokenizer of %s\n", printable.String(out), vocabulary)
	return err
}

// count is a number with its noun.
func count(n int64, noun string) string {
	if n != 1 {
		noun += "s"
	}
	return units.Count(n) + " " + noun
}
