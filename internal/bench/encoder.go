package bench

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"time"

	"github.com/secencoder/secencoder/internal/device"
	"github.com/secencoder/secencoder/internal/exec"
	"github.com/secencoder/secencoder/internal/kernel"
	"github.com/secencoder/secencoder/internal/rng"
	"github.com/secencoder/secencoder/internal/units"
	"github.com/secencoder/secencoder/model"
)

const (
	benchMemory = 10 << 30 // what auto may take of the machine
	maskedShare = 0.15
)

// longContext is the context above which a run is one step, without warm-up; a test lowers it.
var longContext = 8192

// encoder is a preset with a plan and random pieces of the full context.
type encoder struct {
	dev       *device.Device
	cfg       *model.Config
	params    *model.Params
	positions *model.Positions
	packs     *exec.Packs
	plan      *model.Plan
	batch     model.Batch
	o         Options
	long      bool
	p         *probes
	times     kernelTimes
	journey   *journey // of the step in progress, when steps are long
	r         *Result
}

// newEncoder makes the plan of a mode. Close it.
func newEncoder(what string, o Options, mode model.Mode) (_ *encoder, err error) {
	cfg, err := o.preset(what)
	if err != nil {
		return nil, err
	}
	memory := o.Memory
	if memory == "" || memory == "auto" {
		available, err := device.AvailableMemory()
		if err != nil {
			return nil, err
		}
		memory = units.FormatSize(min(benchMemory, available/5*4))
	}
	e := &encoder{cfg: cfg, o: o, long: o.Context > longContext, times: kernelTimes{}}
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
	options := model.CompileOptions{Tokens: o.Tokens, MaxPiece: o.Context, Mode: mode, Dropout: mode == model.ModeTrain, DType: o.DType}
	if mode == model.ModeTrain {
		if err = errors.Join(e.params.AllocateGrads(), e.params.AllocateMoments()); err != nil {
			return nil, err
		}
		var held runtime.MemStats
		runtime.ReadMemStats(&held)
		options.Memory, options.Beside = memory, int64(held.Sys)+e.dev.ScratchBytes()
		if e.plan, err = model.Compile(e.dev, cfg, e.params, options); err != nil { // refuses before it takes memory
			return nil, err
		}
	}
	e.params.Init(o.Seed)
	if mode != model.ModeTrain {
		if e.positions, err = model.ProjectPositions(e.dev, cfg, e.params, o.DType); err != nil {
			return nil, err
		}
		e.packs = exec.NewPacks(e.dev)
		options.Positions, options.Packs = e.positions, e.packs
		if e.plan, err = model.Compile(e.dev, cfg, e.params, options); err != nil {
			return nil, err
		}
		if err = e.fits(); err != nil {
			return nil, err
		}
	}
	e.plan.SetTrace(e.trace)
	e.fill()
	e.p = newProbes(e.dev.Family())
	e.r = &Result{
		What: what, Machine: machine(e.dev, e.dev.Threads()), Versions: versions(),
		Settings: map[string]any{"size": o.Size, "context": o.Context, "tokens": o.Tokens, "dtype": o.DType.String(), "vocab_size": cfg.VocabSize, "recompute": fmt.Sprint(e.plan.Policy())},
	}
	return e, nil
}

// fits returns an error when the plan takes more memory than there is.
func (e *encoder) fits() error {
	available, err := device.AvailableMemory()
	if need := e.plan.Bytes() + e.plan.PackBytes(); err == nil && need > available {
		err = fmt.Errorf("plan of %d tokens: %w: %s bytes are needed, %s are available", e.o.Tokens, exec.ErrDoesNotFit,
			units.Count(need), units.Count(available))
	}
	return err
}

// fill makes pieces of the full context of random ids, and masks among them.
func (e *encoder) fill() {
	s, b := rng.NewStream(e.o.Seed, rng.Probe, 1, 0, 0), &e.batch
	b.Offsets = offsets(e.o.Tokens, e.o.Context)
	for t := range b.Offsets[len(b.Offsets)-1] {
		b.IDs = append(b.IDs, int32(5+s.Intn(e.cfg.VocabSize-5)))
		if s.Float64() < maskedShare {
			b.Masked = append(b.Masked, t)
			b.Labels = append(b.Labels, b.IDs[t])
		}
	}
	b.Scale = 1 / float32(max(1, len(b.Masked)))
}

