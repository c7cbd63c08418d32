//go:build (linux || darwin) && !nocuda

package kernels_test

import (
	"fmt"
	"math"
	"testing"

	"github.com/secencoder/secencoder/internal/bf16"
	"github.com/secencoder/secencoder/internal/cuda/kernels"
	"github.com/secencoder/secencoder/internal/kernel"
)

// wantBits compares element by element, NaN included.
func wantBits[T bf16.BF16 | int32](t *testing.T, name string, got, want []T) {
	t.Helper()
	for i := range want {
		if got[i] != want[i] {
			t.Fatalf("%s[%d] is %x, want %x", name, i, got[i], want[i])
		}
	}
}

// halves and words look at the memory of an operand.
func halves(o *operand) []bf16.BF16 {
	return kernel.Buf{Ptr: pointer(o), Bytes: len(o.bytes), DType: kernel.BF16}.BF16()
}

func words(o *operand) []int32 {
	return kernel.Buf{Ptr: pointer(o), Bytes: len(o.bytes), DType: kernel.I32}.I32()
}

// TestConvertBits goes through all 65,536 bfloat16, and for each through the float32 around it and around the midpoint to
// the next one.
func TestConvertBits(t *testing.T) {
	m := theMachine(t)
	mem, err := theMemory()
	if err != nil {
		t.Fatal(err)
	}
	all := make([]bf16.BF16, 65_536)
	var wide []int32
	var singles []float32
	for i := range all {
		all[i] = bf16.BF16(i)
		wide = append(wide, int32(math.Float32bits(all[i].Float32())))
		for _, low := range []uint32{0, 1, 0x7fff, 0x8000, 0x8001, 0xffff} {
			singles = append(singles, math.Float32frombits(uint32(i)<<16|low))
		}
	}
	narrow := make([]bf16.BF16, len(singles))
	for i, x := range singles {
		narrow[i] = bf16.FromFloat32(x)
	}
	for _, exact := range []bool{false, true} { // 16 bytes at a time, and one by one
		mem.next, mem.exact = 0, exact
		n := len(all)
		if exact {
			n-- // so that the operand does not start on 16 bytes
		}
		x, out := mem.add(kernel.FromBF16(all[:n])), mem.sized(4*n, kernel.F32)
		m.run(t, "convert_bf16_f32", kernels.Elements(n, 4), x, out, int64(n))
		wantBits(t, "float32 of bfloat16", words(out), wide[:n])
		n = len(singles)
		if exact {
			n--
		}
		y, back := mem.add(kernel.FromF32(singles[:n])), mem.sized(2*n, kernel.BF16)
		m.run(t, "convert_f32_bf16", kernels.Elements(n, 4), y, back, int64(n))
		wantBits(t, "bfloat16 of float32", halves(back), narrow[:n])
		for _, o := range []*operand{x, out, y, back} {
			if !o.intact() {
				t.Error("something was written beside an operand")
			}
		}
	}
}

// lengths are those of vectors: small ones, edges of groups, blocks and grids.
var lengths = []int{0, 1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 33, 127, 255, 256, 257, 1023, 1024, 1025, 2047, 4095, 4096, 4097, 8191, 12_289, 70_001}

func TestConvertLengths(t *testing.T) {
	for _, n := range lengths {
		rnd := random(fmt.Sprint("convert", n))
		x := values(rnd, n, n, kernel.F32, 1)
		p := &problem{t: t, name: fmt.Sprintf("convert_f32_bf16 of %d", n), rnd: rnd, results: []result{{"out", n, x.F32(), nil}}}
		p.bind = func(r *runner) []*operand {
			out := r.out(nans(n, kernel.BF16))
			r.run("convert_f32_bf16", kernels.Elements(n, r.mp), r.in(x), out, int64(n))
			return []*operand{out}
		}
		p.check()
		half := values(rnd, n, n, kernel.BF16, 1)
		want := make([]float32, n)
		for i := range want {
			want[i] = half.BF16()[i].Float32()
		}
		p.name, p.results = fmt.Sprintf("convert_bf16_f32 of %d", n), []result{{"out", n, want, nil}}
		p.bind = func(r *runner) []*operand {
			out := r.out(nans(n, kernel.F32))
			r.run("convert_bf16_f32", kernels.Elements(n, r.mp), r.in(half), out, int64(n))
			return []*operand{out}
		}
		p.check()
	}
}

// TestAdd: each sum is one rounding, or two, so all families have the same bits, also when the result replaces an operand.
func TestAdd(t *testing.T) {
	for _, d := range dtypes {
		for i, n := range lengths {
			rnd := random(fmt.Sprint("add", d, n))
			a, b := values(rnd, n, n, d, 1), values(rnd, n, n, d, 1)
			want := nans(n, kernel.F32)
			reference.Add(0, &kernel.AddArgs{A: a, B: b, Out: want, N: n})
			p := &problem{t: t, name: fmt.Sprintf("%s of %d", typed("add", d), n), rnd: rnd, results: []result{{"out", n, want.F32(), nil}}}
			p.bind = func(r *runner) []*operand {
				var x, y, out *operand
				switch i % 3 {
				case 0:
					x, y, out = r.in(a), r.in(b), r.out(nans(n, d))
				case 1:
					x, y = r.out(a), r.in(b)
					out = x
				case 2:
					x, y = r.in(a), r.out(b)
					out = y
				}
				r.run(typed("add", d), kernels.Elements(n, r.mp), x, y, out, int64(n))
				return []*operand{out}
			}
			p.check()
		}
	}
}

// TestScale: beta 0 clears, NaN included.
func TestScale(t *testing.T) {
	for _, n := range lengths {
		for _, beta := range []float32{0, 1, 0.37} {
			rnd := random(fmt.Sprint("scale", n, beta))
			d := values(rnd, n, n, kernel.F32, 1)
			want := make([]float32, n)
			for i := range want {
				want[i] = d.F32()[i] * beta
				if beta == 0 {
					d.F32()[i], want[i] = float32(math.NaN()), 0
				}
			}
			p := &problem{t: t, name: fmt.Sprintf("scale_f32 of %d by %v", n, beta), rnd: rnd, results: []result{{"d", n, want, nil}}}
			p.bind = func(r *runner) []*operand {
				o := r.out(d)
				r.run("scale_f32", kernels.Elements(n, r.mp), o, int64(n), beta)
				return []*operand{o}
			}
			p.check()
		}
	}
}
