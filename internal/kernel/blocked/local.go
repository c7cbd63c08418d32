package blocked

// packTerms packs columns j0 … j1 of B, all its terms, in blocks of Depth, into buf.
func (f *Format) packTerms(m *mapped, buf *pages, b matrix, terms, j0, j1 int) []float32 {
	width := upTo(j1-j0, 16)
	dst := buf.grow(m, f.Len(width, terms))
	for p0 := 0; p0 < terms; p0 += f.Depth {
		f.panelsB(dst[f.Len(width, p0):], b, p0, min(p0+f.Depth, terms), j0, j1)
	}
	return dst
}

// rowsTimes is a product on one worker: C[i1−i0, n] = A rows i0 … i1, all terms, times b packed by packTerms.
func (f *Format) rowsTimes(w *worker, a matrix, i0, i1, terms int, b []float32, n int, c []float32, ldc int, bias []float32, add bool) {
	width := upTo(n, 16)
	block := f.rows()
	for r0 := i0; r0 < i1; r0 += block {
		r1 := min(r0+block, i1)
		w.kept = packedA{}
		whole := f.whole(&a, r1-r0, terms)
		packed := w.a.grow(w.m, f.Len(upTo(r1-r0-whole, f.MR), min(f.Depth, terms)))
		for p0 := 0; p0 < terms; p0 += f.Depth {
			p1 := min(p0+f.Depth, terms)
			f.panelsA(packed, a, r0+whole, r1, p0, p1)
			var start []float32
			if p0 == 0 {
				start = bias
			}
			f.multiplyRows(&a, r0, r1, p0, p1, whole, packed, n, b[f.Len(width, p0):], f.Len(16, p1-p0), c[(r0-i0)*ldc:], ldc, start, add || p0 > 0)
		}
	}
}
