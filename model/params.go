package model

import (
	"fmt"

	"github.com/secencoder/secencoder/internal/kernel"
)

// Params holds a model's parameters in arenas outside Go's heap: the weights, and on request their gradients and the
// two moments of AdamW, float32, all with the same layout, one order, no gaps. A tensor is a view into an arena. One
// kernel call updates a whole arena, and model.safetensors is a header plus the weight arena.
//
// Methods that return views may run concurrently; the caller orders reads and writes of the memory itself. Close frees
// the arenas: no view may be used after it.
type Params struct {
	cfg     *Config
	heads   Heads
	tensors []Tensor
	index   map[string]int
	size    int // elements of one arena

	weights, grads, first, second *arena
}

// NewParams makes the parameters of cfg with the heads asked for; all weights are zero. Gradients and moments are not
// allocated yet (AllocateGrads, AllocateMoments). cfg is copied. The error is Validate's, or says that the memory is
// not there.
func NewParams(cfg *Config, heads Heads) (*Params, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	p := &Params{cfg: cfg.Clone(), heads: heads, tensors: layout(cfg, heads), index: map[string]int{}}
	for i, t := range p.tensors {
		p.index[t.Name] = i
		p.size = t.Offset + t.Size()
	}
	var err error
	if p.weights, err = newArena(p.size); err != nil {
		return nil, fmt.Errorf("weights: %w", err)
	}
	return p, nil
}

// Config returns the configuration that the parameters were made for; it must not be changed.
func (p *Params) Config() *Config { return p.cfg }

// Heads returns the heads that the parameters hold.
func (p *Params) Heads() Heads { return p.heads }

// Tensors returns all tensors in arena order; the slice must not be changed.
func (p *Params) Tensors() []Tensor { return p.tensors }

// Elements returns the number of parameters, which is the length of every arena.
func (p *Params) Elements() int { return p.size }

// Bytes returns the bytes of all arenas that are allocated now.
func (p *Params) Bytes() int64 {
	var n int64
	for _, a := range []*arena{p.weights, p.grads, p.first, p.second} {
		if a != nil {
			n += 4 * int64(p.size)
		}
	}
	return n
}

// Lookup returns the tensor of an HF name, and whether there is one.
func (p *Params) Lookup(name string) (Tensor, bool) {
	i, ok := p.index[name]
	if !ok {
		return Tensor{}, false
	}
	return p.tensors[i], true
}

func (p *Params) tensor(name string) Tensor {
	t, ok := p.Lookup(name)
	if !ok {
		panic("internal error: no parameter " + name)
	}
	return t
}

// AllocateGrads makes the gradient arena, zeroed; a second call does nothing.
func (p *Params) AllocateGrads() (err error) {
	if p.grads == nil {
		if p.grads, err = newArena(p.size); err != nil {
			return fmt.Errorf("gradients: %w", err)
		}
	}
	return nil
}

// AllocateMoments makes the arenas of AdamW's first and second moment, zeroed; a second call does nothing.
func (p *Params) AllocateMoments() (err error) {
	for _, a := range []**arena{&p.first, &p.second} {
		if *a == nil {
			if *a, err = newArena(p.size); err != nil {
				return fmt.Errorf("optimizer state: %w", err)
			}
		}
	}
	return nil
}

// Weights returns the whole weight arena [Elements].
func (p *Params) Weights() []float32 { return p.weights.all() }

// Grads returns the whole gradient arena [Elements], nil before AllocateGrads.
func (p *Params) Grads() []float32 { return p.grads.all() }

// Moments returns the arenas of the first and second moment [Elements], nil before AllocateMoments.
func (p *Params) Moments() (first, second []float32) { return p.first.all(), p.second.all() }

// Weight returns the weights of an HF name, row-major. It aliases the arena. An unknown name panics: an internal error.
func (p *Params) Weight(name string) []float32 { return p.tensor(name).of(p.weights) }

