package train

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"

	"github.com/secencoder/secencoder/data/batch"
	"github.com/secencoder/secencoder/internal/device"
	"github.com/secencoder/secencoder/internal/exec"
	"github.com/secencoder/secencoder/internal/kernel"
	"github.com/secencoder/secencoder/internal/units"
	"github.com/secencoder/secencoder/model"
)

// plans are the compiled network: one plan with gradients, one without for evaluations.
type plans struct {
	train, eval *model.Plan
	packs       *exec.Packs // of train; nil: it packs its weights in every call
	batch       model.Batch // reused
}

// planOptions are those of the plan with gradients and of the one of evaluations, in one arithmetic.
func (s *session) planOptions(mode model.Mode, policy exec.Policy) model.CompileOptions {
	dtype := kernel.F32
	if s.c.DType == "bf16" {
		dtype = kernel.BF16
	}
	return model.CompileOptions{
		Tokens: s.c.microTokens(), MaxPiece: s.c.Context, Mode: mode, Dropout: mode == model.ModeTrain, Recompute: policy,
		Device: s.device, DType: dtype,
	}
}

// tokenBytes is what a micro-batch holds for each of its tokens: its id and, with the shares of masked tokens that are
// usual, places, labels and pieces.
const tokenBytes = 8

// promise chooses the fastest recomputation policy whose memory fits, before any of it is taken, and refuses the run
// with the numbers when none does. Counted are the four arenas of the parameters, both plans, the kernels' scratch, the
// micro-batches of two steps (one is drawn while the other is computed), and, where a size limits the process, what it
// holds already. Where a step has several micro-batches and the memory is there, it packs its weights once for all of them.
func (s *session) promise() error {
	layout, err := model.Layout(s.modelConfig, model.Heads{MLM: true})
	if err != nil {
		return err
	}
	var fixed int64
	for _, t := range layout {
		fixed += 4 * 4 * int64(t.Size())
	}
	evaluation, _, err := model.PlanBytes(s.modelConfig, s.planOptions(model.ModeEval, exec.None))
	if err != nil {
		return err
	}
	fixed += evaluation + 2*tokenBytes*int64(s.c.stepTokens()) + s.device.ScratchBytes()
	if s.available, err = device.AvailableMemory(); err != nil {
		return err
	}
	if s.params != nil {
		s.available += s.params.Bytes() // counted above, taken already
	}
	policy, limit, err := parseMemory(s.c.Memory)
	if err != nil {
		return err
	}
	switch {
	case policy == "":
		var held runtime.MemStats
		runtime.ReadMemStats(&held)
		fixed += int64(held.Sys)
	case policy == "auto":
		limit = s.available / 5 * 4
	default:
		limit = s.available
	}
	policies := slices.DeleteFunc(slices.Clone(exec.Policies), func(p exec.Policy) bool {
		return slices.Contains([]string{"none", "cheap", "layer"}, policy) && p.String() != policy
	})
	var least int64
	s.packed = 0
	s.policy, least, err = exec.Choose(policies, limit, func(p exec.Policy) (int64, error) {
		n, packs, err := model.PlanBytes(s.modelConfig, s.planOptions(model.ModeTrain, p))
		if n += fixed; s.c.Accumulate > 1 && n+packs <= limit {
			s.packed = packs
		}
		return n, err
	})
	if err != nil || least == 0 {
		return err
	}
	return fmt.Errorf("--memory %s: %d tokens a micro-batch on %d threads need %s of memory, %s may be used (%s available): %w", s.c.Memory,
		s.c.microTokens(), s.device.Threads(), units.FormatSize(least), units.FormatSize(limit), units.FormatSize(s.available), exec.ErrDoesNotFit)
}

// compiled makes the network of a session from the model's plans.
func compiled(s *session) (network, error) {
	n := &plans{}
	o := s.planOptions(model.ModeTrain, s.policy)
	if s.packed > 0 {
		n.packs = exec.NewPacks(s.device)
		o.Packs = n.packs
	}
	var err error
	if n.train, err = model.Compile(s.device, s.modelConfig, s.params, o); err != nil {
		return nil, err
	}
	if n.eval, err = model.Compile(s.device, s.modelConfig, s.params, s.planOptions(model.ModeEval, exec.None)); err != nil {
		return nil, errors.Join(err, n.train.Close())
	}
	return n, nil
}

func (n *plans) run(ctx context.Context, m *batch.Micro, seed uint64, step uint32, scale float32, accumulate bool) (float64, error) {
	n.fill(m)
	n.batch.Ordinal, n.batch.Step, n.batch.Seed, n.batch.Scale = m.Ordinal, step, seed, scale
	if !accumulate { // the first of a step: the weights are new
		if err := n.packs.Refresh(); err != nil {
			return 0, err
		}
	}
	if err := n.train.Run(ctx, &n.batch, accumulate); err != nil {
		return 0, err
	}
	return float64(n.train.Loss()), nil
}

// Score implements eval.Scorer.
func (n *plans) Score(ctx context.Context, m *batch.Micro) (nll, hit []float32, err error) {
	if len(m.Labels) == 0 {
		return nil, nil, nil
	}
	n.fill(m)
	n.batch.Ordinal, n.batch.Step, n.batch.Seed, n.batch.Scale = 0, 0, 0, 1
	if err := n.eval.Run(ctx, &n.batch, false); err != nil {
		return nil, nil, err
	}
	return n.eval.NLL(), n.eval.Hit(), nil
}

func (n *plans) fill(m *batch.Micro) {
	n.batch.IDs, n.batch.Offsets = m.IDs[:m.Tokens()], m.Offsets
	n.batch.Masked, n.batch.Labels = m.MaskedPositions, m.Labels
}

func (n *plans) bytes() int64 {
	total := n.train.Bytes() + n.eval.Bytes()
	if n.packs != nil {
		total += n.train.PackBytes()
	}
	return total
}

func (n *plans) print(w io.Writer) error { return n.train.Print(w) }

func (n *plans) close() error { return errors.Join(n.train.Close(), n.eval.Close(), n.packs.Close()) }
