package ref

import "github.com/secencoder/secencoder/internal/kernel"

// Gather copies the masked rows together.
func (*table) Gather(_ kernel.Stream, a *kernel.GatherArgs) {
	h := view(a.Header)
	x, out := a.X.F32(), a.Out.F32()
	for m := range h.MaskedRows() {
		copy(row(out, m, a.W), row(x, int(h.Masked[m]), a.W))
	}
}

// GatherGrad clears the rows in use and copies the masked ones back.
func (*table) GatherGrad(_ kernel.Stream, a *kernel.GatherGradArgs) {
	h := view(a.Header)
	dOut, dX := a.DOut.F32(), a.DX.F32()
	clear(dX[:h.Tokens()*a.W])
	for m := range h.MaskedRows() {
		copy(row(dX, int(h.Masked[m]), a.W), row(dOut, m, a.W))
	}
}

// pooled returns the tokens [first, end) that a pooled row is the mean of.
func pooled(h kernel.Header, piece int, firstOnly, inner bool) (first, end int) {
	first, end = int(h.Offsets[piece]), int(h.Offsets[piece+1])
	switch {
	case firstOnly:
		end = min(end, first+1)
	case inner:
		first, end = first+1, end-1
	}
	return first, max(first, end)
}

// Pool: the mean over the chosen tokens of each piece, 0 where there is none.
func (k *table) Pool(_ kernel.Stream, a *kernel.PoolArgs) {
	k.mu.Lock()
	defer k.mu.Unlock()
	h := view(a.Header)
	x, out := a.X.F32(), a.Out.F32()
	for p := range h.Pieces() {
		first, end := pooled(h, p, a.First, a.Inner)
		sum := k.floats(0, a.W)
		for t := first; t < end; t++ {
			axpy(sum, 1, row(x, t, a.W))
		}
		for c := range sum {
			sum[c] /= float64(max(1, end-first))
		}
		store(row(out, p, a.W), 0, sum)
	}
}

// PoolGrad: each chosen token gets dOut over their number, the others 0.
func (*table) PoolGrad(_ kernel.Stream, a *kernel.PoolGradArgs) {
	h := view(a.Header)
	dOut, dX := a.DOut.F32(), a.DX.F32()
	for p := range h.Pieces() {
		first, end := pooled(h, p, a.First, a.Inner)
		clear(dX[int(h.Offsets[p])*a.W : int(h.Offsets[p+1])*a.W])
		for t := first; t < end; t++ {
			for c, g := range row(dOut, p, a.W) {
				dX[t*a.W+c] = float32(float64(g) / float64(end-first))
			}
		}
	}
}