// flop returns the operations of one forward pass over the batch: all that flop.go counts. The projection of the
// position tables counts where the plan does it, and the head over the masked positions where there are any.
func (e *encoder) flop() float64 {
	sum := tokenFLOP(e.cfg)*float64(len(e.batch.IDs)) + headFLOP(e.cfg)*float64(len(e.batch.Masked))
	for i := range len(e.batch.Offsets) - 1 {
		forward, _ := attentionFLOP(e.cfg, int(e.batch.Offsets[i+1]-e.batch.Offsets[i]))
		sum += float64(e.cfg.NumHiddenLayers) * forward
	}
	if e.positions == nil {
		sum += positionFLOP(e.cfg)
	}
	return sum
}

// callFLOP estimates the operations of a call of the plan, for the time that is left.
func (e *encoder) callFLOP(name string) float64 {
	c, tokens := e.cfg, float64(len(e.batch.IDs))
	h, i := float64(c.HiddenSize), float64(c.IntermediateSize)
	kind, gradient := strings.CutSuffix(name, "_grad")
	var one float64
	switch kind {
	case "attention":
		for i := range len(e.batch.Offsets) - 1 {
			forward, backward := attentionFLOP(c, int(e.batch.Offsets[i+1]-e.batch.Offsets[i]))
			if gradient {
				forward = backward
			}
			one += forward
		}
		return one
	case "qkv":
		one = 6 * h * h * tokens
	case "linear":
		one = (2*h*h + 4*h*i) / 3 * tokens // the mean of a layer's three
	case "mlm_loss":
		one = headFLOP(c) * float64(len(e.batch.Masked))
	case "pos_project":
		one = positionFLOP(c) / float64(c.NumHiddenLayers)
	default:
		one = 100 * h * tokens // bound by memory; as if it took this
	}
	if gradient {
		one *= 2
	}
	return one
}

// trace takes the time of a call.
func (e *encoder) trace(name string, elapsed time.Duration) {
	e.times.add(name, elapsed)
	if e.journey != nil {
		e.journey.next()
	}
}

func (e *encoder) close() error {
	var errs []error
	if e.plan != nil {
		errs = append(errs, e.plan.Close())
	}
	if e.packs != nil {
		errs = append(errs, e.packs.Close())
	}
	if e.positions != nil {
		errs = append(errs, e.positions.Close())
	}
	if e.params != nil {
		errs = append(errs, e.params.Close())
	}
	if e.p != nil {
		errs = append(errs, e.p.close())
	}
	if e.dev != nil {
		errs = append(errs, e.dev.Close())
	}
	return errors.Join(errs...)
}

// measure runs step until the time is over and fills the result; gflop is the work of one step.
func (e *encoder) measure(ctx context.Context, gflop float64, step func() error) (*Result, error) {
	threads := e.dev.Threads()
	if e.long {
		e.o.begin()
		e.journey = begin(e.o.Report, e.plan.Calls(), e.callFLOP)
		defer e.journey.end()
	} else {
		if err := step(); err != nil { // takes memory
			return nil, err
		}
		clear(e.times)
		if err := e.p.openStream(threads); err != nil {
			return nil, err
		}
	}
	var seconds timed
	from := time.Now()
	if !e.long {
		from = e.o.begin()
	}
	for e.long && len(seconds.times) == 0 || !e.long && e.o.more(from, len(seconds.times)) {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if !e.long {
			if err := e.p.streams(e.o.duration()/8, threads, 1); err != nil {
				return nil, err
			}
		}
		if err := seconds.run(e.p.arithmetic(e.o.DType, threads), step); err != nil {
			return nil, err
		}
	}
	if e.long {
		e.journey.end()
		e.p.arithmetic(e.o.DType, threads) // the peak on both sides of the step
		if err := e.p.streams(0, threads, 1); err != nil {
			return nil, err
		}
	}
	e.p.fill(e.r, e.o.DType, threads)
	one := seconds.slice("step", "tokens_per_second", threads, float64(len(e.batch.IDs)))
	seconds.shares(&one, e.r.Machine.PeakGFLOPS, gflop)
	e.r.ShareOfPeak, e.r.MedianShare = one.ShareOfPeak, one.MedianShare
	e.r.GFLOPS, e.r.TokensPerSecond = gflop/one.Seconds, one.Median
	e.r.Slices, e.r.Kernels = []Slice{one}, e.times.list()
	e.r.Settings["gflop_a_step"] = gflop
	return e.r, nil
}

