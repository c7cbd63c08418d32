package blocked

// The matrix product C[m, n] = A[m, k]·B[k, n] (+ bias) (+ C), 2·m·n·k FLOP, float32 or BF16 by its Format.
//
// Each part makes one block of C, rowsA rows by at most blockCols columns, over all terms: for each Depth of terms it sweeps
// the panels of B over its rows of A, which stay in the L2 cache. Where the family can (Format.InPlace) it reads them where
// they lie; else, and where dropout changes them or the type does not fit, it packs them into panels first. A block of terms accumulates in
// registers, blocks add up in C in order. So an element of C sees the same operations in the same order however rows and
// columns are cut, and bits do not depend on workers. What a worker packed of A it keeps for its next part of the same rows.
//
// B is packed ahead by who owns it (PackWeight), or by the parts themselves where there is one block of rows, or once by all
// workers, in chunks of columns and of terms that stay in the L3 cache.
//
// C is float32 memory of the caller, or a block of scratch of the worker that goes out through done when its sums are
// complete: so results that have to be rounded, or to be added to something, are rounded once, from the L2 cache.
//
// Bytes: a pair of B panels (32 KiB) stays in the L1 cache while ten panels of A (14 KiB each) pass from the L2 cache, 4
// bytes a cycle; a block of C passes the L2 cache once per Depth of terms. Micro-kernels on such blocks make 97 to 99 % of
// the multipliers' rate. What is missing above that is packing, which moves memory (0.2 ns an element of a float32 weight, a
// twentieth of its use by 512 rows), and results that leave the caches. One core of Zen 5, shapes of base, 512 rows, best
// tenth of the slices, share of the rate of registers alone, weights packed: float32 y 90 to 93 %, dX 91 to 95 %, dW 90 to
// 93 %; BF16 y 91 to 94 %, dX 91 to 94 %, dW 90 to 93 % (docs/bench/cpu-products.md). Before A was read in place,
// y with weights that were not packed ahead came to 81 to 88 % in float32, where packed ones made 88 to 95.
//
// A in place against A packed, in turns, median, one thread and two: BF16 y 1.01 to 1.03 and 1.02 to 1.10, dX 1.01 to 1.04
// and 1.02 to 1.10; float32 y 1.00 to 1.01 and 1.01 to 1.06, dX 0.99 to 1.04 and 0.99 to 1.10, dW 1.01 to 1.03 and 1.02 to
// 1.09. Two threads gain more, because both pack the same rows. BF16 dW needs pairs of rows: it packs.
//
// Tried: A of BF16 dW packed once by all workers, for all chunks: no difference on two threads, 0 to 5 % slower on one, as
// its panels then come from beyond the L2 cache.
// Tried: dW into blocks of scratch, and from there to where it belongs: 3 to 8 % slower, though rows 12 KiB apart share
// places in the L1 cache.
// Tried: blocks of rows of equal height, instead of a low one last: 768 rows on two threads 0 to 2 % faster, but 18 equal
// parts keep 16 threads busy for less of the time, by count.
// Tried: blocks of 384 terms of float32 and of 768 of BF16, half as many passes over C at 768 terms: 0 to 1 % faster, not worth
// other bits.
// Tried: blocks of all columns, whose sums leave the L2 cache: 512×768×3,072 in float32 66 %, dX of 512×3,072×768 66 %.
// Tried: asking for source rows 256 bytes ahead while packing: no difference beyond the spread.
const (
	rowsA       = 140     // rows of one block: 140 × 256 × 4 B = 140 KiB of L2
	blockCols   = 384     // columns of one block: 210 KiB of L2 hold its sums
	chunkCols   = 1024    // columns of B packed at once,
	chunkWords  = 5 << 17 // or as many as make that many words: few terms may pack more columns
	packedB     = 1 << 20 // words of B packed at once, where C may be added to in several goes,
	packedTerms = 4096    // and terms: a worker keeps as many of its rows of A
	gemmParts   = 16      // parts aimed at; 32 cost products of 60 rows 1 to 3 %
	packPanels  = 4       // panels of B packed by one part
)

// matrix is an operand: element (i, j) at data[at + i·ld + j], or at data[at + j·ld + i] when trans.
type matrix struct {
	data   Values
	at, ld int
	trans  bool
}

// gemm is one product on all cores.
type gemm struct {
	f       *Format
	m, n, k int
	a, b    matrix
	packed  []float32 // B, packed ahead; nil: b
	bias    []float32
	dropA   *rowDrop
	dropB   *rowDrop

	c    []float32 // nil: scratch
	ldc  int
	beta float32 // 0: set, 1: add, else scale C first
	// done is called for each finished block of C, rows i0 … i1, columns j0 … j1, which is c, rows ld apart.
	done func(k *Kernels, worker int, c []float32, ld, i0, i1, j0, j1 int)

	local          bool // parts pack B themselves
	j0, j1, width  int  // column chunk, its width in whole panels
	block0, block1 int  // blocks of terms that are packed now
	mb, nb         int
	rows, cols     int // parts in each direction
	panelGroups    int
}

// packedA says what a worker's panels of A are: whose chunk's, and which rows.
type packedA struct{ serial, rows int }

