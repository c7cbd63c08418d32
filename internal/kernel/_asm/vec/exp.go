package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// Measured (TestAccuracy, over patterns of all float32): exp is within 1.1 units in the last place, GELU and its
// derivative within 4, tanh, silu and σ within 5. z of quick_gelu and gelu_new is rounded before the exponential, which
// shows in their tails: 78 and 138 units where the value itself is below 1e-15.
// Zen 5, one core, operands in L1 (BenchmarkLoops), ns an element, AVX-512 / AVX2: exp 0.15 / 0.41, GELU 0.40 / 0.91, its
// derivative 0.40 / 0.92; plain Go in float64 takes 7.5, 22 and 17. Bound by the multipliers and, in GELU, the divider.
// Tried: constants from memory, of which many cross a cache line: 0.18, 0.48, 0.54 with AVX-512.
// Tried: GELU from a fit in (4 − z)/(4 + z): 6.3 units near 0, where the variable is rounded. z/(z + 2.5) is exact there.
// Tried: Φ first and then x·Φ: 7.3 units in the far tail, where e^−x²/2 alone is denormal.

// exp emits x = e^(x + low), low a small correction or nil. x is clamped to [−104, 89], where the result has become 0 or
// Inf; NaN stays NaN. t and q are scratch; v(13) and v(14) hold the clamps. With n = round(x·log2 e) and r = x − n·ln 2,
// e^r = 1 + r + r²·q(r), q of degree 4: relative error 1.0e-8 before rounding.
func (m *machine) exp(x, t, q VecPhysical, low *VecPhysical) {
	m.expParts(x, t, q, low)
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
		VPADDD(m.word(127), e, e)
		VPSLLD(U8(23), e, e)
	}
	VMULPS(x, q, q)
	VMULPS(t, q, x)
}

// expParts emits t = n and q = e^r − 1; x becomes r.
func (m *machine) expParts(x, t, q VecPhysical, low *VecPhysical) {
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
}

// clamps prepares exp.
func (m *machine) clamps() {
	m.holdC(1.4426950408889634, 0.693359375, -2.12194440054690583e-4, 1)
	m.holdC(expFit[:]...)
	VMOVUPS(m.c(-104), m.v(13))
	VMOVUPS(m.c(89), m.v(14))
}

