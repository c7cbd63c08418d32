package blocked

import (
	"math"

	"github.com/secencoder/secencoder/internal/kernel"
)

// The masked-LM loss is a product of the masked rows with the whole vocabulary, 2·n·V·E FLOP, whose result is never kept:
// each part makes the logits of vocabBlock words for a block of rows at a time, and keeps of them a maximum, a sum of
// exponentials and the label's logit. The gradient makes them again, turns them into dLogits in place, and multiplies
// twice: 6·n·V·E FLOP in all. Bound by the products, and with few rows by packing the words, which every row must
// help to repay: in a step of the tiny preset at V = 29,952 (77 rows) packing is 14 % of the time, of mini (307 rows) 5 %.
const (
	vocabBlock = 256
	gradRows   = 256 // rows of one pass of the gradient: the terms of dWord that accumulate in registers
	gradGroups = 16  // runs of vocabulary blocks, each with its own sum of dZ
)

// mlmCall is the loss or its gradient.
type mlmCall struct {
	f                  *Format
	z                  Values
	word, bias         []float32
	nll, hit, lse      []float32
	tops, sums         []float32 // [vocabulary block, row]
	n, v, e, blocks    int
	g                  float32
	dZ                 Values
	dWord, dBias       []float32
	beta               [2]float32
	partial            []float32 // [group, row of the pass, e]
	r0, r1, per, group int
}

// MLMLoss: see kernel.MLMLossArgs.
func (k *Kernels) MLMLoss(_ kernel.Stream, a *kernel.MLMLossArgs) {
	k.begin(a.Header)
	defer k.end()
	c := &k.call.mlm
	n := k.h.MaskedRows()
	*c = mlmCall{
		f: k.format(a.Z.DType == kernel.BF16), z: valuesOf(a.Z), word: a.Word.F32(), bias: a.Bias.F32(), nll: a.NLL.F32(), hit: a.Hit.F32(), lse: a.LSE.F32(),
		n: n, v: a.V, e: a.E, blocks: parts(a.V, vocabBlock),
	}
	work := a.Work.F32()
	c.tops, c.sums = work[:c.blocks*n], work[c.blocks*n:]
	if n > 0 {
		k.run(c.blocks, (*Kernels).lossPart)
		k.run(parts(n, 16), (*Kernels).lossFoldPart)
	}
	total := 0.0
	for _, x := range c.nll[:n] {
		total += float64(x)
	}
	a.Loss.F32()[0] = float32(float64(k.h.Scale()) * total)
}

// lossPart makes the logits of one vocabulary block for all rows.
func (k *Kernels) lossPart(part, wi int) {
	c, w := &k.call.mlm, &k.workers[wi]
	f := c.f
	v0, v1 := span(part, vocabBlock, c.v)
	width := v1 - v0
	b := f.packTerms(w.m, &w.b, matrix{data: single(c.word), ld: c.e, trans: true}, c.e, v0, v1)
	for r0 := 0; r0 < c.n; r0 += f.rows() {
		r1 := min(r0+f.rows(), c.n)
		logits := w.mlm.grow(w.m, (r1-r0)*width)
		f.rowsTimes(w, matrix{data: c.z, ld: c.e}, r0, r1, c.e, b, width, logits, width, c.bias[v0:v1], false)
		for r := r0; r < r1; r++ {
			row := logits[(r-r0)*width:][:width]
			top := k.p.Max(row)
			if label := int(k.h.Labels[r]) - v0; label >= 0 && label < width {
				c.nll[r], c.hit[r] = row[label], 0
				if row[label] == top && firstIs(row, top, label) {
					c.hit[r] = 1
				}
			}
			c.tops[part*c.n+r] = top
			c.sums[part*c.n+r] = k.p.ExpSum(row, row, 1, top)
		}
	}
}

// firstIs reports whether at is the first element of row that equals x.
func firstIs(row []float32, x float32, at int) bool {
	for _, v := range row[:at] {
		if v == x {
			return false
		}
	}
	return true
}

// lossFoldPart joins the vocabulary blocks of some rows, in order.
func (k *Kernels) lossFoldPart(part, _ int) {
	c := &k.call.mlm
	r0, r1 := span(part, 16, c.n)
	for r := r0; r < r1; r++ {
		top, at := c.tops[r], 0
		for b := 1; b < c.blocks; b++ {
			if x := c.tops[b*c.n+r]; x > top {
				top, at = x, b
			}
		}
		s := 0.0
		for b := range c.blocks {
			s += float64(c.sums[b*c.n+r]) * math.Exp(float64(c.tops[b*c.n+r])-float64(top))
		}
		lse := float64(top) + math.Log(s)
		if int(k.h.Labels[r])/vocabBlock != at {
			c.hit[r] = 0
		}
		c.nll[r] = float32(lse - float64(c.nll[r]))
		if c.lse != nil {
			c.lse[r] = float32(lse)
		}
	}
}

