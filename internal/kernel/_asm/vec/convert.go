package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// BF16 is the upper half of a float32. Widening is a shift. Narrowing rounds to nearest even in integers: with the last
// kept bit added to 0x7fff, the sum carries where it should, into infinity too; a NaN keeps its upper bits and becomes
// quiet. (VCVTNEPS2BF16 would be one instruction, but takes denormals for 0.)
//
// The registers below, and Y9, are free in every loop that converts: those of 8 lanes take whole vectors alone, so that
// the mask of the last one is free as well.
func (m *machine) scratch() (t, q VecPhysical) {
	if m.wide {
		return Z30, Z31
	}
	return Y15, Y10
}

// widen emits r = the BF16s at a place.
func (m *machine) widen(at Mem, r VecPhysical, tail bool) {
	m.partial(tail)
	if tail {
		VPMOVZXWD_Z(at, K1, r)
	} else {
		VPMOVZXWD(at, r)
	}
	VPSLLD(U8(16), r, r)
}

// partial stops the generator where a loop of 8 lanes would convert a part of a vector.
func (m *machine) partial(tail bool) {
	if tail && !m.wide {
		panic("a loop of 8 lanes converts whole vectors only")
	}
}

// narrowing holds what narrow needs.
func (m *machine) narrowing() { m.hold(1, 0x7fff, 0x10000, 0x400000) }

// narrow emits the store of r as BF16s and leaves r as it is.
func (m *machine) narrow(r VecPhysical, at Mem, tail bool) {
	m.partial(tail)
	t, q := m.scratch()
	const unordered = 3
	if m.wide {
		VPTESTMD(m.word(0x10000), r, K4)
		VPADDD(m.word(0x7fff), r, t)
		VPADDD(m.word(1), t, K4, t)
		VCMPPS(U8(unordered), r, r, K2)
		VPORD(m.word(0x400000), r, K2, t)
		VPSRLD(U8(16), t, t)
		if tail {
			VPMOVDW(t, K1, at)
		} else {
			VPMOVDW(t, at)
		}
		return
	}
	VPSRLD(U8(16), r, t)
	m.and(m.word(1), t, t)
	VPADDD(m.word(0x7fff), t, t)
	VPADDD(r, t, t)
	VPOR(m.word(0x400000), r, q)
	VCMPPS(U8(unordered), r, r, Y9)
	VBLENDVPS(Y9, q, t, t)
	VPSRLD(U8(16), t, t)
	VEXTRACTI128(U8(1), t, q.AsX())
	VPACKUSDW(q.AsX(), t.AsX(), t.AsX())
	VMOVDQU(t.AsX(), at)
}

// keep emits x = x·scale where the bit at keep is set, else 0.
func (b block) keep(keep Register, scale, x VecPhysical) {
	if b.m.wide {
		KMOVW(b.at(keep), K3)
		VMULPS_Z(scale, x, K3, x)
		return
	}
	t, _ := b.m.scratch()
	lane := b.m.words("lanebit", []uint32{1, 2, 4, 8, 16, 32, 64, 128})
	VPBROADCASTB(b.at(keep), t)
	VPAND(lane, t, t)
	VPCMPEQD(lane, t, t)
	VMULPS(scale, x, x)
	VANDPS(t, x, x)
}

// conversions are the elementwise loops over BF16.
func (m *machine) conversions() {
	v := m.v
	r, n := m.function("vecWiden", "func(dst *float32, src *uint16, n int)", "vecWiden sets dst = src.", "dst", "src:16")
	m.whole = !m.wide
	m.loop(n, r, 4, func(b block) {
		b.load(r[1], v(b.u))
		b.store(v(b.u), r[0])
	})
	done()

	r, n = m.function("vecNarrow", "func(dst *uint16, src *float32, n int)", "vecNarrow sets dst = src, rounded.", "dst:16", "src")
	m.narrowing()
	m.whole = !m.wide
	m.loop(n, r, 4, func(b block) {
		b.load(r[1], v(b.u))
		b.store(v(b.u), r[0])
	})
	done()

	r, n = m.function("vecAdd16", "func(dst, a, b *uint16, n int)", "vecAdd16 sets dst = a + b, rounded.", "dst:16", "a:16", "b:16")
	m.narrowing()
	m.whole = !m.wide
	m.loop(n, r, 2, func(b block) {
		x, y := v(2*b.u), v(2*b.u+1)
		b.load(r[1], x)
		b.load(r[2], y)
		VADDPS(x, y, x)
		b.store(x, r[0])
	})
	done()

	r, n = m.function("vecAddWide", "func(dst *float32, x *uint16, n int)", "vecAddWide adds x to dst.", "dst", "x:16")
	m.whole = !m.wide
	m.loop(n, r, 4, func(b block) {
		x, y := v(2*(b.u%2)), v(2*(b.u%2)+1)
		b.load(r[1], x)
		b.load(r[0], y)
		VADDPS(x, y, x)
		b.store(x, r[0])
	})
	done()
}
