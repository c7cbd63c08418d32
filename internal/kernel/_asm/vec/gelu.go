package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/reg"
)

// GELU and its derivative where the result is rounded to BF16. Both are ½ + x·P(t) within ±c, t = 2·x²/c² − 1, which
// keeps every coefficient below 0.2, and constant beyond: no exponential, no division. Fits by weighted least squares over
// float64 (Lawson), exact at ±c but for 1e-7 that keep Φ(−c) below 0, where it is set to 0.
// Off by at most 3.3e-7·|x| and 1.3e-5·|dy|. Zen 5, one core, operands in L1, ns an element, AVX-512 / AVX2
// (BenchmarkLoops): GELU 0.26 / 0.57 with the rounding, where the loop of exp.go takes 0.41 / 0.92 without; the derivative
// 0.27 / 0.60 with widening, rounding and the sum, else 0.41 / 0.93 without. About 34 instructions a vector.
// Tried: one chain for all powers: 0.29.
var (
	geluFit = [13]float64{
		0.138605297, -0.0690025762, 0.0507811382, -0.0402362496, 0.0317472257, -0.023893401, 0.0172829684,
		-0.0123672578, 0.00732014701, -0.00281944801, 0.00188786606, -0.00213236408, 0.000865890703,
	}
	slopeFit = [12]float64{
		0.142130569, -0.0751237348, 0.0668272525, -0.0715196356, 0.0770794675, -0.0854979753, 0.0951514095,
		-0.0680820495, 0.0211880356, -0.0281275734, 0.0465323217, -0.0205580778,
	}
)

const geluEdge, slopeEdge = 5.1, 5

// ramp emits q = ½ + x·P(t); x keeps its value, the others are scratch. Registers 12 to 14 are those of ramps. Even and odd
// powers add up apart: one chain of 13 steps leaves the multipliers waiting.
func (m *machine) ramp(x, q, t, s, p, o VecPhysical, edge float64, fit []float64) {
	VMINPS(x, m.v(12), q) // NaN passes
	VMAXPS(q, m.v(13), q)
	VMULPS(q, q, t)
	VFMADD132PS(m.c(2/(edge*edge)), m.v(14), t)
	VMULPS(t, t, s)
	half := func(at int, p VecPhysical) {
		last := len(fit) - 1
		if last%2 != at {
			last--
		}
		VMOVUPS(m.c(fit[last]), p)
		for i := last - 2; i >= 0; i -= 2 {
			VFMADD213PS(m.c(fit[i]), s, p)
		}
	}
	half(0, p)
	half(1, o)
	VFMADD213PS(p, t, o)
	VFMADD213PS(m.c(0.5), o, q)
}

// ramps prepares ramp.
func (m *machine) ramps(edge float64, fit []float64) {
	VMOVUPS(m.c(edge), m.v(12))
	VMOVUPS(m.c(-edge), m.v(13))
	VMOVUPS(m.c(-1), m.v(14))
	m.narrowing()
	m.holdC(2/(edge*edge), 0.5)
	m.holdC(fit...)
}

// halfGelu is the two loops over BF16.
func (m *machine) halfGelu() {
	v := m.v
	r, n := m.function("vecGelu16", "func(dst *uint16, x *float32, n int)", "vecGelu16 sets dst = x·Φ(x), rounded; n is a multiple of 16.", "dst:16", "x")
	m.whole = true
	m.ramps(geluEdge, geluFit[:])
	m.loop(n, r, 2, func(b block) {
		x, q, t, s, p, o := v(b.u), v(2+b.u), v(4), v(5), v(6), v(7)
		b.load(r[1], x)
		m.ramp(x, q, t, s, p, o, geluEdge, geluFit[:])
		m.zero(t)
		VMAXPS(q, t, q)
		VMULPS(x, q, q)
		b.store(q, r[0])
	})
	done()

	r, n = m.function("vecGeluGrad16", "func(dst, dy, x *uint16, sums *float32, n int)",
		"vecGeluGrad16 sets dst = dy·(Φ(x) + x·φ(x)), rounded, and adds it, not rounded, to sums; n is a multiple of 16.", "dst:16", "dy:16", "x:16", "sums")
	m.whole = true
	m.ramps(slopeEdge, slopeFit[:])
	m.loop(n, r, 2, func(b block) {
		x, q, t, s, p, o := v(b.u), v(2+b.u), v(4), v(5), v(6), v(7)
		b.load(r[2], x)
		m.ramp(x, q, t, s, p, o, slopeEdge, slopeFit[:])
		b.load(r[1], x)
		VMULPS(x, q, q)
		b.load(r[3], t)
		VADDPS(q, t, t)
		b.store(t, r[3])
		b.store(q, r[0])
	})
	done()
}
