// Sums over a warp and over a team (the threads of a block that have one y), in trees that depend on their size alone.
#pragma once

#include "common.cuh"

template <class F> INLINE F warpSum(F v) {
#pragma unroll
	for (int lane = 16; lane > 0; lane /= 2) v += __shfl_xor_sync(0xffffffffu, v, lane);
	return v; // the same bits in all lanes: each addition has the same two operands
}

enum { teamWarps = 16 };

// teamSum adds K values over a team. A team of one warp needs no shared memory; a larger one is a block by itself,
// takes turns between two halves of part, [2 * teamWarps * K], and so needs one barrier.
template <int K> INLINE void teamSum(float (&v)[K], float* part, int& turn) {
#pragma unroll
	for (int k = 0; k < K; k++) v[k] = warpSum(v[k]);
	int warps = blockDim.x / 32;
	if (warps == 1) return;
	float* half = part + turn * (teamWarps * K);
	turn ^= 1;
	if (threadIdx.x % 32 == 0) {
#pragma unroll
		for (int k = 0; k < K; k++) half[threadIdx.x / 32 * K + k] = v[k];
	}
	__syncthreads();
#pragma unroll
	for (int k = 0; k < K; k++) v[k] = half[k];
#pragma unroll 2
	for (int w = 1; w < warps; w++) {
#pragma unroll
		for (int k = 0; k < K; k++) v[k] += half[w * K + k];
	}
}
