package blocked_test

import (
	"bytes"
	"testing"
	"unsafe"

	"github.com/secencoder/secencoder/internal/alloctest"
	"github.com/secencoder/secencoder/internal/bf16"
	"github.com/secencoder/secencoder/internal/kernel"
	"github.com/secencoder/secencoder/internal/kernel/blocked"
)

// activation is in for an operand of a type: BF16s are the float32s rounded.
func (w *world) activation(n int, half bool) kernel.Buf {
	b := w.in(n, 1)
	if !half {
		return b
	}
	return kernel.FromBF16(halfOf(b.F32()))
}

func halfOf(x []float32) []bf16.BF16 {
	h := make([]bf16.BF16, len(x))
	for i, v := range x {
		h[i] = bf16.FromFloat32(v)
	}
	return h
}

// bits is the memory of an operand.
func bits(b kernel.Buf) []byte { return unsafe.Slice((*byte)(b.Ptr), b.Bytes) }

// TestWholeRows wants the same bits from the loops that take several steps of a norm at once as from the steps one by one.
func TestWholeRows(t *testing.T) {
	for _, p := range vectors(t) {
		steps := p
		steps.Rows.Norm, steps.Rows.NormGrad = nil, nil
		for _, width := range []int{16, 48, 128, 400, 768} {
			for _, half := range []bool{false, true} {
				for _, drop := range []float32{0, 0.3} {
					for absent := range 4 {
						run := func(p blocked.Prims) (out []kernel.Buf) {
							w := newWorld(blocked.New(p, pool(1)), 100, []int{60, 1, 37}, 1)
							n := w.T * width
							gamma, beta := w.in(width, 1), w.in(width, 1)
							result := func(n int, half bool) kernel.Buf {
								out = append(out, w.activation(n, half))
								return out[len(out)-1]
							}
							d := kernel.Dropout{P: drop, Site: 1}
							a := &kernel.AddNormArgs{Header: w.header, X: w.activation(n, half), Res: w.activation(n, half), Gamma: gamma, Beta: beta,
								Out: result(n, half), Stats: result(2*w.T, false), Rows: kernel.RowsTokens, N: w.T, W: width, Eps: 1e-3, Drop: d}
							w.k.AddNorm(0, a)
							g := &kernel.AddNormGradArgs{Header: w.header, X: a.X, Res: a.Res, Stats: a.Stats, Gamma: gamma, DOut: w.activation(n, half),
								DX: result(n, half), DRes: result(n, half), DGamma: result(width, false), DBeta: result(width, false), Rows: a.Rows, N: w.T, W: width, Drop: d}
							if absent&1 != 0 {
								g.DX = kernel.Buf{}
							}
							if absent&2 != 0 {
								g.DRes = kernel.Buf{}
							}
							w.k.AddNormGrad(0, g)
							b := &kernel.LayerNormArgs{Header: w.header, X: a.X, Gamma: gamma, Beta: beta, Out: result(n, half), Stats: result(2*w.T, false),
								Rows: kernel.RowsTokens, N: w.T, W: width, Eps: 1e-3, Drop: d}
							w.k.LayerNorm(0, b)
							h := &kernel.LayerNormGradArgs{Header: w.header, X: a.X, Stats: b.Stats, Gamma: gamma, DOut: g.DOut,
								DX: result(n, half), DGamma: result(width, false), DBeta: result(width, false), Rows: a.Rows, N: w.T, W: width, Drop: d}
							if absent&1 != 0 {
								h.DX = kernel.Buf{}
							}
							w.k.LayerNormGrad(0, h)
							return out
						}
						got, want := run(p), run(steps)
						for i := range want {
							if !bytes.Equal(bits(got[i]), bits(want[i])) {
								t.Fatalf("%s: width %d, BF16 %v, dropout %g, absent %02b: result %d differs", p.Name, width, half, drop, absent, i)
							}
						}
					}
				}
			}
		}
	}
}

// TestRowsOfWorkers wants equal bits for 1, 2 and 7 workers, and no allocation in a second call, of all kernels over rows
// of BF16.
func TestRowsOfWorkers(t *testing.T) {
	p := fastest()
	for _, width := range []int{33, 128} {
		var want []kernel.Buf
		for _, workers := range []pool{1, 2, 7} {
			w := newWorld(blocked.New(p, workers), 300, packs[0].pieces, 1)
			n := w.T * width
			var out []kernel.Buf
			result := func(n int, half bool) kernel.Buf {
				out = append(out, w.activation(n, half))
				return out[len(out)-1]
			}
			x, res, dy := w.activation(n, true), w.activation(n, true), w.activation(n, true)
			gamma, beta, ids := w.in(width, 1), w.in(width, 1), w.ids(w.T, 50)
			d := kernel.Dropout{P: 0.2, Site: 1}
			calls := rowCalls(w, width, x, res, dy, gamma, beta, ids, d, result)
			for _, c := range calls {
				c.run()
			}
			if workers == 1 {
				for _, c := range calls {
					if n := alloctest.Fewest(c.run); n > 0 {
						t.Errorf("%s, width %d: %s allocates %d times", p.Name, width, c.name, n)
					}
				}
				continue
			}
			if want == nil {
				want = out
			}
			for i := range want {
				if !bytes.Equal(bits(out[i]), bits(want[i])) {
					t.Errorf("%s: width %d: result %d differs with %d workers", p.Name, width, i, workers)
				}
			}
		}
	}
}

