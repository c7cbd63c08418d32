package blocked

// foldCall adds partial sums, the rows of a matrix, into a vector.
type foldCall struct {
	dst, partial     []float32
	n, stride, grain int
	beta             float32
}

// foldColumns is what is added up in one go: the sums stay in L1.
const foldColumns = 64

// foldPartials sets dst[j] = beta·dst[j] + Σ partial[i·stride + j], j < width, over n partials in order, in float64.
func (k *Kernels) foldPartials(dst, partial []float32, n, stride, width int, beta float32) {
	c := &k.call.fold
	*c = foldCall{dst: dst[:width], partial: partial, n: n, stride: stride, grain: foldColumns, beta: beta}
	if n*width < 1<<14 { // less than waking a worker takes
		c.grain = width
	}
	k.run(parts(width, c.grain), (*Kernels).foldPartialsPart)
}

func (k *Kernels) foldPartialsPart(part, w int) {
	c := &k.call.fold
	j0, j1 := span(part, c.grain, len(c.dst))
	for ; j0 < j1; j0 += foldColumns {
		dst := c.dst[j0:min(j0+foldColumns, j1)]
		sums := k.workers[w].sums[:len(dst)]
		clear(sums)
		for i := range c.n {
			k.p.Rows.AddDouble(sums, c.partial[i*c.stride+j0:][:len(sums)])
		}
		for j, s := range sums {
			if c.beta != 0 {
				s += float64(c.beta) * float64(dst[j])
			}
			dst[j] = float32(s)
		}
	}
}
