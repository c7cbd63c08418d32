// AdamW over an arena, and the sum of squares that clipping needs.
//
// adamw rounds every operation as ref does (torch's order), so that families agree bit for bit. It reads 16 bytes and
// writes 12 an element, in about 15 operations with a square root and two divisions: bound by memory.
//
// sum_squares: blocks of 4,096 elements, 4 bytes an element. A thread adds 16 squares in float64, a tree adds the
// threads, and sum_tree adds the blocks in 1,024 strands and a tree over them. All of it depends on n alone.
//
// Given up by the machine code, nothing was timed: a strand of sum_tree as a loop unrolled by four, where each load
// waited for the one before it; the last tree in every warp of a block instead of in the first, though additions in
// float64 are what some GPUs have fewest of. Ruled out: roots and divisions of less than full precision, which are not
// ref's bits.
#include "common.cuh"
#include "reduce.cuh"

struct AdamW {
	float decay, clip, rise1, rise2, keep2, eps, step, root;
};

INLINE void update(const AdamW& a, float& w, float g, float& m, float& v) {
	g = __fmul_rn(g, a.clip);
	m = __fadd_rn(m, __fmul_rn(a.rise1, __fsub_rn(g, m)));
	v = __fadd_rn(__fmul_rn(v, a.keep2), __fmul_rn(__fmul_rn(a.rise2, g), g));
	float denominator = __fadd_rn(__fdiv_rn(__fsqrt_rn(v), a.root), a.eps);
	w = __fsub_rn(__fmul_rn(w, a.decay), __fdiv_rn(__fmul_rn(a.step, m), denominator));
}

extern "C" __global__ void __launch_bounds__(256) adamw(float* w, const float* g, float* m, float* v, i64 n, float decay,
	float clip, float rise1, float rise2, float keep2, float eps, float step, float root) {
	AdamW a = {decay, clip, rise1, rise2, keep2, eps, step, root};
	i64 first = (i64)blockIdx.x * blockDim.x + threadIdx.x, stride = (i64)gridDim.x * blockDim.x;
	i64 groups = aligned(w) && aligned(g) && aligned(m) && aligned(v) ? n / 4 : 0;
	for (i64 i = first; i < groups; i += stride) {
		float4 ww = ((float4*)w)[i], gg = ((const float4*)g)[i], mm = ((float4*)m)[i], vv = ((float4*)v)[i];
		update(a, ww.x, gg.x, mm.x, vv.x);
		update(a, ww.y, gg.y, mm.y, vv.y);
		update(a, ww.z, gg.z, mm.z, vv.z);
		update(a, ww.w, gg.w, mm.w, vv.w);
		((float4*)w)[i] = ww;
		((float4*)m)[i] = mm;
		((float4*)v)[i] = vv;
	}
	for (i64 i = 4 * groups + first; i < n; i += stride) update(a, w[i], g[i], m[i], v[i]);
}

// blockSum adds one value of each thread of a block; part holds one for each of up to 32 warps. The first warp gets the
// sum: additions in float64 are what some GPUs have fewest of.
INLINE double blockSum(double v, double* part) {
	v = warpSum(v);
	__syncthreads(); // part may still be read from the last time
	if (threadIdx.x % 32 == 0) part[threadIdx.x / 32] = v;
	__syncthreads();
	if (threadIdx.x >= 32) return 0;
	return warpSum(threadIdx.x < blockDim.x / 32 ? part[threadIdx.x] : 0.0);
}

enum { sumBlock = 4096 };

extern "C" __global__ void __launch_bounds__(256) sum_squares(const float* g, double* partial, i64 n) {
	__shared__ double part[32];
	i64 blocks = (n + sumBlock - 1) / sumBlock;
	bool whole = aligned(g);
	for (i64 block = blockIdx.x; block < blocks; block += gridDim.x) {
		i64 at = block * sumBlock + threadIdx.x * 4;
		float4 v[4];
#pragma unroll
		for (int i = 0; i < 4; i++) {
			i64 j = at + i * 1024;
			if (whole && j + 4 <= n) {
				v[i] = *(const float4*)(g + j);
				continue;
			}
			v[i].x = j < n ? g[j] : 0.0f;
			v[i].y = j + 1 < n ? g[j + 1] : 0.0f;
			v[i].z = j + 2 < n ? g[j + 2] : 0.0f;
			v[i].w = j + 3 < n ? g[j + 3] : 0.0f;
		}
		double sum = 0;
#pragma unroll
		for (int i = 0; i < 4; i++) {
			sum = fma((double)v[i].x, (double)v[i].x, sum);
			sum = fma((double)v[i].y, (double)v[i].y, sum);
			sum = fma((double)v[i].z, (double)v[i].z, sum);
			sum = fma((double)v[i].w, (double)v[i].w, sum);
		}
		sum = blockSum(sum, part);
		if (threadIdx.x == 0) partial[block] = sum;
	}
}

// sum_tree runs in one block.
extern "C" __global__ void __launch_bounds__(1024) sum_tree(const double* partial, double* out, i64 count) {
	__shared__ double part[32];
	if (blockIdx.x != 0) return;
	double sum = 0;
#pragma unroll 1
	for (i64 i = threadIdx.x; i < count; i += 8 * blockDim.x) { // eight loads are under way
		double v[8];
#pragma unroll
		for (int k = 0; k < 8; k++) v[k] = i + k * blockDim.x < count ? partial[i + k * blockDim.x] : 0.0;
#pragma unroll
		for (int k = 0; k < 8; k++) sum += v[k];
	}
	sum = blockSum(sum, part);
	if (threadIdx.x == 0) *out = sum;
}
