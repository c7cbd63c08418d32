package blocked

import (
	"github.com/secencoder/secencoder/internal/bf16"
	"github.com/secencoder/secencoder/internal/kernel"
)

// Values is the memory of a matrix of float32 or of BF16; one slice is set.
type Values struct {
	F32  []float32
	BF16 []bf16.BF16
}

// single returns s as Values.
func single(s []float32) Values { return Values{F32: s} }

// valuesOf returns the memory of a float32 or BF16 operand.
func valuesOf(b kernel.Buf) Values {
	if b.DType == kernel.BF16 {
		return Values{BF16: b.BF16()}
	}
	return Values{F32: b.F32()}
}

// Format is how a family holds packed operands of products in one arithmetic. A panel of A is MR rows high, a panel of B
// 16 columns wide. Panels are []float32 memory, 32-bit words: where Half is set a word holds two BF16 elements. The terms
// of a panel are padded with zeros to a multiple of KR. Within these rules the order of elements is the family's own.
type Format struct {
	MR, NR int  // rows of a panel of A; columns that one call of Tile may fill: 16 or 32
	KR     int  // 1 for float32, 2 where pairs are multiplied, 32 for tiles
	Half   bool // elements are BF16
	Depth  int  // terms that accumulate in registers, a multiple of KR
	Rows   int  // rows of A that one part of a product takes, about, a multiple of MR; 0: 140

	// PackRows packs element (i, p) = src[at + i·ld + p] for i < rows, p < k, and 0 for rows ≤ i < width. ld may be negative.
	// Where the arithmetic is BF16's, float32 sources are rounded to BF16.
	PackRows func(dst []float32, width int, src Values, at, ld, rows, k int)
	// PackCols packs element (i, p) = src[at + p·ld + i] for i < cols, p < k, and 0 for cols ≤ i < width. ld may be negative.
	PackCols func(dst []float32, width int, src Values, at, ld, cols, k int)
	// PackWide is PackCols for whole panels side by side, from column at on, that go stride words apart. nil: loops over
	// PackCols.
	PackWide func(dst []float32, width, stride int, src Values, at, ld, panels, k int)
	// Tile sets C[i, j], i < m ≤ MR, j < n ≤ NR, to (bias[j] or 0) + Σ_p A[i, p]·B[p, j], p < k, or adds that to it. The
	// panel of B for columns from 16 on begins stride words after the first. bias is nil or holds n.
	Tile func(k int, a, b []float32, stride int, c []float32, ldc int, bias []float32, m, n int, add bool)
	// Sweep is Tile for any m and n: panels of A follow one another, panels of B are stride words apart. nil: loops over
	// Tile.
	Sweep func(m, n, k int, a, b []float32, stride int, c []float32, ldc int, bias []float32, add bool)
	// InPlace is Sweep that reads whole panels of A where they lie: element (i, p) = a[at + i·ld + p], or a[at + p·ld + i] when
	// trans; the last m mod MR rows are packed in rest. Elements have the type of the format, and where a word holds two of
	// them k is even and trans is not set. The bits are those of Sweep. nil: A is packed.
	InPlace func(m, n, k int, a Values, at, ld int, trans bool, rest, b []float32, stride int, c []float32, ldc int, bias []float32, add bool)
}

// Len returns the words of a panel, or of several of that total width: a multiple of 16 for B, of MR for A.
func (f *Format) Len(width, k int) int {
	n := width * upTo(k, f.KR)
	if f.Half {
		n /= 2
	}
	return n
}

// rows returns Rows or what stands for it.
func (f *Format) rows() int {
	if f.Rows == 0 {
		return upTo(rowsA, f.MR)
	}
	return f.Rows
}

// panelsA packs rows i0 … i1 and terms p0 … p1 of A into panels of width MR.
func (f *Format) panelsA(dst []float32, a matrix, i0, i1, p0, p1 int) {
	f.pack(dst, f.MR, a, !a.trans, i0, i1, p0, p1)
}

