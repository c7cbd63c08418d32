package main

import (
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/secencoder/secencoder/data/synth"
	"github.com/secencoder/secencoder/internal/progress"
	"github.com/secencoder/secencoder/internal/units"
)

type synthCmd struct {
	Out   string `required:"" placeholder:"DIR" help:"Folder to write: logs/ and labels/."`
	Bytes size   `default:"100MB" placeholder:"SIZE" help:"About how much log text."`
	Kinds string `placeholder:"a,b" help:"Kinds to write, separated by commas; default all: auth, auditd, windows, cloudtrail, entra, nginx, iptables, vpcflow, vpn."`
	JSON  bool   `name:"json" help:"One JSON document on stdout."`
}

func (*synthCmd) Help() string {
	return examples(
		"secencoder data synth --out logs --bytes 100MB",
		"secencoder data synth --out few --bytes 10MB --kinds auth,auditd --seed 7")
}

func (cmd *synthCmd) Run(c *call) error {
	var kinds []string
	for _, k := range strings.Split(cmd.Kinds, ",") {
		if k = strings.TrimSpace(k); k != "" || cmd.Kinds != "" {
			kinds = append(kinds, k) // an empty one is unknown
		}
	}
	bar := progress.New(c.err, "synth", c.Quiet)
	report, err := synth.Write(c.ctx, cmd.Out, synth.Options{
		Bytes: int64(cmd.Bytes), Kinds: kinds, Seed: c.seed(), Threads: c.threads(),
		Progress: func(done, total int64) { bar.Set(done, total, units.FormatSize(done)) },
	})
	bar.Done()
	if err != nil {
		return outHint(err)
	}
	if cmd.JSON {
		return c.printJSON(report)
	}
	w := tabwriter.NewWriter(c.out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "kind\tlines\tbytes\tattack lines\t")
	for _, k := range report.Kinds {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t\n", k.Kind, units.Count(k.Lines), units.FormatSize(k.Bytes), units.Count(k.Attack))
	}
	return w.Flush()
}
