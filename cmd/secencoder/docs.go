package main

import (
	"fmt"
	"io"
	"reflect"
	"strings"

	"github.com/alecthomas/kong"
)

// docsCmd writes docs/cli.md from the flag table; a test compares the two.
type docsCmd struct{}

func (*docsCmd) Run(c *call) error { return writeDocs(c.out) }

// writeDocs prints the whole command line as Markdown.
func writeDocs(w io.Writer) error {
	parser, err := newParser(&commands{}, &streams{out: io.Discard, err: io.Discard})
	if err != nil {
		return err
	}
	var b strings.Builder
	b.WriteString("<!-- Produced by: go run ./cmd/secencoder docs > docs/cli.md. DO NOT EDIT. -->\n\n# Command line\n\n")
	b.WriteString("Results go to stdout, progress and remarks to stderr. `--json` prints one JSON document and nothing else. ")
	b.WriteString("A flag shown with … takes all words up to the next flag and may be repeated; flags may follow positional ")
	b.WriteString("arguments. Sizes take units (MB, MiB, GB, GiB), durations too (90s, 2h).\n\n")
	b.WriteString("Exit codes: 0 done; 1 failure, or the answer is no; 2 wrong use; 130 after Ctrl-C.\n\n")
	b.WriteString("`SECENCODER_KERNELS` names the family of kernels (amx, avx512bf16, avx512, avx2, portable, ref); without it the best that the ")
	b.WriteString("processor offers is used, and `secencoder info` says which and why.\n\n")
	b.WriteString("Every verb takes:\n\n")
	writeFlags(&b, parser.Model.Flags)
	for _, leaf := range parser.Model.Leaves(true) {
		fmt.Fprintf(&b, "## %s\n\n%s\n\n", leaf.Path(), leaf.Help)
		b.WriteString("```\n" + synopsis(leaf) + "\n```\n\n")
		if detail := strings.TrimSpace(leaf.Detail); detail != "" {
			b.WriteString(detailMarkdown(detail) + "\n\n")
		}
		for _, p := range leaf.Positional {
			fmt.Fprintf(&b, "- `%s`: %s\n", p.Summary(), p.Help)
		}
		if len(leaf.Positional) > 0 {
			b.WriteString("\n")
		}
		writeFlags(&b, leaf.Flags)
	}
	_, err = io.WriteString(w, strings.TrimRight(b.String(), "\n")+"\n")
	return err
}

func synopsis(leaf *kong.Node) string {
	words := []string{"secencoder " + leaf.Path()}
	for _, p := range leaf.Positional {
		words = append(words, p.Summary())
	}
	for _, f := range leaf.Flags {
		if f.Hidden {
			continue
		}
		s := flagWords(f)
		if !f.Required {
			s = "[" + s + "]"
		}
		words = append(words, s)
	}
	return strings.Join(words, " ")
}

func flagWords(f *kong.Flag) string {
	s := "--" + f.Name
	if f.IsBool() {
		return s
	}
	s += " " + f.FormatPlaceHolder()
	if f.Target.Kind() == reflect.Slice {
		s = strings.TrimSuffix(strings.TrimSuffix(s, ",..."), "…") + "…"
	}
	return s
}

func writeFlags(b *strings.Builder, flags []*kong.Flag) {
	rows := 0
	for _, f := range flags {
		if f.Hidden || f.Name == "help" {
			continue
		}
		if rows == 0 {
			b.WriteString("| flag | meaning |\n|---|---|\n")
		}
		rows++
		text := strings.ReplaceAll(f.Help, "|", "\\|")
		if f.HasDefault && !strings.Contains(text, "default") && f.Default != "" {
			text += fmt.Sprintf(" Default %s.", f.Default)
		}
		if f.Required {
			text += " Required."
		}
		fmt.Fprintf(b, "| `%s` | %s |\n", strings.ReplaceAll(flagWords(f), "|", "\\|"), text)
	}
	if rows > 0 {
		b.WriteString("\n")
	}
}

// detailMarkdown fences the indented calls of a Help text.
func detailMarkdown(detail string) string {
	var out []string
	fenced := false
	for _, line := range strings.Split(detail, "\n") {
		call, indented := strings.CutPrefix(line, "    ")
		if indented != fenced {
			if line == "" {
				continue
			}
			out = append(out, "```")
			fenced = indented
		}
		if indented {
			line = call
		}
		out = append(out, line)
	}
	if fenced {
		out = append(out, "```")
	}
	return strings.Join(out, "\n")
}
