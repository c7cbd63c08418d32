package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// exp emits x = e^(x + low), low a small correction or nil. x is clamped to [−104, 89], where the result has become 0 or
// Inf; NaN stays NaN. t and q are scratch; v(13) and v(14) hold the clamps. With n = round(x·log2 e) and r = x − n·ln 2,
// e^r = 1 + r + r²·q(r), q of degree 4: relative error 1.0e-8 before rounding.
func (m *machine) exp(x, t, q VecPhysical, low *VecPhysical) {
	VMAXPS(x, m.v(13), x) // the second operand of the instruction is x: NaN passes
	VMINPS(x, m.v(14), x)
	VMULPS(m.c(1.4426950408889634), x, t)
	if m.wide {
		VRNDSCALEPS(U8(8), t, t)
	} else {
		VROUNDPS(U8(8), t, t)
	}
	VFNMADD231PS(m.c(0.693359375), t, x)
	VFNMADD231PS(m.c(-2.12194440054690583e-4), t, x)
	if low != nil {
		VADDPS(*low, x, x)
	}
	coefficients := expFit
	VMOVUPS(m.c(coefficients[4]), q)
	for i := 3; i >= 0; i-- {
		VFMADD213PS(m.c(coefficients[i]), x, q)
	}
	VMULPS(x, q, q)
	VFMADD213PS(x, x, q) // q = q·x + x
	VADDPS(m.c(1), q, q)
	if m.wide {
		VSCALEFPS(t, q, x)
		return
	}
	// 2^n in two factors, so that neither overflows and the product may be denormal.
	VCVTPS2DQ(t, t)
	VPSRAD(U8(1), t, x)
	VPSUBD(x, t, t)
	for _, e := range []VecPhysical{x, t} {
		VPADDD(m.bits(127), e, e)
		VPSLLD(U8(23), e, e)
	}
	VMULPS(x, q, q)
	VMULPS(t, q, x)
}

func (m *machine) clamps() {
	VMOVUPS(m.c(-104), m.v(13))
	VMOVUPS(m.c(89), m.v(14))
}

// Fits by Chebyshev nodes at 40 digits (mpmath chebyfit).
var (
	// (e^r − 1 − r)/r² on |r| ≤ 0.3469.
	expFit = [5]float64{0.5, 0.1666657666611993, 0.04166655421298415, 0.008363232883682623, 0.001392625083149762}
	// G with erfc(z/√2)/2 = exp(−z²/2)·t·G(s), t = 1/(z + 4), s = 1 − 8t, 0 ≤ z ≤ 14.6: relative error 2.7e-9.
	normalFit = [11]float64{
		0.755285130514, -0.607896658043, 0.387137379524, -0.186521301713, 0.0603973414248, -0.00754527273236,
		-0.00348832826356, 0.00164608819365, 0.00016971247762, -0.000234046018755, -5.24254626122e-5,
	}
)

func (m *machine) exponentials() {
	v := m.v
	r, n := m.function("vecExpSum", "func(dst, x *float32, a, b float32, n int) float32", "vecExpSum sets dst = exp(a·(x − b)) and returns its sum.", "dst", "x")
	for i := range 4 {
		m.zero(v(i))
	}
	m.clamps()
	m.arg("a", v(11))
	m.arg("b", v(12))
	m.loop(n, r, 4, func(b block) {
		x, t, q := v(4), v(5), v(6)
		b.load(r[1], x)
		VSUBPS(v(12), x, x)
		VMULPS(v(11), x, x)
		m.exp(x, t, q, nil)
		b.clip(x)
		VADDPS(x, v(b.u), v(b.u))
		b.store(x, r[0])
	})
	m.fold(4, func(a, b, to Op) { VADDPS(a, b, to) })
	Store(X0, ReturnIndex(0))
	done()

	r, n = m.function("vecGelu", "func(dst, x *float32, n int)", "vecGelu sets dst = x·Φ(x).", "dst", "x")
	m.clamps()
	m.loop(n, r, 1, func(b block) {
		x, phi := v(0), v(1)
		b.load(r[1], x)
		m.normal(x, phi, v(2))
		VMULPS(x, phi, phi)
		b.store(phi, r[0])
	})
	done()

	r, n = m.function("vecGeluGrad", "func(dst, dy, x *float32, n int)", "vecGeluGrad sets dst = dy·(Φ(x) + x·φ(x)).", "dst", "dy", "x")
	m.clamps()
	m.loop(n, r, 1, func(b block) {
		x, phi, e := v(0), v(1), v(2)
		b.load(r[2], x)
		m.normal(x, phi, e)
		VMULPS(m.c(0.39894228040143267794), e, e)
		VFMADD231PS(x, e, phi)
		b.load(r[1], x)
		VMULPS(x, phi, phi)
		b.store(phi, r[0])
	})
	done()
}

// normal emits phi = Φ(x) and e = exp(−x²/2), using registers 3 to 7. The square is kept in two parts: a rounding of
// x²/2 = 50 would show as 25 units in the last place of e.
func (m *machine) normal(x, phi, e VecPhysical) {
	v := m.v
	z, t, s, low := v(3), v(4), v(5), v(6)
	VMOVUPS(m.c(20), s)
	if m.wide {
		VPANDD(m.bits(0x7fffffff), x, z)
	} else {
		VANDPS(m.bits(0x7fffffff), x, z)
	}
	VMINPS(z, s, z) // beyond 20 both are 0; NaN passes
	VMULPS(z, z, e)
	VMOVAPS(e, low)
	VFMSUB231PS(z, z, low) // z·z − e, exact
	VMULPS(m.c(-0.5), e, e)
	VMULPS(m.c(-0.5), low, low)
	m.exp(e, t, s, &low)
	VADDPS(m.c(4), z, z)
	VMOVUPS(m.c(1), t)
	VDIVPS(z, t, t)
	VMOVUPS(m.c(1), s)
	VFMADD231PS(m.c(-8), t, s)
	g := z
	VMOVUPS(m.c(normalFit[10]), g)
	for i := 9; i >= 0; i-- {
		VFMADD213PS(m.c(normalFit[i]), s, g)
	}
	VMULPS(t, g, g)
	VMULPS(e, g, g) // Φ(−|x|)
	VMOVUPS(m.c(1), phi)
	VSUBPS(g, phi, phi)
	if m.wide {
		VPMOVD2M(x, K2)
		VMOVAPS(g, K2, phi)
	} else {
		VBLENDVPS(x, g, phi, phi)
	}
}
