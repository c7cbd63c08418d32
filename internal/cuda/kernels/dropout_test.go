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

// kept says what stays of rows of width w.
func kept(p *pack, kind kernel.RowKind, rows, w int, d kernel.Dropout) []bool {
	keep := make([]bool, rows*w)
	for r := range rows {
		element := uint64(0)
		if d.On() {
			element = p.view.DropoutElement(kind, r, w)
		}
		for c := range w {
			keep[r*w+c] = !d.On() || p.view.DropoutWord(d.Site, element+uint64(c)) >= d.Threshold()
		}
	}
	return keep
}

// drops are the probabilities that are tried: none, one too small to have a threshold, the usual ones.
var drops = []float32{0, 1e-12, 0.1, 0.5, 0.999}

// TestDropoutMask: the counter of each element is the CPU's, so the masks are equal bit for bit.
func TestDropoutMask(t *testing.T) {
	try := func(rnd *rand.Rand, rows, w int, p float32) {
		pk, kind, shape, used := rowsOf(rnd, rows)
		d := kernel.Dropout{P: p, Site: rnd.Uint32N(1 << 24)}
		keep := kept(pk, kind, used, w, d)
		name := fmt.Sprintf("dropout_mask, %d rows of %d, kind %d, P %v", used, w, kind, p)
		pr := &problem{t: t, name: name, rnd: rnd}
		pr.bind = func(r *runner) []*operand {
			mask := r.mem.sized(shape*w, kernel.BF16)
			r.run("dropout_mask", kernels.Tiles(shape, w, r.mp), r.in(pk.header), mask, int32(pk.T), int32(kind), int32(shape), int32(w), d.Site, d.Threshold())
			for i, b := range mask.bytes {
				want := byte(0xff)
				if i < len(keep) {
					want = 0
					if keep[i] {
						want = 1
					}
				}
				if b != want {
					t.Fatalf("%s: element %d is %d, want %d", name, i, b, want)
				}
			}
			if !mask.intact() {
				t.Fatalf("%s: something was written beside the mask", name)
			}
			return nil
		}
		pr.check()
	}
	for _, w := range []int{1, 2, 3, 4, 5, 8, 31, 33, 127, 256, 768, 769, 1536, 4096} {
		for i, p := range drops {
			rnd := random(fmt.Sprint("mask", w, p))
			try(rnd, []int{0, 1, 2, 9, 30}[i], w, p)
		}
	}
	for i := range small(1000) {
		rnd := random(fmt.Sprint("mask, random", i))
		try(rnd, rnd.IntN(60), 1+rnd.IntN(60), drops[rnd.IntN(len(drops))])
	}
}

// TestDropout: out = dropout(x) + add, each step rounded to float32, the last to the type of out: the reference's bits.
func TestDropout(t *testing.T) {
	try := func(rnd *rand.Rand, rows, w int, p float32, types [2]kernel.DType, added bool) {
		pk, kind, shape, used := rowsOf(rnd, rows)
		d := kernel.Dropout{P: p, Site: rnd.Uint32N(1 << 24)}
		keep := kept(pk, kind, used, w, d)
		x := values(rnd, shape*w, used*w, types[0], 1)
		var add kernel.Buf
		if added {
			add = values(rnd, shape*w, used*w, types[1], 1)
		}
		want := make([]float32, used*w)
		for i := range want {
			if d.On() && rnd.IntN(50) == 0 {
				set(x, i, float32(math.NaN())) // what is dropped is 0 whatever it was
			}
			if keep[i] {
				want[i] = float32(get(x, i)) * d.Scale()
			}
			if added {
				want[i] += float32(get(add, i))
			}
		}
		name := fmt.Sprintf("dropout_%v_%v", types[0], types[1])
		pr := &problem{t: t, name: fmt.Sprintf("%s, %d rows of %d, kind %d, P %v, added %v", name, used, w, kind, p, added), rnd: rnd,
			results: []result{{"out", used * w, want, nil}}}
		pr.bind = func(r *runner) []*operand {
			var a, out *operand
			if added && w%2 == 0 { // in place of the addend
				a = r.out(add)
				out = a
			} else {
				a, out = r.in(add), r.out(nans(shape*w, types[1]))
			}
			r.run(name, kernels.Tiles(shape, w, r.mp), r.in(pk.header), r.in(x), a, out,
				int32(pk.T), int32(kind), int32(shape), int32(w), d.Site, d.Threshold(), d.Scale())
			return []*operand{out}
		}
		pr.check()
	}
	for _, types := range pairs {
		for i, w := range []int{1, 3, 8, 31, 33, 127, 768, 769, 1536, 4096} {
			rnd := random(fmt.Sprint("dropout", types, w))
			try(rnd, []int{1, 17, 0, 5}[i%4], w, drops[i%5], types, i%3 > 0)
		}
	}
	for i := range small(1000) {
		rnd := random(fmt.Sprint("dropout, random", i))
		try(rnd, rnd.IntN(40), 1+rnd.IntN(80), drops[rnd.IntN(len(drops))], pairs[rnd.IntN(3)], rnd.IntN(2) == 0)
	}
}