// MLMLossGrad: see kernel.MLMLossGradArgs.
func (k *Kernels) MLMLossGrad(_ kernel.Stream, a *kernel.MLMLossGradArgs) {
	k.begin(a.Header)
	defer k.end()
	n := k.h.MaskedRows()
	if n == 0 {
		k.scaleAll(a.DWord, a.Beta[0])
		k.scaleAll(a.DBias, a.Beta[1])
		return
	}
	c := &k.call.mlm
	*c = mlmCall{
		f: k.format(a.Z.DType == kernel.BF16), z: valuesOf(a.Z), word: a.Word.F32(), bias: a.Bias.F32(), lse: a.LSE.F32(),
		n: n, v: a.V, e: a.E, blocks: parts(a.V, vocabBlock), g: a.DLoss.F32()[0] * k.h.Scale(),
		dZ: valuesOf(a.DZ), dWord: a.DWord.F32(), dBias: a.DBias.F32(), beta: a.Beta, partial: a.Work.F32(),
	}
	c.per = parts(c.blocks, gradGroups)
	c.group = parts(c.blocks, c.per)
	pass := parts(n, parts(n, gradRows))
	for c.r0 = 0; c.r0 < n; c.r0 += pass {
		c.r1 = min(c.r0+pass, n)
		k.run(c.group, (*Kernels).lossGradPart)
		if !c.dZ.absent() {
			k.run(parts(c.r1-c.r0, rowsPerPart), (*Kernels).dZFoldPart)
		}
		c.beta = [2]float32{1, 1}
	}
}

// lossGradPart does one run of vocabulary blocks for the rows of the pass.
func (k *Kernels) lossGradPart(part, wi int) {
	c, w := &k.call.mlm, &k.workers[wi]
	f := c.f
	rows := c.r1 - c.r0
	z := matrix{data: c.z, ld: c.e}
	zTerms := f.packTerms(w.m, &w.z, matrix{data: c.z, ld: c.e, at: c.r0 * c.e}, rows, 0, c.e)
	dz := c.partial[part*rows*c.e:]
	b0, b1 := span(part, c.per, c.blocks)
	for b := b0; b < b1; b++ {
		v0, v1 := span(b, vocabBlock, c.v)
		width := v1 - v0
		words := f.packTerms(w.m, &w.b, matrix{data: single(c.word), ld: c.e, trans: true}, c.e, v0, v1)
		logits := w.mlm.grow(w.m, rows*width)
		f.rowsTimes(w, z, c.r0, c.r1, c.e, words, width, logits, width, c.bias[v0:v1], false)
		for r := range rows {
			row := logits[r*width:][:width]
			k.p.ExpSum(row, row, 1, c.lse[c.r0+r])
			k.p.Scale(row, row, c.g)
			if label := int(k.h.Labels[c.r0+r]) - v0; label >= 0 && label < width {
				row[label] -= c.g
			}
		}
		if c.dBias != nil {
			k.columnSums(c.dBias[v0:v1], &w.x, logits, rows, width, c.beta[1])
		}
		if c.dWord != nil {
			dw := c.dWord[v0*c.e : v1*c.e]
			if c.beta[0] != 0 && c.beta[0] != 1 {
				k.p.Scale(dw, dw, c.beta[0])
			}
			f.rowsTimes(w, matrix{data: single(logits), ld: width, trans: true}, 0, width, rows, zTerms, c.e, dw, c.e, nil, c.beta[0] != 0)
		}
		if !c.dZ.absent() {
			words = f.packTerms(w.m, &w.b, matrix{data: single(c.word), ld: c.e, at: v0 * c.e}, width, 0, c.e)
			f.rowsTimes(w, matrix{data: single(logits), ld: width}, 0, rows, width, words, c.e, dz, c.e, nil, b > b0)
		}
	}
}

// columnSums sets dst = beta·dst + the column sums of x[rows, width].
func (k *Kernels) columnSums(dst []float32, buf *[]float32, x []float32, rows, width int, beta float32) {
	sums := grow(buf, width)
	clear(sums)
	for r := range rows {
		k.p.Add(sums, sums, x[r*width:][:width])
	}
	if beta == 0 {
		copy(dst, sums)
		return
	}
	if beta != 1 {
		k.p.Scale(dst, dst, beta)
	}
	k.p.Add(dst, dst, sums)
}

// dZFoldPart adds the sums of the runs, in order.
func (k *Kernels) dZFoldPart(part, w int) {
	c := &k.call.mlm
	size := (c.r1 - c.r0) * c.e
	i0, i1 := span(part, rowsPerPart, c.r1-c.r0)
	at, n := (c.r0+i0)*c.e, (i1-i0)*c.e
	dst := c.dZ.dest(at, n, grow(&k.workers[w].x, rowsPerPart*c.e))
	copy(dst, c.partial[i0*c.e:i1*c.e])
	for g := 1; g < c.group; g++ {
		k.p.Add(dst, dst, c.partial[g*size+i0*c.e:][:n])
	}
	k.stored(&c.dZ, at, dst)
}
