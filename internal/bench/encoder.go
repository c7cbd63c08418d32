package bench

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/secencoder/secencoder/internal/device"
	"github.com/secencoder/secencoder/internal/kernel"
	"github.com/secencoder/secencoder/internal/rng"
	"github.com/secencoder/secencoder/internal/units"
	"github.com/secencoder/secencoder/model"
)

const (
	benchMemory = 10 << 30 // what auto may take of the machine
	longContext = 8192     // above it a run is one step, without warm-up
	maskedShare = 0.15
)

// encoder is a preset with a plan and random pieces of the full context.
type encoder struct {
	dev    *device.Device
	cfg    *model.Config
	params *model.Params
	plan   *model.Plan
	batch  model.Batch
	long   bool
	r      *Result
}

// newEncoder makes the plan of a mode. Close it.
func newEncoder(what string, o Options, mode model.Mode) (_ *encoder, err error) {
	if o.Size == "" {
		o.Size = "mini"
	}
	cfg, defaults, err := model.Preset(o.Size, model.DefaultVocabSize)
	if err != nil {
		return nil, err
	}
	if o.Context == 0 {
		o.Context = defaults.Context
	}
	if o.Tokens == 0 {
		o.Tokens = max(defaults.TokensPerStep, o.Context)
	}
	if o.Context < 3 || o.Tokens < o.Context {
		return nil, fmt.Errorf("bench %s: %d tokens with a context of %d, want a context of at least 3 and as many tokens", what, o.Tokens, o.Context)
	}
	memory := o.Memory
	if memory == "" || memory == "auto" {
		available, err := device.AvailableMemory()
		if err != nil {
			return nil, err
		}
		memory = units.FormatSize(min(benchMemory, available/5*4))
	}
	e := &encoder{cfg: cfg, long: o.Context > longContext}
	defer func() {
		if err != nil {
			err = errors.Join(err, e.close())
		}
	}()
	if e.dev, err = device.Open(device.Options{Threads: o.Threads, Kernels: o.Kernels}); err != nil {
		return nil, err
	}
	if e.params, err = model.NewParams(cfg, model.Heads{MLM: mode == model.ModeTrain}); err != nil {
		return nil, err
	}
	e.params.Init(o.Seed)
	options := model.CompileOptions{Tokens: o.Tokens, MaxPiece: o.Context, Mode: mode, Dropout: mode == model.ModeTrain}
	if mode == model.ModeTrain {
		if err = errors.Join(e.params.AllocateGrads(), e.params.AllocateMoments()); err != nil {
			return nil, err
		}
		options.Memory = memory
	}
	if e.plan, err = model.Compile(e.dev, cfg, e.params, options); err != nil {
		return nil, err
	}
	e.fill(o)
	e.r = &Result{
		What: what, Machine: machine(e.dev, e.dev.Threads()), Versions: versions(),
		Settings: map[string]any{"size": o.Size, "context": o.Context, "tokens": o.Tokens, "dtype": "f32", "vocab_size": cfg.VocabSize, "recompute": fmt.Sprint(e.plan.Policy())},
	}
	return e, nil
}

// fill makes pieces of the full context of random ids, and masks among them.
func (e *encoder) fill(o Options) {
	s := rng.NewStream(o.Seed, rng.Probe, 1, 0, 0)
	b := &e.batch
	for t := range o.Tokens {
		b.IDs = append(b.IDs, int32(5+s.Intn(e.cfg.VocabSize-5)))
		if t%o.Context == 0 && (o.Tokens-t > 1 || t == 0) {
			b.Offsets = append(b.Offsets, int32(t))
		}
		if s.Float64() < maskedShare {
			b.Masked = append(b.Masked, int32(t))
			b.Labels = append(b.Labels, b.IDs[t])
		}
	}
	b.Offsets = append(b.Offsets, int32(o.Tokens))
	b.Scale = 1 / float32(max(1, len(b.Masked)))
}

