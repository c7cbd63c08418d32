// Command vec writes the loops over rows of one instruction set: sums, exponentials, activations, normalisation, the
// optimizer.
package main

import (
	"flag"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

var isa = flag.String("isa", "avx512", "instruction set: avx512 or avx2")

func main() {
	flag.Parse()
	ConstraintExpr("!noasm")
	m := &machine{wide: *isa == "avx512", consts: map[string]Mem{}}
	m.maps()
	m.reductions()
	m.exponentials()
	m.halfGelu()
	m.sigmoids()
	m.tanh()
	m.norms()
	m.conversions()
	m.optimizer()
	Generate()
}

// maps are the elementwise loops.
func (m *machine) maps() {
	v := m.v
	r, n := m.function("vecAdd", "func(dst, a, b *float32, n int)", "vecAdd sets dst = a + b.", "dst", "a", "b")
	m.loop(n, r, 4, func(b block) {
		x := v(b.u * 2)
		y := v(b.u*2 + 1)
		b.load(r[1], x)
		b.load(r[2], y)
		VADDPS(x, y, x)
		b.store(x, r[0])
	})
	done()

	// Rows of an embedding table stand anywhere: a kilobyte is over before the processor has seen a stream.
	r, n = m.function("prefetch", "func(x *byte, n int)", "prefetch fetches n bytes, whole cache lines, into L1.", "x")
	Label("line")
	SUBQ(U8(64), n)
	JL(LabelRef("end"))
	PREFETCHT0(Mem{Base: r[0]})
	ADDQ(U8(64), r[0])
	JMP(LabelRef("line"))
	Label("end")
	RET()

	r, n = m.function("vecShift", "func(dst, x *float32, a float32, n int)", "vecShift adds x + a to dst.", "dst", "x")
	m.arg("a", v(14))
	m.loop(n, r, 4, func(b block) {
		x := v(b.u * 2)
		y := v(b.u*2 + 1)
		b.load(r[1], x)
		b.load(r[0], y)
		VADDPS(v(14), x, x)
		VADDPS(x, y, y)
		b.store(y, r[0])
	})
	done()

	r, n = m.function("vecScale", "func(dst, x *float32, a float32, n int)", "vecScale sets dst = a·x.", "dst", "x")
	m.arg("a", v(14))
	m.loop(n, r, 4, func(b block) {
		x := v(b.u)
		b.load(r[1], x)
		VMULPS(x, v(14), x)
		b.store(x, r[0])
	})
	done()

	r, n = m.function("vecSoftmaxGrad", "func(ds, p, dp *float32, a, delta float32, n int)", "vecSoftmaxGrad sets ds = a·p·(dp − delta).", "ds", "p", "dp")
	m.arg("a", v(14))
	m.arg("delta", v(13))
	m.loop(n, r, 2, func(b block) {
		x := v(b.u * 2)
		y := v(b.u*2 + 1)
		b.load(r[1], x)
		b.load(r[2], y)
		VSUBPS(v(13), y, y)
		VMULPS(x, v(14), x)
		VMULPS(x, y, x)
		b.store(x, r[0])
	})
	done()
}

// reductions keep four vectors of partial results and fold them in a fixed tree.
func (m *machine) reductions() {
	v := m.v
	add := func(a, b, to Op) { VADDPS(a, b, to) }
	clear := func() {
		for i := range 4 {
			m.zero(v(i))
		}
	}

	clearName := func(name, signature, doc string, p ...string) ([]Register, Register) {
		r, n := m.function(name, signature, doc, p...)
		clear()
		return r, n
	}
	r, n := clearName("vecSum", "func(x *float32, n int) float32", "vecSum returns Σ x.", "x")
	m.loop(n, r, 4, func(b block) {
		b.load(r[0], v(4+b.u))
		VADDPS(v(4+b.u), v(b.u), v(b.u))
	})
	m.fold(4, add)
	Store(X0, ReturnIndex(0))
	done()

	r, n = clearName("vecDot", "func(a, b *float32, n int) float32", "vecDot returns Σ a·b.", "a", "b")
	m.loop(n, r, 4, func(b block) {
		b.load(r[0], v(4+b.u))
		b.load(r[1], v(8+b.u))
		VFMADD231PS(v(4+b.u), v(8+b.u), v(b.u))
	})
	m.fold(4, add)
	Store(X0, ReturnIndex(0))
	done()

	r, n = clearName("vecDeviation", "func(x *float32, mean float32, n int) float32", "vecDeviation returns Σ (x − mean)².", "x")
	m.arg("mean", v(14))
	m.loop(n, r, 4, func(b block) {
		x := v(4 + b.u)
		b.load(r[0], x)
		VSUBPS(v(14), x, x)
		b.clip(x)
		VFMADD231PS(x, x, v(b.u))
	})
	m.fold(4, add)
	Store(X0, ReturnIndex(0))
	done()

	r, n = m.function("vecMax", "func(x *float32, n int) float32", "vecMax returns the largest element, −Inf for none.", "x")
	least := m.word(0xff800000)
	for i := range 4 {
		VMOVUPS(least, v(i))
	}
	m.loop(n, r, 4, func(b block) {
		x := v(4 + b.u)
		b.load(r[0], x)
		switch {
		case !b.tail:
			VMAXPS(x, v(b.u), v(b.u))
		case m.wide:
			VMAXPS(x, v(b.u), K1, v(b.u))
		default:
			VMOVUPS(least, v(8))
			VBLENDVPS(Y15, x, v(8), x)
			VMAXPS(x, v(b.u), v(b.u))
		}
	})
	m.fold(4, func(a, b, to Op) { VMAXPS(a, b, to) })
	Store(X0, ReturnIndex(0))
	done()

	r, n = m.function("vecAddDouble", "func(dst *float64, x *float32, n int)", "vecAddDouble adds x to dst; n is a multiple of 16.", "dst:64", "x")
	m.whole = true
	m.loop(n, r, 1, func(b block) {
		x, lo, hi := v(0), v(1), v(2)
		b.load(r[1], x)
		m.doubles(x, lo, hi)
		for i, d := range []VecPhysical{lo, hi} {
			at := b.at(r[0])
			at.Disp += 4 * m.lanes() * i
			VADDPD(at, d, d)
			VMOVUPD(d, at)
		}
	})
	done()

	r, n = clearName("vecSumSquares", "func(x *float32, n int) float64", "vecSumSquares returns Σ x², accumulated in float64.", "x")
	m.loop(n, r, 2, func(b block) {
		x := v(4 + 4*b.u)
		b.load(r[0], x)
		lo, hi := v(5+4*b.u), v(6+4*b.u)
		m.doubles(x, lo, hi)
		VFMADD231PD(lo, lo, v(2*b.u))
		VFMADD231PD(hi, hi, v(2*b.u+1))
	})
	for _, i := range []int{0, 2} {
		VADDPD(v(i+1), v(i), v(i))
	}
	VADDPD(v(2), v(0), v(0))
	if m.wide {
		VEXTRACTF64X4(U8(1), Z0, Y1)
		VADDPD(Y1, Y0, Y0)
	}
	VEXTRACTF128(U8(1), Y0, X1)
	VADDPD(X1, X0, X0)
	VPSHUFD(U8(0x4e), X0, X1)
	VADDPD(X1, X0, X0)
	Store(X0, ReturnIndex(0))
	done()
}

// doubles emits lo, hi = the halves of x as float64s.
func (m *machine) doubles(x, lo, hi VecPhysical) {
	if m.wide {
		VEXTRACTF64X4(U8(1), x, hi.AsY())
		VCVTPS2PD(x.AsY(), lo)
		VCVTPS2PD(hi.AsY(), hi)
	} else {
		VEXTRACTF128(U8(1), x, hi.AsX())
		VCVTPS2PD(x.AsX(), lo)
		VCVTPS2PD(hi.AsX(), hi)
	}
}
