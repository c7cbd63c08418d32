package blocked_test

import (
	"fmt"
	"sort"
	"testing"
	"time"

	"github.com/secencoder/secencoder/internal/kernel"
	"github.com/secencoder/secencoder/internal/kernel/blocked"
)

// BenchmarkProducts reports the best and the median GFLOP/s of linear layers and their gradients over short slices.
func BenchmarkProducts(b *testing.B) {
	shapes := [][3]int{{512, 128, 384}, {512, 128, 512}, {512, 512, 128}, {2048, 256, 768}, {2048, 256, 1024}, {2048, 1024, 256}, {2048, 768, 3072}}
	for _, p := range families() {
		if p.Name == "portable" {
			continue
		}
		for _, n := range []pool{1, 2} {
			k := blocked.New(p, n)
			for _, s := range shapes {
				T, in, out := s[0], s[1], s[2]
				w := newWorld(k, T, []int{T}, 1)
				buf := func(n int) kernel.Buf { return w.in(n, 1) }
				a := &kernel.LinearArgs{Header: w.header, X: buf(T * in), W: buf(in * out), B: buf(out), Y: buf(T * out), Rows: kernel.RowsTokens, N: T, In: in, Out: out}
				dx := &kernel.LinearGradArgs{Header: w.header, X: a.X, W: a.W, DY: a.Y, DX: buf(T * in), Rows: kernel.RowsTokens, N: T, In: in, Out: out}
				dw := &kernel.LinearGradArgs{Header: w.header, X: a.X, W: a.W, DY: a.Y, DW: buf(in * out), Rows: kernel.RowsTokens, N: T, In: in, Out: out}
				for name, f := range map[string]func(){"y": func() { k.Linear(0, a) }, "dx": func() { k.LinearGrad(0, dx) }, "dw": func() { k.LinearGrad(0, dw) }} {
					b.Run(fmt.Sprintf("%s/%d/%v/%s", p.Name, n, s, name), func(b *testing.B) {
						f()
						var times []float64
						for b.Loop() {
							from := time.Now()
							f()
							times = append(times, time.Since(from).Seconds())
						}
						sort.Float64s(times)
						fl := 2e-9 * float64(T) * float64(in) * float64(out)
						b.ReportMetric(fl/times[0], "best")
						b.ReportMetric(fl/times[len(times)/2], "median")
						b.ReportMetric(0, "ns/op")
					})
				}
			}
		}
	}
}