// flop returns the FLOP of one forward pass over a batch, a multiplication and an addition counted as two: projections,
// feed-forward, attention with both position terms against the slots in use, convolution, and with head the masked-LM
// head over the masked positions.
func (e *encoder) flop(o map[string]any, head bool) float64 {
	c := e.cfg
	h, i, n := float64(c.HiddenSize), float64(c.IntermediateSize), float64(o["context"].(int))
	slots := min(2*n-1, 2*float64(c.PositionBuckets))
	token := float64(c.NumHiddenLayers) * (8*h*h + 4*h*i + 4*n*h + 4*slots*h)
	if c.ConvKernelSize > 0 {
		token += 2 * float64(c.ConvKernelSize) * h * h / float64(c.ConvGroups)
	}
	total := token * float64(len(e.batch.IDs))
	total += float64(c.NumHiddenLayers) * 4 * 2 * float64(c.PositionBuckets) * h * h
	if head {
		total += float64(len(e.batch.Masked)) * (2*h*h + 2*h*float64(c.VocabSize))
	}
	return total
}

func (e *encoder) close() error {
	var errs []error
	if e.plan != nil {
		errs = append(errs, e.plan.Close())
	}
	if e.params != nil {
		errs = append(errs, e.params.Close())
	}
	if e.dev != nil {
		errs = append(errs, e.dev.Close())
	}
	return errors.Join(errs...)
}

// measure runs step until the time is over and fills the result; flop is the work of one step.
func (e *encoder) measure(ctx context.Context, o Options, flop float64, step func() error) (*Result, error) {
	if !e.long {
		if err := step(); err != nil { // takes memory
			return nil, err
		}
	}
	var seconds timed
	var peaks times
	for from := time.Now(); len(seconds.times) == 0 || !e.long && (len(seconds.times) < 3 || time.Since(from) < o.duration()); {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		peaks = append(peaks, peak(e.dev.Family(), e.dev.Threads())...)
		if err := seconds.run(step); err != nil {
			return nil, err
		}
	}
	tokens := float64(len(e.batch.IDs))
	one := seconds.slice("step", "tokens_per_second", e.dev.Threads(), tokens)
	if len(peaks) > 0 {
		e.r.Machine.PeakGFLOPS = peaks.at(0.9)
		share := flop * 1e-9 / seconds.best() / e.r.Machine.PeakGFLOPS
		one.ShareOfPeak, e.r.ShareOfPeak = &share, &share
	}
	e.r.TokensPerSecond, e.r.Slices, e.r.PeakBytes = one.Median, []Slice{one}, peakBytes()
	return e.r, nil
}

// Train measures a whole training step on full pieces of random tokens: forward, backward, clipping norm, update. The
// share of the peak counts three times the forward FLOP.
func Train(ctx context.Context, o Options) (_ *Result, err error) {
	e, err := newEncoder("train", o, model.ModeTrain)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, e.close()) }()
	k, w, g := e.dev.Kernels(), e.params.Weights(), e.params.Grads()
	m, v := e.params.Moments()
	t := 0
	return e.measure(ctx, o, 3*e.flop(e.r.Settings, true), func() error {
		t++
		e.batch.Step = uint32(t)
		if err := e.plan.Run(&e.batch, false); err != nil {
			return err
		}
		k.SumSquares(0, &kernel.SumSquaresArgs{G: kernel.FromF32(g), N: len(g)})
		k.AdamW(0, &kernel.AdamWArgs{
			W: kernel.FromF32(w), G: kernel.FromF32(g), M: kernel.FromF32(m), V: kernel.FromF32(v), N: len(w),
			LR: 1e-5, Beta1: 0.9, Beta2: 0.98, Eps: 1e-6, Decay: 0.01, Clip: 1, Step: t,
		})
		return k.Sync(0)
	})
}

// Infer measures the encoder and mean pooling, without a head, on full pieces of random tokens.
func Infer(ctx context.Context, o Options) (_ *Result, err error) {
	e, err := newEncoder("infer", o, model.ModeEmbed)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, e.close()) }()
	e.batch.Masked, e.batch.Labels = nil, nil
	return e.measure(ctx, o, e.flop(e.r.Settings, false), func() error { return e.plan.Run(&e.batch, false) })
}
