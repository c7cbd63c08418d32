package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// element is the type of the rows of activations: float32 or BF16. Parameters and their gradients are float32, and so is
// the row that the first pass of a norm leaves in L1 for those after it.
type element struct {
	suffix, typ, bits string
	size              int // in bits
}

var (
	single = element{"", "*float32", "", 32}
	half   = element{"16", "*uint16", ":16", 16}
)

// norms are the passes over a row of LayerNorm. Those with dropout or BF16 take multiples of 16 elements.
// Measured at the width of base, 768, with 8,192 rows in memory that the sum of two float32 arrays goes through at 41 GB/s,
// and with 32 rows in L2; Zen 5, AVX-512, one core, ns an element (BenchmarkRows), float32 / BF16:
//
//	AddNorm                    0.41 / 0.21    in L2 0.17 / 0.18
//	AddNorm with dropout       0.52 / 0.42          0.37 / 0.40
//	AddNormGrad                0.97 / 0.44          0.27 / 0.29
//	AddNormGrad with dropout   1.18 / 0.59          0.47 / 0.57
//
// BF16 is bound by the instructions, Philox the largest part, float32 without dropout by memory.
// Tried: no prefetch of the next row: BF16 gradients 0.60 and 0.95. The same in the float32 loops: their forward passes lose
// a sixth, the gradients win less; it stays in the one with dropout. Constants of the rounding from memory, where half of
// them cross a cache line.
func (m *machine) norms() {
	for _, e := range []element{single, half} {
		m.normInput(e)
		m.normApply(e)
		m.normSums(e)
		m.normGrad(e)
	}
}

// normInput is what is normalised, and its sum, in the tree of vecSum.
func (m *machine) normInput(e element) {
	v := m.v
	scale := v(14)
	sum := func(name, doc string, kept, residual bool) {
		signature, pointers := "func(dst *float32, x "+e.typ, []string{"dst", "x" + e.bits}
		if residual {
			signature, pointers = "func(dst *float32, x, res "+e.typ, append(pointers, "res"+e.bits)
		}
		if kept {
			signature, pointers = signature+", keep *byte, scale float32", append(pointers, "keep:1")
		}
		name += e.suffix
		r, n := m.function(name, signature+", n int) float32", name+" sets dst = "+doc+" and returns the sum.", pointers...)
		m.whole = true
		for i := range 4 {
			m.zero(v(i))
		}
		if kept {
			m.arg("scale", scale)
		}
		if e == half {
			m.ahead(n, e.size)
		}
		m.loop(n, r, 4, func(b block) {
			x, y := v(4+b.u%2), v(6+b.u%2)
			b.load(r[1], x)
			b.below(r[1])
			if kept {
				b.keep(r[3], scale, x)
			}
			if residual {
				b.below(r[2])
				b.load(r[2], y)
				VADDPS(y, x, x)
			}
			b.store(x, r[0])
			VADDPS(x, v(b.u), v(b.u))
		})
		m.fold(4, func(a, b, to Op) { VADDPS(a, b, to) })
		Store(X0, ReturnIndex(0))
		done()
	}
	sum("vecKeepAdd", "x·scale + res where the bit of keep is set, else res,", true, true)
	if e == half {
		sum("vecAddSum", "x + res", false, true)
		sum("vecWidenSum", "x", false, false)
	}
}

func (m *machine) normApply(e element) {
	v := m.v
	r, n := m.function("vecNormApply"+e.suffix, "func(out "+e.typ+", x, gamma, beta *float32, mean, rstd float32, n int)",
		"vecNormApply"+e.suffix+" sets out = (x − mean)·rstd·gamma + beta.", "out"+e.bits, "x", "gamma", "beta")
	if e == half {
		m.whole = true
		m.narrowing()
	}
	m.arg("mean", v(13))
	m.arg("rstd", v(14))
	if e == half {
		m.ahead(n, e.size)
	}
	m.loop(n, r, 2, func(b block) {
		x, g, t := v(3*b.u), v(3*b.u+1), v(3*b.u+2)
		b.below(r[0])
		b.load(r[1], x)
		b.load(r[2], g)
		b.load(r[3], t)
		VSUBPS(v(13), x, x)
		VMULPS(v(14), x, x)
		VFMADD213PS(t, g, x) // x = g·x + t
		b.store(x, r[0])
	})
	done()
}

