//go:build !noasm

package amx

import (
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"os/signal"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/secencoder/secencoder/internal/alloctest"
	"github.com/secencoder/secencoder/internal/bf16"
	"github.com/secencoder/secencoder/internal/kernel/blocked"
)

// product is one call of sweep, with a margin around C.
type product struct {
	m, n, k, ldc int
	a, b         []bf16.BF16 // row-major
	packedA      []float32
	packedB      []float32
	stride       int
	bias         []float32
	add, exact   bool
	old          []float32
}

const margin = 5

// newProduct returns a product of normal variates, or of small integers, whose sums are exact.
func newProduct(random *rand.Rand, m, n, k int, bias, add, exact bool) *product {
	p := &product{m: m, n: n, k: k, ldc: n + random.IntN(4), add: add, exact: exact}
	number := func() float32 {
		if exact {
			return float32(random.IntN(9) - 4)
		}
		return float32(random.NormFloat64())
	}
	fill := func(n int) []bf16.BF16 {
		s := make([]bf16.BF16, n)
		for i := range s {
			s[i] = bf16.FromFloat32(number())
		}
		return s
	}
	f := Prims().Half
	p.a, p.b = fill(m*k), fill(k*n)
	panels := (m + heightA - 1) / heightA
	p.packedA = make([]float32, f.Len(panels*heightA, k))
	for i := range panels {
		f.PackRows(p.packedA[i*f.Len(heightA, k):], heightA, blocked.Values{BF16: p.a}, i*heightA*k, k, min(heightA, m-i*heightA), k)
	}
	p.stride = f.Len(widthB, k) + 16*random.IntN(3)
	columns := (n + widthB - 1) / widthB
	p.packedB = make([]float32, (columns-1)*p.stride+f.Len(widthB, k))
	for j := range columns {
		f.PackCols(p.packedB[j*p.stride:], widthB, blocked.Values{BF16: p.b}, j*widthB, n, min(widthB, n-j*widthB), k)
	}
	if bias {
		p.bias = make([]float32, n)
		for j := range p.bias {
			p.bias[j] = number()
		}
	}
	p.old = make([]float32, margin+(m-1)*p.ldc+n+margin)
	for i := range p.old {
		p.old[i] = float32(math.NaN())
	}
	for i := range m {
		for j := range n {
			if add {
				p.old[margin+i*p.ldc+j] = number()
			}
		}
	}
	return p
}

// run returns C and its margins.
func (p *product) run(choice *chooser) []float32 {
	c := append([]float32(nil), p.old...)
	sweepBy(choice, p.m, p.n, p.k, p.packedA, p.packedB, p.stride, c[margin:len(c)-margin], p.ldc, p.bias, p.add)
	return c
}

// check compares with sums in float64: k roundings in whatever order the processor adds, three at the end; none where
// every sum is exact.
func (p *product) check(c []float32) error {
	u := float64(p.k+8) * 0x1p-24
	if p.exact {
		u = 0
	}
	for at, x := range c {
		i, j := (at-margin)/p.ldc, (at-margin)%p.ldc
		if at < margin || at >= len(c)-margin || j >= p.n {
			if x == x {
				return fmt.Errorf("element %d, outside C, was written", at)
			}
			continue
		}
		var sum, magnitude float64
		if p.add {
			sum = float64(p.old[at])
		}
		if p.bias != nil {
			sum += float64(p.bias[j])
			magnitude = math.Abs(float64(p.bias[j]))
		}
		magnitude += math.Abs(sum)
		for q := range p.k {
			x := float64(p.a[i*p.k+q].Float32()) * float64(p.b[q*p.n+j].Float32())
			sum += x
			magnitude += math.Abs(x)
		}
		if !(math.Abs(float64(x)-sum) <= u*magnitude) {
			return fmt.Errorf("C[%d, %d] = %v, want %v ± %v", i, j, x, sum, u*magnitude)
		}
	}
	return nil
}

func equalBits(a, b []float32) bool {
	for i := range a {
		if math.Float32bits(a[i]) != math.Float32bits(b[i]) {
			return false
		}
	}
	return len(a) == len(b)
}

// fixed returns a chooser that always takes one kernel.
func fixed(deep bool) *chooser {
	c := &chooser{forced: true}
	c.deep.Store(deep)
	c.next.Store(math.MaxInt64)
	return c
}

