package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

func (m *machine) norms() {
	v := m.v
	r, n := m.function("vecNormApply", "func(out, x, gamma, beta *float32, mean, rstd float32, n int)",
		"vecNormApply sets out = (x − mean)·rstd·gamma + beta.", "out", "x", "gamma", "beta")
	m.arg("mean", v(13))
	m.arg("rstd", v(14))
	m.loop(n, r, 2, func(b block) {
		x, g, t := v(3*b.u), v(3*b.u+1), v(3*b.u+2)
		b.load(r[1], x)
		b.load(r[2], g)
		b.load(r[3], t)
		VSUBPS(v(13), x, x)
		VMULPS(v(14), x, x)
		VFMADD213PS(t, g, x) // x = g·x + t
		b.store(x, r[0])
	})
	done()

	r, n = m.function("vecNormSums", "func(x, gamma, dy, dgamma, dbeta *float32, mean, rstd float32, n int) (sum, cross float32)",
		"vecNormSums adds dy·x̂ to dgamma and dy to dbeta, and returns Σ dy·gamma and Σ dy·gamma·x̂.", "x", "gamma", "dy", "dgamma", "dbeta")
	for i := range 4 {
		m.zero(v(i))
	}
	m.arg("mean", v(13))
	m.arg("rstd", v(14))
	m.loop(n, r, 2, func(b block) {
		x, g, dy, s := v(4), v(5), v(6), v(7)
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

	r, n = m.function("vecNormGrad", "func(dx, x, gamma, dy *float32, mean, rstd, sum, cross float32, n int)",
		"vecNormGrad sets dx = rstd·(dy·gamma − sum − x̂·cross).", "dx", "x", "gamma", "dy")
	m.arg("mean", v(11))
	m.arg("rstd", v(12))
	m.arg("sum", v(13))
	m.arg("cross", v(14))
	m.loop(n, r, 2, func(b block) {
		x, g, dy := v(3*b.u), v(3*b.u+1), v(3*b.u+2)
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
	})
	done()
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
