package blocked_test

import (
	"fmt"
	"slices"
	"testing"
	"time"
	"unsafe"

	"github.com/secencoder/secencoder/internal/kernel"
	"github.com/secencoder/secencoder/internal/kernel/blocked"
	"github.com/secencoder/secencoder/internal/mmap"
)

// BenchmarkRows reports, for the kernels over rows at the width of base, 8,192 and 128 tokens of 768, the time an element and the
// bytes a second, mean of the best tenth of interleaved calls. The first line, a sum of float32 too large for the caches,
// is what memory gives in the same slices.
func BenchmarkRows(b *testing.B) {
	const width = 768
	for _, p := range families() {
		if p.Name == "portable" {
			continue
		}
		for _, c := range []struct {
			workers pool
			tokens  int
		}{{1, 8192}, {2, 8192}, {1, 128}} {
			workers, tokens := c.workers, c.tokens
			b.Run(fmt.Sprintf("%s/%d/%d", p.Name, tokens, workers), func(b *testing.B) {
				var pieces []int
				for range tokens / 128 {
					pieces = append(pieces, 128)
				}
				w := newWorld(blocked.New(p, workers), tokens, pieces, 1)
				n := w.T * width
				gamma, beta := w.in(width, 1), w.in(width, 1)
				ids := w.ids(w.T, 29952)
				for i, id := range ids.I32() { // frequent ones are frequent
					ids.I32()[i] = int32(int(id) * int(id) / 29952 * int(id) / 29952)
				}
				// As the arenas of a device: large pages.
				large := func(of kernel.Buf) kernel.Buf {
					memory, err := mmap.Alloc(of.Bytes)
					if err != nil {
						b.Fatal(err)
					}
					b.Cleanup(func() { _ = mmap.Free(memory) })
					copy(memory, bits(of))
					of.Ptr = unsafe.Pointer(unsafe.SliceData(memory))
					return of
				}
				probe := &kernel.AddArgs{A: large(w.in(n, 1)), B: large(w.in(n, 1)), Out: large(w.in(n, 1)), N: n}
				calls := []rowCall{{"probe", 12 * n, func() { w.k.Add(0, probe) }}}
				for _, half := range []bool{false, true} {
					result := func(n int, half bool) kernel.Buf { return large(w.activation(n, half)) }
					x, res, dy := result(n, half), result(n, half), result(n, half)
					for _, c := range rowCalls(w, width, x, res, dy, gamma, beta, ids, kernel.Dropout{P: 0.1, Site: 1}, result) {
						if half {
							c.name += " BF16"
						}
						calls = append(calls, c)
					}
				}
				m := 4096 * tokens
				g := large(w.in(m, 1))
				adam := &kernel.AdamWArgs{W: large(w.in(m, 1)), G: g, M: large(w.in(m, 1)), V: large(kernel.FromF32(make([]float32, m))), N: m, LR: 1e-5, Beta1: 0.9, Beta2: 0.98, Eps: 1e-6, Decay: 0.01, Clip: 1, Step: 2}
				squares := &kernel.SumSquaresArgs{G: g, N: m}
				calls = append(calls, rowCall{"AdamW", 28 * m, func() { w.k.AdamW(0, adam) }}, rowCall{"SumSquares", 4 * m, func() { w.k.SumSquares(0, squares) }})
				times := make([][]time.Duration, len(calls))
				for b.Loop() {
					for i, c := range calls {
						from := time.Now()
						c.run()
						times[i] = append(times[i], time.Since(from))
					}
				}
				for i, c := range calls {
					slices.Sort(times[i])
					best := times[i][:(len(times[i])+9)/10]
					sum := time.Duration(0)
					for _, d := range best {
						sum += d
					}
					each := sum.Seconds() / float64(len(best))
					elements := n
					if c.name == "AdamW" || c.name == "SumSquares" {
						elements = m
					}
					fmt.Printf("%-28s %8.3f ms %7.3f ns/element %6.1f GB/s\n", c.name, each*1e3, each*1e9/float64(elements), float64(c.bytes)/each/1e9)
				}
			})
		}
	}
}
