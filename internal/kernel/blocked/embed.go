package blocked

import (
	"unsafe"

	"github.com/secencoder/secencoder/internal/kernel"
)

// Embed copies rows of tables: 8 to 16 bytes an element, bound by memory. Its gradient is a scatter-add in token order;
// parts own rows of the tables and columns, not tokens, so that no two of them write one element. A part looks through
// all ids, a nanosecond each, and then adds its own, a kilobyte each. Rows stand anywhere in the tables: what the processor
// cannot foresee is prefetched. 8,192 rows of 768 take 0.51 ns an element on one core and 0.29 on two (BF16 0.46 and 0.25),
// 42 GB/s; column by column over all tokens, two cache lines each, it was 1.1.

const (
	embedColumns = 256 // of one part of the scatter
	embedOwners  = 16  // a part owns the rows whose numbers leave one rest by this
	embedAhead   = 2   // rows that are fetched before their turn
)

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
	words, ids, out := single(a.Word.F32()), a.IDs.I32(), valuesOf(a.Out)
	buf := grow(&k.workers[w].x, a.E)
	for t := t0; t < t1; t++ {
		if next := t + embedAhead; next < t1 {
			k.prefetch(&words, int(ids[next])*a.E, a.E)
		}
		first := words.F32[int(ids[t])*a.E:][:a.E]
		if a.Position.Absent() && a.Type.Absent() {
			if out.BF16 != nil {
				k.stored(&out, t*a.E, first)
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
		k.stored(&out, t*a.E, row)
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
	k.run(embedOwners*parts(a.E, embedColumns), (*Kernels).embedGradPart)
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

func (k *Kernels) embedGradPart(part, w int) {
	a := k.call.embedG
	c0, c1 := span(part/embedOwners, embedColumns, a.E)
	dOut, ids := valuesOf(a.DOut), a.IDs.I32()
	own := grow(&k.workers[w].own, k.h.Tokens())
	for i, table := range []kernel.Buf{a.DWord, a.DPosition, a.DType} {
		if table.Absent() {
			continue
		}
		rowOf := func(t int) int {
			switch i {
			case 0:
				return int(ids[t])
			case 1:
				return k.positionOf(a.PositionIDs, t)
			}
			return typeOf(a.TypeIDs, t)
		}
		n := 0
		for t := range own {
			if row := rowOf(t); row%embedOwners == part%embedOwners && (i > 0 || row != a.PadID) {
				own[n] = int32(t)
				n++
			}
		}
		d := single(table.F32())
		for i := range n {
			if next := i + embedAhead; next < n {
				k.prefetch(&d, rowOf(int(own[next]))*a.E+c0, c1-c0)
				k.prefetch(&dOut, int(own[next])*a.E+c0, c1-c0)
			}
			t := int(own[i])
			k.addRow(d.F32[rowOf(t)*a.E:][c0:c1], &dOut, t*a.E+c0)
		}
	}
}

// prefetch asks for n elements of v.
func (k *Kernels) prefetch(v *Values, at, n int) {
	if v.BF16 != nil {
		k.p.Rows.Prefetch(unsafe.Pointer(unsafe.SliceData(v.BF16[at:at+n])), 2*n)
	} else {
		k.p.Rows.Prefetch(unsafe.Pointer(unsafe.SliceData(v.F32[at:at+n])), 4*n)
	}
}

// addRow adds elements of v from at on to dst.
func (k *Kernels) addRow(dst []float32, v *Values, at int) {
	if v.BF16 != nil {
		k.p.Rows.AddTo(dst, v.BF16[at:][:len(dst)])
	} else {
		k.p.Add(dst, dst, v.F32[at:][:len(dst)])
	}
}
