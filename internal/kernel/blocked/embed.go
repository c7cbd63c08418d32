package blocked

import "github.com/secencoder/secencoder/internal/kernel"

// Embed copies rows of tables: 8 to 16 bytes an element, bound by memory. Its gradient is a scatter-add in token order;
// workers own columns, not tokens, so that no two of them write one element.

// embedColumns is what one part of the scatter owns: two cache lines.
const embedColumns = 32

// Embed: out[t] = word[id] (+ position) (+ type).
func (k *Kernels) Embed(_ kernel.Stream, a *kernel.EmbedArgs) {
	k.begin(a.Header)
	defer k.end()
	k.call.embed = a
	k.run(parts(k.h.Tokens(), rowsPerPart), (*Kernels).embedPart)
}

func (k *Kernels) embedPart(part, w int) {
	a := k.call.embed
	t0, t1 := span(part, rowsPerPart, k.h.Tokens())
	word, ids, out := a.Word.F32(), a.IDs.I32(), valuesOf(a.Out)
	buf := grow(&k.workers[w].x, a.E)
	for t := t0; t < t1; t++ {
		first := word[int(ids[t])*a.E:][:a.E]
		if a.Position.Absent() && a.Type.Absent() {
			if out.BF16 != nil {
				k.stored(out, t*a.E, first)
			} else {
				copy(out.F32[t*a.E:][:a.E], first)
			}
			continue
		}
		row := out.dest(t*a.E, a.E, buf)
		if !a.Position.Absent() {
			k.p.Add(row, first, a.Position.F32()[k.positionOf(a.PositionIDs, t)*a.E:][:a.E])
			first = row
		}
		if !a.Type.Absent() {
			k.p.Add(row, first, a.Type.F32()[typeOf(a.TypeIDs, t)*a.E:][:a.E])
		}
		k.stored(out, t*a.E, row)
	}
}

func (k *Kernels) positionOf(ids kernel.Buf, t int) int {
	if ids.Absent() {
		return int(k.h.Place[t])
	}
	return int(ids.I32()[t])
}

func typeOf(ids kernel.Buf, t int) int {
	if ids.Absent() {
		return 0
	}
	return int(ids.I32()[t])
}

// EmbedGrad: dWord, dPosition, dType. Sums run over the tokens in order, in float32.
func (k *Kernels) EmbedGrad(_ kernel.Stream, a *kernel.EmbedGradArgs) {
	k.begin(a.Header)
	defer k.end()
	k.call.embedG = a
	for i, d := range []kernel.Buf{a.DWord, a.DPosition, a.DType} {
		k.scaleAll(d, a.Beta[i])
	}
	k.run(parts(a.E, embedColumns), (*Kernels).embedGradPart)
}

// scaleAll sets d = beta·d; beta 0 clears whatever was there, NaN included.
func (k *Kernels) scaleAll(d kernel.Buf, beta float32) {
	if d.Absent() || beta == 1 {
		return
	}
	k.call.scaled, k.call.scale = d.F32(), beta
	k.run(parts(len(k.call.scaled), 1<<16), (*Kernels).scalePart)
}

func (k *Kernels) scalePart(part, _ int) {
	lo, hi := span(part, 1<<16, len(k.call.scaled))
	if d := k.call.scaled[lo:hi]; k.call.scale == 0 {
		clear(d)
	} else {
		k.p.Scale(d, d, k.call.scale)
	}
}

func (k *Kernels) embedGradPart(part, _ int) {
	a := k.call.embedG
	c0, c1 := span(part, embedColumns, a.E)
	dOut, ids := valuesOf(a.DOut), a.IDs.I32()
	word, position, kind := a.DWord.F32(), a.DPosition.F32(), a.DType.F32()
	for t := range k.h.Tokens() {
		g := dOut.row(t*a.E+c0, c1-c0)
		if id := int(ids[t]); word != nil && id != a.PadID {
			k.addRow(word[id*a.E+c0:id*a.E+c1], g)
		}
		if position != nil {
			at := k.positionOf(a.PositionIDs, t) * a.E
			k.addRow(position[at+c0:at+c1], g)
		}
		if kind != nil {
			at := typeOf(a.TypeIDs, t) * a.E
			k.addRow(kind[at+c0:at+c1], g)
		}
	}
}

// addRow adds g to dst.
func (k *Kernels) addRow(dst []float32, g Values) {
	if g.BF16 != nil {
		k.p.Rows.AddTo(dst, g.BF16)
	} else {
		k.p.Add(dst, dst, g.F32)
	}
}
