package model

import (
	"context"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/secencoder/secencoder/internal/device"
	"github.com/secencoder/secencoder/internal/exec"
	"github.com/secencoder/secencoder/internal/kernel"
	G "gorgonia.org/gorgonia"
)

// Plan computes one mode for batches of up to T tokens, again and again without allocating. It reads the parameters it
// was compiled with on every run, so it follows their updates; with gradients it writes the parameters' gradient arena.
// It is not safe for concurrent use, and two plans of one device must not run at the same time.
type Plan struct {
	cfg   *Config
	opts  CompileOptions
	graph *graph
	prog  *exec.Program
	table kernel.Kernels
	kind  kernel.LossKind

	// Inputs, in the program's memory.
	header, ids, positionIDs, typeIDs, classLabels []int32
	softLabels                                     []float32
	noLabels                                       []int32
	keep                                           []*G.Node
	values                                         map[*G.Node][]float32 // of the kept nodes; nil before the first run
	widened                                        []kernel.ConvertArgs  // kept values of BF16, and the float32 that callers get

	// Of the last run.
	tokens, pieces, masked, logitRows int
}

// Compile makes a plan for parameters p of configuration cfg on a device. It takes no memory until the first Run: Bytes
// tells what that will be. With gradients, p must have them (Params.AllocateGrads). The error names the option or the
// field that does not fit, and wraps exec.ErrDoesNotFit where Memory is a limit that no policy stays under.
func Compile(dev *device.Device, cfg *Config, p *Params, o CompileOptions) (*Plan, error) {
	if err := o.check(cfg); err != nil {
		return nil, err
	}
	if err := holds(p, layout(cfg, o.heads(cfg))); err != nil {
		return nil, fmt.Errorf("plan: mode %v: %w", o.Mode, err)
	}
	g, keep, kind, err := build(cfg, o)
	if err != nil {
		return nil, err
	}
	prog, err := program(g, keep, dev, o, p.Bytes())
	if err != nil {
		return nil, err
	}
	pl := &Plan{cfg: cfg.Clone(), opts: o, graph: g, prog: prog, table: dev.Kernels(), kind: kind, keep: keep}
	if err := pl.bind(p); err != nil {
		return nil, err
	}
	return pl, nil
}

// holds returns an error that names the first tensor that the parameters lack or hold in another shape.
func holds(p *Params, tensors []Tensor) error {
	for _, want := range tensors {
		got, ok := p.Lookup(want.Name)
		switch {
		case !ok:
			return fmt.Errorf("the parameters do not hold %s", want.Name)
		case !slices.Equal(got.Shape, want.Shape):
			return fmt.Errorf("%s has shape %v, want %v", want.Name, got.Shape, want.Shape)
		}
	}
	return nil
}

// bind connects the parameter leaves with the arenas.
func (pl *Plan) bind(p *Params) error {
	for _, leaf := range pl.graph.params {
		w, grad := leaf.bufs(p)
		if err := pl.prog.Bind(leaf.node, w); err != nil {
			return fmt.Errorf("plan: %w", err)
		}
		if !pl.opts.differentiates() {
			continue
		}
		if grad.Absent() {
			return fmt.Errorf("plan: mode %v needs the parameters' gradients, which are not allocated", pl.opts.Mode)
		}
		if err := pl.prog.BindGrad(leaf.node, grad); err != nil {
			return fmt.Errorf("plan: %w", err)
		}
	}
	for n, leaf := range pl.graph.positions {
		b, err := pl.opts.Positions.layer(n, pl.graph.LeafOf(leaf).Len(), pl.opts.DType)
		if err != nil {
			return fmt.Errorf("plan: %w", err)
		}
		if err := pl.prog.Bind(leaf, b); err != nil {
			return fmt.Errorf("plan: %w", err)
		}
	}
	return nil
}

// prepare takes the memory and finds the inputs in it.
func (pl *Plan) prepare() error {
	input := func(n *G.Node) (kernel.Buf, error) {
		if n == nil || !pl.prog.Reads(n) {
			return kernel.Buf{}, nil
		}
		return pl.prog.Input(n)
	}
	for _, in := range []struct {
		node *G.Node
		to   *[]int32
	}{
		{pl.graph.Header, &pl.header}, {pl.graph.ids, &pl.ids}, {pl.graph.positionIDs, &pl.positionIDs}, {pl.graph.typeIDs, &pl.typeIDs},
	} {
		b, err := input(in.node)
		if err != nil {
			return err
		}
		if !b.Absent() {
			*in.to = b.I32()
		}
	}
	b, err := input(pl.graph.labels)
	switch {
	case err != nil:
		return err
	case b.Absent():
	case b.DType == kernel.I32:
		pl.classLabels = b.I32()
	default:
		pl.softLabels = b.F32()
	}
	if b, err = input(pl.graph.slots); err != nil {
		return err
	}
	if !b.Absent() {
		slots, err := pl.cfg.SlotTable(pl.graph.reach)
		if err != nil {
			return err
		}
		copy(b.I16(), slots)
	}
	pl.noLabels = make([]int32, pl.opts.Tokens)
	values := map[*G.Node][]float32{}
	for _, n := range pl.keep {
		b, err := pl.prog.Value(n)
		if err != nil {
			return err
		}
		if b.DType == kernel.BF16 {
			to := make([]float32, b.Len())
			pl.widened = append(pl.widened, kernel.ConvertArgs{X: b, Out: kernel.FromF32(to), N: len(to)})
			values[n] = to
			continue
		}
		values[n] = b.F32()
	}
	pl.values = values
	return nil
}

