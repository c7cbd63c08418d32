package ref

import (
	"cmp"
	"slices"

	"github.com/secencoder/secencoder/internal/kernel"
)

// Embed: out[t] = word[id] + position + type, each addition rounded, in HF's order (DebertaV2Embeddings).
func (k *table) Embed(_ kernel.Stream, a *kernel.EmbedArgs) {
	k.lock()
	defer k.unlock()
	h := view(a.Header)
	ids, positionIDs, typeIDs := a.IDs.I32(), a.PositionIDs.I32(), a.TypeIDs.I32()
	word, position, types, out := a.Word.F32(), a.Position.F32(), a.Type.F32(), k.write(a.Out)
	for t := range h.Tokens() {
		o := row(out, t, a.E)
		copy(o, row(word, int(ids[t]), a.E))
		if position != nil {
			add(o, row(position, int(given(positionIDs, t, h.Place[t])), a.E))
		}
		if types != nil {
			add(o, row(types, int(given(typeIDs, t, 0)), a.E))
		}
	}
}

// given returns ids[t], or the default when ids is absent.
func given(ids []int32, t int, otherwise int32) int32 {
	if ids == nil {
		return otherwise
	}
	return ids[t]
}

func add(y, x []float32) {
	for i := range y {
		y[i] += x[i]
	}
}

// EmbedGrad: each table's row gets the sum of dOut over the tokens that looked it up, in token order.
func (k *table) EmbedGrad(_ kernel.Stream, a *kernel.EmbedGradArgs) {
	k.lock()
	defer k.unlock()
	h := view(a.Header)
	ids, positionIDs, typeIDs := a.IDs.I32(), a.PositionIDs.I32(), a.TypeIDs.I32()
	dOut := k.read(a.DOut)
	rows := k.ints(0, h.Tokens())
	if !a.DWord.Absent() {
		for t := range rows {
			rows[t] = ids[t]
			if int(ids[t]) == a.PadID {
				rows[t] = -1
			}
		}
		k.scatter(a.DWord.F32(), a.Beta[0], rows, dOut, a.E)
	}
	if !a.DPosition.Absent() {
		for t := range rows {
			rows[t] = given(positionIDs, t, h.Place[t])
		}
		k.scatter(a.DPosition.F32(), a.Beta[1], rows, dOut, a.E)
	}
	if !a.DType.Absent() {
		for t := range rows {
			rows[t] = given(typeIDs, t, 0)
		}
		k.scatter(a.DType.F32(), a.Beta[2], rows, dOut, a.E)
	}
}

// scatter writes d = beta·d + Σ_t dOut[t] into row rows[t]; a negative row gets nothing.
func (k *table) scatter(d []float32, beta float32, rows []int32, dOut []float32, width int) {
	for i := range d {
		if beta == 0 {
			d[i] = 0
		} else {
			d[i] *= beta
		}
	}
	order := k.ints(1, len(rows))
	for t := range order {
		order[t] = int32(t)
	}
	slices.SortFunc(order, func(s, t int32) int {
		return cmp.Or(cmp.Compare(rows[s], rows[t]), cmp.Compare(s, t))
	})
	for len(order) > 0 {
		r, n := rows[order[0]], 1
		for n < len(order) && rows[order[n]] == r {
			n++
		}
		if r >= 0 {
			sum := k.floats(0, width)
			for _, t := range order[:n] {
				axpy(sum, 1, row(dOut, int(t), width))
			}
			store(row(d, int(r), width), 1, sum)
		}
		order = order[n:]
	}
}
