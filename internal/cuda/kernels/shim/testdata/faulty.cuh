// Kernels that are wrong on purpose: the shim's test looks for what it says of each.
extern "C" __global__ void half_barrier(float* out) {
	if (threadIdx.x < blockDim.x / 2) __syncthreads();
	out[threadIdx.x] = 1;
}

extern "C" __global__ void two_barriers(float* out) {
	if (threadIdx.x % 2 == 0) {
		__syncthreads();
	} else {
		__syncthreads();
	}
	out[threadIdx.x] = 1;
}

extern "C" __global__ void half_shuffle(float* out) {
	float v = 1;
	if (threadIdx.x % 2 == 0) v = __shfl_xor_sync(0xffffffffu, v, 2);
	out[threadIdx.x] = v;
}

extern "C" __global__ void wide_mask(float* out) { out[threadIdx.x] = __shfl_xor_sync(0xffffffffu, 1.0f, 1); }

extern "C" __global__ void unwritten(float* out) {
	__shared__ float s[64];
	if (threadIdx.x > 0) s[threadIdx.x] = 1;
	__syncthreads();
	out[threadIdx.x] = s[threadIdx.x];
}

// no_barrier adds what the thread before left: 0 or 1 more, by who comes first.
extern "C" __global__ void no_barrier(float* out) {
	__shared__ float s[64];
	s[threadIdx.x] = 0;
	__syncthreads();
	s[threadIdx.x] = 1;
	out[threadIdx.x] = s[(threadIdx.x + 1) % blockDim.x];
}

extern "C" __global__ void block_order(float* out) {
	if (threadIdx.x == 0) out[0] = out[0] * 2 + blockIdx.x;
}

// right is one that is right: the sum of 1 ... n, in each thread.
extern "C" __global__ void right(float* out) {
	__shared__ float s[32];
	float v = threadIdx.x + 1;
	for (int lane = 16; lane > 0; lane /= 2) v += __shfl_xor_sync(0xffffffffu, v, lane);
	if (threadIdx.x % 32 == 0) s[threadIdx.x / 32] = v;
	__syncthreads();
	float sum = 0;
	for (unsigned i = 0; i < blockDim.x / 32; i++) sum += s[i];
	out[threadIdx.x] = sum;
}

#define EXTRA_KERNELS K(half_barrier), K(two_barriers), K(half_shuffle), K(wide_mask), K(unwritten), K(no_barrier), K(block_order), K(right),