func (m *machine) normSums(e element) {
	v := m.v
	r, n := m.function("vecNormSums"+e.suffix, map[string]string{
		"":   "func(x, gamma, dy, dgamma, dbeta *float32, mean, rstd float32, n int) (sum, cross float32)",
		"16": "func(x, gamma *float32, dy *uint16, dgamma, dbeta *float32, mean, rstd float32, n int) (sum, cross float32)",
	}[e.suffix], "vecNormSums"+e.suffix+" adds dy·x̂ to dgamma and dy to dbeta, and returns Σ dy·gamma and Σ dy·gamma·x̂.",
		"x", "gamma", "dy"+e.bits, "dgamma", "dbeta")
	m.whole = e == half
	for i := range 4 {
		m.zero(v(i))
	}
	m.arg("mean", v(13))
	m.arg("rstd", v(14))
	if e == half {
		m.ahead(n, e.size)
	}
	m.loop(n, r, 2, func(b block) {
		x, g, dy, s := v(4), v(5), v(6), v(7)
		b.below(r[2])
		b.load(r[0], x)
		VSUBPS(v(13), x, x)
		VMULPS(v(14), x, x)
		b.load(r[2], dy)
		b.load(r[4], s)
		VADDPS(dy, s, s)
		b.store(s, r[4])
		b.load(r[3], s)
		VFMADD231PS(x, dy, s)
		b.store(s, r[3])
		b.load(r[1], g)
		VMULPS(dy, g, g)
		VADDPS(g, v(2*b.u), v(2*b.u))
		VFMADD231PS(g, x, v(2*b.u+1))
	})
	VADDPS(v(2), v(0), v(0))
	VADDPS(v(3), v(1), v(1))
	VMOVAPS(v(1), v(2))
	add := func(a, b, to Op) { VADDPS(a, b, to) }
	m.fold(1, add)
	Store(X0, Return("sum"))
	VMOVAPS(v(2), v(0))
	m.fold(1, add)
	Store(X0, Return("cross"))
	done()
}

// normGrad is the gradient of the normalised row, and with dropout also that of what was dropped before it was added.
func (m *machine) normGrad(e element) {
	v := m.v
	for _, kept := range []bool{false, true} {
		name, doc := "vecNormGrad"+e.suffix, "dx = rstd·(dy·gamma − sum − x̂·cross)"
		signature := "func(dx " + e.typ + ", x, gamma *float32, dy " + e.typ + ", mean, rstd, sum, cross float32, n int)"
		pointers := []string{"dx" + e.bits, "x", "gamma", "dy" + e.bits}
		if kept {
			name, doc = "vecNormGradKeep"+e.suffix, doc+" and drop = dx·scale where the bit of keep is set, else 0"
			signature = "func(dx " + e.typ + ", x, gamma *float32, dy, drop " + e.typ + ", keep *byte, mean, rstd, sum, cross, scale float32, n int)"
			pointers = append(pointers, "drop"+e.bits, "keep:1")
		} else if e == single {
			signature = "func(dx, x, gamma, dy *float32, mean, rstd, sum, cross float32, n int)"
		}
		r, n := m.function(name, signature, name+" sets "+doc+".", pointers...)
		m.whole = kept || e == half
		if e == half {
			m.narrowing()
		}
		m.arg("mean", v(11))
		m.arg("rstd", v(12))
		m.arg("sum", v(13))
		m.arg("cross", v(14))
		if kept {
			m.arg("scale", v(8))
		}
		if kept || e == half {
			m.ahead(n, e.size)
		}
		m.loop(n, r, 2, func(b block) {
			x, g, dy := v(3*b.u), v(3*b.u+1), v(3*b.u+2)
			b.below(r[0])
			if kept {
				b.below(r[4])
			}
			b.load(r[1], x)
			VSUBPS(v(11), x, x)
			VMULPS(v(12), x, x)
			b.load(r[2], g)
			b.load(r[3], dy)
			VMULPS(dy, g, g)
			VSUBPS(v(13), g, g)
			VFNMADD231PS(v(14), x, g)
			VMULPS(v(12), g, g)
			b.store(g, r[0])
			if kept {
				b.keep(r[5], v(8), g)
				b.store(g, r[4])
			}
		})
		done()
	}
}

// optimizer is AdamW; see kernel.AdamWArgs.
func (m *machine) optimizer() {
	v := m.v
	r, n := m.function("vecAdamW", "func(w, grad, m, v *float32, keep, clip, oneB1, beta2, oneB2, rate, root, eps float32, n int)",
		"vecAdamW updates w, m, v by grad.", "w", "grad", "m", "v")
	for i, name := range []string{"keep", "clip", "oneB1", "beta2", "oneB2", "rate", "root", "eps"} {
		m.arg(name, v(7+i))
	}
	m.loop(n, r, 1, func(b block) {
		w, g, mo, ve, t := v(0), v(1), v(2), v(3), v(4)
		b.load(r[1], g)
		b.load(r[2], mo)
		b.load(r[3], ve)
		b.load(r[0], w)
		VMULPS(v(8), g, g)
		VSUBPS(mo, g, t)
		VFMADD231PS(v(9), t, mo)
		b.store(mo, r[2])
		VMULPS(g, g, g)
		VMULPS(v(11), g, g)
		VFMADD231PS(v(10), ve, g)
		b.store(g, r[3])
		VSQRTPS(g, g)
		VDIVPS(v(13), g, g)
		VADDPS(v(14), g, g)
		VMULPS(v(12), mo, mo)
		VDIVPS(g, mo, mo)
		VMULPS(v(7), w, w)
		VSUBPS(mo, w, w)
		b.store(w, r[0])
	})
	done()
}
