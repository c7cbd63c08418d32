// float32 to BF16 and back (internal/bf16, the same bits for all 2^32 inputs), and sums and products of whole vectors.
//
// Bytes an element: conversions 6, add 12 (BF16 6), scale 8. A few operations on eight elements a thread: bound by
// memory. Threads write 16 bytes at a time where all addresses are multiples of 16, the rest and everything else one by
// one.
//
// Given up by count, nothing was timed: eight neighbouring float32 in one thread where float32 is written (common.cuh
// says why). Ruled out: conversions by the processor's own instruction, which makes all NaN equal; single elements of
// add_bf16 by anything else, because their NaN would differ from those of whole vectors.
#include "common.cuh"

// Span is the part of n elements that a thread of a one-dimensional launch works on: groups of `size`, then single
// ones.
struct Span {
	i64 first, step, groups;
};

INLINE Span spanOf(i64 n, int size, bool whole) {
	Span s;
	s.first = (i64)blockIdx.x * blockDim.x + threadIdx.x;
	s.step = (i64)gridDim.x * blockDim.x;
	s.groups = whole ? n / size : 0;
	return s;
}

INLINE void load8(float (&v)[8], const float* p) {
	Raw<float> r = {load4(p), load4(p + 4)};
	unpack(v, r);
}

INLINE void load8(float (&v)[8], const bf16* p) {
	Raw<bf16> r = {*(const uint4*)p};
	unpack(v, r);
}

INLINE u32 exact2(float low, float high) { return narrow(low) | narrow(high) << 16; }

extern "C" __global__ void __launch_bounds__(256) convert_f32_bf16(const float* x, bf16* out, i64 n) {
	Span s = spanOf(n, 8, aligned(x) && aligned(out));
	for (i64 i = s.first; i < s.groups; i += s.step) {
		float v[8];
		load8(v, x + 8 * i);
		((uint4*)out)[i] = make_uint4(exact2(v[0], v[1]), exact2(v[2], v[3]), exact2(v[4], v[5]), exact2(v[6], v[7]));
	}
	for (i64 i = 8 * s.groups + s.first; i < n; i += s.step) write(out + i, read(x + i));
}

extern "C" __global__ void __launch_bounds__(256) convert_bf16_f32(const bf16* x, float* out, i64 n) {
	Span s = spanOf(n, 4, aligned(x) && aligned(out));
	for (i64 i = s.first; i < s.groups; i += s.step) ((float4*)out)[i] = fetch4(x + 4 * i, 4, true);
	for (i64 i = 4 * s.groups + s.first; i < n; i += s.step) write(out + i, read(x + i));
}

// add: out = a + b, rounded once; out may be a or b.
extern "C" __global__ void __launch_bounds__(256) add_f32(const float* a, const float* b, float* out, i64 n) {
	Span s = spanOf(n, 4, aligned(a) && aligned(b) && aligned(out));
	for (i64 i = s.first; i < s.groups; i += s.step) {
		float4 v = load4(a + 4 * i), w = load4(b + 4 * i);
		((float4*)out)[i] = make_float4(__fadd_rn(v.x, w.x), __fadd_rn(v.y, w.y), __fadd_rn(v.z, w.z), __fadd_rn(v.w, w.w));
	}
	for (i64 i = 4 * s.groups + s.first; i < n; i += s.step) out[i] = __fadd_rn(a[i], b[i]);
}

extern "C" __global__ void __launch_bounds__(256) add_bf16(const bf16* a, const bf16* b, bf16* out, i64 n) {
	Span s = spanOf(n, 8, aligned(a) && aligned(b) && aligned(out));
	for (i64 i = s.first; i < s.groups; i += s.step) {
		float v[8], w[8];
		load8(v, a + 8 * i);
		load8(w, b + 8 * i);
#pragma unroll
		for (int j = 0; j < 8; j++) v[j] = __fadd_rn(v[j], w[j]);
		((uint4*)out)[i] = make_uint4(narrow2(v[0], v[1]), narrow2(v[2], v[3]), narrow2(v[4], v[5]), narrow2(v[6], v[7]));
	}
	for (i64 i = 8 * s.groups + s.first; i < n; i += s.step) out[i].bits = (unsigned short)narrow2(__fadd_rn(read(a + i), read(b + i)), 0.0f);
}

// scale_f32: d = beta*d; beta 0 clears without reading.
extern "C" __global__ void __launch_bounds__(256) scale_f32(float* d, i64 n, float beta) {
	Span s = spanOf(n, 4, aligned(d));
	for (i64 i = s.first; i < s.groups; i += s.step) {
		float4 v = make_float4(0, 0, 0, 0);
		if (beta != 0) {
			v = load4(d + 4 * i);
			v = make_float4(__fmul_rn(v.x, beta), __fmul_rn(v.y, beta), __fmul_rn(v.z, beta), __fmul_rn(v.w, beta));
		}
		((float4*)d)[i] = v;
	}
	for (i64 i = 4 * s.groups + s.first; i < n; i += s.step) d[i] = beta != 0 ? __fmul_rn(d[i], beta) : 0.0f;
}
