package ref

import "github.com/secencoder/secencoder/internal/kernel"

// Gather copies the masked rows together.
func (k *table) Gather(_ kernel.Stream, a *kernel.GatherArgs) {
	k.lock()
	defer k.unlock()
	h := view(a.Header)
	x, out := k.read(a.X), k.write(a.Out)
	for m := range h.MaskedRows() {
		copy(row(out, m, a.W), row(x, int(h.Masked[m]), a.W))
	}
}

// GatherGrad clears the rows in use and copies the masked ones back.
func (k *table) GatherGrad(_ kernel.Stream, a *kernel.GatherGradArgs) {
	k.lock()
	defer k.unlock()
	h := view(a.Header)
	dOut, dX := k.read(a.DOut), k.write(a.DX)
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
	k.lock()
	defer k.unlock()
	h := view(a.Header)
	x, out := k.read(a.X), k.write(a.Out)
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
func (k *table) PoolGrad(_ kernel.Stream, a *kernel.PoolGradArgs) {
	k.lock()
	defer k.unlock()
	h := view(a.Header)
	dOut, dX := k.read(a.DOut), k.write(a.DX)
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
