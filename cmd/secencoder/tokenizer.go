package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"text/tabwriter"

	"github.com/secencoder/secencoder/tokenizer"
)

// input opens the file that --in names; no name and "-" are standard input.
func (c *call) input(name string) (io.ReadCloser, error) {
	if name == "" || name == "-" {
		return io.NopCloser(c.in), nil
	}
	return os.Open(name)
}

type tokenizerEncodeCmd struct {
	Tokenizer string `required:"" placeholder:"FILE" help:"tokenizer.json, or a folder that holds one."`
	In        string `placeholder:"FILE" help:"Text, one line each; default standard input."`
	Special   bool   `help:"Frame each line with [CLS] and [SEP]."`
}

func (*tokenizerEncodeCmd) Help() string {
	return examples(
		"secencoder tokenizer encode --tokenizer out/data --in auth.log",
		"head -3 auth.log | secencoder tokenizer encode --tokenizer out/tokenizer.json --special")
}

func (cmd *tokenizerEncodeCmd) Run(c *call) error {
	tok, err := tokenizer.Load(cmd.Tokenizer)
	if err != nil {
		return err
	}
	in, err := c.input(cmd.In)
	if err != nil {
		return err
	}
	special := tok.Special()
	err = mapLines(c.ctx, in, c.out, c.threads(), func() func(dst, line []byte, number int) ([]byte, error) {
		encoder := tok.NewEncoder()
		var ids []uint32
		return func(dst, line []byte, number int) ([]byte, error) {
			ids = ids[:0]
			if cmd.Special {
				ids = append(ids, special.CLS)
			}
			ids = encoder.Append(ids, line)
			if cmd.Special {
				ids = append(ids, special.SEP)
			}
			dst = append(dst, '[')
			for i, id := range ids {
				if i > 0 {
					dst = append(dst, ',')
				}
				dst = strconv.AppendUint(dst, uint64(id), 10)
			}
			return append(dst, ']', '\n'), nil
		}
	})
	return errors.Join(err, in.Close())
}

type tokenizerDecodeCmd struct {
	Tokenizer string `required:"" placeholder:"FILE" help:"tokenizer.json, or a folder that holds one."`
	In        string `placeholder:"FILE" help:"One JSON array of ids a line; default standard input."`
}

func (*tokenizerDecodeCmd) Help() string {
	return examples(
		"secencoder tokenizer encode --tokenizer out/data --in auth.log | secencoder tokenizer decode --tokenizer out/data",
		"echo '[49, 261, 300]' | secencoder tokenizer decode --tokenizer out/tokenizer.json")
}

func (cmd *tokenizerDecodeCmd) Run(c *call) error {
	tok, err := tokenizer.Load(cmd.Tokenizer)
	if err != nil {
		return err
	}
	in, err := c.input(cmd.In)
	if err != nil {
		return err
	}
	name := cmd.In
	if name == "" || name == "-" {
		name = "standard input"
	}
	err = mapLines(c.ctx, in, c.out, c.threads(), func() func(dst, line []byte, number int) ([]byte, error) {
		return func(dst, line []byte, number int) ([]byte, error) {
			var ids []uint32
			if err := json.Unmarshal(line, &ids); err != nil {
				return dst, hint(fmt.Errorf("%s: line %d: no JSON array of ids: %w", name, number, err), "each line looks like [49,261,300]")
			}
			for i, id := range ids {
				if int(id) >= tok.VocabSize() {
					return dst, fmt.Errorf("%s: line %d: id %d at place %d is outside the vocabulary of %d", name, number, id, i, tok.VocabSize())
				}
			}
			return append(tok.AppendDecode(dst, ids), '\n'), nil
		}
	})
	return errors.Join(err, in.Close())
}

type tokenizerInspectCmd struct {
	Tokenizer string `required:"" placeholder:"FILE" help:"tokenizer.json, or a folder that holds one."`
	Text      string `arg:"" help:"The line to explain; - reads the first line of standard input."`
	JSON      bool   `name:"json" help:"One JSON document on stdout."`
}

func (*tokenizerInspectCmd) Help() string {
	return examples(
		"secencoder tokenizer inspect --tokenizer out/data 'sudo: root : TTY=unknown ; PWD=/'",
		"head -1 auth.log | secencoder tokenizer inspect --tokenizer out/data - --json")
}

// inspected is one token of an inspected line.
type inspected struct {
	Start int    `json:"start"`
	End   int    `json:"end"`
	ID    uint32 `json:"id"`
	Token string `json:"token"`
	Bytes string `json:"bytes"`
	Class string `json:"class"`
}

func (cmd *tokenizerInspectCmd) Run(c *call) error {
	tok, err := tokenizer.Load(cmd.Tokenizer)
	if err != nil {
		return err
	}
	text := []byte(cmd.Text)
	if cmd.Text == "-" {
		stop := errors.New("one line is enough")
		text = nil
		if err := eachLine(c.ctx, c.in, func(line []byte) error { text = append(text, line...); return stop }); err != nil && err != stop {
			return err
		}
	}
	classes := tok.Classes(tokenizer.DefaultDelimiters())
	var tokens []inspected
	at := 0
	for _, id := range tok.NewEncoder().Append(nil, text) {
		raw := tok.TokenBytes(id)
		tokens = append(tokens, inspected{at, at + len(raw), id, tok.Token(id), strconv.Quote(string(raw)), classes[id].String()})
		at += len(raw)
	}
	if cmd.JSON {
		return c.printJSON(map[string]any{"text": string(text), "tokens": tokens})
	}
	w := tabwriter.NewWriter(c.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "bytes\tid\ttoken\ttext\tclass")
	for _, t := range tokens {
		fmt.Fprintf(w, "%d-%d\t%d\t%s\t%s\t%s\n", t.Start, t.End, t.ID, t.Token, t.Bytes, t.Class)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	_, err = fmt.Fprintf(c.out, "%d bytes, %d tokens\n", len(text), len(tokens))
	return err
}

// printJSON writes one indented JSON document to stdout.
func (c *call) printJSON(v any) error {
	e := json.NewEncoder(c.out)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(v)
}
