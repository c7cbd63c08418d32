// Package blocked composes every kernel of the table from a few inner loops (Prims) and runs it on all cores. The
// families avx2 and avx512 bring the inner loops in assembly; Portable has them in plain Go.
//
// Begin with gemm.go, on which linear layers, attention, convolution and the masked-LM loss stand. The work of a call is
// cut into parts by its sizes alone, and every sum runs over a tree that follows from the sizes: results are the same
// bits for any number of workers. Memory that lives inside one call comes from the call's Work, or from scratch that the
// family keeps and that grows to the largest call seen; a call with sizes seen before allocates nothing.
//
// Precision: float32 values and products. Matrix products accumulate in float32 over blocks of 256 terms, blocks in
// order. Sums over many rows (bias and LayerNorm gradients) are float32 over a fixed chunk of rows, chunks added in
// float64. Losses and Σ g² are float64.
package blocked

import (
	"runtime"
	"sync"

	"github.com/secencoder/secencoder/internal/kernel"
	"github.com/secencoder/secencoder/internal/rng"
)

// Kernels is a kernel.Kernels over one set of inner loops and one pool. Calls from several goroutines run one after
// the other.
type Kernels struct {
	mu      sync.Mutex
	p       Prims
	pool    kernel.Pool
	workers []worker
	h       kernel.Header
	t       task
	g       gemm
	serial  int // of the chunk of a product that runs
	s       shared
	call    operands
	mapped  *mapped

	scratch      []buffers // of the workers
	scratchBytes int       // of all of them after the last call
}

// worker is the scratch of one worker of the pool; parts index it by their worker number.
type worker struct {
	m    *mapped
	a, b pages     // packed panels
	kept packedA   // what a holds
	c    pages     // block of sums
	x    []float32 // rows on the way into a panel
	norm NormRow
	keep []byte // what dropout keeps of a row
	sums [foldColumns]float64
	own  []int32 // tokens whose rows of a table a part adds to
	att  attentionScratch
	z    pages     // rows of the loss's input as B
	mlm  pages     // logits
	_    [128]byte // the next worker writes its slice headers on another cache line
}

// shared is scratch that the parts of one call fill together.
type shared struct {
	b        pages     // packed B
	partial  []float32 // partial sums by chunk
	sums     []float64
	items    []attentionItem
	tiles    []keyTile
	starts   []int32
	reversed []int16
}

// operands holds the argument struct of the running call; parts read it.
type operands struct {
	embed      *kernel.EmbedArgs
	embedG     *kernel.EmbedGradArgs
	norm       normCall
	lin        *kernel.LinearArgs
	linG       *kernel.LinearGradArgs
	att        attentionCall
	conv       convCall
	mlm        mlmCall
	fold       foldCall
	gather     gatherCall
	pool       poolCall
	add        *kernel.AddArgs
	convert    *kernel.ConvertArgs
	adam       *kernel.AdamWArgs
	adamFactor AdamWScalars
	squares    *kernel.SumSquaresArgs
	dz         dzCall
	drop       rowDrop
	scaled     []float32
	scale      float32
}

// New returns the family of prims on pool. It keeps both.
func New(prims Prims, pool kernel.Pool) *Kernels {
	k := &Kernels{p: prims, pool: pool, workers: make([]worker, pool.Workers())}
	if k.p.Scores.Softmax == nil {
		k.p.Scores = scoreLoops(&k.p)
	}
	k.t.k = k
	k.mapped = &mapped{}
	for i := range k.workers {
		k.workers[i].m = k.mapped
		k.scratch = append(k.scratch, k.workers[i].buffers())
	}
	runtime.AddCleanup(k, (*mapped).close, k.mapped)
	return k
}

// Name returns the family's name.
func (k *Kernels) Name() string { return k.p.Name }

// Sync returns nil: calls have finished when they return.
func (k *Kernels) Sync(kernel.Stream) error { return nil }

// task carries one part function to the pool without allocating.
type task struct {
	k *Kernels
	f func(k *Kernels, part, worker int)
}

// Part runs one part; see kernel.Task.
func (t *task) Part(i, worker int) { t.f(t.k, i, worker) }

// run calls f for parts 0 … n−1 on the pool.
func (k *Kernels) run(n int, f func(k *Kernels, part, worker int)) {
	switch {
	case n == 1:
		f(k, 0, 0)
	case n > 1:
		k.t.f = f
		k.pool.Run(n, &k.t)
	}
}

// begin takes the family for one call and reads the header when there is one.
func (k *Kernels) begin(header kernel.Buf) {
	k.mu.Lock()
	k.h = kernel.Header{}
	if !header.Absent() {
		w := header.I32()
		k.h = kernel.ViewHeader(w, kernel.TokensOfHeader(len(w)))
	}
}

func (k *Kernels) end() {
	k.level()
	k.mu.Unlock()
}

// counter returns the dropout counter of a site in this step.
func (k *Kernels) counter(site uint32) Counter {
	seed := k.h.Seed()
	return Counter{Step: k.h.Step(), Site: uint32(rng.Dropout)<<24 | site, Key: [2]uint32{uint32(seed), uint32(seed >> 32)}}
}

// rowsPerPart is the grain of kernels that work row by row.
const rowsPerPart = 32

// parts returns how many parts of size grain cover n.
func parts(n, grain int) int { return (n + grain - 1) / grain }

// span returns the rows of a part.
func span(part, grain, n int) (lo, hi int) { return part * grain, min(part*grain+grain, n) }

// grow returns a slice of n elements over *s, with a new array when the old one is too short. The contents are undefined.
func grow[T any](s *[]T, n int) []T {
	if cap(*s) < n {
		*s = make([]T, n)
	}
	*s = (*s)[:n]
	return *s
}

// upTo rounds n up to a multiple of m.
func upTo(n, m int) int { return (n + m - 1) / m * m }
