// The part of CUDA C that the kernels use, for a C++ compiler: each CUDA thread is a fibre of its own, so that barriers and
// warp shuffles stop one thread and let the next one run. It stands in for what NVRTC has built in and is included before
// every kernel source, which stays as it is.
#pragma once

#include <math.h>
#include <string.h>

#define __global__
#define __device__
#define __forceinline__ inline
#define __launch_bounds__(...)

// Shared memory is static memory, because blocks run one after the other. It lies in one section, so that it can be
// filled with rubbish before each block: a kernel that reads what nobody wrote gives NaN.
#ifdef __APPLE__
#define __shared__ static __attribute__((section("__DATA,shim_shared")))
#else
#define __shared__ static __attribute__((section("shim_shared")))
#endif

namespace shim {

struct Index {
	unsigned x, y, z;
};

struct Thread {
	Index index;
};

extern Thread* self; // the thread that runs

void barrier(const char* file, int line);

// exchange gives the 8 bytes that lane `from` of the warp hands in; all lanes of the mask must come.
unsigned long long exchange(unsigned mask, unsigned long long mine, unsigned from, const char* file, int line);

unsigned lane();

} // namespace shim

extern shim::Index blockIdx, blockDim, gridDim;
#define threadIdx (shim::self->index)
#define __syncthreads() shim::barrier(__FILE__, __LINE__)

template <class V>
V __shfl_xor_sync(unsigned mask, V v, int lanes, const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
	static_assert(sizeof(V) <= 8, "a shuffle moves up to 8 bytes");
	unsigned long long word = 0;
	memcpy(&word, &v, sizeof v);
	word = shim::exchange(mask, word, shim::lane() ^ (unsigned)lanes, file, line);
	memcpy(&v, &word, sizeof v);
	return v;
}

struct alignas(16) float4 {
	float x, y, z, w;
};
struct alignas(16) uint4 {
	unsigned x, y, z, w;
};
struct alignas(8) uint2 {
	unsigned x, y;
};

inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }
inline uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }

inline float __uint_as_float(unsigned u) {
	float f;
	memcpy(&f, &u, 4);
	return f;
}
inline unsigned __float_as_uint(float f) {
	unsigned u;
	memcpy(&u, &f, 4);
	return u;
}

// The build does not fuse products into sums, so that plain arithmetic is rounded step by step.
inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fsub_rn(float a, float b) { return a - b; }
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fdiv_rn(float a, float b) { return a / b; }
inline float __fsqrt_rn(float a) { return sqrtf(a); }
inline float rsqrtf(float a) { return 1.0f / sqrtf(a); }

inline int min(int a, int b) { return a < b ? a : b; }
inline int max(int a, int b) { return a > b ? a : b; }
