package blocked_test

import (
	"fmt"
	"math"
	"sort"
	"testing"
	"time"

	"github.com/secencoder/secencoder/internal/bf16"
	"github.com/secencoder/secencoder/internal/kernel"
	"github.com/secencoder/secencoder/internal/kernel/blocked"
)

// probe is a loop in registers; run makes n rounds.
type probe struct {
	run  func(n int)
	flop float64 // of a round
	half bool    // the loop of BF16
}

// attentionRun is one attention problem of a benchmark: equal pieces, heads of 64, the bucket map of the presets.
type attentionRun struct {
	k       kernel.Kernels
	forward *kernel.AttentionArgs
	grad    *kernel.AttentionGradArgs
	pairs   float64 // FLOP of the two products of a query and a key, all heads
	bias    float64 // FLOP of both position terms, made once a token
}

func newAttentionRun(k kernel.Kernels, half bool, heads, pieces, n int, drop float32) *attentionRun {
	const d, span = 64, 256
	T, h := pieces*n, heads*d
	lengths := make([]int, pieces)
	for i := range lengths {
		lengths[i] = n
	}
	w := newWorld(k, T, lengths, 1)
	activation := func(n int) kernel.Buf {
		x := w.in(n, 1)
		if !half {
			return x
		}
		y := make([]bf16.BF16, n)
		for i, v := range x.F32() {
			y[i] = bf16.FromFloat32(v)
		}
		return kernel.FromBF16(y)
	}
	a := &kernel.AttentionArgs{
		Header: w.header, QKV: activation(T * 3 * h), Pos: activation(4 * span * h), Slots: kernel.FromI16(kernel.Slots(span, 512, n-1)),
		Out: activation(T * h), LSE: w.in(T*heads, 1), Reach: n - 1, A: heads, D: d, K: span, C2P: true, P2C: true,
		Sigma: float32(math.Sqrt(3 * d)), Drop: kernel.Dropout{P: drop, Site: 5}, T: T,
	}
	a.Work = w.work(a)
	g := &kernel.AttentionGradArgs{
		Header: a.Header, QKV: a.QKV, Pos: a.Pos, Slots: a.Slots, Out: a.Out, LSE: a.LSE, DOut: activation(T * h), DQKV: activation(T * 3 * h), DPos: w.in(4*span*h, 1),
		Reach: a.Reach, A: heads, D: d, K: span, C2P: true, P2C: true, Sigma: a.Sigma, Drop: a.Drop, T: T,
	}
	g.Work = w.work(g)
	return &attentionRun{
		k: k, forward: a, grad: g,
		pairs: 4 * float64(n) * float64(h) * float64(T), bias: 4 * float64(min(2*n-1, 2*span)) * float64(h) * float64(T),
	}
}

// BenchmarkAttention reports attention at three contexts: GFLOP/s in the best slices and in the median, and the share of
// the rate of multiply-adds in registers that the same slices had; avx512bf16 with operands of BF16, the others of float32. FLOP are those of one pass: forward 4·N·h and 4·W·h a
// token, W the slots in use; backward 2.5 and 3 times that.
func BenchmarkAttention(b *testing.B) {
	for _, p := range families() {
		probe, ok := probes[p.Name]
		if !ok {
			continue
		}
		for _, workers := range []pool{1, 2} {
			for _, drop := range []float32{0, 0.1} {
				for _, n := range []int{512, 2048, 8192} {
					for _, pass := range []string{"forward", "backward"} {
						b.Run(fmt.Sprintf("%s/%d/drop=%g/%d/%s", p.Name, workers, drop, n, pass), func(b *testing.B) {
							c := newAttentionRun(blocked.New(p, workers), probe.half, 12, 1, n, drop)
							c.k.Attention(0, c.forward)
							run, flop := func() { c.k.Attention(0, c.forward) }, c.pairs+c.bias
							if pass == "backward" {
								run, flop = func() { c.k.AttentionGrad(0, c.grad) }, 2.5*c.pairs+3*c.bias
							}
							run()
							var rates, shares []float64
							for b.Loop() {
								from := time.Now()
								const rounds = 1 << 15
								probe.run(rounds)
								peak := rounds * probe.flop / time.Since(from).Seconds() * float64(workers)
								from = time.Now()
								run()
								rate := flop / time.Since(from).Seconds()
								rates, shares = append(rates, rate), append(shares, rate/peak)
							}
							sort.Float64s(rates)
							sort.Float64s(shares)
							b.ReportMetric(rates[len(rates)-1-len(rates)/10]/1e9, "GFLOP/s-best")
							b.ReportMetric(rates[len(rates)/2]/1e9, "GFLOP/s-median")
							b.ReportMetric(shares[len(shares)/2], "share")
							b.ReportMetric(0, "ns/op")
						})
					}
				}
			}
		}
	}
}
