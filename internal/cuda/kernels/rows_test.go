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

// rowProblems calls f for packs and widths.
func rowProblems(name string, f func(rnd *rand.Rand, p *pack, w int, d kernel.DType)) {
	for _, d := range dtypes {
		for i, w := range []int{1, 3, 8, 31, 33, 64, 127, 768, 769, 1536, 4096} {
			rnd := random(fmt.Sprint(name, d, w))
			f(rnd, newPack(rnd, []int{2, 3, 90, 41}[i%4], []int{0, 2, 77, 41}[i%4], 1+rnd.IntN(50)), w, d)
		}
	}
	for i := range small(600) {
		rnd := random(fmt.Sprint(name, ", random", i))
		T := 2 + rnd.IntN(80)
		f(rnd, newPack(rnd, T, rnd.IntN(T+1), 1+rnd.IntN(80)), 1+rnd.IntN(80), dtypes[rnd.IntN(2)])
	}
}

func TestGather(t *testing.T) {
	rowProblems("gather", func(rnd *rand.Rand, pk *pack, w int, d kernel.DType) {
		x := values(rnd, pk.T*w, pk.view.Tokens()*w, d, 1)
		want := nans(pk.T*w, kernel.F32)
		reference.Gather(0, &kernel.GatherArgs{Header: pk.header, X: x, Out: want, T: pk.T, W: w})
		p := &problem{t: t, name: fmt.Sprintf("%s, %d of %d rows of %d", typed("gather", d), pk.view.MaskedRows(), pk.T, w), rnd: rnd,
			results: []result{{"out", pk.view.MaskedRows() * w, want.F32(), nil}}}
		p.bind = func(r *runner) []*operand {
			out := r.out(nans(pk.T*w, d))
			r.run(typed("gather", d), kernels.Tiles(pk.T, w, r.mp), r.in(pk.header), r.in(x), out, int32(pk.T), int32(w))
			return []*operand{out}
		}
		p.check()
	})
}

func TestGatherGrad(t *testing.T) {
	rowProblems("gather grad", func(rnd *rand.Rand, pk *pack, w int, d kernel.DType) {
		dOut := values(rnd, pk.T*w, pk.view.MaskedRows()*w, d, 1)
		want := nans(pk.T*w, kernel.F32)
		reference.GatherGrad(0, &kernel.GatherGradArgs{Header: pk.header, DOut: dOut, DX: want, T: pk.T, W: w})
		p := &problem{t: t, name: fmt.Sprintf("%s, %d of %d rows of %d", typed("gather_grad", d), pk.view.MaskedRows(), pk.T, w), rnd: rnd,
			results: []result{{"dX", pk.view.Tokens() * w, want.F32(), nil}}}
		p.bind = func(r *runner) []*operand {
			dx := r.out(nans(pk.T*w, d))
			r.run(typed("gather_grad", d), kernels.Tiles(pk.T, w, r.mp), r.in(pk.header), r.in(dOut), dx, int32(pk.T), int32(w))
			return []*operand{dx}
		}
		p.check()
	})
}

// poolings are the three ways: mean, first token, mean without the first and the last.
var poolings = []struct {
	first, inner int32
}{{0, 0}, {1, 0}, {0, 1}}

func TestPool(t *testing.T) {
	rowProblems("pool", func(rnd *rand.Rand, pk *pack, w int, d kernel.DType) {
		x := values(rnd, pk.T*w, pk.view.Tokens()*w, d, 1)
		way := poolings[rnd.IntN(3)]
		want, pieces := nans(pk.T/2*w, kernel.F32), pk.view.Pieces()
		reference.Pool(0, &kernel.PoolArgs{Header: pk.header, X: x, Out: want, T: pk.T, W: w, First: way.first == 1, Inner: way.inner == 1})
		out := result{"out", pieces * w, want.F32(), make([]float64, pieces*w)}
		for p := range pieces {
			first, end := int(pk.view.Offsets[p]), int(pk.view.Offsets[p+1])
			for tok := first; tok < end; tok++ {
				for c := range w {
					out.bound[p*w+c] += gamma(end-first+4) * math.Abs(get(x, tok*w+c)) / float64(max(1, end-first-2*int(way.inner)))
				}
			}
		}
		if way.first == 1 {
			out.bound = nil // a copy
		}
		p := &problem{t: t, name: fmt.Sprintf("%s, %d pieces of %d rows of %d, %v", typed("pool", d), pieces, pk.T, w, way), rnd: rnd, results: []result{out}}
		p.bind = func(r *runner) []*operand {
			o := r.out(nans(pk.T/2*w, kernel.F32))
			r.run(typed("pool", d), kernels.Pools(pk.T, w, r.mp), r.in(pk.header), r.in(x), o, int32(pk.T), int32(w), way.first, way.inner)
			return []*operand{o}
		}
		p.check()
	})
}

// TestPoolGrad: one division of float32, which is exact: the reference's bits.
func TestPoolGrad(t *testing.T) {
	rowProblems("pool grad", func(rnd *rand.Rand, pk *pack, w int, d kernel.DType) {
		dOut := values(rnd, pk.T/2*w, pk.view.Pieces()*w, kernel.F32, 1)
		way := poolings[rnd.IntN(3)]
		want := nans(pk.T*w, kernel.F32)
		reference.PoolGrad(0, &kernel.PoolGradArgs{Header: pk.header, DOut: dOut, DX: want, T: pk.T, W: w, First: way.first == 1, Inner: way.inner == 1})
		p := &problem{t: t, name: fmt.Sprintf("%s, %d pieces of %d rows of %d, %v", typed("pool_grad", d), pk.view.Pieces(), pk.T, w, way), rnd: rnd,
			results: []result{{"dX", pk.view.Tokens() * w, want.F32(), nil}}}
		p.bind = func(r *runner) []*operand {
			dx := r.out(nans(pk.T*w, d))
			r.run(typed("pool_grad", d), kernels.Tiles(pk.T, w, r.mp), r.in(pk.header), r.in(dOut), dx, int32(pk.T), int32(w), way.first, way.inner)
			return []*operand{dx}
		}
		p.check()
	})
}
