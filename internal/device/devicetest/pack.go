package devicetest

import (
	"testing"

	"github.com/secencoder/secencoder/internal/kernel"
)

// packWeightCases wants linear layers and the gradients of their inputs to have the same bits with weights that are packed
// ahead as without, in both arithmetics. A family without such a form has nothing to hold.
func packWeightCases(t *testing.T, s *suite) {
	if k := s.families[0]; k.PackedBytes(1, 1, kernel.F32, false) == 0 && k.PackedBytes(1, 1, kernel.BF16, false) == 0 {
		t.Skipf("%s packs no weights", s.families[0].Name())
	}
	for _, half := range []bool{false, true} {
		linears(s.in(half), func(i int, p *linear) {
			if s.skip() {
				return
			}
			y := p.result("y", p.shape*p.out, p.rows*p.out)
			s.packed(t, p.problem, func(k kernel.Kernels, m *memory, packed bool) func() {
				a := &kernel.LinearArgs{
					Header: m.buf(p.header), X: m.buf(p.x), W: m.buf(p.w), Y: m.buf(y),
					Rows: p.kind, N: p.shape, In: p.in, Out: p.out, Act: p.act, Drop: p.drop,
				}
				if packed {
					a.Packed = p.packed(k, m, half, false)
				}
				return func() { k.Linear(0, a) }
			})
			p.maybe(false, y)
			if p.kind == kernel.RowsAll { // whose gradients are float32 throughout
				p.half = false
			}
			dY, dX := p.activation("dY", p.shape*p.out, p.rows*p.out, 1), p.result("dX", p.shape*p.in, p.rows*p.in)
			s.packed(t, p.problem, func(k kernel.Kernels, m *memory, packed bool) func() {
				a := &kernel.LinearGradArgs{
					Header: m.buf(p.header), X: m.buf(p.x), W: m.buf(p.w), DY: m.buf(dY), DX: m.buf(dX),
					Rows: p.kind, N: p.shape, In: p.in, Out: p.out, Drop: p.drop,
				}
				if packed {
					a.Packed = p.packed(k, m, m.dtype(p.x) == kernel.BF16, true)
				}
				a.Work = m.work(k.WorkBytes(a))
				return func() { k.LinearGrad(0, a) }
			})
		})
	}
}

// packed packs the weights.
func (p *linear) packed(k kernel.Kernels, m *memory, half, transposed bool) kernel.Buf {
	a := &kernel.PackWeightArgs{W: m.buf(p.w), In: p.in, Out: p.out, X: kernel.F32, Transposed: transposed}
	if half {
		a.X = kernel.BF16
	}
	a.Packed = m.work(k.PackedBytes(p.out, p.in, a.X, transposed))
	k.PackWeight(0, a)
	return a.Packed
}

// packed runs a problem with and without packed weights on every family.
func (s *suite) packed(t *testing.T, p *problem, bind func(k kernel.Kernels, m *memory, packed bool) func()) {
	t.Helper()
	for i, k := range s.families {
		var of [2]*memory
		for j := range of {
			of[j] = newMemory(p, s.cases%4, false)
			bind(k, of[j], j == 1)()
			of[j].verify(t, p, k.Name())
		}
		of[1].compareBits(t, p, of[0], s.workers[i])
	}
	if t.Failed() {
		t.Fatalf("%s: stopped at the first case whose bits differ with packed weights", p.name)
	}
}
