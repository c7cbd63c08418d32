package blocked_test

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/secencoder/secencoder/internal/bf16"
	"github.com/secencoder/secencoder/internal/kernel"
	"github.com/secencoder/secencoder/internal/kernel/blocked"
	"github.com/secencoder/secencoder/internal/rng"
)

// guardedHalf is guarded for BF16: the bits of n random values between guard values.
func guardedHalf(rnd *rand.Rand, n int) (x []bf16.BF16, intact func() bool) {
	const guard = 0x4321
	all := make([]bf16.BF16, n+80)
	for i := range all {
		all[i] = guard
	}
	at := 1 + rnd.IntN(34)
	x = all[at : at+n : at+n]
	for i := range x {
		x[i] = bf16.FromFloat32(float32(rnd.NormFloat64()))
	}
	return x, func() bool {
		for i, v := range all {
			if (i < at || i >= at+n) && v != guard {
				return false
			}
		}
		return true
	}
}

// TestWiden wants every BF16 exactly, NaNs with all their bits.
func TestWiden(t *testing.T) {
	all := make([]bf16.BF16, 1<<16)
	for i := range all {
		all[i] = bf16.BF16(i)
	}
	for _, p := range families() {
		got := make([]float32, len(all))
		p.Widen(got, all)
		for i, x := range got {
			if math.Float32bits(x) != uint32(i)<<16 {
				t.Fatalf("%s: %#04x becomes %#08x", p.Name, i, math.Float32bits(x))
			}
		}
	}
}

// TestNarrow wants the bits of bf16.FromFloat32 around every BF16: the value, the neighbours of the ties on both sides and
// the ties, which covers signs, zeros, denormals, overflow, infinities and NaNs; and for random bits.
func TestNarrow(t *testing.T) {
	var x []float32
	for i := range uint32(1 << 16) {
		for _, low := range []uint32{0, 1, 0x7ffe, 0x7fff, 0x8000, 0x8001, 0xffff} {
			x = append(x, math.Float32frombits(i<<16|low))
		}
	}
	rnd := rand.New(rand.NewPCG(1, 1))
	for range 1 << 18 {
		x = append(x, math.Float32frombits(rnd.Uint32()))
	}
	for _, p := range families() {
		got := make([]bf16.BF16, len(x))
		p.Narrow(got, x)
		for i, v := range x {
			if want := bf16.FromFloat32(v); got[i] != want {
				t.Fatalf("%s: %#08x becomes %#04x, want %#04x", p.Name, math.Float32bits(v), got[i], want)
			}
		}
	}
}

// TestConversionLengths walks all lengths to 130 at odd places, between guards, of the loops that read or write BF16.
func TestConversionLengths(t *testing.T) {
	for _, p := range families() {
		rnd := rand.New(rand.NewPCG(2, 2))
		for n := range 131 {
			for range 3 {
				f, fIntact := guarded(rnd, n)
				a, aIntact := guardedHalf(rnd, n)
				b, bIntact := guardedHalf(rnd, n)
				c, cIntact := guardedHalf(rnd, n)
				was := append([]float32(nil), f...)
				p.Narrow(c, f)
				for i := range c {
					if c[i] != bf16.FromFloat32(f[i]) {
						t.Fatalf("%s: Narrow(%d): element %d is %#04x", p.Name, n, i, c[i])
					}
				}
				p.Rows.Add(c, a, b)
				for i := range c {
					if want := bf16.FromFloat32(a[i].Float32() + b[i].Float32()); c[i] != want {
						t.Fatalf("%s: Rows.Add(%d): element %d is %#04x, want %#04x", p.Name, n, i, c[i], want)
					}
				}
				p.Rows.Add(c, c, c)
				for i := range c {
					if want := bf16.FromFloat32(2 * bf16.FromFloat32(a[i].Float32()+b[i].Float32()).Float32()); c[i] != want {
						t.Fatalf("%s: Rows.Add(%d) in place: element %d is %#04x, want %#04x", p.Name, n, i, c[i], want)
					}
				}
				p.Rows.AddTo(f, a)
				for i := range f {
					if f[i] != was[i]+a[i].Float32() {
						t.Fatalf("%s: Rows.AddTo(%d): element %d is %g", p.Name, n, i, f[i])
					}
				}
				p.Widen(f, b)
				for i := range f {
					if f[i] != b[i].Float32() {
						t.Fatalf("%s: Widen(%d): element %d is %g", p.Name, n, i, f[i])
					}
				}
				if !fIntact() || !aIntact() || !bIntact() || !cIntact() {
					t.Fatalf("%s: a loop over %d elements writes beyond them", p.Name, n)
				}
			}
		}
	}
}

