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
// conversion, narrow2, makes all NaN equal.)
INLINE u32 narrow(float x) {
	u32 b = __float_as_uint(x);
	if ((b & 0x7fffffffu) > 0x7f800000u) return b >> 16 | 0x40u;
	return (b + 0x7fffu + (b >> 16 & 1u)) >> 16;
}

// narrow2 rounds two values for arithmetic, where NaN is NaN: the processor's own conversion, one instruction instead
// of a dozen.
INLINE u32 narrow2(float low, float high) {
#ifdef __CUDA_ARCH__
	u32 both;
	asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(both) : "f"(high), "f"(low));
	return both;
#else
	return narrow(low) | narrow(high) << 16;
#endif
}

INLINE float read(const float* p) { return *p; }
INLINE float read(const bf16* p) { return widen(p->bits); }
INLINE void write(float* p, float x) { *p = x; }
INLINE void write(bf16* p, float x) { p->bits = (unsigned short)narrow(x); }

INLINE bool aligned(const void* p) { return ((u64)p & 15u) == 0; }

// Columns is the eight columns of a row that belong to a thread: two groups of four. A warp reads and writes whole runs
// of memory with 16 bytes a thread: with BF16 the groups are neighbours, with float32 they lie 128 columns apart, for
// else each access would leave out every other half of a 32-byte sector, and each sector would be written twice.
struct Columns {
	int a, b;     // first column of each group
	bool vectors; // rows start on 16 bytes in all operands
	int W;
};

template <class T> struct Layout;
template <> struct Layout<float> {
	enum { lane = 4, apart = 128, whole = 4 }; // whole: widths whose rows may start on 16 bytes
};
template <> struct Layout<bf16> {
	enum { lane = 8, apart = 4, whole = 8 };
};

// columnsOf gives the columns of a thread in the 32 lanes that have the 256 columns from base on.
template <class T> INLINE Columns columnsOf(int base, int lane, int W, bool vectors) {
	Columns c = {base + lane * Layout<T>::lane, base + lane * Layout<T>::lane + Layout<T>::apart, vectors, W};
	return c;
}

// columnsOf with WHOLE is for rows of whole runs of 256 columns that start on 16 bytes: the compiler then knows that
// every access is one of 16 bytes, for no column is beyond the largest number.
template <class T, bool WHOLE> INLINE Columns columnsOf(int base, int lane, int W, bool vectors) {
	return WHOLE ? columnsOf<T>(base, lane, 0x7fffffff, true) : columnsOf<T>(base, lane, W, vectors);
}

// columnOf is the column of value i of a lane.
template <class T> INLINE int columnOf(int lane, int i) { return lane * Layout<T>::lane + (i < 4 ? i : Layout<T>::apart + i - 4); }

INLINE float4 load4(const float* p) { return *(const float4*)p; }

INLINE float4 load4(const float* p, int n) {
	return make_float4(n > 0 ? p[0] : 0.0f, n > 1 ? p[1] : 0.0f, n > 2 ? p[2] : 0.0f, n > 3 ? p[3] : 0.0f);
}

INLINE u32 pair(const bf16* p, int n) { return (n > 0 ? p[0].bits : 0u) | (n > 1 ? p[1].bits : 0u) << 16; }

// fetch4 reads n of four elements; whole: all of them, in one access.
INLINE float4 fetch4(const float* p, int n, bool whole) { return whole ? load4(p) : load4(p, n); }
INLINE float4 fetch4(const bf16* p, int n, bool whole) {
	uint2 u = whole ? *(const uint2*)p : make_uint2(pair(p, n), pair(p + 2, n - 2));
	return make_float4(widen(u.x), __uint_as_float(u.x & 0xffff0000u), widen(u.y), __uint_as_float(u.y & 0xffff0000u));
}

// Raw is eight elements as they lie in memory. Loads go to it first, so that those of the next row can be under way
// while this one is computed.
template <class T> struct Raw;
template <> struct Raw<float> {
	float4 a, b;
};
template <> struct Raw<bf16> {
	uint4 a;
};

// fetch reads a thread's columns of a row; those beyond the width are 0.
INLINE void fetch(Raw<float>& r, const float* row, const Columns& c) {
	r.a = c.vectors && c.a + 4 <= c.W ? load4(row + c.a) : load4(row + c.a, c.W - c.a);
	r.b = c.vectors && c.b + 4 <= c.W ? load4(row + c.b) : load4(row + c.b, c.W - c.b);
}

INLINE void fetch(Raw<bf16>& r, const bf16* row, const Columns& c) {
	if (c.vectors && c.a + 8 <= c.W) {
		r.a = *(const uint4*)(row + c.a);
		return;
	}
	const bf16* p = row + c.a;
	int n = c.W - c.a;
	r.a = make_uint4(pair(p, n), pair(p + 2, n - 2), pair(p + 4, n - 4), pair(p + 6, n - 6));
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
template <class T> INLINE void load(float (&v)[8], const T* row, const Columns& c) {
	Raw<T> r;
	fetch(r, row, c);
	unpack(v, r);
}

INLINE void store4(float* p, float4 v, int n) {
	if (n > 0) p[0] = v.x;
	if (n > 1) p[1] = v.y;
	if (n > 2) p[2] = v.z;
	if (n > 3) p[3] = v.w;
}

// put writes a thread's columns of a row as they are.
INLINE void put(float* row, const Raw<float>& r, const Columns& c) {
	if (c.vectors && c.a + 4 <= c.W) *(float4*)(row + c.a) = r.a;
	else store4(row + c.a, r.a, c.W - c.a);
	if (c.vectors && c.b + 4 <= c.W) *(float4*)(row + c.b) = r.b;
	else store4(row + c.b, r.b, c.W - c.b);
}

INLINE void storePair(bf16* p, u32 v, int n) {
	if (n > 0) p[0].bits = (unsigned short)v;
	if (n > 1) p[1].bits = (unsigned short)(v >> 16);
}

INLINE void put(bf16* row, const Raw<bf16>& r, const Columns& c) {
	bf16* p = row + c.a;
	if (c.vectors && c.a + 8 <= c.W) {
		*(uint4*)p = r.a;
		return;
	}
	int n = c.W - c.a;
	storePair(p, r.a.x, n), storePair(p + 2, r.a.y, n - 2), storePair(p + 4, r.a.z, n - 4), storePair(p + 6, r.a.w, n - 6);
}

// store writes a thread's columns of a row, rounded to the type of the row.
INLINE void store(float* row, const float (&v)[8], const Columns& c) {
	Raw<float> r = {make_float4(v[0], v[1], v[2], v[3]), make_float4(v[4], v[5], v[6], v[7])};
	put(row, r, c);
}

INLINE void store(bf16* row, const float (&v)[8], const Columns& c) {
	Raw<bf16> r = {make_uint4(narrow2(v[0], v[1]), narrow2(v[2], v[3]), narrow2(v[4], v[5]), narrow2(v[6], v[7]))};
	put(row, r, c);
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

// Tile is where a thread of a launch of 32 x 8 threads works: its columns of every so manyth row.
struct Tile {
	int row, rowStep, base, baseStep; // base: the first of 256 columns
};

INLINE Tile tile() {
	Tile t;
	t.row = blockIdx.y * blockDim.y + threadIdx.y;
	t.rowStep = gridDim.y * blockDim.y;
	t.base = blockIdx.x * 256;
	t.baseStep = gridDim.x * 256;
	return t;
}
