//go:build (linux || darwin) && !nocuda

package kernels_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/secencoder/secencoder/internal/bf16"
	"github.com/secencoder/secencoder/internal/cuda/kernels"
	"github.com/secencoder/secencoder/internal/kernel"
)

// functionError is what an exponential, erf or tanh may be off by, relative to the largest value that the formula has around
// it: 16 roundings, as in the conformance suite.
const functionError = 16 * unit

// valueOff bounds the error of act(x) for an exact x: gated forms are x times a factor, the others lie in [-1, 1].
func valueOff(act kernel.Activation, x float64) float64 {
	switch act {
	case kernel.Linear, kernel.Relu:
		return 0
	case kernel.Tanh, kernel.Sigmoid:
		return functionError
	}
	return functionError*math.Abs(x) + 0x1p-149
}

// slopeOff bounds the error of act'(x) for an exact x: derivatives are of order 1.
func slopeOff(act kernel.Activation) float64 {
	if act == kernel.Linear || act == kernel.Relu {
		return 0
	}
	return 2 * functionError
}

// TestActivationsEverywhere takes all 65,536 bfloat16 through every activation and its derivative: all magnitudes, NaN,
// infinities and denormals.
func TestActivationsEverywhere(t *testing.T) {
	const rows, w = 128, 512
	x := nans(rows*w, kernel.F32)
	for i := range x.F32() {
		x.F32()[i] = bf16.BF16(i).Float32()
	}
	ones := nans(rows*w, kernel.F32)
	for i := range ones.F32() {
		ones.F32()[i] = 1
	}
	for act := kernel.Linear; act <= kernel.Sigmoid; act++ {
		value, slope := result{"out", rows * w, nil, nil}, result{"dZ", rows * w, nil, nil}
		for _, v := range x.F32() {
			value.want, value.bound = append(value.want, float32(act.Value(float64(v)))), append(value.bound, valueOff(act, float64(v)))
			slope.want, slope.bound = append(slope.want, float32(act.Slope(float64(v)))), append(slope.bound, slopeOff(act))
		}
		p := &problem{t: t, name: act.String(), rnd: random(act.String()), results: []result{value, slope}}
		p.bind = func(r *runner) []*operand {
			out, dz, z, one := r.out(nans(rows*w, kernel.F32)), r.out(nans(rows*w, kernel.F32)), r.in(x), r.in(ones)
			var none *operand
			r.run("bias_act_f32_f32", kernels.Tiles(rows, w, r.mp), none, z, none, out, none, int32(0), int32(0), int32(rows), int32(w), int32(act))
			if act == kernel.Linear {
				z = nil
			}
			r.run("act_grad_f32_f32", kernels.TileChunks(rows, w), none, one, z, dz, none, int32(0), int32(0), int32(rows), int32(w), int32(act))
			return []*operand{out, dz}
		}
		p.check()
	}
}

var pairs = [][2]kernel.DType{{kernel.F32, kernel.F32}, {kernel.F32, kernel.BF16}, {kernel.BF16, kernel.BF16}}

// biasAct holds out = act(z + bias) and pre against float64.
func biasAct(t *testing.T, rnd *rand.Rand, rows, w int, types [2]kernel.DType, act kernel.Activation) {
	pk, kind, shape, used := rowsOf(rnd, rows)
	z := values(rnd, shape*w, used*w, types[0], 2)
	var bias kernel.Buf
	if rnd.IntN(4) > 0 {
		bias = values(rnd, w, w, kernel.F32, 1)
	}
	withPre, inPlace := rnd.IntN(2) == 0, types[0] == types[1] && rnd.IntN(2) == 0
	out, pre := result{"out", used * w, nil, nil}, result{"pre", used * w, nil, nil}
	for i := range used * w {
		s := float32(get(z, i))
		if !bias.Absent() {
			s += bias.F32()[i%w]
		}
		pre.want = append(pre.want, s)
		out.want, out.bound = append(out.want, float32(act.Value(float64(s)))), append(out.bound, valueOff(act, float64(s)))
	}
	if act == kernel.Linear {
		out.bound = nil
	}
	name := fmt.Sprintf("bias_act_%v_%v", types[0], types[1])
	p := &problem{t: t, rnd: rnd, results: []result{out, pre},
		name: fmt.Sprintf("%s, %v, %d rows of %d, bias %v, pre %v, in place %v", name, act, used, w, !bias.Absent(), withPre, inPlace)}
	p.bind = func(r *runner) []*operand {
		var in, o, q *operand
		switch {
		case inPlace && withPre: // z becomes pre
			in, o = r.out(z), r.out(nans(shape*w, types[1]))
			q = in
		case inPlace:
			in = r.out(z)
			o = in
		default:
			in, o = r.in(z), r.out(nans(shape*w, types[1]))
			if withPre {
				q = r.out(nans(shape*w, types[1]))
			}
		}
		r.run(name, kernels.Tiles(shape, w, r.mp), r.in(pk.header), in, r.in(bias), o, q, int32(pk.T), int32(kind), int32(shape), int32(w), int32(act))
		return []*operand{o, q}
	}
	p.check()
}