// bounds compares the steps of r with what they cannot be shorter than.
func (e *encoder) bounds(gflop float64) *Bounds {
	given := func(r resource) times { return e.p.given[r] }
	products := given(e.p.bound(e.o.DType, e.dev.Threads()))
	read := given(resource{PeakRead, "GB/s", e.dev.Threads()})
	if len(products) == 0 || len(read) == 0 {
		return nil
	}
	b := &Bounds{WeightBytes: e.weightBytes(), GFLOP: gflop}
	b.WeightSeconds, b.WeightBestSeconds = b.WeightBytes*1e-9/read.median(), b.WeightBytes*1e-9/read.at(0.9)
	b.ProductSeconds, b.ProductBestSeconds = gflop/products.median(), gflop/products.at(0.9)
	one := e.r.Slices[0]
	b.TimesOfBound = one.Seconds / max(b.WeightSeconds, b.ProductSeconds)
	b.TimesOfBoundOfBests = one.BestSeconds / max(b.WeightBestSeconds, b.ProductBestSeconds)
	if one.PerCPU > 0 {
		b.TimesOfBoundCPU = float64(len(e.batch.IDs)) / one.PerCPU / float64(one.Threads) / max(b.WeightSeconds, b.ProductSeconds)
	}
	return b
}

// weightBytes returns the bytes of the layers' weight matrices in the type that products read them in.
func (e *encoder) weightBytes() float64 {
	c := e.cfg
	h, i := float64(c.HiddenSize), float64(c.IntermediateSize)
	n := float64(c.NumHiddenLayers) * (4*h*h + 2*h*i)
	if c.ConvKernelSize > 0 {
		n += float64(c.ConvKernelSize) * h * h / float64(c.ConvGroups)
	}
	return n * float64(e.o.DType.Size())
}

// Train measures a whole training step on full pieces of random tokens: forward, backward, clipping norm, update. Its
// operations are three times those of the forward pass. Above 8,192 tokens of context exactly one step is run, without
// warm-up.
func Train(ctx context.Context, o Options) (_ *Result, err error) {
	e, err := newEncoder("train", o, model.ModeTrain)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, e.close()) }()
	k, w, g := e.dev.Kernels(), e.params.Weights(), e.params.Grads()
	m, v := e.params.Moments()
	t := 0
	return e.measure(ctx, 3e-9*e.flop(), func() error {
		t++
		e.batch.Step = uint32(t)
		if err := e.plan.Run(ctx, &e.batch, false); err != nil {
			return err
		}
		from := time.Now()
		k.SumSquares(0, &kernel.SumSquaresArgs{G: kernel.FromF32(g), N: len(g)})
		e.times.add("sum_squares", time.Since(from))
		from = time.Now()
		k.AdamW(0, &kernel.AdamWArgs{
			W: kernel.FromF32(w), G: kernel.FromF32(g), M: kernel.FromF32(m), V: kernel.FromF32(v), N: len(w),
			LR: 1e-5, Beta1: 0.9, Beta2: 0.98, Eps: 1e-6, Decay: 0.01, Clip: 1, Step: t,
		})
		err := k.Sync(0)
		e.times.add("adamw", time.Since(from))
		return err
	})
}

// Infer measures the encoder and mean pooling, without a head, on full pieces of random tokens. The position tables are
// projected and the weights packed once before, as those of any loaded model.
func Infer(ctx context.Context, o Options) (_ *Result, err error) {
	e, err := newEncoder("infer", o, model.ModeEmbed)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, e.close()) }()
	e.batch.Masked, e.batch.Labels = nil, nil
	gflop := 1e-9 * e.flop()
	r, err := e.measure(ctx, gflop, func() error { return e.plan.Run(ctx, &e.batch, false) })
	if err != nil {
		return nil, err
	}
	r.Bounds = e.bounds(gflop)
	return r, nil
}
