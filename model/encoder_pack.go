package model

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/secencoder/secencoder/internal/units"
)

// packer fills passes with lines, in order, and scatters the vectors of their pieces.
type packer struct {
	e       *Encoder
	ctx     context.Context
	out     [][]float32
	weights []float64 // per line: sum of the weights of its pieces so far; 0: none yet
	pieces  []piece   // of the pass being filled
}

// piece is one framed piece of the pass being filled: which line it belongs to, and what its vector weighs there.
type piece struct {
	line   int
	weight float64
}

func (p *packer) add(line int, text []byte) error {
	e := p.e
	e.scratch = e.tok.Append(e.scratch[:0], text)
	content := e.scratch
	longest := len(content)
	if w := e.opt.window; w > 0 && longest+2 > w {
		longest = w - 2
	}
	if err := e.checkLength(longest + 2); err != nil {
		return &LineError{line, err}
	}
	for {
		n := min(longest, len(content))
		if err := p.addPiece(line, content[:n]); err != nil {
			return err
		}
		if content = content[n:]; len(content) == 0 {
			return nil
		}
	}
}

func (p *packer) addPiece(line int, content []uint32) error {
	b := &p.e.batch
	if n := len(b.IDs); n > 0 && n+len(content)+2 > p.e.opt.tokens {
		if err := p.flush(); err != nil {
			return err
		}
	}
	if len(b.Offsets) == 0 {
		b.Offsets = append(b.Offsets, 0)
	}
	b.IDs = p.e.frame(b.IDs, content)
	b.Offsets = append(b.Offsets, int32(len(b.IDs)))
	weight := float64(len(content) + 2)
	switch p.e.opt.pool {
	case PoolContent:
		weight = float64(len(content))
	case PoolFirst:
		weight = 1
	}
	p.pieces = append(p.pieces, piece{line, weight})
	return nil
}

// frame appends [CLS] content [SEP].
func (e *Encoder) frame(dst []int32, content []uint32) []int32 {
	s := e.folder.Tokenizer.Special()
	dst = append(dst, int32(s.CLS))
	for _, id := range content {
		dst = append(dst, int32(id))
	}
	return append(dst, int32(s.SEP))
}

// flush runs the pass and adds its vectors to their lines: a running weighted mean, so that a line of one piece gets
// its vector bit for bit.
func (p *packer) flush() error {
	b := &p.e.batch
	defer func() { b.IDs, b.Offsets, p.pieces = b.IDs[:0], b.Offsets[:0], p.pieces[:0] }()
	if len(b.IDs) == 0 {
		return nil
	}
	if err := p.ctx.Err(); err != nil {
		return err
	}
	plan, err := p.e.plan(ModeEmbed, len(b.IDs), 0)
	if err != nil {
		return err
	}
	if err := plan.Run(p.ctx, b, false); err != nil {
		return err
	}
	h := p.e.folder.Config.HiddenSize
	pooled := plan.Pooled()
	for i, x := range p.pieces {
		row, to := pooled[i*h:(i+1)*h], p.out[x.line]
		if p.weights[x.line] == 0 {
			copy(to, row)
		} else if x.weight > 0 {
			share := x.weight / (p.weights[x.line] + x.weight)
			for j, v := range row {
				to[j] += float32(share * (float64(v) - float64(to[j])))
			}
		}
		p.weights[x.line] += x.weight
	}
	return nil
}

// checkLength returns an error when a piece of n framed tokens cannot run.
func (e *Encoder) checkLength(n int) error {
	if n > maxPieceTokens {
		return fmt.Errorf("%d tokens, want at most %d", n, maxPieceTokens)
	}
	c := e.folder.Config
	if c.PositionBiasedInput && n > c.MaxPositionEmbeddings {
		return fmt.Errorf("%d tokens, and the model has absolute positions for %d (max_position_embeddings)", n, c.MaxPositionEmbeddings)
	}
	return nil
}

// cachedPlan is a compiled plan that was used before.
type cachedPlan struct {
	mode   Mode
	tokens int
	masked int
	plan   *Plan
}

// cachedPlans bounds the plans that stay: the usual size, the last odd one, one of fill-mask.
const cachedPlans = 3

// plan returns a plan of mode for at least tokens tokens and masked masked positions: the smallest of those that were
// used before and hold them (a plan costs what its tokens cost, not what it could hold), else a new one. New sizes go up
// in steps of 2^k and 3·2^k, so that few plans serve all inputs.
func (e *Encoder) plan(mode Mode, tokens, masked int) (*Plan, error) {
	best := -1
	for i, c := range e.plans {
		if c.mode == mode && c.tokens >= tokens && c.masked >= masked && (best < 0 || c.tokens < e.plans[best].tokens) {
			best = i
		}
	}
	if best >= 0 {
		c := e.plans[best]
		e.plans = slices.Insert(slices.Delete(e.plans, best, best+1), 0, c)
		return c.plan, nil
	}
	T := planTokens(tokens)
	if mode == ModeEmbed && tokens <= e.opt.tokens && tokens > e.opt.tokens/2 {
		T = e.opt.tokens
	}
	for len(e.plans) >= cachedPlans {
		if err := e.dropPlan(); err != nil {
			return nil, err
		}
	}
	o := CompileOptions{Tokens: T, Mode: mode, Pool: e.opt.pool, Positions: e.pos, Packs: e.packs, Device: e.dev, DType: e.dtype}
	if masked > 0 {
		o.MaskedCap = planTokens(masked)
	}
	plan, err := Compile(e.dev, e.folder.Config, e.folder.Params, o)
	if err != nil {
		return nil, err
	}
	if err := e.checkMemory(plan, T); err != nil {
		return nil, errors.Join(err, plan.Close())
	}
	e.plans = slices.Insert(e.plans, 0, &cachedPlan{mode, T, o.MaskedCap, plan})
	return plan, nil
}

func (e *Encoder) dropPlan() error {
	last := e.plans[len(e.plans)-1]
	e.plans = e.plans[:len(e.plans)-1]
	return last.plan.Close()
}

// checkMemory refuses a plan that does not fit the memory that is there, with both numbers. Plans that stay from before
// are given up first.
func (e *Encoder) checkMemory(p *Plan, tokens int) error {
	need := p.Bytes() + max(0, p.PackBytes()-e.packs.Bytes())
	for {
		have, err := e.available()
		if err != nil {
			return err
		}
		if need <= have {
			return nil
		}
		if len(e.plans) == 0 {
			return fmt.Errorf("a pass of %d tokens needs %s, %s are available", tokens, units.FormatSize(need), units.FormatSize(have))
		}
		if err := e.dropPlan(); err != nil {
			return err
		}
	}
}

// planTokens rounds n up to the next 2^k or 3·2^k, at least 16.
func planTokens(n int) int {
	for p := 16; ; p *= 2 {
		if n <= p {
			return p
		}
		if n <= p+p/2 {
			return p + p/2
		}
	}
}