// actGrad holds dZ = dY * act'(pre) and its column sums against float64.
func actGrad(t *testing.T, rnd *rand.Rand, rows, w int, types [2]kernel.DType, act kernel.Activation) {
	pk, kind, shape, used := rowsOf(rnd, rows)
	dY := values(rnd, shape*w, used*w, types[0], 1)
	var pre kernel.Buf
	if act != kernel.Linear {
		pre = values(rnd, shape*w, used*w, types[0], 2)
	}
	beta := []float32{0, 1, 0.5}[rnd.IntN(3)]
	old := nans(w, kernel.F32)
	if beta != 0 {
		old = values(rnd, w, w, kernel.F32, 1)
	}
	wanted := 1 + rnd.IntN(3) // a bit for each of dZ, dB
	dZ, dB := result{"dZ", used * w, make([]float32, used*w), make([]float64, used*w)}, result{"dB", w, make([]float32, w), make([]float64, w)}
	for c := range w {
		var sum float64
		var s columnSum
		for r := range used {
			i := r*w + c
			d, slope, off := get(dY, i), 1.0, 0.0
			if act != kernel.Linear {
				slope, off = act.Slope(get(pre, i)), slopeOff(act)*math.Abs(d)
			}
			dZ.want[i], dZ.bound[i] = float32(d*slope), off+2*unit*math.Abs(d*slope)
			sum += d * slope
			s.size += math.Abs(d * slope)
			s.off += dZ.bound[i]
		}
		b := gamma(used+8)*s.size + s.off
		if beta != 0 {
			sum += float64(beta) * get(old, c)
			b += (4*unit + gamma(used+8)) * math.Abs(get(old, c))
		}
		dB.want[c], dB.bound[c] = float32(sum), b+unit*math.Abs(sum)
	}
	if act == kernel.Linear {
		dZ.bound = nil
	}
	name := fmt.Sprintf("act_grad_%v_%v", types[0], types[1])
	p := &problem{t: t, rnd: rnd, results: []result{dZ, dB},
		name: fmt.Sprintf("%s, %v, %d rows of %d, kind %d, wanted %02b, beta %v", name, act, used, w, kind, wanted, beta)}
	p.bind = func(r *runner) []*operand {
		var dz, partial, db *operand
		if wanted&1 != 0 {
			dz = r.out(nans(shape*w, types[1]))
		}
		header := r.in(pk.header)
		if wanted&2 != 0 {
			partial, db = r.work(4*w*max(1, kernels.Chunks(shape, kernels.SumRows))), r.out(old)
		}
		g := kernels.TileChunks(shape, w)
		if r.mp == 1 {
			g.Grid = [3]int{1, 1, 1}
		}
		shape := []any{int32(pk.T), int32(kind), int32(shape), int32(w)}
		r.run(name, g, append([]any{header, r.in(dY), r.in(pre), dz, partial}, append(shape, int32(act))...)...)
		if db != nil {
			var none *operand
			r.run("fold_rows", kernels.Fold(w, 1), append([]any{header, partial, db, none}, append(shape, int32(1), int32(kernels.SumRows), beta, float32(0))...)...)
		}
		return []*operand{dz, db}
	}
	p.check()
}

func TestBiasActAndGrad(t *testing.T) {
	for _, types := range pairs {
		for act := kernel.Linear; act <= kernel.Sigmoid; act++ {
			for i, w := range []int{1, 3, 8, 31, 33, 127, 256, 257, 768, 769, 1536, 3072, 4097} {
				rows := []int{0, 1, 7, 15, 65, 131}[(i+int(act))%6]
				if w > 300 && (int(act)+i)%5 > 0 {
					continue
				}
				rnd := random(fmt.Sprint("act", types, act, w))
				biasAct(t, rnd, rows, w, types, act)
				actGrad(t, rnd, rows, w, types, act)
			}
		}
	}
	for i := range small(800) {
		rnd := random(fmt.Sprint("act, random", i))
		types, act := pairs[rnd.IntN(3)], kernel.Activation(rnd.IntN(9))
		biasAct(t, rnd, rnd.IntN(50), 1+rnd.IntN(70), types, act)
		actGrad(t, rnd, rnd.IntN(150), 1+rnd.IntN(40), types, act)
	}
}