// All tails of rows, columns and terms, bias and addition, by all kernels: right, and the same bits.
func TestSweep(t *testing.T) {
	if !tiles(t) {
		return
	}
	random := rand.New(rand.NewPCG(7, 7))
	for _, m := range []int{1, 15, 16, 17, 31, 32, 33, 65, 97} {
		for _, n := range []int{1, 15, 16, 17, 32, 33, 48, 49, 64, 80} {
			for _, k := range []int{0, 1, 32, 33, 95, 288, 320} {
				if m*n*k > 97*64*300 || random.IntN(3) > 0 && m > 1 && n > 1 {
					continue
				}
				flags := random.IntN(5)
				p := newProduct(random, m, n, k, flags&1 > 0, flags&2 > 0, random.IntN(2) > 0)
				name := fmt.Sprintf("%d×%d×%d, bias %v, add %v", m, n, k, p.bias != nil, p.add)
				blockedC, deepC, thinC := p.run(fixed(false)), p.run(fixed(true)), p.run(&kernels)
				if err := p.check(blockedC); err != nil {
					t.Fatalf("%s: blocked: %v", name, err)
				}
				if !equalBits(blockedC, deepC) || !equalBits(blockedC, thinC) {
					t.Fatalf("%s: the kernels differ: deep %v, thin %v", name, p.check(deepC), p.check(thinC))
				}
			}
		}
	}
}

// Products of several calls: cut by rows, by columns, by terms. A trial runs both kernels, and changes no bit.
func TestSweepOfSeveralCalls(t *testing.T) {
	if !tiles(t) {
		return
	}
	random := rand.New(rand.NewPCG(8, 8))
	for _, s := range [][3]int{{100, 200, 900}, {100, 100, 900}, {33, 33, maxSteps * 32}, {9, 17, (maxSteps + 7) * 32}, {(maxSteps + 8) * 32, 20, 20}} {
		p := newProduct(random, s[0], s[1], s[2], true, true, true)
		one := p.run(fixed(false))
		if err := p.check(one); err != nil {
			t.Fatalf("%v: %v", s, err)
		}
		choice := &chooser{} // a trial is due at once
		if !equalBits(one, p.run(choice)) {
			t.Fatalf("%v: a trial changed the bits", s)
		}
		if tried := choice.next.Load() != 0; tried != (s[1] == 200) {
			t.Errorf("%v: tried %v", s, tried)
		}
	}
}

// guarded returns n words at the very end of accessible memory.
func guarded(t *testing.T, n int) []float32 {
	t.Helper()
	page := os.Getpagesize()
	size := (4*n + page - 1) / page * page
	memory, err := syscall.Mmap(-1, 0, size+page, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mprotect(memory[size:], syscall.PROT_NONE); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := syscall.Munmap(memory); err != nil {
			t.Error(err)
		}
	})
	return unsafe.Slice((*float32)(unsafe.Pointer(&memory[size-4*n])), n)
}

// Nothing is read or written behind an operand: behind each of them is no memory.
func TestSweepStaysInside(t *testing.T) {
	if !tiles(t) {
		return
	}
	random := rand.New(rand.NewPCG(13, 13))
	for _, s := range [][3]int{{1, 1, 1}, {32, 16, 32}, {33, 17, 33}, {64, 48, 320}, {47, 49, 40}} {
		p := newProduct(random, s[0], s[1], s[2], true, true, true)
		for _, operand := range []*[]float32{&p.packedA, &p.packedB, &p.bias} {
			safe := guarded(t, len(*operand))
			copy(safe, *operand)
			*operand = safe
		}
		for _, deep := range []bool{false, true} {
			whole := append([]float32(nil), p.old...)
			c := guarded(t, (p.m-1)*p.ldc+p.n)
			copy(c, whole[margin:])
			sweepBy(fixed(deep), p.m, p.n, p.k, p.packedA, p.packedB, p.stride, c, p.ldc, p.bias, p.add)
			copy(whole[margin:], c)
			if err := p.check(whole); err != nil {
				t.Fatalf("%v: %v", s, err)
			}
		}
	}
}

func TestTile(t *testing.T) {
	if !tiles(t) {
		return
	}
	p := newProduct(rand.New(rand.NewPCG(9, 9)), 20, 27, 70, true, true, false)
	c := append([]float32(nil), p.old...)
	Prims().Half.Tile(p.k, p.packedA, p.packedB, p.stride, c[margin:len(c)-margin], p.ldc, p.bias, p.m, p.n, p.add)
	if err := p.check(c); err != nil {
		t.Fatal(err)
	}
}

