package main

import (
	"fmt"

	"github.com/secencoder/secencoder/internal/units"
	"github.com/secencoder/secencoder/internal/verify"
)

type verifyCmd struct {
	Path string `arg:"" help:"A data, run or model folder."`
	JSON bool   `name:"json" help:"One JSON document on stdout."`
}

func (*verifyCmd) Help() string {
	return examples("secencoder verify out/data", "secencoder verify out/run && echo intact")
}

func (cmd *verifyCmd) Run(c *call) error {
	report, err := verify.Path(c.ctx, cmd.Path)
	if cmd.JSON {
		result := map[string]any{"path": cmd.Path, "ok": err == nil, "kind": report.Kind, "checks": append([]string{}, report.Checks...), "bytes": report.Bytes}
		if err != nil {
			result["error"] = err.Error()
		}
		if printing := c.printJSON(result); printing != nil {
			return printing
		}
		return err
	}
	if !c.Quiet {
		for _, line := range report.Checks {
			fmt.Fprintln(c.err, line)
		}
	}
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(c.out, "%s: %s folder intact, %s checked\n", cmd.Path, report.Kind, units.FormatSize(report.Bytes))
	return err
}
