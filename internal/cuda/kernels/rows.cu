// Rows taken out of a value and put back: the masked ones (kernel.Gather, GatherGrad) and one for each piece (Pool,
// PoolGrad).
//
// Bytes an element, float32: gather 8 of each masked row; gather_grad writes every row in use once, 4, and reads the
// masked ones; pool reads each token once, 4; pool_grad writes 4. Next to no arithmetic: bound by memory. gather_grad
// looks each row up in the ascending list of masked tokens instead of clearing first and scattering then, which would
// write twice.
//
// pool adds a piece in 32 strands of its tokens, then the strands in order. One long piece is W/64 blocks, which do not
// fill a large GPU.
//
// Given up by the machine code, nothing was timed: tokens of pool in a loop unrolled by four, where each load waited
// for the one before it; rows of BF16 made float32 and rounded again only to be moved. Not built: a long piece in parts
// with a kernel that adds them, for want of a figure that asks for it.
#include "common.cuh"

template <class T> INLINE void gather(const int* header, const T* x, T* out, int tokens, int W) {
	const int* masked = maskedOf(header, tokens);
	int rows = header[headMasked];
	bool vectors = W % Layout<T>::whole == 0 && aligned(x) && aligned(out);
	Tile t = tile();
	for (int base = t.base; base < W; base += t.baseStep) {
		Columns at = columnsOf<T>(base, threadIdx.x, W, vectors);
		for (int row = t.row; row < rows; row += t.rowStep) {
			Raw<T> raw;
			fetch(raw, x + (i64)masked[row] * W, at);
			put(out + (i64)row * W, raw, at);
		}
	}
}

extern "C" __global__ void __launch_bounds__(256) gather_f32(const int* header, const float* x, float* out, int T, int W) {
	gather(header, x, out, T, W);
}
extern "C" __global__ void __launch_bounds__(256) gather_bf16(const int* header, const bf16* x, bf16* out, int T, int W) {
	gather(header, x, out, T, W);
}

template <class T> INLINE void gatherGrad(const int* header, const T* dout, T* dx, int tokens, int W) {
	const int* masked = maskedOf(header, tokens);
	int rows = header[headTokens], count = header[headMasked];
	bool vectors = W % Layout<T>::whole == 0 && aligned(dout) && aligned(dx);
	Tile t = tile();
	for (int row = t.row; row < rows; row += t.rowStep) {
		int low = 0, high = count; // the first masked token that is not below row
		while (low < high) {
			int middle = (low + high) / 2;
			if (masked[middle] < row) low = middle + 1;
			else high = middle;
		}
		bool found = low < count && masked[low] == row;
		for (int base = t.base; base < W; base += t.baseStep) {
			Columns at = columnsOf<T>(base, threadIdx.x, W, vectors);
			Raw<T> raw = {};
			if (found) fetch(raw, dout + (i64)low * W, at);
			put(dx + (i64)row * W, raw, at);
		}
	}
}

extern "C" __global__ void __launch_bounds__(256) gather_grad_f32(const int* header, const float* dout, float* dx, int T, int W) {
	gatherGrad(header, dout, dx, T, W);
}
extern "C" __global__ void __launch_bounds__(256) gather_grad_bf16(const int* header, const bf16* dout, bf16* dx, int T, int W) {
	gatherGrad(header, dout, dx, T, W);
}

// Chosen is the tokens of a piece that its pooled row is the mean of.
struct Chosen {
	int first, end;
};

INLINE Chosen chosen(const int* header, int piece, int first, int inner) {
	Chosen c = {offsetsOf(header)[piece], offsetsOf(header)[piece + 1]};
	if (first) {
		c.end = min(c.end, c.first + 1);
	} else if (inner) {
		c.first++;
		c.end--;
	}
	return c; // the end of a piece of two tokens lies before its first: nothing is chosen
}

template <class T>
INLINE void pool(const int* header, const T* x, float* out, int W, int first, int inner, float (*strands)[64]) {
	int pieces = header[headPieces];
	bool vectors = W % 8 == 0 && aligned(x);
	for (int piece = blockIdx.y; piece < pieces; piece += gridDim.y) {
		Chosen c = chosen(header, piece, first, inner);
		for (int base = blockIdx.x * 64; base < W; base += gridDim.x * 64) {
			Columns at = columnsOf<bf16>(base, threadIdx.x, W, vectors); // neighbours: nothing is written so
			float sum[8] = {0};
			for (int token = c.first + threadIdx.y; token < c.end; token += 128) {
				Raw<T> raw[4];
#pragma unroll
				for (int k = 0; k < 4; k++) { // all loads before their first use
					raw[k] = Raw<T>();
					if (token + 32 * k < c.end) fetch(raw[k], x + (i64)(token + 32 * k) * W, at);
				}
#pragma unroll
				for (int k = 0; k < 4; k++) {
					float v[8];
					unpack(v, raw[k]);
#pragma unroll
					for (int i = 0; i < 8; i++) sum[i] += v[i];
				}
			}
#pragma unroll
			for (int i = 0; i < 8; i++) strands[threadIdx.y][threadIdx.x * 8 + i] = sum[i];
			__syncthreads();
			int k = threadIdx.y * 8 + threadIdx.x;
			if (k < 64 && base + k < W) {
				float all = strands[0][k];
				for (int y = 1; y < 32; y++) all += strands[y][k];
				out[(i64)piece * W + base + k] = __fdiv_rn(all, (float)max(1, c.end - c.first));
			}
			__syncthreads();
		}
	}
}

extern "C" __global__ void __launch_bounds__(256) pool_f32(const int* header, const float* x, float* out, int T, int W, int first, int inner) {
	__shared__ float strands[32][64];
	pool(header, x, out, W, first, inner, strands);
}
extern "C" __global__ void __launch_bounds__(256) pool_bf16(const int* header, const bf16* x, float* out, int T, int W, int first, int inner) {
	__shared__ float strands[32][64];
	pool(header, x, out, W, first, inner, strands);
}

template <class T>
INLINE void poolGrad(const int* header, const float* dout, T* dx, int tokens, int W, int first, int inner) {
	const int* pieces = pieceOf(header, tokens);
	int rows = header[headTokens];
	bool vectors = W % Layout<T>::whole == 0 && aligned(dout) && aligned(dx);
	Tile t = tile();
	for (int row = t.row; row < rows; row += t.rowStep) {
		int piece = pieces[row];
		Chosen c = chosen(header, piece, first, inner);
		bool in = row >= c.first && row < c.end;
		for (int base = t.base; base < W; base += t.baseStep) {
			Columns at = columnsOf<T>(base, threadIdx.x, W, vectors);
			float v[8] = {0};
			if (in) {
				load(v, dout + (i64)piece * W, at);
#pragma unroll
				for (int i = 0; i < 8; i++) v[i] = __fdiv_rn(v[i], (float)(c.end - c.first));
			}
			store(dx + (i64)row * W, v, at);
		}
	}
}

extern "C" __global__ void __launch_bounds__(256) pool_grad_f32(const int* header, const float* dout, float* dx, int T, int W, int first, int inner) {
	poolGrad(header, dout, dx, T, W, first, inner);
}
extern "C" __global__ void __launch_bounds__(256) pool_grad_bf16(const int* header, const float* dout, bf16* dx, int T, int W, int first, int inner) {
	poolGrad(header, dout, dx, T, W, first, inner);
}
