// What all kernels share: number formats, rows of eight columns, the step header.
//
// The sources need nothing but what NVRTC has built in; shim/shim.h stands in for that where they are compiled as C++.
#pragma once

typedef unsigned int u32;
typedef unsigned long long u64;
typedef long long i64;

#define INLINE __device__ __forceinline__

// bf16 is a bfloat16 by its bits: the upper half of a float32.
struct bf16 {
	unsigned short bits;
};

INLINE float widen(u32 bits) { return __uint_as_float(bits << 16); }

// narrow rounds to the nearest bfloat16, ties to even; a NaN stays a quiet NaN with its sign. (The processor's own
// conversion makes all NaN equal.)
INLINE u32 narrow(float x) {
	u32 b = __float_as_uint(x);
	if ((b & 0x7fffffffu) > 0x7f800000u) return b >> 16 | 0x40u;
	return (b + 0x7fffu + (b >> 16 & 1u)) >> 16;
}

INLINE float read(const float* p) { return *p; }
INLINE float read(const bf16* p) { return widen(p->bits); }
INLINE void write(float* p, float x) { *p = x; }
INLINE void write(bf16* p, float x) { p->bits = (unsigned short)narrow(x); }

INLINE bool aligned(const void* p) { return ((u64)p & 15u) == 0; }

// Raw is eight elements as they lie in memory. Loads go to it first, so that those of the next row can be under way
// while this one is computed.
template <class T> struct Raw;
template <> struct Raw<float> {
	float4 a, b;
};
template <> struct Raw<bf16> {
	uint4 a;
};

// fetch reads n of eight elements, the others are 0; whole: all eight, 16 bytes at a time.
INLINE void fetch(Raw<float>& r, const float* p, int n, bool whole) {
	if (whole) {
		r.a = ((const float4*)p)[0];
		r.b = ((const float4*)p)[1];
		return;
	}
	r.a.x = n > 0 ? p[0] : 0.0f;
	r.a.y = n > 1 ? p[1] : 0.0f;
	r.a.z = n > 2 ? p[2] : 0.0f;
	r.a.w = n > 3 ? p[3] : 0.0f;
	r.b.x = n > 4 ? p[4] : 0.0f;
	r.b.y = n > 5 ? p[5] : 0.0f;
	r.b.z = n > 6 ? p[6] : 0.0f;
	r.b.w = n > 7 ? p[7] : 0.0f;
}

INLINE u32 pair(const bf16* p, int n) { return (n > 0 ? p[0].bits : 0u) | (n > 1 ? p[1].bits : 0u) << 16; }

INLINE void fetch(Raw<bf16>& r, const bf16* p, int n, bool whole) {
	if (whole) {
		r.a = ((const uint4*)p)[0];
		return;
	}
	r.a.x = pair(p, n);
	r.a.y = pair(p + 2, n - 2);
	r.a.z = pair(p + 4, n - 4);
	r.a.w = pair(p + 6, n - 6);
}

// unpack gives the values of eight elements.
INLINE void unpack(float (&v)[8], const Raw<float>& r) {
	v[0] = r.a.x, v[1] = r.a.y, v[2] = r.a.z, v[3] = r.a.w;
	v[4] = r.b.x, v[5] = r.b.y, v[6] = r.b.z, v[7] = r.b.w;
}

INLINE void unpack(float (&v)[8], const Raw<bf16>& r) {
	v[0] = widen(r.a.x), v[1] = __uint_as_float(r.a.x & 0xffff0000u);
	v[2] = widen(r.a.y), v[3] = __uint_as_float(r.a.y & 0xffff0000u);
	v[4] = widen(r.a.z), v[5] = __uint_as_float(r.a.z & 0xffff0000u);
	v[6] = widen(r.a.w), v[7] = __uint_as_float(r.a.w & 0xffff0000u);
}

// load is fetch and unpack.
template <class T> INLINE void load(float (&v)[8], const T* p, int n, bool whole) {
	Raw<T> r;
	fetch(r, p, n, whole);
	unpack(v, r);
}

// store writes n of eight values.
INLINE void store(float* p, const float (&v)[8], int n, bool whole) {
	if (whole) {
		((float4*)p)[0] = make_float4(v[0], v[1], v[2], v[3]);
		((float4*)p)[1] = make_float4(v[4], v[5], v[6], v[7]);
		return;
	}
#pragma unroll
	for (int i = 0; i < 8; i++)
		if (i < n) p[i] = v[i];
}

INLINE void store(bf16* p, const float (&v)[8], int n, bool whole) {
	u32 b[8];
#pragma unroll
	for (int i = 0; i < 8; i++) b[i] = narrow(v[i]);
	if (whole) {
		*(uint4*)p = make_uint4(b[0] | b[1] << 16, b[2] | b[3] << 16, b[4] | b[5] << 16, b[6] | b[7] << 16);
		return;
	}
#pragma unroll
	for (int i = 0; i < 8; i++)
		if (i < n) p[i].bits = (unsigned short)b[i];
}

// sum8 adds in a fixed tree.
INLINE float sum8(const float (&v)[8]) {
	return ((v[0] + v[1]) + (v[2] + v[3])) + ((v[4] + v[5]) + (v[6] + v[7]));
}

// The step header (kernel.Header).
enum { rowsAll, rowsTokens, rowsMasked, rowsPieces };
enum { headTokens, headPieces, headMasked, headStep, headSeedLow, headSeedHigh, headOrdinal, headFixed = 16 };

INLINE const int* offsetsOf(const int* header) { return header + headFixed; }
INLINE const int* pieceOf(const int* header, int T) { return header + headFixed + T / 2 + 1; }
INLINE const int* placeOf(const int* header, int T) { return pieceOf(header, T) + T; }
INLINE const int* maskedOf(const int* header, int T) { return pieceOf(header, T) + 2 * (i64)T; }

// rowsInUse is the rows in use of a value that has N in its shape.
INLINE int rowsInUse(const int* header, int kind, int N) {
	switch (kind) {
	case rowsTokens: return header[headTokens];
	case rowsMasked: return header[headMasked];
	case rowsPieces: return header[headPieces];
	}
	return N;
}

// Tile is where a thread of a launch of 32 x 8 threads works: eight columns of every so manyth row.
struct Tile {
	int row, rowStep, column, columnStep;
};

INLINE Tile tile() {
	Tile t;
	t.row = blockIdx.y * blockDim.y + threadIdx.y;
	t.rowStep = gridDim.y * blockDim.y;
	t.column = (blockIdx.x * blockDim.x + threadIdx.x) * 8;
	t.columnStep = gridDim.x * blockDim.x * 8;
	return t;
}

// within is how many of eight columns from c on lie in a row of width W.
INLINE int within(int c, int W) { return W - c < 0 ? 0 : W - c > 8 ? 8 : W - c; }
