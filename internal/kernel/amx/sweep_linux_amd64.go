//go:build !noasm

package amx

import (
	"sync/atomic"
	"time"
	"unsafe"
)

// The product: C[m, n] (+)= A·B (+ bias), 2·m·n·k FLOP, in blocks of 32×32 over all k terms (of a call: blocked cuts k in
// pieces of 384).
//
// Tiles 0 … 3 accumulate a block, 4 and 5 hold A, 6 and 7 B: a step of 32 terms is four loads (about 8 cycles each) under
// four products (16 cycles each), 65,536 FLOP in 64 cycles. A pair of panels of B, 24 KiB at 384 terms, stays in the L1
// cache while the panels of A stream by through TILELOADDT1; the next pair is fetched to L2 meanwhile. A block leaves
// through a scratch of 4 KiB: while the next one multiplies, 512-bit vectors add the bias, and what C held, to four rows
// a step. At the boundary the first tiles of the next block are loaded before the accumulators are stored, each right
// before it is zeroed and used again. C sees 8 KiB for 12 steps of 64 cycles, 24 vector instructions in each of eight.
//
// On a core whose sibling is busy, tile products and loads stop overlapping and the rate falls to 40 %. There the second
// kernel, which prefetches everything to L1 two steps ahead instead, is the faster one. Up to 96 rows, where a pair of
// panels of B serves three blocks or fewer, the first kernel would have fetched only a part of the next pair in time: a
// third one fetches four times as much a step. All add in the same order and give the same bits, so the number of rows
// chooses, and timing between the first two (chooser).
//
// Figures of the first round, by which this form was chosen (Xeon with AMX, one core, 2 cores shared with others; GFLOP/s
// undisturbed / with a busy sibling, register-only rate 2,240 / 950): whole k without prefetch 1,224 / 372; blocked like
// this 1,628 / 503, of which the fetch to L2 gives 83, TILELOADDT1 376; everything prefetched to L1 1,179 / 699. They were
// taken with a prototype. This form has run under emulation only; BenchmarkShare measures it.

// sweepCall is one call of a kernel. It lies on the caller's stack.
type sweepCall struct {
	a, b    unsafe.Pointer // packed; b of the current pair of panels
	c       unsafe.Pointer // of the current pair
	bias    unsafe.Pointer // of the current pair, or nil
	stride  int            // bytes from one panel of B to the next
	ldc     int            // bytes
	m, n    int            // rows; columns from the current pair on
	rest    int            // n and the columns that later calls will do
	steps   int            // of 32 terms
	tail    uint64         // mask of the columns of the last pair
	sum     uint64         // all ones: add to C
	direct  int            // 1: tiles of whole blocks go to C without the scratch
	scratch unsafe.Pointer // 4 KiB, on a cache line
	row     unsafe.Pointer // of C, of the current block
	left    int            // rows of C from the current block on
	//lint:ignore U1000 the kernels keep it here
	b1 unsafe.Pointer // second panel of B of the current pair
}

//go:noescape
func sweepBlocked(call *sweepCall)

//go:noescape
func sweepDeep(call *sweepCall)

//go:noescape
func sweepThin(call *sweepCall)

// maxSteps bounds a call: 38 MFLOP, 17 µs at 2,200 GFLOP/s, 200 µs at 190. It is what 256 rows by 192 columns take at 384
// terms, half a block of package blocked.
const maxSteps = 576

// thinPanels is the height, in panels of A, up to which sweepThin fetches more of B.
const thinPanels = 3

// shortSteps is a depth that leaves too few steps for the way through the scratch to hide under: where C is only set,
// the tiles are stored to it. Deeper blocks keep the scratch, as 64 stores at once to a C out of the cache would stall.
const shortSteps = 8

// tile is blocked.Format.Tile.
func tile(k int, a, b []float32, stride int, c []float32, ldc int, bias []float32, m, n int, add bool) {
	sweep(m, n, k, a, b, stride, c, ldc, bias, add)
}

// sweep is blocked.Format.Sweep.
func sweep(m, n, k int, a, b []float32, stride int, c []float32, ldc int, bias []float32, add bool) {
	sweepBy(&kernels, m, n, k, a, b, stride, c, ldc, bias, add)
}