// panelsB packs terms p0 … p1 and columns j0 … j1 of B into panels of 16; trans means stored as [n, k].
func (f *Format) panelsB(dst []float32, b matrix, p0, p1, j0, j1 int) {
	f.pack(dst, 16, b, b.trans, j0, j1, p0, p1)
}

// pack packs terms p0 … p1 of lines i0 … i1 of an operand, rows of the matrix or columns, into panels of some width.
func (f *Format) pack(dst []float32, width int, x matrix, byRow bool, i0, i1, p0, p1 int) {
	from, kc := 0, p1-p0
	stride := f.Len(width, kc)
	if !byRow && i1-i0 >= width && f.PackWide != nil {
		from = (i1 - i0) / width
		f.PackWide(dst, width, stride, x.data, x.at+p0*x.ld+i0, x.ld, from, kc)
	}
	for j := from; i0+j*width < i1; j++ {
		i := i0 + j*width
		lines := min(width, i1-i)
		if byRow {
			f.PackRows(dst[j*stride:], width, x.data, x.at+i*x.ld+p0, x.ld, lines, kc)
		} else {
			f.PackCols(dst[j*stride:], width, x.data, x.at+p0*x.ld+i, x.ld, lines, kc)
		}
	}
}

// whole returns how many of some rows of A, the first ones, are read where they lie, of that many terms.
func (f *Format) whole(a *matrix, rows, terms int) int {
	fits := a.data.F32 != nil
	if f.Half {
		fits = a.data.BF16 != nil && !a.trans && terms%2 == 0
	}
	if f.InPlace == nil || !fits {
		return 0
	}
	return rows / f.MR * f.MR
}

// multiplyRows is multiply for rows i0 … i1 and terms p0 … p1 of a: the first whole rows from where they lie, the others
// packed in rest.
func (f *Format) multiplyRows(a *matrix, i0, i1, p0, p1, whole int, rest []float32, n int, b []float32, stride int, c []float32, ldc int, bias []float32, add bool) {
	if whole == 0 {
		f.multiply(i1-i0, n, p1-p0, rest, b, stride, c, ldc, bias, add)
		return
	}
	at := a.at + i0*a.ld + p0
	if a.trans {
		at = a.at + p0*a.ld + i0
	}
	f.InPlace(i1-i0, n, p1-p0, a.data, at, a.ld, a.trans, rest, b, stride, c, ldc, bias, add)
}

// multiplyOnce is multiply for the first m rows and kc terms of a, which no other product reads: what is not read where it
// lies is packed in buf first.
func (f *Format) multiplyOnce(a matrix, m, n, kc int, buf, b []float32, stride int, c []float32, ldc int, add bool) {
	whole := f.whole(&a, m, kc)
	f.panelsA(buf, a, whole, m, 0, kc)
	f.multiplyRows(&a, 0, m, 0, kc, whole, buf, n, b, stride, c, ldc, nil, add)
}

// multiply runs the micro-kernel over packed panels: C[m, n] at c, a packed by panelsA, b by panelsB with panels stride
// words apart. The pair of B panels stays in L1 while the panels of A pass.
func (f *Format) multiply(m, n, kc int, a, b []float32, stride int, c []float32, ldc int, bias []float32, add bool) {
	if f.Sweep != nil {
		f.Sweep(m, n, kc, a, b, stride, c, ldc, bias, add)
		return
	}
	panel := f.Len(f.MR, kc)
	for j := 0; j < n; j += f.NR {
		cols := min(f.NR, n-j)
		bj := b[j/16*stride:]
		var bb []float32
		if bias != nil {
			bb = bias[j : j+cols]
		}
		for i := 0; i < m; i += f.MR {
			f.Tile(kc, a[i/f.MR*panel:], bj, stride, c[i*ldc+j:], ldc, bb, min(f.MR, m-i), cols, add)
		}
	}
}
