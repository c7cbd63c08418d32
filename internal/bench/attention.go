package bench

import (
	"context"
	"errors"
	"fmt"

	"github.com/secencoder/secencoder/internal/device"
	"github.com/secencoder/secencoder/internal/kernel"
	"github.com/secencoder/secencoder/model"
)

// Attention measures the disentangled attention of one layer, forward and backward, through the kernel table, over
// Tokens tokens in pieces of Context. Operands have the types, the slot table and the dropout that the model gives them;
// the projection of the position table is not part of it. The operations are those of attentionFLOP: for each token
// forward 4·N·h and 2·W·h for each position term, backward 2.5 times the one and 3 times the other. GFLOPS is both
// directions together. Above 8,192 tokens of context each runs exactly once, without warm-up.
func Attention(ctx context.Context, o Options) (_ *Result, err error) {
	cfg, err := o.preset("attention")
	if err != nil {
		return nil, err
	}
	dev, err := device.Open(device.Options{Threads: o.Threads, Kernels: o.Kernels})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, dev.Close()) }()
	m := newMaker(o.Seed)
	defer func() { err = errors.Join(err, m.close()) }()
	a, err := newAttention(dev, cfg, o, m)
	if err != nil {
		return nil, err
	}
	p, k, threads := newProbes(dev.Family()), dev.Kernels(), dev.Threads()
	defer func() { err = errors.Join(err, p.close()) }()
	cases := []struct {
		name  string
		gflop float64
		run   func()
		timed
	}{
		{name: "forward", gflop: a.forward, run: func() { k.Attention(0, &a.args) }},
		{name: "backward", gflop: a.backward, run: func() { k.AttentionGrad(0, &a.grad) }},
	}
	long := o.Context > longContext
	if !long {
		for i := range cases {
			cases[i].run() // takes scratch memory
		}
		if err := k.Sync(0); err != nil {
			return nil, err
		}
	}
	var j *journey
	if long {
		work := map[string]float64{cases[0].name: a.forward, cases[1].name: a.backward}
		j = begin(o.Report, []string{cases[0].name, cases[1].name}, func(name string) float64 { return work[name] })
		defer j.end()
	}
	begun := o.begin()
	for round := 0; long && round == 0 || !long && o.more(begun, round); round++ {
		if !long {
			if err := p.streams(o.duration()/8, threads, 1); err != nil {
				return nil, err
			}
		}
		for i := range cases {
			c := &cases[i]
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			rate := p.arithmetic(o.DType, threads)
			if err := c.timed.run(rate, func() error { c.run(); return k.Sync(0) }); err != nil {
				return nil, err
			}
			if j != nil {
				j.next()
			}
		}
	}
	r := &Result{
		What: "attention", Machine: machine(dev, threads), Versions: versions(), Settings: map[string]any{
			"size": o.Size, "context": o.Context, "tokens": o.Tokens, "dtype": o.DType.String(), "gflop_forward": a.forward, "gflop_backward": a.backward,
		},
	}
	if long {
		j.end()
		if err := p.streams(0, threads, 1); err != nil {
			return nil, err
		}
	}
	p.fill(r, o.DType, threads)
	best, both := r.Machine.PeakGFLOPS, timed{}
	for i := range cases {
		c := &cases[i]
		one := c.timed.slice(c.name, "gflops", threads, c.gflop)
		c.timed.shares(&one, best, c.gflop)
		r.Slices = append(r.Slices, one)
	}
	for i := range cases[0].times {
		both.times = append(both.times, cases[0].times[i]+cases[1].times[i])
	}
	for i := range cases[0].rates { // of both, as the time was spent
		f, b := cases[0].times[i], cases[1].times[i]
		both.rates = append(both.rates, (f*cases[0].rates[i]+b*cases[1].rates[i])/(f+b))
	}
	both.cpu = cases[0].cpu + cases[1].cpu
	sum := both.slice("both", "gflops", threads, a.forward+a.backward)
	both.shares(&sum, best, a.forward+a.backward)
	r.Slices = append(r.Slices, sum)
	r.GFLOPS, r.ShareOfPeak, r.MedianShare = sum.Median, sum.ShareOfPeak, sum.MedianShare
	return r, nil
}

// attention holds the operands of both directions, and their GFLOP.
type attention struct {
	args              kernel.AttentionArgs
	grad              kernel.AttentionGradArgs
	forward, backward float64
}

func newAttention(dev *device.Device, c *model.Config, o Options, m *maker) (*attention, error) {
	terms := 0
	for _, on := range []bool{c.C2P(), c.P2C()} {
		if on {
			terms++
		}
	}
	T, h, heads, span := o.Tokens, c.HiddenSize, c.NumAttentionHeads, c.AttentionSpan()
	rows, size := int64(T), int64(o.DType.Size())
	if err := fits(rows*(8*int64(h)*size+4*int64(heads)) + 4*int64(kernel.HeaderWords(T))); err != nil { // QKV, Out, their gradients; LSE
		return nil, err
	}
	f := kernel.AttentionArgs{
		Header: header(T, o.Context), Reach: o.Context - 1, A: heads, D: h / heads, K: span, C2P: c.C2P(), P2C: c.P2C(),
		Sigma: c.Sigma(), Drop: kernel.Dropout{P: float32(c.AttentionProbsDropoutProb), Site: 1}, T: T,
	}
	g := kernel.AttentionGradArgs{
		Header: f.Header, Reach: f.Reach, A: heads, D: f.D, K: span, C2P: f.C2P, P2C: f.P2C, Sigma: f.Sigma, Drop: f.Drop, T: T,
	}
	err := errors.Join(
		m.fill(o.DType, 3*T*h, &f.QKV, &g.DQKV), m.fill(o.DType, T*h, &f.Out, &g.DOut), m.fill(kernel.F32, T*heads, &f.LSE))
	if terms > 0 {
		slots, e := c.SlotTable(f.Reach)
		f.Slots = kernel.FromI16(slots)
		err = errors.Join(err, e, m.fill(o.DType, terms*2*span*h, &f.Pos), m.fill(kernel.F32, terms*2*span*h, &g.DPos))
	}
	g.QKV, g.Pos, g.Slots, g.Out, g.LSE = f.QKV, f.Pos, f.Slots, f.Out, f.LSE
	err = errors.Join(err, m.work(&f.Work, dev.Kernels().WorkBytes(&f)), m.work(&g.Work, dev.Kernels().WorkBytes(&g)))
	if err != nil {
		return nil, err
	}
	a := &attention{args: f, grad: g}
	list := offsets(T, o.Context)
	for i := range len(list) - 1 {
		forward, backward := attentionFLOP(c, int(list[i+1]-list[i]))
		a.forward, a.backward = a.forward+forward*1e-9, a.backward+backward*1e-9
	}
	return a, nil
}

// preset fills in the defaults of size, context and tokens.
func (o *Options) preset(what string) (*model.Config, error) {
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
	return cfg, nil
}
