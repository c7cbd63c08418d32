package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"

	"github.com/secencoder/secencoder/data/source"
	"github.com/secencoder/secencoder/internal/npy"
	"github.com/secencoder/secencoder/internal/progress"
	"github.com/secencoder/secencoder/internal/units"
	"github.com/secencoder/secencoder/model"
)

type embedCmd struct {
	Model  string `required:"" placeholder:"DIR" help:"A run, a checkpoint or a model folder."`
	In     string `placeholder:"FILE" help:"Text, one line each, also gzip or zstd; default standard input."`
	Out    string `placeholder:"FILE.npy" help:"NumPy file [lines, hidden_size] float32; without it JSON lines on stdout."`
	Pool   string `enum:"mean,content,first" default:"mean" placeholder:"POOL" help:"mean over all tokens, content: without [CLS] and [SEP], first: [CLS]."`
	DType  string `name:"dtype" enum:"f32,bf16" default:"f32" placeholder:"D" help:"Type of activations, f32 or bf16; vectors are float32 in both."`
	Device string `default:"cpu" placeholder:"D" help:"cpu."`
	Window int    `placeholder:"N" help:"Cut lines over N tokens into pieces of N and average them."`
}

func (*embedCmd) Help() string {
	return examples(
		"secencoder embed --model out/run --in auth.log --out vectors.npy",
		"head -2 auth.log | secencoder embed --model out/hf")
}

// embedBatch is how many lines are embedded at a time: enough to fill passes, few enough to show progress.
const embedBatch = 1024

func (cmd *embedCmd) Run(c *call) error {
	if cmd.Out != "" && filepath.Ext(cmd.Out) != ".npy" {
		return usagef("--out %s: want a name that ends in .npy", cmd.Out)
	}
	if cmd.Out != "" {
		if err := unusedFile(cmd.Out); err != nil {
			return err
		}
	}
	if cmd.Window < 0 || cmd.Window > 0 && cmd.Window < 4 || cmd.Window > 65536 {
		return usagef("--window %d: want 4 … 65536", cmd.Window)
	}
	if err := c.remarkKernels(); err != nil {
		return err
	}
	pool := map[string]model.Pool{"mean": model.PoolMean, "content": model.PoolContent, "first": model.PoolFirst}[cmd.Pool]
	encoder, err := model.Load(cmd.Model, model.WithThreads(c.kernelThreads()), model.WithDevice(cmd.Device), model.WithPool(pool), model.WithWindow(cmd.Window), model.WithDType(cmd.DType))
	if err != nil {
		return err
	}
	err = cmd.embed(c, encoder)
	return errors.Join(err, encoder.Close())
}

func (cmd *embedCmd) embed(c *call, encoder *model.Encoder) (err error) {
	in, err := c.input(cmd.In)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	counted := &countingReader{r: in}
	plain, err := source.Unpack(counted)
	if err != nil {
		return fmt.Errorf("%s: %w", named(cmd.In), err)
	}
	defer func() { err = errors.Join(err, plain.Close()) }()
	write, finish, err := cmd.sink(c, encoder.Config().HiddenSize)
	if err != nil {
		return err
	}
	total := int64(0)
	if f, ok := in.(*os.File); ok {
		if info, err := f.Stat(); err == nil {
			total = info.Size()
		}
	}
	bar := progress.New(c.err, "embed", c.Quiet)
	var lines [][]byte
	done := int64(0)
	flush := func() error {
		vectors, err := encoder.EmbedBytes(c.ctx, lines)
		var long *model.LineError
		if errors.As(err, &long) {
			return hint(fmt.Errorf("line %d: %w", done+1+int64(long.Line), long.Err), "--window N cuts long lines into pieces of N tokens and averages them")
		}
		if err != nil {
			return fmt.Errorf("lines %d to %d: %w", done+1, done+int64(len(lines)), err)
		}
		for _, v := range vectors {
			done++
			if i := slices.IndexFunc(v, notFinite); i >= 0 {
				return fmt.Errorf("%s: line %d: dimension %d of its vector is %v: the weights are damaged or do not fit their configuration",
					cmd.Model, done, i+1, v[i])
			}
			if err := write(done, v); err != nil {
				return err
			}
		}
		lines = lines[:0]
		bar.Set(counted.n, total, units.Count(done)+" lines")
		return nil
	}
	err = eachLine(c.ctx, &namedReader{plain, named(cmd.In)}, func(line []byte) error {
		lines = append(lines, append([]byte(nil), line...))
		if len(lines) == embedBatch {
			return flush()
		}
		return nil
	})
	if err == nil {
		err = flush()
	}
	bar.Done()
	return finish(err, done)
}

