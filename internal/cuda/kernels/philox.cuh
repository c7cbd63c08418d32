// Random bits by counter, Philox4x32-10 (internal/rng), and the dropout that is made of them (kernel.Dropout). Nothing
// is stored: forward and backward compute the same bits. A call is 20 multiplications of 32 bits and gives four words.
#pragma once

#include "common.cuh"

struct Words {
	uint4 a, b;
};

INLINE uint4 mix(uint4 c, u32 k0, u32 k1) {
	u64 p = (u64)0xD2511F53u * c.x, q = (u64)0xCD9E8D57u * c.z;
	return make_uint4((u32)(q >> 32) ^ c.y ^ k0, (u32)q, (u32)(p >> 32) ^ c.w ^ k1, (u32)p);
}

INLINE void nextKey(u32& k0, u32& k1) {
	k0 += 0x9E3779B9u;
	k1 += 0xBB67AE85u;
}

// philox2 is two calls at once: they share the keys, and one has something to do while the other waits.
INLINE Words philox2(Words w, u32 k0, u32 k1) {
#pragma unroll
	for (int i = 0; i < 10; i++) {
		w.a = mix(w.a, k0, k1);
		w.b = mix(w.b, k0, k1);
		nextKey(k0, k1);
	}
	return w;
}

// philox is one call in little code.
INLINE uint4 philox(uint4 c, u32 k0, u32 k1) {
#pragma unroll 1
	for (int i = 0; i < 10; i++) {
		c = mix(c, k0, k1);
		nextKey(k0, k1);
	}
	return c;
}

// Drop is the dropout of one value. Its threshold is 0 when nothing is dropped.
struct Drop {
	u32 threshold, counter, step, key0, key1;
	float scale;
};

INLINE Drop dropOf(const int* header, u32 site, u32 threshold, float scale) {
	Drop d = {threshold, 6u << 24 | site, 0, 0, 0, scale}; // 6: rng.Dropout
	if (threshold != 0) {
		d.step = header[headStep];
		d.key0 = header[headSeedLow];
		d.key1 = header[headSeedHigh];
	}
	return d;
}

// Spot is where a row lies: what elementOf has to load for it.
struct Spot {
	int piece, place; // of its token; else piece is the row
};

INLINE Spot spotOf(const int* header, int T, int kind, int row) {
	Spot s = {row, 0};
	if (kind == rowsMasked) row = maskedOf(header, T)[row];
	if (kind == rowsMasked || kind == rowsTokens) s.piece = pieceOf(header, T)[row], s.place = placeOf(header, T)[row];
	return s;
}

INLINE u64 elementOf(Spot s, int kind, int ordinal, int W) {
	u64 at = s.piece;
	if (kind != rowsAll) at += (u32)ordinal;
	if (kind == rowsMasked || kind == rowsTokens) at = at * 65536u + s.place;
	return at * (u64)W;
}

// elementOf is the element of column 0 of a row (kernel.Header.DropoutElement).
INLINE u64 elementOf(const int* header, int T, int kind, int row, int W) {
	return elementOf(spotOf(header, T, kind, row), kind, header[headOrdinal], W);
}

INLINE uint4 counterOf(const Drop& d, u64 call) { return make_uint4((u32)call, (u32)(call >> 32), d.step, d.counter); }

INLINE u32 keep4(const Drop& d, uint4 w) {
	return (w.x >= d.threshold ? 1u : 0u) | (w.y >= d.threshold ? 2u : 0u) | (w.z >= d.threshold ? 4u : 0u) |
		(w.w >= d.threshold ? 8u : 0u);
}

// keepOf says which of a thread's columns stay: bit i is value i. element is that of column 0. Where the width is a
// multiple of four, each group of columns is one call; else it lies in two.
INLINE u32 keepOf(const Drop& d, u64 element, const Columns& c) {
	u64 a = (element + c.a) / 4, b = (element + c.b) / 4;
	u32 first = (u32)element & 3u; // that of the groups too: they begin at multiples of four
	Words w = {counterOf(d, a), counterOf(d, b)};
	w = philox2(w, d.key0, d.key1);
	u32 low = keep4(d, w.a), high = keep4(d, w.b);
	if (first != 0) {
		low |= keep4(d, philox(counterOf(d, a + 1), d.key0, d.key1)) << 4;
		high |= keep4(d, philox(counterOf(d, b + 1), d.key0, d.key1)) << 4;
	}
	return (low >> first & 15u) | (high >> first & 15u) << 4;
}

// keepSmall is keepOf in little code, for the ways that are rarely taken.
INLINE u32 keepSmall(const Drop& d, u64 element, const Columns& c) {
	u32 keep = 0;
#pragma unroll 1
	for (int i = 0; i < 8; i++) {
		u64 at = element + (i < 4 ? c.a + i : c.b + i - 4);
		uint4 w = philox(counterOf(d, at / 4), d.key0, d.key1);
		u32 k = (u32)at & 3u;
		keep |= ((k == 0 ? w.x : k == 1 ? w.y : k == 2 ? w.z : w.w) >= d.threshold ? 1u : 0u) << i;
	}
	return keep;
}

// drop sets what goes to 0, whatever it was, and scales what stays.
INLINE void drop(float (&v)[8], u32 keep, float scale) {
#pragma unroll
	for (int i = 0; i < 8; i++) v[i] = keep >> i & 1u ? __fmul_rn(v[i], scale) : 0.0f;
}