// rowCall is one call of a kernel over rows.
type rowCall struct {
	name  string
	bytes int // that it reads and writes, an element of BF16 counted as 2
	run   func()
}

// rowCalls are the kernels over rows of x's type, once each.
func rowCalls(w *world, width int, x, res, dy, gamma, beta, ids kernel.Buf, d kernel.Dropout, result func(int, bool) kernel.Buf) []rowCall {
	half, n, H, k := x.DType == kernel.BF16, w.T*width, w.header, w.k
	size := x.DType.Size()
	add := &kernel.AddNormArgs{Header: H, X: x, Res: res, Gamma: gamma, Beta: beta, Out: result(n, half), Stats: result(2*w.T, false), Rows: kernel.RowsTokens, N: w.T, W: width, Eps: 1e-3, Drop: d}
	addG := &kernel.AddNormGradArgs{Header: H, X: x, Res: res, Stats: add.Stats, Gamma: gamma, DOut: dy, DX: result(n, half), DRes: result(n, half), DGamma: result(width, false), DBeta: result(width, false), Rows: kernel.RowsTokens, N: w.T, W: width, Drop: d}
	ln := &kernel.LayerNormArgs{Header: H, X: x, Gamma: gamma, Beta: beta, Out: result(n, half), Stats: result(2*w.T, false), Rows: kernel.RowsTokens, N: w.T, W: width, Eps: 1e-3}
	lnG := &kernel.LayerNormGradArgs{Header: H, X: x, Stats: ln.Stats, Gamma: gamma, DOut: dy, DX: result(n, half), DGamma: result(width, false), DBeta: result(width, false), Rows: kernel.RowsTokens, N: w.T, W: width}
	plain, plainG := *add, *addG
	plain.Drop, plainG.Drop = kernel.Dropout{}, kernel.Dropout{}
	plain.Out, plainG.DX, plainG.DRes = result(n, half), result(n, half), result(n, half)
	v := 0
	for _, id := range ids.I32() {
		v = max(v, int(id)+1)
	}
	word := w.in(v*width, 1)
	embed := &kernel.EmbedArgs{Header: H, IDs: ids, Word: word, Out: result(n, half), E: width}
	embedG := &kernel.EmbedGradArgs{Header: H, IDs: ids, DOut: dy, DWord: result(v*width, false), E: width, PadID: -1, Beta: [3]float32{1, 0, 0}}
	gather := &kernel.GatherArgs{Header: H, X: x, Out: result(n, half), T: w.T, W: width}
	gatherG := &kernel.GatherGradArgs{Header: H, DOut: gather.Out, DX: result(n, half), T: w.T, W: width}
	pooled := &kernel.PoolArgs{Header: H, X: x, Out: result(w.T/2*width, false), T: w.T, W: width}
	poolG := &kernel.PoolGradArgs{Header: H, DOut: pooled.Out, DX: result(n, half), T: w.T, W: width}
	sum := &kernel.AddArgs{A: x, B: res, Out: result(n, half), N: n}
	used := kernel.ViewHeader(H.I32(), w.T)
	masked := used.MaskedRows() * width
	return []rowCall{
		{"AddNorm with dropout", 3 * n * size, func() { k.AddNorm(0, add) }},
		{"AddNormGrad with dropout", 5 * n * size, func() { k.AddNormGrad(0, addG) }},
		{"AddNorm", 3 * n * size, func() { k.AddNorm(0, &plain) }},
		{"AddNormGrad", 5 * n * size, func() { k.AddNormGrad(0, &plainG) }},
		{"LayerNorm", 2 * n * size, func() { k.LayerNorm(0, ln) }},
		{"LayerNormGrad", 3 * n * size, func() { k.LayerNormGrad(0, lnG) }},
		{"Embed", n * (4 + size), func() { k.Embed(0, embed) }},
		{"EmbedGrad", n * (8 + size), func() { k.EmbedGrad(0, embedG) }},
		{"Gather", 2 * masked * size, func() { k.Gather(0, gather) }},
		{"GatherGrad", (n + masked) * size, func() { k.GatherGrad(0, gatherG) }},
		{"Pool", n * size, func() { k.Pool(0, pooled) }},
		{"PoolGrad", n * size, func() { k.PoolGrad(0, poolG) }},
		{"Add", 3 * n * size, func() { k.Add(0, sum) }},
	}
}