// product runs k.g. Its operands may be any strided matrices; C must not overlap them.
func (k *Kernels) product() {
	g := &k.g
	f := g.f
	defer func() { *g = gemm{} }()
	if g.m == 0 || g.n == 0 {
		return
	}
	kBlocks := max(1, parts(g.k, f.Depth))
	g.rows = parts(g.m, f.rows())
	g.mb = upTo(parts(g.m, g.rows), f.MR)
	g.rows = parts(g.m, g.mb)
	g.local = g.packed == nil && g.rows == 1 && g.dropB == nil
	chunk, blocks := g.n, kBlocks
	if g.packed == nil && !g.local {
		chunk = max(chunkCols, chunkWords/f.Len(16, max(g.k, 1))*16)
		chunk = upTo(parts(g.n, parts(g.n, chunk)), 64)
		if g.c != nil {
			blocks = packedB / f.Len(upTo(min(chunk, g.n), 16), f.Depth)
		}
	}
	if g.packed == nil && g.c != nil {
		blocks = max(1, min(blocks, packedTerms/f.Depth))
	}
	for g.j0 = 0; g.j0 < g.n; g.j0 = g.j1 {
		g.j1 = min(g.j0+chunk, g.n)
		g.width = upTo(g.j1-g.j0, 16)
		g.cols = max(parts(g.width, blockCols), min(parts(gemmParts, g.rows), parts(g.width, 4*f.NR)))
		g.nb = upTo(parts(g.width, g.cols), f.NR)
		g.cols = parts(g.width, g.nb)
		g.panelGroups = parts(g.width/16, packPanels)
		for g.block0 = 0; g.block0 < kBlocks; g.block0 = g.block1 {
			g.block1 = min(g.block0+blocks, kBlocks)
			k.serial++
			if g.packed == nil && !g.local {
				k.s.b.grow(k.mapped, f.Len(g.width, min(g.block1*f.Depth, g.k)-g.block0*f.Depth))
				k.run(g.panelGroups*(g.block1-g.block0), (*Kernels).packPart)
			}
			k.run(g.rows*g.cols, (*Kernels).gemmPart)
		}
	}
}

// packPart packs a few panels of one block of terms.
func (k *Kernels) packPart(part, w int) {
	g := &k.g
	kb, group := g.block0+part/g.panelGroups, part%g.panelGroups
	p0, p1 := span(kb, g.f.Depth, g.k)
	j0, j1 := span(group, 16*packPanels, g.j1-g.j0)
	if g.dropB != nil {
		b := k.dropped(&k.workers[w].x, g.b, g.dropB, p0, p1, g.j0+j0, g.j0+j1)
		g.f.panelsB(k.packedAt(p0, p1, j0), b, 0, p1-p0, 0, j1-j0)
		return
	}
	g.f.panelsB(k.packedAt(p0, p1, j0), g.b, p0, p1, g.j0+j0, g.j0+j1)
}

// packedAt returns the packed B of the column chunk from block p0 … p1, column j0 of the chunk.
func (k *Kernels) packedAt(p0, p1, j0 int) []float32 {
	g := &k.g
	b := g.packed
	if b == nil {
		b = k.s.b.f
	}
	return b[g.f.Len(g.width, p0-g.block0*g.f.Depth)+g.f.Len(j0, p1-p0):]
}

// gemmPart makes one block of C from the blocks of terms at hand.
func (k *Kernels) gemmPart(part, wi int) {
	g, w := &k.g, &k.workers[wi]
	f := g.f
	i0, i1 := span(part/g.cols, g.mb, g.m)
	j0, j1 := span(part%g.cols, g.nb, g.j1-g.j0)
	c, ld := g.c, g.ldc
	if c == nil {
		ld = g.nb + 16
		c = w.c.grow(w.m, g.mb*ld)
	} else {
		c = c[i0*ld+g.j0+j0:]
	}
	if g.block0 == 0 && g.beta != 0 && g.beta != 1 {
		for i := range i1 - i0 {
			row := c[i*ld:][:j1-j0]
			k.p.Scale(row, row, g.beta)
		}
	}
	var bias []float32
	if g.bias != nil && g.block0 == 0 {
		bias = g.bias[g.j0+j0 : g.j0+j1]
	}
	whole := 0
	if g.dropA == nil {
		whole = f.whole(&g.a, i1-i0, g.k)
	}
	height := upTo(i1-i0-whole, f.MR)
	terms := min(g.block1*f.Depth, g.k) - g.block0*f.Depth
	packed := w.a.grow(w.m, f.Len(height, terms))
	kept := w.kept == packedA{k.serial, part / g.cols}
	for kb := g.block0; kb < g.block1; kb++ {
		p0, p1 := span(kb, f.Depth, g.k)
		a := packed[f.Len(height, p0-g.block0*f.Depth):]
		switch {
		case kept:
		case g.dropA != nil:
			f.panelsA(a, k.dropped(&w.x, g.a, g.dropA, i0, i1, p0, p1), 0, i1-i0, 0, p1-p0)
		default:
			f.panelsA(a, g.a, i0+whole, i1, p0, p1)
		}
		var b []float32
		if g.local {
			b = w.b.grow(w.m, f.Len(upTo(j1-j0, 16), p1-p0))
			f.panelsB(b, g.b, p0, p1, g.j0+j0, g.j0+j1)
		} else {
			b = k.packedAt(p0, p1, j0)
		}
		f.multiplyRows(&g.a, i0, i1, p0, p1, whole, a, j1-j0, b, f.Len(16, p1-p0), c, ld, bias, g.beta != 0 || kb > 0)
		bias = nil
	}
	w.kept = packedA{k.serial, part / g.cols}
	if g.done != nil && g.block1*f.Depth >= g.k {
		g.done(k, wi, c, ld, i0, i1, g.j0+j0, g.j0+j1)
	}
}
