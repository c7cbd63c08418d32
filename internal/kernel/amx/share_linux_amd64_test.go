//go:build !noasm

package amx

import (
	"fmt"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"
	"unsafe"

	"github.com/secencoder/secencoder/internal/bf16"
	"github.com/secencoder/secencoder/internal/kernel/blocked"
	"github.com/secencoder/secencoder/internal/mmap"
)

// bench is one core's share of a product, in the blocks that package blocked makes of it.
type bench struct {
	rows, n, k int
	peakRounds int

	x       []bf16.BF16 // [rows, k]
	b       []float32   // packed, by blocks of depth
	a       []float32   // packed, one block
	c       []float32
	slice   int
	release []func() error
}

const blockRows = 320 // of A at once: 10 panels, 240 KiB of L2

func alloc[T float32 | bf16.BF16](b *bench, n int) ([]T, error) {
	var zero T
	memory, err := mmap.Alloc(n*int(unsafe.Sizeof(zero)) + 4096)
	if err != nil {
		return nil, err
	}
	b.release = append(b.release, func() error { return mmap.Free(memory) })
	return unsafe.Slice((*T)(unsafe.Pointer(unsafe.SliceData(memory))), n), nil
}

// newBench fills A with BF16 and packs B.
func newBench(rows, n, k, peakRounds int) (*bench, error) {
	b := &bench{rows: rows, n: n, k: k, peakRounds: peakRounds}
	f := Prims().Half
	var err error
	if b.x, err = alloc[bf16.BF16](b, rows*k); err != nil {
		return nil, err
	}
	if b.b, err = alloc[float32](b, f.Len((n+15)/16*16, k)); err != nil {
		return nil, err
	}
	if b.a, err = alloc[float32](b, f.Len(blockRows, f.Depth)); err != nil {
		return nil, err
	}
	if b.c, err = alloc[float32](b, rows*n); err != nil {
		return nil, err
	}
	w := uint32(1)
	number := func() bf16.BF16 {
		w = w*1664525 + 1013904223
		return bf16.FromFloat32(float32(int32(w)>>8) / (1 << 23))
	}
	for i := range b.x {
		b.x[i] = number()
	}
	weights := make([]bf16.BF16, k*n)
	for i := range weights {
		weights[i] = number()
	}
	for p := 0; p < k; p += f.Depth {
		depth := min(f.Depth, k-p)
		for j := 0; j < n; j += 16 {
			f.PackCols(b.b[f.Len((n+15)/16*16, p)+f.Len(j, depth):], 16, blocked.Values{BF16: weights}, p*n+j, n, min(16, n-j), depth)
		}
	}
	return b, nil
}

func (b *bench) close() error {
	for _, f := range b.release {
		if err := f(); err != nil {
			return err
		}
	}
	return nil
}

// rates are GFLOP/s of one slice.
type rates struct{ peak, pack, blocked, deep, chosen float64 }

// next measures the next block of rows and terms: both kernels and the choice between them, the packing of A, and the
// rate of the registers before and after.
func (b *bench) next() rates {
	f := Prims().Half
	blocks, depths := (b.rows+blockRows-1)/blockRows, (b.k+f.Depth-1)/f.Depth
	i0, p0 := b.slice/depths%blocks*blockRows, b.slice%depths*f.Depth
	b.slice++
	m, k := min(blockRows, b.rows-i0), min(f.Depth, b.k-p0)
	rate := func(flop float64, f func()) float64 {
		from := time.Now()
		f()
		return flop / float64(max(1, time.Since(from).Nanoseconds()))
	}
	peak := func() float64 { return rate(131072*float64(b.peakRounds), func() { Peak(b.peakRounds) }) }
	flop := 2 * float64(m) * float64(b.n) * float64(k)
	sweep := func(choice *chooser) float64 {
		return rate(flop, func() {
			sweepBy(choice, m, b.n, k, b.a, b.b[f.Len((b.n+15)/16*16, p0):], f.Len(16, k), b.c[i0*b.n:], b.n, nil, p0 > 0)
		})
	}
	r := rates{peak: peak()}
	r.pack = rate(flop, func() {
		for i := 0; i < m; i += 32 {
			f.PackRows(b.a[f.Len(i, k):], 32, blocked.Values{BF16: b.x}, (i0+i)*b.k+p0, b.k, min(32, m-i), k)
		}
	})
	r.blocked, r.deep, r.chosen = sweep(fixed(false)), sweep(fixed(true)), sweep(&kernels)
	r.peak = (r.peak + peak()) / 2
	return r
}