func TestSweepRefusesShortOperands(t *testing.T) {
	vectors(t)
	p := newProduct(rand.New(rand.NewPCG(10, 10)), 33, 33, 33, true, false, false)
	c := make([]float32, 32*p.ldc+33)
	for i, f := range []func(){
		func() { sweep(p.m, p.n, p.k, p.packedA[1:], p.packedB, p.stride, c, p.ldc, p.bias, false) },
		func() { sweep(p.m, p.n, p.k, p.packedA, p.packedB[1:], p.stride, c, p.ldc, p.bias, false) },
		func() { sweep(p.m, p.n, p.k, p.packedA, p.packedB, p.stride, c[1:], p.ldc, p.bias, false) },
		func() { sweep(p.m, p.n, p.k, p.packedA, p.packedB, p.stride, c, p.ldc, p.bias[1:32], false) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("case %d went through", i)
				}
			}()
			f()
		}()
	}
	sweep(0, p.n, p.k, nil, nil, p.stride, nil, p.ldc, p.bias, false) // nothing to do
	sweep(p.m, 0, p.k, nil, nil, p.stride, nil, p.ldc, nil, false)
}

func TestSweepAllocatesNothing(t *testing.T) {
	if !tiles(t) {
		return
	}
	p := newProduct(rand.New(rand.NewPCG(11, 11)), 40, 40, 40, true, false, false)
	c := make([]float32, 39*p.ldc+40)
	if n := alloctest.Fewest(func() {
		for range 20 {
			sweep(p.m, p.n, p.k, p.packedA, p.packedB, p.stride, c, p.ldc, p.bias, false)
		}
	}); n > 0 {
		t.Errorf("%v allocations in 20 calls", n)
	}
}

// Tiles live through signals, preemption, garbage collection and changes of thread: every product, on many goroutines,
// gives the bits of a quiet one.
func TestSweepUnderSignals(t *testing.T) {
	if !tiles(t) {
		return
	}
	random := rand.New(rand.NewPCG(12, 12))
	p := newProduct(random, 64, 64, 256, true, false, false)
	want := p.run(fixed(false))
	signals := make(chan os.Signal, 100)
	signal.Notify(signals, syscall.SIGUSR1)
	defer signal.Stop(signals)
	stop := make(chan struct{})
	var noise, work sync.WaitGroup
	noise.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				if err := syscall.Kill(syscall.Getpid(), syscall.SIGUSR1); err != nil {
					t.Error(err)
					return
				}
				runtime.GC()
				time.Sleep(50 * time.Microsecond)
			}
		}
	})
	lasting := time.Second
	if testing.Short() {
		lasting = 50 * time.Millisecond // an emulated machine's second may be an hour
	}
	end := time.Now().Add(lasting)
	for g := range 8 {
		work.Go(func() {
			for first := true; first || time.Now().Before(end); first = false {
				if !equalBits(want, p.run(fixed(g%2 == 0))) {
					t.Error("a product has other bits under signals")
					return
				}
				runtime.Gosched()
			}
		})
	}
	work.Wait()
	close(stop)
	noise.Wait()
}

// The choice follows the times, with some inertia, and is made anew after the interval only.
func TestChooser(t *testing.T) {
	c := &chooser{}
	for _, s := range []struct {
		deep bool
		a, b time.Duration
		want bool
	}{
		{false, 100, 100, false}, {false, 100, 96, false}, {false, 100, 94, true}, {false, 50, 100, false},
		{true, 100, 100, true}, {true, 96, 100, true}, {true, 94, 100, false}, {true, 100, 50, true},
	} {
		if got := c.decide(s.deep, [2]time.Duration{s.a, s.b}); got != s.want || c.deep.Load() != s.want {
			t.Errorf("%+v: %v", s, got)
		}
	}
	if turn := c.begin(false); turn.trial != 0 {
		t.Error("a small product was used for a trial")
	}
	if turn := c.begin(true); turn.trial != trials {
		t.Error("no trial at the start")
	}
	if turn := c.begin(true); turn.trial != 0 {
		t.Error("two trials within the interval")
	}
}

// The loop that measures the rate of the registers ends, for any number of rounds.
func TestPeak(t *testing.T) {
	if !tiles(t) {
		return
	}
	for _, n := range []int{-1, 0, 1, 10} {
		Peak(n)
	}
}