// Grad returns the gradient of an HF name, nil before AllocateGrads; otherwise as Weight.
func (p *Params) Grad(name string) []float32 { return p.tensor(name).of(p.grads) }

// WeightBuf is Weight as a kernel operand.
func (p *Params) WeightBuf(name string) kernel.Buf { return buf(p.Weight(name)) }

// GradBuf is Grad as a kernel operand; absent before AllocateGrads.
func (p *Params) GradBuf(name string) kernel.Buf { return buf(p.Grad(name)) }

// Fused is a run of adjacent weights and the run of their biases, seen as one linear layer.
type Fused struct {
	W, B         kernel.Buf // [Rows, H], [Rows]
	GradW, GradB kernel.Buf // likewise; absent before AllocateGrads
	Rows         int
	Names        []string // prefixes of the parts in row order, without ".weight" and ".bias"
}

// FusedQKV returns the query, key and value projections of a layer as one: Rows = 3H.
func (p *Params) FusedQKV(layer int) Fused {
	self := fmt.Sprintf("deberta.encoder.layer.%d.attention.self.", layer)
	return p.fuse(self+"query_proj", self+"key_proj", self+"value_proj")
}

// FusedPos returns the separate position projections of a layer (share_att_key false) as one: pos_key_proj when c2p is
// on, then pos_query_proj when p2c is. With shared keys, or without either term, all is absent and Rows is 0: the
// position table then passes key_proj (rows H … 2H−1 of FusedQKV) and query_proj (rows 0 … H−1).
func (p *Params) FusedPos(layer int) Fused {
	var names []string
	if !p.cfg.ShareAttKey {
		self := fmt.Sprintf("deberta.encoder.layer.%d.attention.self.", layer)
		if p.cfg.C2P() {
			names = append(names, self+"pos_key_proj")
		}
		if p.cfg.P2C() {
			names = append(names, self+"pos_query_proj")
		}
	}
	return p.fuse(names...)
}

func (p *Params) fuse(names ...string) Fused {
	if len(names) == 0 {
		return Fused{}
	}
	f := Fused{Names: names, Rows: len(names) * p.cfg.HiddenSize}
	run := func(a *arena, kind string) kernel.Buf {
		at := p.tensor(names[0] + kind).Offset
		end := at
		for _, n := range names {
			t := p.tensor(n + kind)
			if t.Offset != end {
				panic("internal error: " + t.Name + " is not adjacent to its predecessor")
			}
			end += t.Size()
		}
		if a == nil {
			return kernel.Buf{}
		}
		return buf(a.all()[at:end:end])
	}
	f.W, f.B = run(p.weights, ".weight"), run(p.weights, ".bias")
	f.GradW, f.GradB = run(p.grads, ".weight"), run(p.grads, ".bias")
	return f
}

// ZeroAnalyticGrads zeroes the gradients that are zero by analysis (Tensor.ZeroGrad): rounding leaves noise in them,
// which AdamW would blow up to steps of the learning rate. Call it after the last micro-batch of a step.
func (p *Params) ZeroAnalyticGrads() {
	if p.grads == nil {
		return
	}
	for _, t := range p.tensors {
		if t.ZeroGrad {
			clear(t.of(p.grads))
		}
	}
}

// Close frees the arenas.
func (p *Params) Close() error {
	var first error
	for _, a := range []**arena{&p.weights, &p.grads, &p.first, &p.second} {
		if *a == nil {
			continue
		}
		if err := (*a).free(); err != nil && first == nil {
			first = err
		}
		*a = nil
	}
	return first
}

func (t Tensor) of(a *arena) []float32 {
	if a == nil {
		return nil
	}
	end := t.Offset + t.Size()
	return a.all()[t.Offset:end:end]
}

func buf(s []float32) kernel.Buf {
	if s == nil {
		return kernel.Buf{}
	}
	return kernel.FromF32(s)
}
