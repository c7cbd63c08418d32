package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/secencoder/secencoder/data"
	"github.com/secencoder/secencoder/data/batch"
	"github.com/secencoder/secencoder/data/shard"
	"github.com/secencoder/secencoder/internal/printable"
	"github.com/secencoder/secencoder/tokenizer"
)

type inspectCmd struct {
	Dir      string `arg:"" help:"Data folder."`
	Split    string `default:"train" enum:"train,valid,idts,odts" placeholder:"SET" help:"train, valid, idts or odts."`
	Document int    `placeholder:"N" help:"Number of the record in the set, from 0."`
	Count    int    `default:"1" placeholder:"N" help:"Records to show."`
	Piece    int    `placeholder:"N" help:"Number of the piece of a long record, from 0."`
	Epoch    uint32 `placeholder:"N" help:"Masks of this epoch."`
	Context  int    `default:"128" placeholder:"N" help:"Longest piece in tokens."`
	Mask     string `default:"content" enum:"content,all" placeholder:"SET" help:"What may be masked: content or all."`
	JSON     bool   `name:"json" help:"One JSON document on stdout."`
}

func (*inspectCmd) Help() string {
	return examples("secencoder data inspect out/data", "secencoder data inspect out/data --split odts --document 17 --count 3")
}

// sample is one inspected piece.
type sample struct {
	Split    string   `json:"split"`
	Document int      `json:"document"`
	Piece    int      `json:"piece"`
	Source   string   `json:"source"`
	Record   uint32   `json:"record"`
	Text     string   `json:"text"`
	Tokens   []string `json:"tokens"` // as the model reads them
	Classes  []string `json:"classes"`
	Masked   []int    `json:"masked"` // places in tokens
	Labels   []string `json:"labels"` // what stood there
}

func (cmd *inspectCmd) Run(c *call) (err error) {
	if err := cmd.check(); err != nil {
		return err
	}
	d, err := shard.OpenData(cmd.Dir)
	if err != nil {
		return dataHint(err, cmd.Dir)
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	split, err := data.ParseSplit(cmd.Split)
	if err != nil {
		return &errUsage{err}
	}
	set := d.Sets[split]
	if set == nil {
		return fmt.Errorf("%s: has no set %s", cmd.Dir, split)
	}
	mask, err := batch.ParseMaskSet(cmd.Mask)
	if err != nil {
		return &errUsage{err}
	}
	tok := d.Tokenizer
	classes := tok.Classes(tokenizer.DefaultDelimiters())
	vocabulary, err := batch.NewVocabulary(tok.Special(), classes)
	if err != nil {
		return err
	}
	var samples []sample
	for i := range min(cmd.Count, max(1, set.Documents()-cmd.Document)) { // the first one says what is wrong, if it is outside
		at := batch.Place{Epoch: cmd.Epoch, Document: cmd.Document + i, Piece: cmd.Piece}
		p, err := batch.Inspect(set, vocabulary, c.seed(), cmd.Context, batch.MaskOptions{Set: mask}, at)
		if err != nil {
			return fmt.Errorf("%s: %s: %w", cmd.Dir, split, err)
		}
		samples = append(samples, cmd.sample(p, tok, classes, set))
	}
	if cmd.JSON {
		return c.printJSON(map[string]any{"samples": samples})
	}
	for _, s := range samples {
		if err := c.printSample(&s); err != nil {
			return err
		}
	}
	return nil
}

func (cmd *inspectCmd) check() error {
	switch {
	case cmd.Count < 1:
		return usagef("--count %d: want 1 or more", cmd.Count)
	case cmd.Document < 0:
		return usagef("--document %d: want 0 or more", cmd.Document)
	case cmd.Piece < 0:
		return usagef("--piece %d: want 0 or more", cmd.Piece)
	case cmd.Context < 3 || cmd.Context > 1<<16:
		return usagef("--context %d: want 3 to 65,536 tokens", cmd.Context)
	}
	return nil
}

func (cmd *inspectCmd) sample(p *batch.Piece, tok *tokenizer.Tokenizer, classes []tokenizer.Class, set *shard.Set) sample {
	s := sample{Split: cmd.Split, Document: p.Document, Piece: p.Index, Record: p.Record, Source: set.Sources()[p.Source]}
	s.Masked, s.Labels = []int{}, []string{}
	original := append([]int32(nil), p.IDs...)
	for k, at := range p.MaskedPositions {
		original[at] = p.Labels[k]
		s.Masked = append(s.Masked, int(at))
		s.Labels = append(s.Labels, string(tok.TokenBytes(uint32(p.Labels[k]))))
	}
	var text []uint32
	for _, id := range original {
		text = append(text, uint32(id))
		s.Classes = append(s.Classes, classes[id].String())
	}
	for _, id := range p.IDs {
		s.Tokens = append(s.Tokens, string(tok.TokenBytes(uint32(id))))
	}
	s.Text = string(tok.AppendDecode(nil, text))
	return s
}

// printSample shows the text, then the tokens as the model reads them, a masked one as {shown<-original}.
func (c *call) printSample(s *sample) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s document %d, piece %d; source %s, record %d; %d tokens, %d masked\n", s.Split, s.Document, s.Piece, printable.String(s.Source), s.Record, len(s.Tokens), len(s.Masked))
	fmt.Fprintf(&b, "  %s\n  ", printable.String(s.Text))
	next := 0
	for i, t := range s.Tokens {
		if i > 0 {
			b.WriteByte('|')
		}
		if next < len(s.Masked) && s.Masked[next] == i {
			fmt.Fprintf(&b, "{%s<-%s}", printable.String(t), printable.String(s.Labels[next]))
			next++
			continue
		}
		b.WriteString(printable.String(t))
	}
	b.WriteString("\n  {shown<-original} marks what is to be predicted\n")
	_, err := c.out.Write([]byte(b.String()))
	return err
}
