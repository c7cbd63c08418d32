package blocked

import (
	"math"

	"github.com/secencoder/secencoder/internal/kernel"
)

// Add: out = a + b.
func (k *Kernels) Add(_ kernel.Stream, a *kernel.AddArgs) {
	k.begin(kernel.Buf{})
	defer k.end()
	k.call.add = a
	k.run(parts(a.N, 1<<14), (*Kernels).addPart)
}

func (k *Kernels) addPart(part, _ int) {
	a := k.call.add
	lo, hi := span(part, 1<<14, a.N)
	k.p.Add(a.Out.F32()[lo:hi], a.A.F32()[lo:hi], a.B.F32()[lo:hi])
}

// Gather: out[m] = x[masked[m]].
func (k *Kernels) Gather(_ kernel.Stream, a *kernel.GatherArgs) {
	k.begin(a.Header)
	defer k.end()
	x, out := a.X.F32(), a.Out.F32()
	for m, t := range k.h.Masked[:k.h.MaskedRows()] {
		copy(out[m*a.W:][:a.W], x[int(t)*a.W:])
	}
}

// GatherGrad: dX = 0 except dX[masked[m]] = dOut[m].
func (k *Kernels) GatherGrad(_ kernel.Stream, a *kernel.GatherGradArgs) {
	k.begin(a.Header)
	defer k.end()
	dOut, dX := a.DOut.F32(), a.DX.F32()
	clear(dX[:k.h.Tokens()*a.W])
	for m, t := range k.h.Masked[:k.h.MaskedRows()] {
		copy(dX[int(t)*a.W:][:a.W], dOut[m*a.W:])
	}
}

// Pool: one row per piece, its first token or the mean over its tokens.
func (k *Kernels) Pool(_ kernel.Stream, a *kernel.PoolArgs) {
	k.begin(a.Header)
	defer k.end()
	k.call.pool = a
	k.run(parts(k.h.Pieces(), 4), (*Kernels).poolPart)
}

// pooled returns the tokens that a piece's row is the mean of.
func (k *Kernels) pooled(piece int, first, inner bool) (lo, hi int) {
	lo, hi = int(k.h.Offsets[piece]), int(k.h.Offsets[piece+1])
	if first {
		return lo, lo + 1
	}
	if inner {
		return lo + 1, max(lo+1, hi-1)
	}
	return lo, hi
}

func (k *Kernels) poolPart(part, w int) {
	a := k.call.pool
	p0, p1 := span(part, 4, k.h.Pieces())
	x, out := a.X.F32(), a.Out.F32()
	for p := p0; p < p1; p++ {
		row := out[p*a.W:][:a.W]
		clear(row)
		lo, hi := k.pooled(p, a.First, a.Inner)
		k.sumRows(row, &k.workers[w].x, x, lo, hi, a.W)
		if hi > lo+1 {
			k.p.Scale(row, row, 1/float32(hi-lo))
		}
	}
}

// sumRows adds rows lo … hi of x to dst: float32 over chunks of 64 rows, chunks in order.
func (k *Kernels) sumRows(dst []float32, buf *[]float32, x []float32, lo, hi, width int) {
	chunk := grow(buf, width)
	for ; lo < hi; lo += 64 {
		clear(chunk)
		for i := lo; i < min(lo+64, hi); i++ {
			k.p.Add(chunk, chunk, x[i*width:][:width])
		}
		k.p.Add(dst, dst, chunk)
	}
}

// PoolGrad: the adjoint of Pool; every row in use is written.
func (k *Kernels) PoolGrad(_ kernel.Stream, a *kernel.PoolGradArgs) {
	k.begin(a.Header)
	defer k.end()
	k.call.poolG = a
	k.run(parts(k.h.Pieces(), 4), (*Kernels).poolGradPart)
}

