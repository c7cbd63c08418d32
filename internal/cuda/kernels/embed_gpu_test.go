//go:build (linux || darwin) && !nocuda

package kernels_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/secencoder/secencoder/internal/cuda/kernels"
	"github.com/secencoder/secencoder/internal/kernel"
)

// ids are random ids below n for the tokens in use; the others would fault. common is the share that one id has.
func ids(rnd *rand.Rand, p *pack, n int, common float64) kernel.Buf {
	s := make([]int32, p.T)
	often := int32(rnd.IntN(n))
	for t := range s {
		switch {
		case t >= p.view.Tokens():
			s[t] = math.MinInt32
		case rnd.Float64() < common:
			s[t] = often
		default:
			s[t] = int32(rnd.IntN(n))
		}
	}
	return kernel.FromI32(s)
}

// embedding is the operands of one problem.
type embedding struct {
	rnd                       *rand.Rand
	p                         *pack
	v, positions, types, e    int
	ids, positionIDs, typeIDs kernel.Buf
	word, position, kind      kernel.Buf
	name                      string
	withPosition, withType    bool
}

func newEmbedding(rnd *rand.Rand, tokens, e int, common float64) *embedding {
	m := &embedding{rnd: rnd, v: 1 + rnd.IntN(60), positions: 1 + rnd.IntN(40), types: 3, e: e}
	m.p = newPack(rnd, max(2, tokens+rnd.IntN(5)), tokens, m.positions)
	m.withPosition, m.withType = rnd.IntN(2) == 0, rnd.IntN(2) == 0
	m.ids = ids(rnd, m.p, m.v, common)
	if rnd.IntN(2) == 0 {
		m.positionIDs = ids(rnd, m.p, m.positions, common)
	} else {
		m.positions = max(m.positions, tokens, 2) // places
	}
	if rnd.IntN(2) == 0 {
		m.typeIDs = ids(rnd, m.p, m.types, common)
	}
	m.word = values(rnd, m.v*e, m.v*e, kernel.F32, 1)
	m.position = values(rnd, m.positions*e, m.positions*e, kernel.F32, 1)
	m.kind = values(rnd, m.types*e, m.types*e, kernel.F32, 1)
	m.name = fmt.Sprintf("%d tokens of %d, width %d, %d words", m.p.view.Tokens(), m.p.T, e, m.v)
	return m
}

// TestEmbed: additions in HF's order, each rounded: the reference's bits.
func TestEmbed(t *testing.T) {
	try := func(rnd *rand.Rand, tokens, e int, d kernel.DType) {
		m := newEmbedding(rnd, tokens, e, 0.3)
		if !m.withPosition {
			m.position = kernel.Buf{}
		}
		if !m.withType {
			m.kind = kernel.Buf{}
		}
		want := nans(m.p.T*e, kernel.F32)
		reference.Embed(0, &kernel.EmbedArgs{Header: m.p.header, IDs: m.ids, PositionIDs: m.positionIDs, TypeIDs: m.typeIDs,
			Word: m.word, Position: m.position, Type: m.kind, Out: want, E: e})
		p := &problem{t: t, name: fmt.Sprintf("%s, %s, position %v, type %v", typed("embed", d), m.name, m.withPosition, m.withType), rnd: rnd,
			results: []result{{"out", m.p.view.Tokens() * e, want.F32(), nil}}}
		p.bind = func(r *runner) []*operand {
			out := r.out(nans(m.p.T*e, d))
			r.run(typed("embed", d), kernels.Tiles(m.p.T, e, r.mp), r.in(m.p.header), r.in(m.ids), r.in(m.positionIDs), r.in(m.typeIDs),
				r.in(m.word), r.in(m.position), r.in(m.kind), out, int32(m.p.T), int32(e))
			return []*operand{out}
		}
		p.check()
	}
	for _, d := range dtypes {
		for i, e := range []int{1, 3, 8, 31, 33, 127, 768, 769, 1536, 4096} {
			try(random(fmt.Sprint("embed", d, e)), []int{0, 2, 40, 7}[i%4], e, d)
		}
	}
	for i := range small(600) {
		rnd := random(fmt.Sprint("embed, random", i))
		try(rnd, rnd.IntN(50), 1+rnd.IntN(70), dtypes[rnd.IntN(2)])
	}
}

