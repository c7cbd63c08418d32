package blocked

// The matrix product C[m, n] = A[m, k]·B[k, n] (+ bias) (+ C), 2·m·n·k FLOP.
//
// B is packed once, by all workers, into panels of 16 columns; then each part takes a block of rows of A (and, when rows
// are few, a range of columns), packs it into panels of MR rows that stay in the L2 cache, and sweeps the panels of B.
// k is cut into blocks of depth; a block accumulates in registers, blocks add up in C in order. So an element of C sees
// the same operations in the same order however rows and columns are cut, and bits do not depend on workers.
//
// Bytes: a pair of B panels (32 KiB) and a panel of A (14 KiB) pass the L1 cache for 2·14·32·256 FLOP, so the L2 cache
// gives 4 bytes a cycle and the products are bound by the multipliers, until C leaves the cache: 2,048×256×768 reaches
// 87 % of the peak, 2,048×256×1,024, whose C is 8 MiB, 71 %. Measured on two cores of an AMD EPYC of family 26 (Zen 5; best tenth of
// short slices, machine shared; docs/bench/cpu-f32.md): one thread 165 to 228 GFLOP/s of 238 at the shapes of the
// presets, two threads up to 389 of 489; AVX2 see there.
// Tried: packing all of a B of 2,048 terms at once, 8 MiB: 2,048×1,024×256 dw 148 GFLOP/s in the median, 171 in blocks.
// Tried: depth 128, 192, 384 and blocks of 5 panels: best slices within 5 % of each other, no reason to choose.

const (
	rowPanels  = 10      // panels of A in one block: 140 rows × 256 × 4 B = 140 KiB of L2
	packedB    = 4 << 20 // floats of packed B at once; wider products run in column chunks
	smallC     = 1 << 19 // floats: a C that small passes the caches once more rather than a long B
	gemmParts  = 12      // parts aimed at
	packPanels = 4       // panels of B packed by one part
)

// matrix is an operand: element (i, j) at data[at + i·ld + j], or at data[at + j·ld + i] when trans.
type matrix struct {
	data   Values
	at, ld int
	trans  bool
}

// gemm is one product on all cores.
type gemm struct {
	f           *Format
	m, n, k     int
	a, b        matrix
	c           []float32
	ldc         int
	bias        []float32
	beta        float32 // 0: set, 1: add, else scale C first
	dropA       *rowDrop
	dropB       *rowDrop
	after       func(k *Kernels, i0, i1, j0, j1 int) // called for each finished block of C
	j0, j1      int                                  // column chunk
	mb, nb      int
	rows, cols  int // parts in each direction
	block0      int // blocks of terms that are packed now
	block1      int
	panelGroups int
}

// product runs g. Its operands may be any strided matrices; C must not overlap them.
func (k *Kernels) product() {
	g := &k.g
	f := g.f
	if g.m == 0 || g.n == 0 {
		return
	}
	kBlocks := max(1, parts(g.k, f.Depth))
	chunk := max(f.NR, packedB/max(1, g.k)/64*64)
	mr := f.MR
	g.mb = min(max(upTo(parts(g.m, gemmParts), mr), mr), rowPanels*mr)
	g.rows = parts(g.m, g.mb)
	for g.j0 = 0; g.j0 < g.n; g.j0 = g.j1 {
		g.j1 = min(g.j0+chunk, g.n)
		width := upTo(g.j1-g.j0, 16)
		g.panelGroups = parts(width/16, packPanels)
		g.nb = upTo(max(4*f.NR, parts(width, max(1, gemmParts/g.rows))), f.NR)
		g.cols = parts(width, g.nb)
		blocks := kBlocks
		if g.m*width <= smallC {
			blocks = max(1, smallC/(width*f.Depth))
		}
		for g.block0 = 0; g.block0 < kBlocks; g.block0 = g.block1 {
			g.block1 = min(g.block0+blocks, kBlocks)
			grow(&k.s.b, f.Len(width, min(g.block1*f.Depth, g.k)-g.block0*f.Depth))
			k.run(g.panelGroups*(g.block1-g.block0), (*Kernels).packPart)
			k.run(g.rows*g.cols, (*Kernels).gemmPart)
		}
	}
	*g = gemm{}
}

// packPart packs a few panels of one block of terms.
func (k *Kernels) packPart(part, w int) {
	g := &k.g
	kb, group := g.block0+part/g.panelGroups, part%g.panelGroups
	p0, p1 := span(kb, g.f.Depth, g.k)
	j0, j1 := span(group, 16*packPanels, g.j1-g.j0)
	b, offset := g.b, g.j0
	if g.dropB != nil {
		b = k.dropped(&k.workers[w].x, g.b, g.dropB, p0, p1, g.j0+j0, g.j0+j1)
		g.f.panelsB(k.packedAt(p0, p1, j0), b, 0, p1-p0, 0, j1-j0)
		return
	}
	g.f.panelsB(k.packedAt(p0, p1, j0), b, p0, p1, offset+j0, offset+j1)
}

// packedAt returns the packed B of the column chunk from block p0 … p1, column j0 of the chunk.
func (k *Kernels) packedAt(p0, p1, j0 int) []float32 {
	g := &k.g
	return k.s.b[g.f.Len(upTo(g.j1-g.j0, 16), p0-g.block0*g.f.Depth)+g.f.Len(j0, p1-p0):]
}

// gemmPart makes one block of C.
func (k *Kernels) gemmPart(part, w int) {
	g := &k.g
	i0, i1 := span(part%g.rows, g.mb, g.m)
	j0, j1 := span(part/g.rows, g.nb, g.j1-g.j0)
	c := g.c[i0*g.ldc+g.j0+j0:]
	if g.block0 == 0 && g.beta != 0 && g.beta != 1 {
		for i := range i1 - i0 {
			row := c[i*g.ldc:][:j1-j0]
			k.p.Scale(row, row, g.beta)
		}
	}
	var bias []float32
	if g.bias != nil && g.block0 == 0 {
		bias = g.bias[g.j0+j0 : g.j0+j1]
	}
	packed := grow(&k.workers[w].a, g.f.Len(upTo(i1-i0, g.f.MR), min(g.f.Depth, max(1, g.k))))
	for kb := g.block0; kb < g.block1; kb++ {
		p0, p1 := span(kb, g.f.Depth, g.k)
		if g.dropA != nil {
			a := k.dropped(&k.workers[w].x, g.a, g.dropA, i0, i1, p0, p1)
			g.f.panelsA(packed, a, 0, i1-i0, 0, p1-p0)
		} else {
			g.f.panelsA(packed, g.a, i0, i1, p0, p1)
		}
		g.f.multiply(i1-i0, j1-j0, p1-p0, packed, k.packedAt(p0, p1, j0), g.f.Len(16, p1-p0), c, g.ldc, bias, g.beta != 0 || kb > 0)
		bias = nil
	}
	if g.after != nil && g.block1*g.f.Depth >= g.k {
		g.after(k, i0, i1, g.j0+j0, g.j0+j1)
	}
}