// BenchmarkShare reports, on all cores at once, the rate of the registers (GFLOP/s a core) and the share of it in the
// same slices that each macro-kernel reaches, that the one chosen by timing reaches, and that it reaches with the packing
// of A from BF16 in its time: the median, and the best tenth.
func BenchmarkShare(b *testing.B) {
	if ok, why := Available(); !ok {
		b.Skip(why)
	}
	for _, rows := range []int{60, 512, 1024, 2048, 4096} {
		for _, shape := range [][2]int{{768, 768}, {768, 3072}, {3072, 768}} {
			b.Run(fmt.Sprintf("%dx%dx%d", rows, shape[0], shape[1]), func(b *testing.B) { share(b, rows, shape[1], shape[0], 400) })
		}
	}
}

// reporter is what share needs of a *testing.B.
type reporter interface {
	Fatal(...any)
	Loop() bool
	ReportMetric(float64, string)
}

func share(b reporter, rows, n, k, peakRounds int) {
	workers := make([]*bench, runtime.GOMAXPROCS(0))
	for i := range workers {
		w, err := newBench(rows, n, k, peakRounds)
		if err != nil {
			b.Fatal(err)
		}
		defer func() {
			if err := w.close(); err != nil {
				b.Fatal(err)
			}
		}()
		w.next() // pages, caches
		workers[i] = w
	}
	all := make([][]rates, len(workers))
	for b.Loop() {
		var wait sync.WaitGroup
		for i, w := range workers {
			wait.Go(func() {
				runtime.LockOSThread()
				defer runtime.UnlockOSThread()
				for range 8 {
					all[i] = append(all[i], w.next())
				}
			})
		}
		wait.Wait()
	}
	report := func(name string, f func(r rates) float64) {
		var list []float64
		for _, r := range slices.Concat(all...) {
			list = append(list, f(r))
		}
		slices.Sort(list)
		b.ReportMetric(list[len(list)/2], name+"-median")
		b.ReportMetric(list[len(list)*9/10], name+"-best10")
	}
	report("peak", func(r rates) float64 { return r.peak })
	report("blocked", func(r rates) float64 { return r.blocked / r.peak })
	report("deep", func(r rates) float64 { return r.deep / r.peak })
	report("chosen", func(r rates) float64 { return r.chosen / r.peak })
	report("packed", func(r rates) float64 { return 1 / (1/r.chosen + 1/r.pack) / r.peak })
	b.ReportMetric(0, "ns/op")
}

// toy runs share a few rounds.
type toy struct {
	*testing.T
	rounds  int
	metrics map[string]float64
}

func (b *toy) Loop() bool {
	b.rounds--
	return b.rounds >= 0
}

func (b *toy) ReportMetric(x float64, name string) { b.metrics[name] = x }

// The benchmark needs a processor with tiles; so that it runs when there is one, it runs here at a toy size.
func TestShare(t *testing.T) {
	if !tiles(t) {
		return
	}
	b := &toy{T: t, rounds: 1, metrics: map[string]float64{}}
	share(b, 40, 48, 400, 2)
	for _, name := range []string{"peak", "blocked", "deep", "chosen", "packed"} {
		if m, best := b.metrics[name+"-median"], b.metrics[name+"-best10"]; !(m > 0 && best >= m) {
			t.Errorf("%s: median %v, best tenth %v", name, m, best)
		}
	}
}
