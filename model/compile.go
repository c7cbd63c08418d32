package model

import (
	"errors"
	"fmt"

	"github.com/secencoder/secencoder/internal/device"
	"github.com/secencoder/secencoder/internal/exec"
	"github.com/secencoder/secencoder/internal/kernel"
	"github.com/secencoder/secencoder/internal/units"
	G "gorgonia.org/gorgonia"
)

// Mode says what a plan computes.
type Mode uint8

const (
	ModeTrain    Mode = iota // MLM loss and the gradients of all parameters
	ModeEval                 // MLM loss, and nll and hit of each masked position
	ModeEmbed                // one pooled vector a piece
	ModeHidden               // the hidden states of every layer
	ModeLogits               // MLM logits at the masked positions, MaskedCap at most
	ModeSequence             // classification of pieces: logits; with Train or Loss also the loss
	ModeToken                // classification of tokens, likewise
	ModeQuestion             // question answering: logits of first and last token [tokens, 2], likewise
)

// masked reports whether the mode computes something at masked positions.
func (m Mode) masked() bool { return m == ModeTrain || m == ModeEval || m == ModeLogits }

// String returns the mode's name.
func (m Mode) String() string {
	names := []string{"train", "eval", "embed", "hidden", "logits", "sequence", "token", "question"}
	if int(m) < len(names) {
		return names[m]
	}
	return fmt.Sprintf("mode %d", uint8(m))
}

// Pool says how a piece becomes one vector.
type Pool uint8

const (
	PoolMean    Pool = iota // mean over all tokens, [CLS] and [SEP] included
	PoolContent             // mean without the first and the last token
	PoolFirst               // the first token
)

// CompileOptions of Compile. Tokens and Mode are needed, the rest has defaults.
type CompileOptions struct {
	Tokens    int // T: the most tokens of a batch, at least 2
	MaxPiece  int // longest piece, at most 65,536; default: Tokens
	Mode      Mode
	Train     bool // with ModeSequence, ModeToken and ModeQuestion: gradients too
	Loss      bool // with the same modes: the loss, without gradients
	Dropout   bool // apply the configuration's dropout; only where gradients are computed
	Pool      Pool // with ModeEmbed
	MaskedCap int  // with ModeLogits: most masked positions of a batch; default: Tokens
	// SoftLabels says that the labels of a classification loss are distributions, Batch.SoftLabels. Without it they are
	// integers, or the targets of a regression in Batch.SoftLabels when there is one label or problem_type says so.
	SoftLabels bool

	// Memory chooses what is kept for the backward pass: "none" (recompute nothing), "cheap", "layer", a size such as
	// "4GiB" that all arenas of the parameters and the plan together must stay under, or "auto" (80 % of the memory that
	// is available now). Empty: Recompute.
	Memory    string
	Recompute exec.Policy
	Beside    int64 // bytes that count under a size in Memory beside arenas and plan, such as the device's scratch

	// DType is the element type of activations and their gradients, and the arithmetic of matrix products: F32, the default,
	// or BF16 (docs/numerics.md). Parameters, their gradients, losses and all results of a plan are float32 in both.
	DType kernel.DType

	// Positions are the projected position tables of the parameters, shared by inference plans (ProjectPositions). Without
	// them every run projects anew, as it must where parameters change.
	Positions *Positions
	// Packs hold the weights of products in the order in which kernels read them, shared by plans of one device. Who changes
	// parameters after the first run calls their Refresh. Without them every call packs its weights anew.
	Packs  *exec.Packs
	Device *device.Device // for PlanBytes; nil: the default one
	Poison bool           // fill memory that holds nothing with NaN, to find reads of it
}

// ParseDType returns the type of activations that options call name: "f32" or "bf16".
func ParseDType(name string) (kernel.DType, error) {
	for _, d := range []kernel.DType{kernel.F32, kernel.BF16} {
		if d.String() == name {
			return d, nil
		}
	}
	return 0, fmt.Errorf("dtype is %q, want f32 or bf16", name)
}