// Fits by Chebyshev nodes at 40 digits (mpmath chebyfit).
var (
	// (e^r − 1 − r)/r² on |r| ≤ 0.3469.
	expFit = [5]float64{0.5, 0.1666657666611993, 0.04166655421298415, 0.008363232883682623, 0.001392625083149762}
	// G with erfc(z/√2)/2 = exp(−z²/2)·t·G(z·t), t = 1/(z + 2.5), 0 ≤ z ≤ 14.6: relative error 1.3e-8. The variable z·t
	// is exact near 0, where most values are.
	normalFit = [11]float64{
		1.250000002, -1.243389688, 0.1694911094, 0.2936885189, 0.04197690005, -0.0881353216,
		-0.0256045997, -0.04499584377, 0.01387914254, 0.06600695724, -0.03399700225,
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
	m.holdC(normalFit[:]...)
	m.loop(n, r, 1, func(b block) {
		// x − z·w·e to the right of 0, x·w·e to the left: NaN at −Inf, as 0·Inf has it.
		x, z, e, w := v(0), v(3), v(2), v(1)
		b.load(r[1], x)
		m.normal(x, z, e, w)
		VMULPS(w, z, z)
		VMULPS(e, z, z)
		VSUBPS(z, x, z)
		VMULPS(x, w, w)
		VMULPS(e, w, w)
		m.choose(x, w, z)
		b.store(z, r[0])
	})
	done()

	r, n = m.function("vecGeluGrad", "func(dst, dy, x *float32, n int)", "vecGeluGrad sets dst = dy·(Φ(x) + x·φ(x)).", "dst", "dy", "x")
	m.clamps()
	m.holdC(normalFit[:]...)
	m.loop(n, r, 1, func(b block) {
		// With h = e·(|x|/√(2π) − w): 1 + h to the right of 0, −h to the left; NaN at ±Inf, as 0·Inf has it.
		x, z, e, w := v(0), v(3), v(2), v(1)
		b.load(r[2], x)
		m.normal(x, z, e, w)
		m.abs(x, z)
		VFMSUB231PS(m.c(0.39894228040143267794), z, w)
		VMULPS(e, w, w)
		VADDPS(m.c(1), w, z)
		m.zero(e)
		VSUBPS(w, e, w)
		m.choose(x, w, z)
		b.load(r[1], x)
		VMULPS(x, z, z)
		b.store(z, r[0])
	})
	done()
}

// abs emits to = |x|.
func (m *machine) abs(x, to VecPhysical) { m.and(m.word(0x7fffffff), x, to) }

// sigmoids are the activations x·σ(z): silu (z = x), quick_gelu (z = 1.702·x) and gelu_new (z = 2·√(2/π)·(x + 0.044715·x³),
// since ½ + ½·tanh u = σ(2u)), and σ itself. With e = e^−|z|, σ is 1/(1 + e) to the right of 0 and e/(1 + e) to the left,
// and 1 − σ is the other one: neither overflows nor cancels. z is taken of x within ±10,000, beyond which σ is 0 or 1.
func (m *machine) sigmoids() {
	v := m.v
	const scale, cubic = 2 * 0.79788456080286535588, 0.044715
	kinds := []struct {
		name, text string
		argument   func(x VecPhysical)    // x = z
		slope      func(x, c VecPhysical) // c = c·dz/dx
	}{
		{"Silu", "x·σ(x)", func(VecPhysical) {}, func(x, c VecPhysical) {}},
		{"QuickGelu", "x·σ(1.702·x)", func(x VecPhysical) { VMULPS(m.c(1.702), x, x) }, func(x, c VecPhysical) { VMULPS(m.c(1.702), c, c) }},
		{"GeluNew", "x·(½ + ½·tanh(√(2/π)·(x + 0.044715·x³)))",
			func(x VecPhysical) {
				VMULPS(x, x, v(4))
				VMOVUPS(m.c(scale), v(5))
				VFMADD231PS(m.c(scale*cubic), v(4), v(5))
				VMULPS(v(5), x, x)
			},
			func(x, c VecPhysical) {
				VMULPS(x, x, v(4))
				VMOVUPS(m.c(scale), v(5))
				VFMADD231PS(m.c(3*scale*cubic), v(4), v(5))
				VMULPS(v(5), c, c)
			}},
		{"Sigmoid", "σ(x)", func(VecPhysical) {}, nil},
	}
	// sigma emits s = σ(z) and c = 1 − σ(z) for z in c; scratch is registers 4 to 6.
	sigma := func(s, c VecPhysical) {
		VMOVAPS(c, v(6))
		m.or(m.word(0x80000000), c, c)
		m.exp(c, v(4), v(5), nil)
		VMOVUPS(m.c(1), v(5))
		VADDPS(v(5), c, s)
		VDIVPS(s, v(5), s)
		VMULPS(s, c, c)
		VMOVAPS(s, v(5))
		m.choose(v(6), c, s)
		m.choose(v(6), v(5), c)
	}
	limit := func(x, to VecPhysical) {
		VMOVUPS(m.c(1e4), v(4))
		VMINPS(x, v(4), to)
		VMOVUPS(m.c(-1e4), v(4))
		VMAXPS(to, v(4), to)
	}
	for _, a := range kinds {
		r, n := m.function("vec"+a.name, "func(dst, x *float32, n int)", "vec"+a.name+" sets dst = "+a.text+".", "dst", "x")
		m.clamps()
		m.loop(n, r, 1, func(b block) {
			x, s, c := v(0), v(1), v(2)
			b.load(r[1], x)
			limit(x, c)
			a.argument(c)
			sigma(s, c)
			if a.slope != nil {
				VMULPS(x, s, s)
			}
			b.store(s, r[0])
		})
		done()

		r, n = m.function("vec"+a.name+"Grad", "func(dst, dy, x *float32, n int)", "vec"+a.name+"Grad sets dst = dy times the derivative.", "dst", "dy", "x")
		m.clamps()
		m.loop(n, r, 1, func(b block) {
			x, s, c, t := v(0), v(1), v(2), v(3)
			b.load(r[2], x)
			limit(x, t)
			VMOVAPS(t, c)
			a.argument(c)
			sigma(s, c)
			VMULPS(s, c, c) // σ·(1 − σ)
			if a.slope != nil {
				a.slope(t, c)
				VFMADD231PS(x, c, s)
			} else {
				VMOVAPS(c, s)
			}
			b.load(r[1], x)
			VMULPS(x, s, s)
			b.store(s, r[0])
		})
		done()
	}
}

// tanh emits the two loops of tanh. With f = e^(−2|x|) − 1, kept whole where it is small, tanh |x| = −f/(2 + f), 1 beyond
// |x| = 43; with e = e^(−2|x|) its derivative is 4·e/(1 + e)².
func (m *machine) tanh() {
	v := m.v
	x, f, e := v(0), v(1), v(2)
	r, n := m.function("vecTanh", "func(dst, x *float32, n int)", "vecTanh sets dst = tanh x.", "dst", "x")
	VMOVUPS(m.c(-87), v(13))
	VMOVUPS(m.c(0), v(14))
	m.loop(n, r, 1, func(b block) {
		b.load(r[1], x)
		m.abs(x, f)
		VMULPS(m.c(-2), f, f)
		m.expParts(f, v(4), v(5), nil)
		if m.wide { // e = 2^n
			VMOVUPS(m.c(1), e)
			VSCALEFPS(v(4), e, e)
		} else {
			VCVTPS2DQ(v(4), e)
			VPADDD(m.word(127), e, e)
			VPSLLD(U8(23), e, e)
		}
		VSUBPS(m.c(1), e, f)
		VFMADD231PS(e, v(5), f) // 2^n − 1 + 2^n·(e^r − 1)
		VADDPS(m.c(2), f, e)
		VDIVPS(e, f, f) // −tanh |x|
		m.and(m.word(0x80000000), x, x)
		m.xor(m.word(0x80000000), x, x)
		m.xor(x, f, f)
		b.store(f, r[0])
	})
	done()

	r, n = m.function("vecTanhGrad", "func(dst, dy, x *float32, n int)", "vecTanhGrad sets dst = dy·(1 − tanh² x).", "dst", "dy", "x")
	m.clamps()
	m.loop(n, r, 1, func(b block) {
		b.load(r[2], e)
		m.abs(e, e)
		VMULPS(m.c(-2), e, e)
		m.exp(e, v(4), v(5), nil)
		VADDPS(m.c(1), e, f)
		VMULPS(f, f, f)
		VMULPS(m.c(4), e, e)
		VDIVPS(f, e, e)
		b.load(r[1], x)
		VMULPS(x, e, e)
		b.store(e, r[0])
	})
	done()
}

func (m *machine) and(a, b Op, to VecPhysical) {
	if m.wide {
		VPANDD(a, b, to)
	} else {
		VANDPS(a, b, to)
	}
}

func (m *machine) or(a, b Op, to VecPhysical) {
	if m.wide {
		VPORD(a, b, to)
	} else {
		VORPS(a, b, to)
	}
}

func (m *machine) xor(a, b Op, to VecPhysical) {
	if m.wide {
		VPXORD(a, b, to)
	} else {
		VXORPS(a, b, to)
	}
}

// choose moves from into to where x is negative.
func (m *machine) choose(x, from, to VecPhysical) {
	if m.wide {
		VPMOVD2M(x, K2)
		VMOVAPS(from, K2, to)
	} else {
		VBLENDVPS(x, from, to, to)
	}
}

// normal emits z = |x|, at most 20, beyond which nothing changes, e = exp(−z²/2), and w with Φ(−z) = w·e; scratch is
// registers 4 to 6. The square is kept in two parts: a rounding of z²/2 = 50 would show as 25 units in the last place.
func (m *machine) normal(x, z, e, w VecPhysical) {
	v := m.v
	t, s, low := v(4), v(5), v(6)
	VMOVUPS(m.c(20), s)
	m.abs(x, z)
	VMINPS(z, s, z) // NaN passes
	VMULPS(z, z, e)
	VMOVAPS(e, low)
	VFMSUB231PS(z, z, low) // z·z − e, exact
	VMULPS(m.c(-0.5), e, e)
	VMULPS(m.c(-0.5), low, low)
	m.exp(e, t, s, &low)
	VADDPS(m.c(2.5), z, low)
	VMOVUPS(m.c(1), t)
	VDIVPS(low, t, t)
	VMULPS(z, t, s)
	VMOVUPS(m.c(normalFit[10]), w)
	for i := 9; i >= 0; i-- {
		VFMADD213PS(m.c(normalFit[i]), s, w)
	}
	VMULPS(t, w, w)
}