// Run computes one batch. With gradients, accumulate says whether they are added to what the gradient arena holds or
// replace it: false for the first micro-batch of a step. An error of the batch leaves everything as it was. Once ctx is
// cancelled Run ends with ctx's error after the kernel under way, and results and gradients hold a part of the batch.
func (pl *Plan) Run(ctx context.Context, b *Batch, accumulate bool) error {
	if err := pl.check(b); err != nil {
		return err
	}
	if pl.values == nil {
		if err := pl.prepare(); err != nil {
			return err
		}
	}
	pl.fill(b)
	pl.prog.SetAccumulate(accumulate)
	if err := pl.prog.Run(ctx); err != nil {
		return err
	}
	for i := range pl.widened {
		pl.table.Convert(0, &pl.widened[i])
	}
	return pl.table.Sync(0)
}

// value returns the first elements of a kept node; nil when the mode does not compute it.
func (pl *Plan) value(n *G.Node, elements int) []float32 {
	v := pl.values[n]
	if v == nil {
		return nil
	}
	return v[:elements]
}

// Loss returns the loss of the last batch: scale · Σ nats for the MLM loss, a mean for classification and question
// answering; 0 in modes without one.
func (pl *Plan) Loss() float32 {
	v := pl.value(pl.graph.loss, 1)
	if v == nil {
		return 0
	}
	return v[0]
}

// NLL returns −ln P of each masked position's label [masked] of the last batch, in ModeEval; nil in others. Like all
// results it aliases the plan's memory until the next Run or Close.
func (pl *Plan) NLL() []float32 { return pl.value(pl.graph.mlm.NLL, pl.masked) }

// Hit returns 1 where the most likely token, the lowest id among equals, is the label, else 0 [masked]; as NLL.
func (pl *Plan) Hit() []float32 { return pl.value(pl.graph.mlm.Hit, pl.masked) }

// Pooled returns one vector a piece [pieces, H] of the last batch, in ModeEmbed; nil in others.
func (pl *Plan) Pooled() []float32 { return pl.value(pl.graph.pooled, pl.pieces*pl.cfg.HiddenSize) }

// Hidden returns hidden state i [tokens, H] of the last batch, in ModeHidden: 0 is the embedding output, i the output of
// layer i−1, as in HF's hidden_states. nil in other modes and for other i.
func (pl *Plan) Hidden(i int) []float32 {
	if i < 0 || i >= len(pl.graph.hidden) {
		return nil
	}
	return pl.value(pl.graph.hidden[i], pl.tokens*pl.cfg.HiddenSize)
}

// Logits returns the logits of the last batch: [masked, V] in ModeLogits, [pieces, labels] in ModeSequence, [tokens,
// labels] in ModeToken, [tokens, 2] (first and last token of the answer) in ModeQuestion; nil in other modes.
func (pl *Plan) Logits() []float32 {
	if pl.graph.logits == nil {
		return nil
	}
	return pl.value(pl.graph.logits, pl.logitRows*pl.graph.logits.Shape()[1])
}

// Bytes returns the memory that the plan takes at its first run, without parameters.
func (pl *Plan) Bytes() int64 { return pl.prog.Bytes() }

// PackBytes returns the memory that CompileOptions.Packs will hold for this plan alone.
func (pl *Plan) PackBytes() int64 { return pl.prog.PackBytes() }

// Policy returns what is computed again for the backward pass.
func (pl *Plan) Policy() exec.Policy { return pl.prog.Policy() }

// Print writes the plan: every kernel call with its memory.
func (pl *Plan) Print(w io.Writer) error { return pl.prog.Print(w) }

// SetTrace makes runs report the time of every kernel call by name; nil switches it off.
func (pl *Plan) SetTrace(f func(name string, elapsed time.Duration)) { pl.prog.SetTrace(f) }

// Calls returns the names of the kernel calls of one run, in order.
func (pl *Plan) Calls() []string { return pl.prog.Calls() }

// Close gives the plan's memory back. Parameters and shared position tables stay.
func (pl *Plan) Close() error {
	pl.values, pl.widened = nil, nil
	return pl.prog.Close()
}
