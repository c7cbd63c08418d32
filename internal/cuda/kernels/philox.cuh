// Random bits by counter, Philox4x32-10 (internal/rng), and the dropout that is made of them (kernel.Dropout). Nothing is
// stored: forward and backward compute the same bits. A call is 20 multiplications of 32 bits and gives four words.
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

// elementOf is the element of column 0 of a row (kernel.Header.DropoutElement).
INLINE u64 elementOf(const int* header, int T, int kind, int row, int W) {
	u64 at = row;
	if (kind == rowsMasked) row = maskedOf(header, T)[row];
	if (kind == rowsMasked || kind == rowsTokens)
		at = ((u64)(u32)header[headOrdinal] + pieceOf(header, T)[row]) * 65536u + placeOf(header, T)[row];
	if (kind == rowsPieces) at += (u32)header[headOrdinal];
	return at * (u64)W;
}

INLINE uint4 counterOf(const Drop& d, u64 call) { return make_uint4((u32)call, (u32)(call >> 32), d.step, d.counter); }

INLINE u32 keep4(const Drop& d, uint4 w) {
	return (w.x >= d.threshold ? 1u : 0u) | (w.y >= d.threshold ? 2u : 0u) | (w.z >= d.threshold ? 4u : 0u) |
		(w.w >= d.threshold ? 8u : 0u);
}

// keep8 says which of eight elements stay: bit i is element + i. Where the width is a multiple of four, they are those of
// two calls.
INLINE u32 keep8(const Drop& d, u64 element) {
	u64 call = element / 4;
	Words w = {counterOf(d, call), counterOf(d, call + 1)};
	w = philox2(w, d.key0, d.key1);
	u32 first = (u32)element & 3u, keep = keep4(d, w.a) | keep4(d, w.b) << 4;
	if (first != 0) keep |= keep4(d, philox(counterOf(d, call + 2), d.key0, d.key1)) << 8;
	return keep >> first;
}

// keep8Small is keep8 in little code, for the ways that are rarely taken.
INLINE u32 keep8Small(const Drop& d, u64 element) {
	u64 call = element / 4;
	u32 keep = 0;
#pragma unroll 1
	for (u32 i = 0; i < 3; i++) keep |= keep4(d, philox(counterOf(d, call + i), d.key0, d.key1)) << 4 * i;
	return keep >> ((u32)element & 3u);
}

// drop sets what goes to 0, whatever it was, and scales what stays.
INLINE void drop(float (&v)[8], u32 keep, float scale) {
#pragma unroll
	for (int i = 0; i < 8; i++) v[i] = keep >> i & 1u ? __fmul_rn(v[i], scale) : 0.0f;
}
