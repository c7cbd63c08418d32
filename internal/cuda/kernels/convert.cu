// float32 to BF16 and back (internal/bf16, the same bits for all 2^32 inputs), and sums and products of whole vectors.
//
// Bytes an element: conversions 6, add 12 (BF16 6), scale 8. A few operations on eight elements a thread: bound by memory.
// Threads take eight elements at a time where all addresses are multiples of 16, the rest and everything else one by one.
#include "common.cuh"

// Span is the part of n elements that a thread of a one-dimensional launch works on.
struct Span {
	i64 first, step, groups;
};

INLINE Span spanOf(i64 n, bool whole) {
	Span s;
	s.first = (i64)blockIdx.x * blockDim.x + threadIdx.x;
	s.step = (i64)gridDim.x * blockDim.x;
	s.groups = whole ? n / 8 : 0; // of eight elements
	return s;
}

template <class I, class O> INLINE void convert(const I* x, O* out, i64 n) {
	Span s = spanOf(n, aligned(x) && aligned(out));
	for (i64 i = s.first; i < s.groups; i += s.step) {
		float v[8];
		load(v, x + 8 * i, 8, true);
		store(out + 8 * i, v, 8, true);
	}
	for (i64 i = 8 * s.groups + s.first; i < n; i += s.step) write(out + i, read(x + i));
}

extern "C" __global__ void __launch_bounds__(256) convert_f32_bf16(const float* x, bf16* out, i64 n) { convert(x, out, n); }
extern "C" __global__ void __launch_bounds__(256) convert_bf16_f32(const bf16* x, float* out, i64 n) { convert(x, out, n); }

// add: out = a + b, rounded once; out may be a or b.
template <class T> INLINE void add(const T* a, const T* b, T* out, i64 n) {
	Span s = spanOf(n, aligned(a) && aligned(b) && aligned(out));
	for (i64 i = s.first; i < s.groups; i += s.step) {
		float v[8], w[8];
		load(v, a + 8 * i, 8, true);
		load(w, b + 8 * i, 8, true);
#pragma unroll
		for (int j = 0; j < 8; j++) v[j] = __fadd_rn(v[j], w[j]);
		store(out + 8 * i, v, 8, true);
	}
	for (i64 i = 8 * s.groups + s.first; i < n; i += s.step) write(out + i, __fadd_rn(read(a + i), read(b + i)));
}

extern "C" __global__ void __launch_bounds__(256) add_f32(const float* a, const float* b, float* out, i64 n) { add(a, b, out, n); }
extern "C" __global__ void __launch_bounds__(256) add_bf16(const bf16* a, const bf16* b, bf16* out, i64 n) { add(a, b, out, n); }

// scale_f32: d = beta*d; beta 0 clears without reading.
extern "C" __global__ void __launch_bounds__(256) scale_f32(float* d, i64 n, float beta) {
	Span s = spanOf(n, aligned(d));
	for (i64 i = s.first; i < s.groups; i += s.step) {
		float v[8] = {0};
		if (beta != 0) {
			load(v, d + 8 * i, 8, true);
#pragma unroll
			for (int j = 0; j < 8; j++) v[j] = __fmul_rn(v[j], beta);
		}
		store(d + 8 * i, v, 8, true);
	}
	for (i64 i = 8 * s.groups + s.first; i < n; i += s.step) d[i] = beta != 0 ? __fmul_rn(d[i], beta) : 0.0f;
}
