package blocked

import "github.com/secencoder/secencoder/internal/kernel"

// rowDrop drops elements of a value whose rows are numbered by the header.
type rowDrop struct {
	rows      kernel.RowKind
	width     int
	counter   Counter
	threshold uint32
	scale     float32
}

// dropOf prepares the dropout of a value of the given width.
func (k *Kernels) dropOf(d kernel.Dropout, rows kernel.RowKind, width int) rowDrop {
	return rowDrop{rows: rows, width: width, counter: k.counter(d.Site), threshold: d.Threshold(), scale: d.Scale()}
}

// row drops columns j0 … j0+len(dst) of row i; dst may be src.
func (k *Kernels) dropRow(r *rowDrop, dst, src []float32, i, j0 int) {
	k.p.Dropout(dst, src, k.h.DropoutElement(r.rows, i, r.width)+uint64(j0), r.counter, r.threshold, r.scale)
}

// dropped copies rows i0 … i1, columns j0 … j1 of m (not transposed) into buf, dropped, and returns the copy.
func (k *Kernels) dropped(buf *[]float32, m matrix, r *rowDrop, i0, i1, j0, j1 int) matrix {
	ld := j1 - j0
	dst := grow(buf, (i1-i0)*ld)
	for i := i0; i < i1; i++ {
		row := dst[(i-i0)*ld:][:ld]
		k.dropRow(r, row, k.wide(&m.data, m.at+i*m.ld+j0, ld, row), i, j0)
	}
	return matrix{data: single(dst), ld: ld}
}
