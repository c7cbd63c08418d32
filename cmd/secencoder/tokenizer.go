package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"text/tabwriter"

	"github.com/secencoder/secencoder/tokenizer"
)

// input opens the file that --in names; no name and "-" are standard input. Ctrl-C ends a read that waits.
func (c *call) input(name string) (io.ReadCloser, error) {
	if name == "" || name == "-" {
		return interruptible(c.ctx, c.in), nil
	}
	info, err := os.Stat(name)
	switch {
	case err != nil:
		return nil, err
	case info.IsDir():
		return nil, fmt.Errorf("%s: is a folder, want a file", name)
	case info.Mode()&fs.ModeNamedPipe != 0:
		return interruptible(c.ctx, &lateFile{name: name}), nil
	}
	return os.Open(name)
}

// named is how errors call an --in.
func named(in string) string {
	if in == "" || in == "-" {
		return "standard input"
	}
	return in
}

// lateFile opens its file at the first Read: a named pipe opens only when somebody writes to it.
type lateFile struct {
	name string
	file *os.File
}

func (l *lateFile) Read(p []byte) (n int, err error) {
	if l.file == nil {
		if l.file, err = os.Open(l.name); err != nil {
			return 0, err
		}
	}
	return l.file.Read(p)
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
	name := named(cmd.In)
	err = mapLines(c.ctx, in, c.out, c.threads(), func() func(dst, line []byte, number int) ([]byte, error) {
		var ids []uint32
		return func(dst, line []byte, number int) ([]byte, error) {
			var err error
			if ids, err = parseIDs(ids[:0], line, tok.VocabSize()); err != nil {
				return dst, hint(fmt.Errorf("%s: line %d: %w", name, number, err), "each line looks like [49,261,300], with ids below %d", tok.VocabSize())
			}
			return append(tok.AppendDecode(dst, ids), '\n'), nil
		}
	})
	return errors.Join(err, in.Close())
}

// parseIDs appends the ids of a JSON array of whole numbers below limit.
func parseIDs(ids []uint32, line []byte, limit int) ([]uint32, error) {
	text := bytes.Trim(line, " \t\r")
	if len(text) < 2 || text[0] != '[' || text[len(text)-1] != ']' {
		return ids, errors.New("no JSON array of ids")
	}
	text = bytes.Trim(text[1:len(text)-1], " \t\r")
	if len(text) == 0 {
		return ids, nil
	}
	for more := true; more; {
		var word []byte
		word, text, more = bytes.Cut(text, []byte(","))
		word = bytes.Trim(word, " \t\r")
		id, err := strconv.ParseUint(string(word), 10, 32)
		if err != nil || word[0] == '+' || len(word) > 1 && word[0] == '0' {
			return ids, fmt.Errorf("place %d: %.40q is no id", len(ids), word)
		}
		if id >= uint64(limit) {
			return ids, fmt.Errorf("place %d: id %d is outside the vocabulary", len(ids), id)
		}
		ids = append(ids, uint32(id))
	}
	return ids, nil
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
		if err := eachLine(c.ctx, interruptible(c.ctx, c.in), func(line []byte) error { text = append(text, line...); return stop }); err != nil && err != stop {
			return err
		}
	}
	classes := tok.Classes(tokenizer.DefaultDelimiters())
	tokens := []inspected{}
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
