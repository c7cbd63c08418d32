package blocked_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/secencoder/secencoder/internal/bf16"
	"github.com/secencoder/secencoder/internal/kernel"
	"github.com/secencoder/secencoder/internal/kernel/blocked"
)

// BenchmarkLoops reports the best time per element of each loop over rows of 1,024 elements, which stay in the L1 cache,
// and over 4 Mi elements, which do not.
func BenchmarkLoops(b *testing.B) {
	rnd := rand.New(rand.NewPCG(1, 1))
	x := make([][]float32, 6)
	for i := range x {
		x[i] = make([]float32, 1<<22)
		for j := range x[i] {
			x[i][j] = rnd.Float32() + 0.1
		}
	}
	half := make([][]bf16.BF16, 3)
	for i := range half {
		half[i] = make([]bf16.BF16, 1<<22)
		blocked.Portable().Narrow(half[i], x[i])
	}
	scalars := &blocked.AdamWScalars{Keep: 1, Clip: 1, OneB1: 0.1, Beta2: 0.98, OneB2: 0.02, Rate: 1e-9, Root: 1, Eps: 1e-6}
	for _, p := range families() {
		loops := []struct {
			name  string
			bytes float64 // read and written, an element
			f     func(x [][]float32)
		}{
			{"add", 12, func(x [][]float32) { p.Add(x[0], x[1], x[2]) }},
			{"exp", 8, func(x [][]float32) { p.ExpSum(x[0], x[1], 1, 1) }},
			{"gelu", 8, func(x [][]float32) { p.Act(kernel.Gelu, x[0], x[1]) }},
			{"gelu'", 12, func(x [][]float32) { p.ActGrad(kernel.Gelu, x[0], x[1], x[2]) }},
			{"gelu of BF16", 6, func(x [][]float32) { p.Rows.Gelu(half[0][:len(x[0])], x[1]) }},
			{"gelu' of BF16", 14, func(x [][]float32) {
				n := len(x[0])
				p.Rows.GeluGrad(half[0][:n], half[1][:n], half[2][:n], x[3])
			}},
			{"norm", 8, func(x [][]float32) { p.NormRow(x[0], x[1], x[2], x[3], 1e-7) }},
			{"norm'", 12, func(x [][]float32) { p.NormGradRow(x[0], x[1], x[2], x[3], 0.5, 1, x[4], x[5]) }},
			{"dropout", 8, func(x [][]float32) { p.Dropout(x[0], x[1], 0, blocked.Counter{}, 1<<28, 1.1) }},
			{"adamw", 28, func(x [][]float32) { p.AdamW(x[0], x[1], x[2], x[3], scalars) }},
			{"sum squares", 4, func(x [][]float32) { p.SumSquares(x[1]) }},
			{"pack rows", 8, func(x [][]float32) {
				for i := 0; i+4096 <= len(x[0]); i += 4096 {
					p.Single.PackRows(x[0][i:], 16, blocked.Values{F32: x[1]}, i, 256, 16, 256)
				}
			}},
		}
		for _, n := range []int{1 << 10, 1 << 22} {
			if n > 1<<10 && p.Name == "portable" {
				continue
			}
			for _, l := range loops {
				if strings.HasSuffix(l.name, "BF16") && p.Rows.Gelu == nil {
					continue
				}
				b.Run(fmt.Sprintf("%s/%d/%s", p.Name, n, l.name), func(b *testing.B) {
					if l.name == "pack rows" {
						n = max(n, 4096)
					}
					cut := make([][]float32, len(x))
					for i := range x {
						cut[i] = x[i][:n]
					}
					best := time.Hour
					rounds := max(1, (1<<14)/n)
					for b.Loop() {
						from := time.Now()
						for range rounds {
							l.f(cut)
						}
						best = min(best, time.Since(from))
					}
					each := best.Seconds() / float64(n*rounds)
					b.ReportMetric(each*1e9, "ns/element")
					b.ReportMetric(l.bytes/each/1e9, "GB/s")
					b.ReportMetric(0, "ns/op")
				})
			}
		}
	}
}