// TestKeep wants the decisions of Dropout, whatever the carries.
func TestKeep(t *testing.T) {
	c := blocked.Counter{Step: 7, Site: 0x6000005, Key: [2]uint32{0x12345678, 0x9abcdef0}}
	for _, p := range vectors(t) {
		for _, call := range []uint64{0, 1, 1<<32 - 9, 1<<32 - 1, 1 << 40, math.MaxUint64 / 7} {
			// A word that is the threshold itself keeps.
			words := rng.Philox([4]uint32{uint32(call), uint32(call >> 32), c.Step, c.Site}, c.Key)
			for _, threshold := range append(words[:], 0x60000000) {
				for bytes := 16; bytes <= 128; bytes += 16 {
					ones, kept := make([]float32, 8*bytes), make([]float32, 8*bytes)
					for i := range ones {
						ones[i] = 1
					}
					blocked.Portable().Dropout(kept, ones, 4*call, c, threshold, 1)
					all := make([]byte, bytes+16)
					for i := range all {
						all[i] = 0x5a
					}
					p.Rows.Keep(all[:bytes:bytes], call, c, threshold)
					dropped := make([]float32, len(ones))
					p.Dropout(dropped, ones, 4*call, c, threshold, 1)
					for i, x := range kept {
						if float32(all[i/8]>>(i%8)&1) != x {
							t.Fatalf("%s: Keep of %d bytes from call %#x: bit %d is wrong", p.Name, bytes, call, i)
						}
						if dropped[i] != x {
							t.Fatalf("%s: Dropout of %d elements from call %#x: element %d is wrong", p.Name, 8*bytes, call, i)
						}
					}
					for _, b := range all[bytes:] {
						if b != 0x5a {
							t.Fatalf("%s: Keep of %d bytes writes beyond them", p.Name, bytes)
						}
					}
				}
			}
		}
	}
}

// TestHalfGelu holds GELU and its derivative, where they are rounded to BF16, to the bounds that RowLoops states: before
// the rounding 2^-21·|x| and 2^-16·|dy|. x walks patterns of float32, and for the derivative all of BF16.
func TestHalfGelu(t *testing.T) {
	between := func(got bf16.BF16, want, bound float64) bool {
		g := got.Float32()
		low, high := bf16.FromFloat32(float32(want-bound)).Float32(), bf16.FromFloat32(float32(want+bound)).Float32()
		if math.IsInf(want, 1) {
			low = float32(want)
		}
		return g >= low && g <= high || g != g && want != want
	}
	var x []float32
	for b := uint64(0); b < 1<<32; b += 2047 {
		x = append(x, math.Float32frombits(uint32(b)))
	}
	x = append(x, -5.1, 5.1, -5.1000004, 0, float32(math.Inf(1)), float32(math.Inf(-1)))
	for len(x)%16 != 0 {
		x = append(x, -5)
	}
	all, dy := make([]bf16.BF16, 1<<16), make([]bf16.BF16, 1<<16)
	for i := range all {
		all[i], dy[i] = bf16.BF16(i), bf16.FromFloat32([]float32{1, -3, 0x1p-20, 700}[i%4])
	}
	for _, p := range vectors(t) {
		got := make([]bf16.BF16, len(x))
		p.Rows.Gelu(got, x)
		for i, v := range x {
			want := kernel.Gelu.Value(float64(v))
			if !between(got[i], want, 0x1p-21*math.Abs(float64(v))) && !math.IsInf(float64(v), -1) {
				t.Fatalf("%s: GELU(%g) is %g, want %g", p.Name, v, got[i].Float32(), want)
			}
			if v <= -5.1 && !math.IsInf(float64(v), -1) && got[i].Float32() != 0 {
				t.Fatalf("%s: GELU(%g) is %g, want 0", p.Name, v, got[i].Float32())
			}
		}
		dst, sums := make([]bf16.BF16, len(all)), make([]float32, len(all))
		for i := range sums {
			sums[i] = 2
		}
		p.Rows.GeluGrad(dst, dy, all, sums)
		for i, v := range all {
			d := float64(dy[i].Float32())
			want, bound := d*kernel.Gelu.Slope(float64(v.Float32())), 0x1p-16*math.Abs(d)
			if math.IsInf(float64(v.Float32()), 0) {
				continue // 0·Inf in the formula
			}
			if !between(dst[i], want, bound) {
				t.Fatalf("%s: GELU'(%g)·%g is %g, want %g", p.Name, v.Float32(), d, dst[i].Float32(), want)
			}
			if e := math.Abs(float64(sums[i]) - 2 - want); e > bound+0x1p-22*(2+math.Abs(want)) {
				t.Fatalf("%s: the sum with GELU'(%g)·%g is off by %g", p.Name, v.Float32(), d, e)
			}
		}
		for n := 0; n <= 96; n += 16 {
			rnd := rand.New(rand.NewPCG(3, 3))
			f, fIntact := guarded(rnd, n)
			a, aIntact := guardedHalf(rnd, n)
			b, bIntact := guardedHalf(rnd, n)
			p.Rows.Gelu(a, f)
			p.Rows.GeluGrad(a, b, b, f)
			if !fIntact() || !aIntact() || !bIntact() {
				t.Fatalf("%s: GELU of %d elements writes beyond them", p.Name, n)
			}
		}
	}
}