// differentiates reports whether gradients are computed.
func (o *CompileOptions) differentiates() bool {
	return o.Mode == ModeTrain || o.Train && (o.Mode == ModeSequence || o.Mode == ModeToken || o.Mode == ModeQuestion)
}

// heads returns the heads that a mode needs.
func (o *CompileOptions) heads(cfg *Config) Heads {
	switch o.Mode {
	case ModeTrain, ModeEval, ModeLogits:
		return Heads{MLM: true}
	case ModeSequence:
		return Heads{Sequence: cfg.NumLabels}
	case ModeToken:
		return Heads{Token: cfg.NumLabels}
	case ModeQuestion:
		return Heads{Question: true}
	}
	return Heads{}
}

// check fills defaults and refuses what cannot be.
func (o *CompileOptions) check(cfg *Config) error {
	if err := cfg.Validate(); err != nil {
		return err
	}
	if o.Tokens < 2 {
		return fmt.Errorf("plan: %d tokens, want at least 2", o.Tokens)
	}
	if o.MaxPiece == 0 {
		o.MaxPiece = min(o.Tokens, kernel.MaxPiece)
	}
	if o.MaskedCap == 0 {
		o.MaskedCap = o.Tokens
	}
	switch {
	case o.MaxPiece < 1 || o.MaxPiece > o.Tokens || o.MaxPiece > kernel.MaxPiece:
		return fmt.Errorf("plan: pieces of up to %d tokens, want 1 to %d", o.MaxPiece, min(o.Tokens, kernel.MaxPiece))
	case o.MaskedCap < 1 || o.MaskedCap > o.Tokens:
		return fmt.Errorf("plan: logits of up to %d positions, want 1 to %d", o.MaskedCap, o.Tokens)
	case o.Mode > ModeQuestion:
		return fmt.Errorf("plan: unknown %v", o.Mode)
	case o.DType != kernel.F32 && o.DType != kernel.BF16:
		return fmt.Errorf("plan: activations of %v, want f32 or bf16", o.DType)
	case o.Dropout && !o.differentiates():
		return fmt.Errorf("plan: dropout in mode %v, which computes no gradients", o.Mode)
	case o.Positions != nil && o.differentiates():
		return errors.New("plan: shared position tables have no gradient")
	}
	return nil
}

// build writes the graph of a checked mode and returns the nodes whose values the plan keeps.
func build(cfg *Config, o CompileOptions) (g *graph, keep []*G.Node, kind kernel.LossKind, err error) {
	g, err = newGraph(cfg, graphOptions{
		tokens: o.Tokens, maxPiece: o.MaxPiece, heads: o.heads(cfg), dropout: o.Dropout, sharedPositions: o.Positions != nil,
		dtype: o.DType,
	})
	if err != nil {
		return nil, nil, 0, fmt.Errorf("plan: %w", err)
	}
	switch o.Mode {
	case ModeTrain:
		g.addMLM()
		keep = []*G.Node{g.loss}
	case ModeEval:
		g.addMLM()
		keep = []*G.Node{g.loss, g.mlm.NLL, g.mlm.Hit}
	case ModeEmbed:
		g.addPool(o.Pool)
		keep = []*G.Node{g.pooled}
	case ModeHidden:
		keep = g.hidden
	case ModeLogits:
		g.addLogits(o.MaskedCap)
		keep = []*G.Node{g.logits}
	case ModeSequence, ModeToken:
		rows := kernel.RowsPieces
		if o.Mode == ModeToken {
			rows = kernel.RowsTokens
			g.addToken()
		} else {
			g.addSequence()
		}
		keep = []*G.Node{g.logits}
		if kind, err = lossKind(cfg, o.SoftLabels); (o.Train || o.Loss) && err != nil {
			return nil, nil, 0, err
		}
		if g.Err() == nil && (o.Train || o.Loss) {
			g.addClassLoss(rows, kind)
			keep = append(keep, g.loss)
		}
	case ModeQuestion:
		g.addQuestion()
		keep = []*G.Node{g.logits}
		if g.Err() == nil && (o.Train || o.Loss) {
			g.addSpanLoss()
			keep = append(keep, g.loss)
		}
	}
	if err := g.Err(); err != nil {
		return nil, nil, 0, fmt.Errorf("plan: %w", err)
	}
	if o.differentiates() {
		if err := g.Grad(g.loss); err != nil {
			return nil, nil, 0, fmt.Errorf("plan: %w", err)
		}
	}
	return g, keep, kind, nil
}

