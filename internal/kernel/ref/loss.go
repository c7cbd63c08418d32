package ref

import (
	"math"

	"github.com/secencoder/secencoder/internal/kernel"
)

// MLMLoss: per masked row the logits z·wordᵀ + bias, nll = logsumexp − logit[label], hit = argmax is the label.
func (k *table) MLMLoss(_ kernel.Stream, a *kernel.MLMLossArgs) {
	k.lock()
	defer k.unlock()
	h := view(a.Header)
	z, word, bias := k.read(a.Z), k.factors(a.Word, half(a.Z)), a.Bias.F32()
	nll, hit, lse := a.NLL.F32(), a.Hit.F32(), a.LSE.F32()
	logits := k.floats(0, a.V)
	var sum float64
	for m := range h.MaskedRows() {
		best := 0
		for v := range logits {
			logits[v] = dot(row(z, m, a.E), row(word, v, a.E)) + float64(bias[v])
			if logits[v] > logits[best] {
				best = v
			}
		}
		label := int(h.Labels[m])
		l := logSumExp(logits)
		loss := l - logits[label]
		sum += loss
		nll[m], hit[m], lse[m] = float32(loss), 0, float32(l)
		if best == label {
			hit[m] = 1
		}
	}
	a.Loss.F32()[0] = 0 // also where the scale of no rows is not finite
	if h.MaskedRows() > 0 {
		a.Loss.F32()[0] = float32(float64(h.Scale()) * sum)
	}
}

// MLMLossGrad: dLogits = dLoss·scale·(exp(logit − LSE) − onehot), one vocabulary row at a time.
func (k *table) MLMLossGrad(_ kernel.Stream, a *kernel.MLMLossGradArgs) {
	k.lock()
	defer k.unlock()
	h := view(a.Header)
	z, word, bias, lse := k.read(a.Z), k.factors(a.Word, half(a.Z)), a.Bias.F32(), a.LSE.F32()
	dWord, dBias := a.DWord.F32(), a.DBias.F32()
	g := float64(a.DLoss.F32()[0]) * float64(h.Scale())
	rows := h.MaskedRows()
	dZ := k.floats(0, rows*a.E) // [masked, E]
	for v := range a.V {
		w := row(word, v, a.E)
		dW, dB := k.floats(1, a.E), k.floats(2, 1)
		for m := range rows {
			d := math.Exp(dot(row(z, m, a.E), w) + float64(bias[v]) - float64(lse[m]))
			if v == int(h.Labels[m]) {
				d--
			}
			d *= g
			axpy(dZ[m*a.E:(m+1)*a.E], d, w)
			axpy(dW, d, row(z, m, a.E))
			dB[0] += d
		}
		if dWord != nil {
			store(row(dWord, v, a.E), a.Beta[0], dW)
		}
		if dBias != nil {
			store(dBias[v:], a.Beta[1], dB)
		}
	}
	if !a.DZ.Absent() {
		store(k.write(a.DZ), 0, dZ)
	}
}

// ClassifyLoss: see kernel.LossKind; a mean over no rows is 0.
func (k *table) ClassifyLoss(_ kernel.Stream, a *kernel.ClassifyLossArgs) {
	k.lock()
	defer k.unlock()
	h := view(a.Header)
	rows := h.Count(a.Rows, a.N)
	var sum float64
	counted := 0
	logits := k.floats(0, a.C)
	for r := range rows {
		for c, v := range row(a.Logits.F32(), r, a.C) {
			logits[c] = float64(v)
		}
		switch a.Kind {
		case kernel.CrossEntropy:
			if label := a.Labels.I32()[r]; label >= 0 {
				counted++
				sum += logSumExp(logits) - logits[label]
			}
		case kernel.SoftCrossEntropy:
			counted++
			l := logSumExp(logits)
			for c, y := range row(a.Labels.F32(), r, a.C) {
				sum += float64(y) * (l - logits[c])
			}
		case kernel.MeanSquare:
			counted += a.C
			for c, y := range row(a.Labels.F32(), r, a.C) {
				sum += (logits[c] - float64(y)) * (logits[c] - float64(y))
			}
		}
	}
	a.Loss.F32()[0] = float32(sum / float64(max(1, counted)))
}

// ClassifyLossGrad: CrossEntropy dLoss·(softmax − onehot)/counted, 0 in rows left out; SoftCrossEntropy
// dLoss·(softmax·Σy − y)/rows; MeanSquare 2·dLoss·(x − y)/elements.
func (k *table) ClassifyLossGrad(_ kernel.Stream, a *kernel.ClassifyLossGradArgs) {
	k.lock()
	defer k.unlock()
	h := view(a.Header)
	rows := h.Count(a.Rows, a.N)
	counted := rows
	switch a.Kind {
	case kernel.CrossEntropy:
		counted = 0
		for _, label := range a.Labels.I32()[:rows] {
			if label >= 0 {
				counted++
			}
		}
	case kernel.MeanSquare:
		counted = rows * a.C
	}
	g := float64(a.DLoss.F32()[0]) / float64(max(1, counted))
	logits, d := k.floats(0, a.C), k.floats(1, a.C)
	for r := range rows {
		for c, v := range row(a.Logits.F32(), r, a.C) {
			logits[c] = float64(v)
		}
		l := logSumExp(logits)
		for c, v := range logits {
			d[c] = math.Exp(v - l)
		}
		switch a.Kind {
		case kernel.CrossEntropy:
			if label := a.Labels.I32()[r]; label >= 0 {
				d[label]--
			} else {
				clear(d)
			}
		case kernel.SoftCrossEntropy:
			var total float64
			for _, y := range row(a.Labels.F32(), r, a.C) {
				total += float64(y)
			}
			for c, y := range row(a.Labels.F32(), r, a.C) {
				d[c] = d[c]*total - float64(y)
			}
		case kernel.MeanSquare:
			for c, y := range row(a.Labels.F32(), r, a.C) {
				d[c] = 2 * (logits[c] - float64(y))
			}
		}
		for c := range d {
			d[c] *= g
		}
		store(row(a.DLogits.F32(), r, a.C), 0, d)
	}
}
