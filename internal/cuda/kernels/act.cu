// What stands beside the matrix products of a linear layer: bias + activation (kernel.Linear), dY * act'(pre) with the
// sums of the bias's gradient (kernel.LinearGrad).
//
// Bytes an element, float32: bias_act 8, with pre 12; from float32 to BF16 6 and 8; act_grad 12, with BF16 6. Gelu is
// 41 instructions of PTX, most of them erff, and its derivative 62: memory bounds the ways that move 8 bytes or more on
// a large GPU, those instructions the ways from BF16 to BF16. The column sums are made while dZ is, so that nothing is
// read twice; they cost 8 bytes for 64 elements.
//
// A block is 32 x 8 threads, each with eight columns of every eighth row. The sum of a column over a chunk of 64 rows:
// a thread adds its eight rows in order, then the eight threads of the column are added in order.
//
// Given up by count, nothing was timed: eight neighbouring float32 in one thread (common.cuh says why). Ruled out: the
// column sums in a kernel of their own, which would read once more what this one has in registers; bias and GELU as
// epilogues of cublasLt, which would save a write and a read of 4 bytes, but GELU is the tanh form there, and the bias
// BF16 where the result is.
#include "activation.cuh"

template <class I, class O>
INLINE void biasAct(const I* z, const float* bias, O* out, O* pre, int rows, int W, int act) {
	bool vectors = W % Layout<O>::whole == 0 && aligned(z) && aligned(bias) && aligned(out) && aligned(pre);
	Tile t = tile();
	for (int base = t.base; base < W; base += t.baseStep) {
		Columns at = columnsOf<O>(base, threadIdx.x, W, vectors);
		float b[8] = {0};
		if (bias) load(b, bias, at);
		Raw<I> raw;
		if (t.row < rows) fetch(raw, z + (i64)t.row * W, at);
		for (int row = t.row; row < rows; row += t.rowStep) {
			i64 start = (i64)row * W;
			float v[8];
			unpack(v, raw);
			if (row + t.rowStep < rows) fetch(raw, z + start + (i64)t.rowStep * W, at);
			if (bias) {
#pragma unroll
				for (int i = 0; i < 8; i++) v[i] = __fadd_rn(v[i], b[i]);
			}
			if (pre) store(pre + start, v, at);
			activate(act, v);
			store(out + start, v, at);
		}
	}
}

#define BIAS_ACT(NAME, IN, OUT)                                                                                                 \
	extern "C" __global__ void __launch_bounds__(256, 4) bias_act_##NAME(const int* header, const IN* z, const float* bias,     \
		OUT* out, OUT* pre, int T, int kind, int N, int W, int act) {                                                           \
		biasAct(z, bias, out, pre, rowsInUse(header, kind, N), W, act);                                                         \
	}

BIAS_ACT(f32_f32, float, float)
BIAS_ACT(f32_bf16, float, bf16)
BIAS_ACT(bf16_bf16, bf16, bf16)

enum { sumRows = 64 };

template <class I, class O>
INLINE void actGrad(const I* dy, const I* pre, O* dz, float* partial, int rows, int W, int act, float (*strands)[256]) {
	bool vectors = W % Layout<O>::whole == 0 && aligned(dy) && aligned(pre) && aligned(dz) && aligned(partial);
	int chunks = (rows + sumRows - 1) / sumRows;
	for (int first = blockIdx.x * 256; first < W; first += gridDim.x * 256) {
		Columns at = columnsOf<O>(first, threadIdx.x, W, vectors);
		for (int chunk = blockIdx.y; chunk < chunks; chunk += gridDim.y) {
			int end = min(rows, (chunk + 1) * sumRows);
			float sum[8] = {0};
			Raw<I> d, p;
			int row = chunk * sumRows + threadIdx.y;
			i64 start = (i64)row * W, step = 8 * (i64)W;
			if (row < end) {
				fetch(d, dy + start, at);
				if (act != actLinear) fetch(p, pre + start, at);
			}
			for (; row < end; row += 8, start += step) {
				float v[8], x[8] = {0};
				unpack(v, d);
				if (act != actLinear) unpack(x, p);
				if (row + 8 < end) {
					fetch(d, dy + start + step, at);
					if (act != actLinear) fetch(p, pre + start + step, at);
				}
				activateGrad(act, v, x);
#pragma unroll
				for (int i = 0; i < 8; i++) sum[i] += v[i];
				if (dz) store(dz + start, v, at);
			}
			if (!partial) continue;
#pragma unroll
			for (int i = 0; i < 8; i++) strands[threadIdx.y][i * 32 + threadIdx.x] = sum[i];
			__syncthreads();
			int k = threadIdx.y * 32 + threadIdx.x, c = first + columnOf<O>(k % 32, k / 32);
			float all = strands[0][k];
#pragma unroll
			for (int y = 1; y < 8; y++) all += strands[y][k];
			if (c < W) partial[(i64)chunk * W + c] = all;
			__syncthreads();
		}
	}
}

#define ACT_GRAD(NAME, IN, OUT)                                                                                                 \
	extern "C" __global__ void __launch_bounds__(256, 3) act_grad_##NAME(const int* header, const IN* dy, const IN* pre,        \
		OUT* dz, float* partial, int T, int kind, int N, int W, int act) {                                                      \
		__shared__ float strands[8][256];                                                                                       \
		actGrad(dy, pre, dz, partial, rowsInUse(header, kind, N), W, act, strands);                                             \
	}

ACT_GRAD(f32_f32, float, float)
ACT_GRAD(f32_bf16, float, bf16)
ACT_GRAD(bf16_bf16, bf16, bf16)