// embedGrad holds the gradient of one table against the reference: word, position or type.
func embedGrad(t *testing.T, m *embedding, d kernel.DType, which, pad int, beta float32) {
	e, T, used := m.e, m.p.T, m.p.view.Tokens()
	dOut := values(m.rnd, T*e, used*e, d, 1)
	if used > 0 { // an infinity and a NaN reach their row and no other
		set(dOut, m.rnd.IntN(used*e), float32(math.Inf(1)))
		set(dOut, m.rnd.IntN(used*e), float32(math.NaN()))
	}
	rows := []int{m.v, m.positions, m.types}[which]
	old := nans(rows*e, kernel.F32)
	if beta != 0 {
		old = values(m.rnd, rows*e, rows*e, kernel.F32, 1)
	}
	want := clone(old)
	args := &kernel.EmbedGradArgs{Header: m.p.header, IDs: m.ids, PositionIDs: m.positionIDs, TypeIDs: m.typeIDs, DOut: dOut, E: e, PadID: pad}
	source, absent := m.ids, int32(0)
	switch which {
	case 0:
		args.DWord = want
	case 1:
		args.DPosition, source, absent, pad = want, m.positionIDs, 1, -1
	case 2:
		args.DType, source, pad = want, m.typeIDs, -1
	}
	args.Beta[which] = beta
	reference.EmbedGrad(0, args)
	out := result{"table", rows * e, want.F32(), make([]float64, rows*e)}
	count, size := make([]int, rows), make([]float64, rows*e)
	for tok := range used {
		row := int32(0)
		switch {
		case !source.Absent():
			row = source.I32()[tok]
		case absent == 1:
			row = m.p.view.Place[tok]
		}
		if int(row) == pad {
			continue
		}
		count[row]++
		for c := range e {
			size[int(row)*e+c] += math.Abs(get(dOut, tok*e+c))
		}
	}
	for i := range out.bound {
		out.bound[i] = gamma(count[i/e]+8) * size[i]
		if beta != 0 {
			out.bound[i] += (4*unit + gamma(count[i/e]+8)) * math.Abs(get(old, i))
		}
	}
	p := &problem{t: t, rnd: m.rnd, results: []result{out},
		name: fmt.Sprintf("embed_scatter_%v, %s, table %d of %d, pad %d, beta %v", d, m.name, which, rows, pad, beta)}
	p.bind = func(r *runner) []*operand {
		k, s, q := kernels.EmbedWork(T, e)
		keys, sorted, partial := r.work(k), r.work(s), r.work(q)
		table, header := r.out(old), r.in(m.p.header)
		few := func(g kernels.Geometry) kernels.Geometry { // any grid gives the same bits
			if r.mp == 1 {
				g.Grid = [3]int{1, 1, 1}
			}
			return g
		}
		if beta != 1 {
			r.run("scale_f32", kernels.Elements(rows*e, r.mp), table, int64(rows*e), beta)
		}
		if absent == 0 && source.Absent() {
			keys = sorted // all in row 0: in order as they come
		}
		r.run("embed_sort", few(kernels.SortTiles(T)), header, r.in(source), keys, int32(T), absent, int32(pad))
		if keys != sorted {
			r.run("embed_rank", few(kernels.SortRanks(T)), keys, sorted, int32(T))
		}
		r.run(typed("embed_scatter", d), few(kernels.Windows(T, e)), sorted, r.in(dOut), table, partial, int32(T), int32(e))
		r.run("embed_fold", few(kernels.WindowRuns(T, e)), sorted, partial, table, int32(T), int32(e))
		return []*operand{table}
	}
	p.check()
}

func TestEmbedGrad(t *testing.T) {
	for _, d := range dtypes {
		for i, e := range []int{1, 3, 4, 31, 33, 127, 768, 769, 1536, 4096} {
			for j, common := range []float64{0, 0.5, 1} { // how many have one id
				rnd := random(fmt.Sprint("embed grad", d, e, common))
				tokens := []int{0, 2, 33, 100, 290}[(i+j)%5]
				if e > 1000 {
					tokens = min(tokens, 100)
				}
				embedGrad(t, newEmbedding(rnd, tokens, e, common), d, (i+j)%3, []int{-1, 0, 5}[j], []float32{0, 1, 0.5}[i%3])
			}
		}
		for _, tokens := range []int{1023, 1024, 1025, 3000} { // edges of tiles, and several
			for which := range 3 {
				rnd := random(fmt.Sprint("embed grad, tiles", d, tokens, which))
				embedGrad(t, newEmbedding(rnd, tokens, 5, []float64{0.2, 0, 1}[which]), d, which, -1, 0)
			}
		}
	}
	for i := range small(300) {
		rnd := random(fmt.Sprint("embed grad, random", i))
		m := newEmbedding(rnd, rnd.IntN(400), 1+rnd.IntN(20), rnd.Float64())
		embedGrad(t, m, dtypes[rnd.IntN(2)], rnd.IntN(3), rnd.IntN(4)-1, []float32{0, 1, 0.5}[rnd.IntN(3)])
	}
}

// TestEmbedSort: the sorted keys are a permutation of the tokens, by id and then by token, for several tiles.
func TestEmbedSort(t *testing.T) {
	rnd := random("sort")
	p := newPack(rnd, 5000, 4321, 100)
	given := ids(rnd, p, 7, 0.3)
	pr := &problem{t: t, name: "embed_sort", rnd: rnd}
	pr.bind = func(r *runner) []*operand {
		k, s, _ := kernels.EmbedWork(p.T, 1)
		keys, sorted := r.work(k), r.work(s)
		r.run("embed_sort", kernels.SortTiles(p.T), r.in(p.header), r.in(given), keys, int32(p.T), int32(0), int32(-1))
		r.run("embed_rank", kernels.SortRanks(p.T), keys, sorted, int32(p.T))
		w := words(sorted) // token, id, token, id …
		seen := make([]bool, p.T)
		for i := range p.view.Tokens() {
			token, id := w[2*i], w[2*i+1]
			if seen[token] || given.I32()[token] != id {
				t.Fatalf("place %d has token %d with id %d", i, token, id)
			}
			seen[token] = true
			if i > 0 && (w[2*i-1] > id || w[2*i-1] == id && w[2*i-2] >= token) {
				t.Fatalf("place %d: (%d, %d) does not follow (%d, %d)", i, id, token, w[2*i-1], w[2*i-2])
			}
		}
		for i := p.view.Tokens(); i < len(w)/2; i++ {
			if w[2*i+1] != -1 {
				t.Fatalf("place %d, behind the tokens in use, has id %d", i, w[2*i+1])
			}
		}
		return nil
	}
	pr.check()
}
