package model

import (
	"errors"
	"fmt"

	"github.com/secencoder/secencoder/internal/device"
	"github.com/secencoder/secencoder/internal/exec"
	"github.com/secencoder/secencoder/internal/kernel"
	"github.com/secencoder/secencoder/internal/op"
	G "gorgonia.org/gorgonia"
)

// Positions are the position tables of a model, projected by every layer, for plans that run with parameters that no
// longer change: those of a loaded model. At base size a projection costs as much as 85 tokens. They may be shared by
// plans and are valid until Close.
type Positions struct {
	prog   *exec.Program
	layers []kernel.Buf // [R, H] each
}

// ProjectPositions computes the tables of p, for plans with activations of a type. The result is nil, without an error, for configurations without position
// terms. It must be made again when the parameters change, and closed after the plans that use it.
func ProjectPositions(dev *device.Device, cfg *Config, p *Params, dtype kernel.DType) (*Positions, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if !cfg.C2P() && !cfg.P2C() {
		return nil, nil
	}
	if err := holds(p, layout(cfg, Heads{})); err != nil {
		return nil, fmt.Errorf("positions: %w", err)
	}
	inner, err := op.New(2)
	if err != nil {
		return nil, err
	}
	inner.Activations = dtype
	g := &graph{Graph: inner, cfg: cfg, tensors: map[string]Tensor{}}
	for _, t := range layout(cfg, Heads{}) {
		g.tensors[t.Name] = t
	}
	table := g.positionTable(false)
	var keep []*G.Node
	for n := range cfg.NumHiddenLayers {
		var w, b *G.Node
		if cfg.ShareAttKey {
			w, b = g.fused(fmt.Sprintf("layer %d", n), 3, func(p *Params) Fused { return p.FusedQKV(n) })
		}
		keep = append(keep, g.project(n, table, w, b))
	}
	if err := g.Err(); err != nil {
		return nil, fmt.Errorf("positions: %w", err)
	}
	prog, err := exec.Compile(g.Graph, exec.Options{Device: dev, Keep: keep})
	if err != nil {
		return nil, fmt.Errorf("positions: %w", err)
	}
	ps := &Positions{prog: prog}
	if err := ps.run(g, p, keep); err != nil {
		return nil, fmt.Errorf("positions: %w", errors.Join(err, prog.Close()))
	}
	return ps, nil
}

func (ps *Positions) run(g *graph, p *Params, keep []*G.Node) error {
	for _, leaf := range g.params {
		w, _ := leaf.bufs(p)
		if err := ps.prog.Bind(leaf.node, w); err != nil {
			return err
		}
	}
	if err := ps.prog.RunAll(); err != nil {
		return err
	}
	for _, n := range keep {
		b, err := ps.prog.Value(n)
		if err != nil {
			return err
		}
		ps.layers = append(ps.layers, b)
	}
	return nil
}

// layer returns the table of a layer, which must have so many elements of a type.
func (ps *Positions) layer(n, elements int, dtype kernel.DType) (kernel.Buf, error) {
	if n < len(ps.layers) && ps.layers[n].DType != dtype {
		return kernel.Buf{}, fmt.Errorf("the shared position tables are %v, want %v", ps.layers[n].DType, dtype)
	}
	if n >= len(ps.layers) || ps.layers[n].Len() != elements {
		return kernel.Buf{}, fmt.Errorf("the shared position tables are of another configuration (layer %d)", n)
	}
	return ps.layers[n], nil
}

// Bytes returns the memory that the tables take.
func (ps *Positions) Bytes() int64 { return ps.prog.Bytes() }

// Close gives the memory back.
func (ps *Positions) Close() error { return ps.prog.Close() }
