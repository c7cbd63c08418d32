package devicetest

import (
	"testing"

	"github.com/secencoder/secencoder/internal/kernel"
)

// embedding is the operands of one embedding problem.
type embedding struct {
	*problem
	v, positions, types, e           int
	ids, positionIDs, typeIDs        *tensor
	withPosition, withType           bool
	explicitPositions, explicitTypes bool
}

// embeddings calls f for problems over packs and widths, with every choice of tables and given ids.
func embeddings(s *suite, f func(i int, p *embedding)) {
	widths := []int{1, 2, 3, 8, 15, 16, 17, 31, 33, 40, 64, 100}
	var sizes []rowSize
	for _, lengths := range packs {
		for _, e := range widths[len(sizes)%3:] {
			sizes = append(sizes, rowSize{lengths, e})
		}
	}
	for i, z := range drawn(s, sizes, (*draws).rowSize) {
		p := &embedding{problem: s.newProblem(nameOf("pack %v, width %d, case %d", z.lengths, z.w, i)), v: 37, positions: 300, types: 3, e: z.w}
		p.withPack(z.lengths, 1)
		p.withPosition, p.withType = p.flip(), p.flip()
		p.explicitPositions, p.explicitTypes = p.flip(), p.flip()
		p.ids = p.identifiers("ids", p.v, true)
		p.positionIDs = p.identifiers("position ids", p.positions, p.explicitPositions)
		p.typeIDs = p.identifiers("type ids", p.types, p.explicitTypes)
		f(i, p)
	}
}

// identifiers adds random ids below n for the tokens in use; unused rows hold an id that would fault.
func (p *embedding) identifiers(name string, n int, wanted bool) *tensor {
	if !wanted {
		return nil
	}
	ids := make([]int32, p.tokens)
	for t := range ids {
		ids[t] = -1 << 30
		if t < p.used() {
			ids[t] = int32(p.random.Intn(n))
		}
	}
	return p.ints(name, ids)
}

// Embed adds in HF's order, so families agree bit for bit.
func embedCases(t *testing.T, s *suite) {
	embeddings(s, func(i int, p *embedding) {
		word := p.normal("word", p.v*p.e, p.v*p.e, 1)
		var position, types *tensor
		if p.withPosition {
			position = p.normal("position", p.positions*p.e, p.positions*p.e, 1)
		}
		if p.withType {
			types = p.normal("type", p.types*p.e, p.types*p.e, 1)
		}
		out := p.result("out", p.tokens*p.e, p.used()*p.e)
		p.bind = func(k kernel.Kernels, m *memory) func() {
			a := &kernel.EmbedArgs{
				Header: m.buf(p.header), IDs: m.buf(p.ids), PositionIDs: m.buf(p.positionIDs), TypeIDs: m.buf(p.typeIDs),
				Word: m.buf(word), Position: m.buf(position), Type: m.buf(types), Out: m.buf(out), E: p.e,
			}
			return func() { k.Embed(0, a) }
		}
		s.run(t, p.problem, i%20 == 19)
	})
}

func embedGradCases(t *testing.T, s *suite) {
	embeddings(s, func(i int, p *embedding) {
		dOut := p.activation("dOut", p.tokens*p.e, p.used()*p.e, 1)
		beta := [3]float32{p.betaOf(), p.betaOf(), p.betaOf()}
		tables := [3]*tensor{p.accumulated("dWord", p.v*p.e, beta[0]), nil, nil}
		if p.withPosition {
			tables[1] = p.accumulated("dPosition", p.positions*p.e, beta[1])
		}
		if p.withType {
			tables[2] = p.accumulated("dType", p.types*p.e, beta[2])
		}
		if i%7 == 6 {
			tables[0] = p.maybe(false, tables[0])
		}
		pad := []int{-1, 0, 5}[i%3]
		p.bind = func(k kernel.Kernels, m *memory) func() {
			a := &kernel.EmbedGradArgs{
				Header: m.buf(p.header), IDs: m.buf(p.ids), PositionIDs: m.buf(p.positionIDs), TypeIDs: m.buf(p.typeIDs),
				DOut: m.buf(dOut), DWord: m.buf(tables[0]), DPosition: m.buf(tables[1]), DType: m.buf(tables[2]),
				Beta: beta, E: p.e, PadID: pad,
			}
			return func() { k.EmbedGrad(0, a) }
		}
		p.bounds = func(*memory) {
			h := p.view()
			for n, table := range tables {
				if table == nil {
					continue
				}
				sum, most, counts := newSumBound(len(table.f)), 0, map[int]int{}
				for tok := range p.used() {
					row := []int{int(p.ids.i[tok]), int(h.Place[tok]), 0}[n]
					if ids := []*tensor{nil, p.positionIDs, p.typeIDs}[n]; ids != nil {
						row = int(ids.i[tok])
					}
					counts[row]++
					most = max(most, counts[row])
					for c := range p.e {
						sum.add(row*p.e+c, abs(dOut.f[tok*p.e+c]), 0)
					}
				}
				sum.set(table, most, beta[n])
			}
		}
		s.run(t, p.problem, i%20 == 19)
	})
}