func sweepBy(choice *chooser, m, n, k int, a, b []float32, stride int, c []float32, ldc int, bias []float32, add bool) {
	if m <= 0 || n <= 0 {
		return
	}
	_ = c[(m-1)*ldc+n-1]
	if bias != nil {
		bias = bias[:n]
	}
	full, rest := steps(k)
	all := full + min(rest, 1)
	if all == 0 {
		empty(m, n, c, ldc, bias, add)
		return
	}
	panels := (m + heightA - 1) / heightA
	_, _ = a[panels*all*2*tileWords-1], b[(n-1)/widthB*stride+all*tileWords-1]
	var scratch [4096 + 64]byte
	call := sweepCall{
		stride: 4 * stride, ldc: 4 * ldc,
		scratch: unsafe.Pointer(&scratch[-uintptr(unsafe.Pointer(&scratch))&63]),
	}
	for s := 0; s < all; s += maxSteps { // more than one only beyond 18,432 terms
		call.steps = min(maxSteps, all-s)
		if call.sum = 0; add || s > 0 {
			call.sum = ^uint64(0)
		}
		if call.direct = 0; call.steps <= shortSteps && call.sum == 0 && bias == nil {
			call.direct = 1
		}
		blocks := max(1, maxSteps/call.steps)
		high := min(panels, blocks) // panels of A of one call
		wide := blocks / high       // pairs of panels of B of one call
		turn := choice.begin(panels > thinPanels && panels == high && call.steps*panels >= trialSteps && n >= trials*32)
		if turn.trial > 0 {
			wide = min(wide, n/32/trials)
		}
		for i := 0; i < panels; i += high {
			call.m = min(m-i*heightA, high*heightA)
			for j := 0; j < n; j += 32 * wide {
				call.n, call.rest = min(n-j, 32*wide), n-j
				call.tail = ^uint64(0)
				if last := call.n % 32; last > 0 {
					call.tail = 1<<last - 1
				}
				call.a = unsafe.Pointer(&a[i*all*2*tileWords+s*2*tileWords])
				call.b = unsafe.Pointer(&b[j/widthB*stride+s*tileWords])
				call.c = unsafe.Pointer(&c[i*heightA*ldc+j])
				call.row, call.left = call.c, call.m
				if call.bias = nil; bias != nil && s == 0 {
					call.bias = unsafe.Pointer(&bias[j])
				}
				turn.run(&call)
			}
		}
	}
}

// empty is a product without terms.
func empty(m, n int, c []float32, ldc int, bias []float32, add bool) {
	for i := range m {
		row := c[i*ldc:][:n]
		if !add {
			clear(row)
		}
		for j := range bias {
			row[j] += bias[j]
		}
	}
}

// chooser holds which of the two kernels runs, and decides anew from time to time: the first calls of one large product
// are done by both in turns and timed, at no cost, as all of them count. Results do not depend on it.
type chooser struct {
	deep   atomic.Bool
	next   atomic.Int64 // of the clock, when to try again
	forced bool         // tests: few rows are no exception
}

var kernels chooser

const (
	trials = 4 // calls of one trial: blocked, deep, deep, blocked
	// trialSteps is the least work of one of them, 2 µs at 2,100 GFLOP/s. The largest is maxSteps.
	trialSteps = 64
	interval   = 20 * time.Millisecond // between trials
	better     = 0.95                  // of the other's time, to change
)

var started = time.Now()

// turn is the choice for one product.
type turn struct {
	chooser *chooser
	deep    bool
	trial   int // calls of the trial that are left
	times   [2]time.Duration
}

// begin returns the kernel in use, and a trial when one is due and the product is large enough for it.
func (c *chooser) begin(large bool) turn {
	t := turn{chooser: c, deep: c.deep.Load()}
	if large {
		now, next := int64(time.Since(started)), c.next.Load()
		if now >= next && c.next.CompareAndSwap(next, now+int64(interval)) {
			t.trial = trials
		}
	}
	return t
}

// run makes one call, of a trial or not.
func (t *turn) run(call *sweepCall) {
	if call.m <= thinPanels*heightA && !t.chooser.forced {
		sweepThin(call)
		return
	}
	if t.trial == 0 {
		by(t.deep, call)
		return
	}
	t.trial--
	deep := t.trial == 1 || t.trial == 2
	from := time.Now()
	by(deep, call)
	if took := time.Since(from); deep {
		t.times[1] += took
	} else {
		t.times[0] += took
	}
	if t.trial == 0 {
		t.deep = t.chooser.decide(t.deep, t.times)
	}
}

// decide takes the times of a trial: the kernel in use stays unless the other is clearly faster.
func (c *chooser) decide(deep bool, times [2]time.Duration) bool {
	blockedTime, deepTime := float64(times[0]), float64(times[1])
	if deep {
		deep = blockedTime >= better*deepTime
	} else {
		deep = deepTime < better*blockedTime
	}
	c.deep.Store(deep)
	return deep
}

func by(deep bool, call *sweepCall) {
	if deep {
		sweepDeep(call)
	} else {
		sweepBlocked(call)
	}
}