// lossKind follows HF's problem_type, and where that is absent HF's guess from the labels.
func lossKind(cfg *Config, soft bool) (kernel.LossKind, error) {
	switch cfg.ProblemType {
	case "regression":
		return kernel.MeanSquare, nil
	case "single_label_classification":
		return kernel.CrossEntropy, nil
	case "":
		switch {
		case cfg.NumLabels == 1:
			return kernel.MeanSquare, nil
		case soft:
			return kernel.SoftCrossEntropy, nil
		}
		return kernel.CrossEntropy, nil
	}
	return 0, fmt.Errorf("plan: problem_type is %q, which has no loss here", cfg.ProblemType)
}

// program compiles the graph with the policy that the options ask for. others is what counts beside the plan when a
// size limits it.
func program(g *graph, keep []*G.Node, dev *device.Device, o CompileOptions, others int64) (*exec.Program, error) {
	compile := func(p exec.Policy) (*exec.Program, error) {
		return exec.Compile(g.Graph, exec.Options{Device: dev, Recompute: p, Keep: keep, Packs: o.Packs, Poison: o.Poison})
	}
	others += o.Beside
	policy, limit, err := parseMemory(o.Memory, o.Recompute, others)
	if err != nil {
		return nil, err
	}
	if limit == 0 {
		return compile(policy)
	}
	made := map[exec.Policy]*exec.Program{}
	policy, least, err := exec.Choose(exec.Policies, limit, func(p exec.Policy) (int64, error) {
		pr, err := compile(p)
		if err != nil {
			return 0, err
		}
		made[p] = pr
		return pr.Bytes() + others, nil
	})
	if err != nil {
		return nil, fmt.Errorf("plan of %d tokens: %w", o.Tokens, err)
	}
	if least > 0 {
		return nil, fmt.Errorf("plan of %d tokens: %w: at least %s bytes are needed, %s may be used", o.Tokens, exec.ErrDoesNotFit,
			units.Count(least), units.Count(limit))
	}
	return made[policy], nil
}

// parseMemory reads CompileOptions.Memory: a policy, or a limit in bytes when that is not 0. taken is what the process
// holds already and counts towards "auto", whose measure is only what is still available.
func parseMemory(s string, otherwise exec.Policy, taken int64) (exec.Policy, int64, error) {
	switch s {
	case "":
		return otherwise, 0, nil
	case "auto":
		n, err := device.AvailableMemory()
		if err != nil {
			return 0, 0, err
		}
		return 0, taken + n/5*4, nil
	}
	for _, p := range exec.Policies {
		if s == p.String() {
			return p, 0, nil
		}
	}
	n, err := units.ParseSize(s)
	if err != nil || n < 1 {
		return 0, 0, fmt.Errorf("memory is %q, want auto, none, cheap, layer or a size", s)
	}
	return 0, n, nil
}

// PlanBytes returns the bytes that Compile's plan would take, without parameters and without taking them, and those of its
// weights in Packs. A limit in o.Memory counts all four arenas where gradients are computed, else the weights.
func PlanBytes(cfg *Config, o CompileOptions) (plan, packs int64, err error) {
	if err := o.check(cfg); err != nil {
		return 0, 0, err
	}
	dev := o.Device
	if dev == nil {
		d, err := device.Open(device.Options{})
		if err != nil {
			return 0, 0, err
		}
		defer d.Close()
		dev = d
	}
	g, keep, _, err := build(cfg, o)
	if err != nil {
		return 0, 0, err
	}
	arenas := int64(1)
	if o.differentiates() {
		arenas = 4
	}
	var elements int64
	for _, t := range layout(cfg, o.heads(cfg)) {
		elements += int64(t.Size())
	}
	p, err := program(g, keep, dev, o, 4*arenas*elements)
	if err != nil {
		return 0, 0, err
	}
	return p.Bytes(), p.PackBytes(), p.Close()
}