func (k *Kernels) poolGradPart(part, _ int) {
	a := k.call.poolG
	p0, p1 := span(part, 4, k.h.Pieces())
	dOut, dX := a.DOut.F32(), a.DX.F32()
	for p := p0; p < p1; p++ {
		g := dOut[p*a.W:][:a.W]
		lo, hi := k.pooled(p, a.First, a.Inner)
		for t := int(k.h.Offsets[p]); t < int(k.h.Offsets[p+1]); t++ {
			if row := dX[t*a.W:][:a.W]; t >= lo && t < hi {
				k.p.Scale(row, g, 1/float32(hi-lo))
			} else {
				clear(row)
			}
		}
	}
}

// ClassifyLoss: the loss over [rows, C] logits, in float64: a few numbers a row, on one core.
func (k *Kernels) ClassifyLoss(_ kernel.Stream, a *kernel.ClassifyLossArgs) {
	k.begin(a.Header)
	defer k.end()
	n := k.h.Count(a.Rows, a.N)
	logits := a.Logits.F32()
	total := 0.0
	for i := range n {
		row := logits[i*a.C:][:a.C]
		switch a.Kind {
		case kernel.CrossEntropy:
			if label := a.Labels.I32()[i]; label >= 0 {
				total += logSumExp(row) - float64(row[label])
			}
		case kernel.SoftCrossEntropy:
			lse := logSumExp(row)
			for c, y := range a.Labels.F32()[i*a.C:][:a.C] {
				total += float64(y) * (lse - float64(row[c]))
			}
		case kernel.MeanSquare:
			for c, y := range a.Labels.F32()[i*a.C:][:a.C] {
				d := float64(row[c]) - float64(y)
				total += d * d
			}
		}
	}
	if d := classified(a.Kind, a.Labels, n, a.C); d > 0 {
		total /= d
	}
	a.Loss.F32()[0] = float32(total)
}

// classified returns what the loss is divided by: labelled rows, rows, or elements.
func classified(kind kernel.LossKind, labels kernel.Buf, n, c int) float64 {
	switch kind {
	case kernel.CrossEntropy:
		count := 0
		for _, l := range labels.I32()[:n] {
			if l >= 0 {
				count++
			}
		}
		return float64(count)
	case kernel.MeanSquare:
		return float64(n * c)
	}
	return float64(n)
}

func logSumExp(row []float32) float64 {
	m := math.Inf(-1)
	for _, x := range row {
		m = max(m, float64(x))
	}
	s := 0.0
	for _, x := range row {
		s += math.Exp(float64(x) - m)
	}
	return m + math.Log(s)
}

// ClassifyLossGrad: dLogits, every row in use written.
func (k *Kernels) ClassifyLossGrad(_ kernel.Stream, a *kernel.ClassifyLossGradArgs) {
	k.begin(a.Header)
	defer k.end()
	n := k.h.Count(a.Rows, a.N)
	logits, out := a.Logits.F32(), a.DLogits.F32()
	g := float64(a.DLoss.F32()[0])
	if d := classified(a.Kind, a.Labels, n, a.C); d > 0 {
		g /= d
	}
	for i := range n {
		row, d := logits[i*a.C:][:a.C], out[i*a.C:][:a.C]
		if a.Kind == kernel.MeanSquare {
			for c, y := range a.Labels.F32()[i*a.C:][:a.C] {
				d[c] = float32(2 * g * (float64(row[c]) - float64(y)))
			}
			continue
		}
		lse, weight := logSumExp(row), 1.0
		var soft []float32
		label := int32(-1)
		if a.Kind == kernel.CrossEntropy {
			if label = a.Labels.I32()[i]; label < 0 {
				clear(d)
				continue
			}
		} else {
			soft, weight = a.Labels.F32()[i*a.C:][:a.C], 0
			for _, y := range soft {
				weight += float64(y)
			}
		}
		for c, x := range row {
			y := 0.0
			switch {
			case soft != nil:
				y = float64(soft[c])
			case int32(c) == label:
				y = 1
			}
			d[c] = float32(g * (weight*math.Exp(float64(x)-lse) - y))
		}
	}
}