func notFinite(v float32) bool { return math.IsNaN(float64(v)) || math.IsInf(float64(v), 0) }

// sink returns what writes a vector and what ends the output.
func (cmd *embedCmd) sink(c *call, columns int) (write func(int64, []float32) error, finish func(error, int64) error, err error) {
	if cmd.Out == "" {
		e := json.NewEncoder(c.out)
		write = func(line int64, v []float32) error {
			return e.Encode(struct {
				Line      int64     `json:"line"`
				Embedding []float32 `json:"embedding"`
			}{line, v})
		}
		return write, func(err error, _ int64) error { return err }, nil
	}
	w, err := npy.Create(cmd.Out, columns)
	if err != nil {
		return nil, nil, err
	}
	finish = func(err error, lines int64) error {
		if err != nil {
			return errors.Join(err, w.Abort())
		}
		if err := w.Close(); err != nil {
			return err
		}
		c.remark("%s: [%d, %d] float32", cmd.Out, lines, columns)
		return nil
	}
	return func(_ int64, v []float32) error { return w.Append(v) }, finish, nil
}

// namedReader says in errors what was read.
type namedReader struct {
	io.Reader
	name string
}

func (r *namedReader) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	if err != nil && err != io.EOF && !errors.As(err, new(*fs.PathError)) && !errors.Is(err, context.Canceled) {
		err = fmt.Errorf("%s: %w", r.name, err)
	}
	return n, err
}

// countingReader counts what was read.
type countingReader struct {
	r io.Reader
	n int64
}

func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

type fillMaskCmd struct {
	Model string `required:"" placeholder:"DIR" help:"A run, a checkpoint or a model folder."`
	Top   int    `default:"5" placeholder:"N" help:"Candidates a mask."`
	Text  string `arg:"" help:"Text with one [MASK] or more."`
	JSON  bool   `name:"json" help:"One JSON document on stdout."`
}

func (*fillMaskCmd) Help() string {
	return examples(
		"secencoder fill-mask --model out/run 'Failed [MASK] for root from 192.0.2.7'",
		"secencoder fill-mask --model out/hf --top 3 --json 'session [MASK] for user root'")
}

func (cmd *fillMaskCmd) Run(c *call) error {
	if cmd.Top < 1 {
		return usagef("--top %d: want 1 or more", cmd.Top)
	}
	if err := c.remarkKernels(); err != nil {
		return err
	}
	encoder, err := model.Load(cmd.Model, model.WithThreads(c.kernelThreads()))
	if err != nil {
		return err
	}
	masks, err := encoder.FillMask(c.ctx, cmd.Text, cmd.Top)
	var none *model.NoMaskError
	switch err = errors.Join(err, encoder.Close()); {
	case errors.As(err, &none):
		return usagef("the text has no %s; write it where a token is missing: 'Failed %s for root'", none.Token, none.Token)
	case err != nil:
		return err
	}
	if cmd.JSON {
		return c.printJSON(map[string]any{"masks": masks})
	}
	for _, m := range masks {
		if _, err := fmt.Fprintf(c.out, "position %d\n", m.Position); err != nil {
			return err
		}
		for _, candidate := range m.Candidates {
			if _, err := fmt.Fprintf(c.out, "  %.4f  %6d  %q\n", candidate.Probability, candidate.ID, candidate.Token); err != nil {
				return err
			}
		}
	}
	return nil
}
