//go:build (linux || darwin) && !nocuda

package kernels_test

import (
	"fmt"
	"math"
	"testing"

	"github.com/secencoder/secencoder/internal/cuda/kernels"
	"github.com/secencoder/secencoder/internal/kernel"
)

// TestAdamW: every operation is rounded as in the reference, so the bits are the same.
func TestAdamW(t *testing.T) {
	try := func(n, step int, scalars kernel.AdamWArgs) {
		rnd := random(fmt.Sprint("adamw", n, step))
		w, g, m, v := values(rnd, n, n, kernel.F32, 1), values(rnd, n, n, kernel.F32, 1), values(rnd, n, n, kernel.F32, 0.1), values(rnd, n, n, kernel.F32, 0.1)
		for i := range n {
			v.F32()[i] *= v.F32()[i]
			g.F32()[i] *= float32(math.Exp2(float64(rnd.IntN(60) - 45)))
			switch i % 50 {
			case 9:
				g.F32()[i], m.F32()[i], v.F32()[i] = 0, 0, 0
			case 17:
				g.F32()[i] = float32(math.NaN())
			case 23:
				v.F32()[i] = math.Float32frombits(uint32(i)) // a denormal
			case 31:
				g.F32()[i] = float32(math.Inf(-1))
			}
		}
		a := scalars
		a.W, a.G, a.M, a.V, a.N, a.Step = clone(w), clone(g), clone(m), clone(v), n, step
		reference.AdamW(0, &a)
		s := kernels.AdamWScalars(a.LR, a.Beta1, a.Beta2, a.Eps, a.Decay, a.Clip, step)
		p := &problem{t: t, name: fmt.Sprintf("adamw of %d, step %d", n, step), rnd: rnd,
			results: []result{{"w", n, a.W.F32(), nil}, {"m", n, a.M.F32(), nil}, {"v", n, a.V.F32(), nil}}}
		p.bind = func(r *runner) []*operand {
			ow, om, ov := r.out(w), r.out(m), r.out(v)
			params := []any{ow, r.in(g), om, ov, int64(n)}
			for _, x := range s {
				params = append(params, x)
			}
			r.run("adamw", kernels.Elements(n, r.mp), params...)
			return []*operand{ow, om, ov}
		}
		p.check()
	}
	for i, n := range lengths {
		scalars := kernel.AdamWArgs{LR: 1e-3, Beta1: 0.9, Beta2: 0.98, Eps: 1e-6, Decay: 0.01, Clip: 1}
		if i%2 == 1 {
			scalars.Clip, scalars.Decay, scalars.Eps = 0.37, 0, 1e-12
		}
		try(n, 1+i*i*i, scalars)
	}
}

// TestSumSquares: a sum of float64 products, off by gamma_n of that precision, whatever the tree; the same bits every time.
func TestSumSquares(t *testing.T) {
	for i, n := range append(lengths, 300_000) {
		rnd := random(fmt.Sprint("sum squares", n))
		g := values(rnd, n, n, kernel.F32, 1)
		want := 0.0
		for j := range g.F32() {
			g.F32()[j] *= float32(math.Exp2(float64(rnd.IntN(60) - 30)))
		}
		if n > 3 && i%5 == 4 {
			g.F32()[n-2] = float32(math.NaN())
		}
		for _, x := range g.F32() {
			want += float64(x) * float64(x)
		}
		var sums []float64
		p := &problem{t: t, name: fmt.Sprintf("sum_squares of %d", n), rnd: rnd}
		p.bind = func(r *runner) []*operand {
			count := kernels.SumPartials(n)
			partial, out := r.work(8*max(1, count)), r.work(8)
			r.run("sum_squares", kernels.SumBlocks(n, r.mp), r.in(g), partial, int64(n))
			r.run("sum_tree", kernels.SumTree(), partial, out, int64(count))
			w := words(out)
			sums = append(sums, math.Float64frombits(uint64(uint32(w[0]))|uint64(uint32(w[1]))<<32))
			return nil
		}
		p.check()
		for _, s := range sums {
			if math.Float64bits(s) != math.Float64bits(sums[0]) && s == s {
				t.Errorf("%s: %v and %v", p.name, sums[0], s)
			}
			if !(math.Abs(s-want) <= float64(n+8)*0x1p-53*want) && !(s != s && want != want) {
				t.Errorf("%s: %v, want %v", p.name, s, want)
			}
		}
	}
}

// TestSumSquaresTree: which elements share a partial sum is part of the contract: blocks of 4,096.
func TestSumSquaresBlocks(t *testing.T) {
	m := theMachine(t)
	mem, err := theMemory()
	if err != nil {
		t.Fatal(err)
	}
	const n = 3*4096 + 1
	g := kernel.FromF32(make([]float32, n))
	for i := range g.F32() {
		g.F32()[i] = float32(1 + i/4096)
	}
	mem.next, mem.exact = 0, false
	partial := mem.work(8 * kernels.SumPartials(n))
	m.run(t, "sum_squares", kernels.SumBlocks(n, 1), mem.add(g), partial, int64(n))
	w := words(partial)
	for i, want := range []float64{4096, 4 * 4096, 9 * 4096, 16} {
		if got := math.Float64frombits(uint64(uint32(w[2*i])) | uint64(uint32(w[2*i+1]))<<32); got != want {
			t.Errorf("block %d sums to %v, want %v", i, got, want)
		}
	}
}
