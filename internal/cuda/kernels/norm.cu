// LayerNorm and residual + LayerNorm, forward and backward (kernel.LayerNorm, AddNorm and their gradients).
//
// y = dropout(LN(x)*gamma + beta), or y = LN(dropout(x) + res)*gamma + beta; statistics are those of two passes over
// the row: the mean, then the centred squares.
//
// Each element is read once and written once: a row lies in the registers of a team of threads. What bounds this is
// memory, if the instructions are few: by the data sheet of an H200, the 4 bytes of an element with BF16 take as long
// as some 25 instructions.
//
// Forward, a thread holds up to four runs of eight columns, so that a row of up to 1,024 columns is one warp's. Its
// sums then need no barrier, their 20 instructions are shared by 24 columns of a thread where the width is 768, and the
// warps of a multiprocessor load, add and store independently of each other. gamma and beta come out of the L1 cache.
//
// Backward, a thread holds eight columns, because the sums of dGamma and dBeta take two registers a column; gamma stays
// in registers too. The sums of a row are a barrier where the width is over 256, so the loads of the next row are under
// way while this one is reduced.
//
// Where a width is whole runs of 256 columns, 16 bytes at a time, the kernels of BF16 go a way without tests around
// each access: of the instructions of an element those are many. With float32 they take as long as twice the bytes
// anyway, and the second way would cost registers that are not there; the same holds for add_norm.
//
// Rows that are too wide for the registers of a team are read once for each pass, the later times out of the cache.
//
// Bytes an element (float32; half of it with BF16): forward 8, with a residual 12; backward 12, with a residual 16 and
// 4 more where dropout makes two different gradients. Philox takes 255 instructions of PTX for eight elements, and with
// BF16 and dropout those bound it.
//
// dGamma and dBeta: a team adds up a chunk of rows in registers, fold_rows adds the chunks: 256 strands of chunks in
// order, then a tree over the strands. Chunks depend on the shape alone (NormChunks): one for each team that a large
// GPU holds at once.
//
// Given up by count and by the machine code, nothing was timed: eight columns a thread forward as well (two barriers a
// row and twice the instructions an element); up to 24 or 32 columns a thread backward, with the sums of dGamma and
// dBeta in shared memory (no barrier, but over 128 registers, so that too few warps fit); statistics of a row loaded
// together with the next row backward (each row waited for the loads of the next; they come a row ahead); fold_rows
// with a condition at each load (the assembler put the additions between them); eight neighbouring float32 in one
// thread (common.cuh says why).
#include "philox.cuh"
#include "reduce.cuh"

// Norm is the operands of one call.
template <class T> struct Norm {
	const int* header;
	const T *x, *res;
	const float *gamma, *beta;
	int tokens, kind, rows, W;
	float inverse; // of W
	Drop drop;
};

template <class T> INLINE Norm<T> normOf(const int* header, const T* x, const T* res, const float* gamma, const float* beta,
	int tokens, int kind, int N, int W, u32 site, u32 threshold, float scale) {
	Norm<T> c = {header, x, res, gamma, beta, tokens, kind, rowsInUse(header, kind, N), W, 1.0f / W, dropOf(header, site, threshold, scale)};
	return c;
}

// addResidual makes dropout(x) + res of x, each step rounded.
INLINE void addResidual(float (&v)[8], const float (&r)[8], u32 keep, const Drop& d) {
	if (d.threshold != 0) drop(v, keep, d.scale);
#pragma unroll
	for (int i = 0; i < 8; i++) v[i] = __fadd_rn(v[i], r[i]);
}

// input reads columns of what is normalised, for rows that do not fit the registers of a team.
template <class T, bool RES> INLINE void input(float (&v)[8], const Norm<T>& c, int row, const Columns& at, u32& keep) {
	load(v, c.x + (i64)row * c.W, at);
	keep = 0xffu;
	if (c.drop.threshold != 0) keep = keepSmall(c.drop, elementOf(c.header, c.tokens, c.kind, row, c.W), at);
	if (RES) {
		float r[8];
		load(r, c.res + (i64)row * c.W, at);
		addResidual(v, r, keep, c.drop);
	}
}

// squares is the sum of squared distances from the mean; what lies beyond the width becomes the mean.
INLINE float squares(float (&v)[8], float mean, const Columns& at) {
	if (at.b + 4 > at.W) {
#pragma unroll
		for (int i = 0; i < 8; i++)
			if ((i < 4 ? at.a + i : at.b + i - 4) >= at.W) v[i] = mean;
	}
	float s[8];
#pragma unroll
	for (int i = 0; i < 8; i++) {
		float d = v[i] - mean;
		s[i] = d * d;
	}
	return sum8(s);
}

INLINE void scaled(float (&v)[8], float mean, float rstd, const float (&gamma)[8], const float (&beta)[8]) {
#pragma unroll
	for (int i = 0; i < 8; i++) v[i] = fmaf((v[i] - mean) * rstd, gamma[i], beta[i]);
}

// forwardWide reads a row three times: for the mean, for the squares, for the result.
template <class T, bool RES>
INLINE void forwardWide(const Norm<T>& c, T* out, float* stats, float eps, float* part, bool vectors) {
	int turn = 0, base = threadIdx.x / 32 * 256, step = blockDim.x * 8;
	for (int row = blockIdx.x; row < c.rows; row += gridDim.x) {
		float mean = 0, rstd = 0, s[1];
#pragma unroll 1
		for (int pass = 0; pass < 3; pass++) {
			s[0] = 0;
#pragma unroll 1
			for (int first = base; first < c.W; first += step) {
				Columns at = columnsOf<T>(first, threadIdx.x % 32, c.W, vectors);
				float v[8];
				u32 keep;
				input<T, RES>(v, c, row, at, keep);
				if (pass == 0) s[0] += sum8(v);
				if (pass == 1) s[0] += squares(v, mean, at);
				if (pass < 2) continue;
				float gamma[8], beta[8];
				load(gamma, c.gamma, at);
				load(beta, c.beta, at);
				scaled(v, mean, rstd, gamma, beta);
				if (!RES && c.drop.threshold != 0) drop(v, keep, c.drop.scale);
				store(out + (i64)row * c.W, v, at);
			}
			if (pass == 2) break;
			teamSum(s, part, turn);
			if (pass == 0) mean = s[0] * c.inverse;
			if (pass == 1) rstd = rsqrtf(fmaf(s[0], c.inverse, eps));
		}
		if (stats && threadIdx.x == 0) stats[2 * (i64)row] = mean, stats[2 * (i64)row + 1] = rstd;
	}
}

// forward: a thread has up to four runs of eight columns, so that rows of up to 1,024 columns are one warp's: its sums
// need no barrier, and what a reduction costs is shared by 32 columns of a thread.
enum { runs = 4 };

template <class T, bool RES, bool WHOLE>
INLINE void forwardRows(const Norm<T>& c, T* out, float* stats, float eps, float* part, bool vectors) {
	int lane = threadIdx.x % 32, base = threadIdx.x / 32 * 256, step = blockDim.x * 8, turn = 0;
	for (int row = blockIdx.x * blockDim.y + threadIdx.y; row < c.rows; row += gridDim.x * blockDim.y) {
		i64 start = (i64)row * c.W;
		Raw<T> x[runs], res[runs];
#pragma unroll
		for (int j = 0; j < runs; j++) { // all loads before their first use
			if (WHOLE && base + j * step >= c.W) break;
			Columns at = columnsOf<T, WHOLE>(base + j * step, lane, c.W, vectors);
			fetch(x[j], c.x + start, at);
			if (RES) fetch(res[j], c.res + start, at);
		}
		u32 keep = ~0u; // eight bits for each run
		if (c.drop.threshold != 0) {
			u64 element = elementOf(c.header, c.tokens, c.kind, row, c.W);
			keep = 0;
#pragma unroll 1
			for (int j = 0; j < runs && base + j * step < c.W; j++)
				keep |= keepOf(c.drop, element, columnsOf<T, WHOLE>(base + j * step, lane, c.W, vectors)) << 8 * j;
		}
		float v[runs][8], s[1] = {0};
#pragma unroll
		for (int j = 0; j < runs; j++) {
			if (WHOLE && base + j * step >= c.W) break;
			unpack(v[j], x[j]);
			if (RES) {
				float r[8];
				unpack(r, res[j]);
				addResidual(v[j], r, keep >> 8 * j, c.drop);
			}
			s[0] += sum8(v[j]);
		}
		teamSum(s, part, turn);
		float mean = s[0] * c.inverse;
		s[0] = 0;
#pragma unroll
		for (int j = 0; j < runs; j++)
			if (base + j * step < c.W) s[0] += squares(v[j], mean, columnsOf<T, WHOLE>(base + j * step, lane, c.W, vectors));
		teamSum(s, part, turn);
		float rstd = rsqrtf(fmaf(s[0], c.inverse, eps));
#pragma unroll
		for (int j = 0; j < runs; j++) {
			if (base + j * step >= c.W) break;
			Columns at = columnsOf<T, WHOLE>(base + j * step, lane, c.W, vectors);
			float gamma[8], beta[8];
			load(gamma, c.gamma, at);
			load(beta, c.beta, at);
			scaled(v[j], mean, rstd, gamma, beta);
			if (!RES && c.drop.threshold != 0) drop(v[j], keep >> 8 * j, c.drop.scale);
			store(out + start, v[j], at);
		}
		if (stats && threadIdx.x == 0) stats[2 * (i64)row] = mean, stats[2 * (i64)row + 1] = rstd;
	}
}

template <class T, bool RES> INLINE void forward(const Norm<T>& c, T* out, float* stats, float eps, float* part) {
	bool vectors = c.W % Layout<T>::whole == 0 && aligned(c.x) && aligned(c.gamma) && aligned(c.beta) && aligned(out) && (!RES || aligned(c.res));
	if (c.W > (int)blockDim.x * 8 * runs) forwardWide<T, RES>(c, out, stats, eps, part, vectors);
	else if (!RES && sizeof(T) == 2 && vectors && c.W % 256 == 0) forwardRows<T, RES, !RES && sizeof(T) == 2>(c, out, stats, eps, part, vectors);
	else forwardRows<T, RES, false>(c, out, stats, eps, part, vectors);
}

// Gradients are the destinations of one call, each 0 where it is not wanted.
template <class T> struct Gradients {
	T *dx, *dres;
	float* partial; // [chunks, 2, W]
};

// normalise turns x into xhat.
INLINE void normalise(float (&x)[8], float mean, float rstd) {
#pragma unroll
	for (int i = 0; i < 8; i++) x[i] = (x[i] - mean) * rstd;
}

// terms turns dy into g = dy*gamma, and adds what the sums of a row and of its columns need.
INLINE void terms(const float (&xhat)[8], float (&g)[8], const float (&gamma)[8], float (&dGamma)[8], float (&dBeta)[8], float (&s)[2]) {
	float p[8];
#pragma unroll
	for (int i = 0; i < 8; i++) {
		dGamma[i] = fmaf(g[i], xhat[i], dGamma[i]);
		dBeta[i] += g[i];
		g[i] *= gamma[i];
		p[i] = g[i] * xhat[i];
	}
	s[0] += sum8(g);
	s[1] += sum8(p);
}

// result makes rstd*(g - mean(g) - xhat*mean(g*xhat)) of g.
INLINE void result(float (&g)[8], const float (&xhat)[8], float rstd, float average, float dotted) {
#pragma unroll
	for (int i = 0; i < 8; i++) g[i] = rstd * fmaf(-xhat[i], dotted, g[i] - average);
}

template <class T, bool RES>
INLINE void deliver(const Gradients<T>& d, float (&g)[8], i64 row, const Columns& at, u32 keep, const Drop& dropout) {
	if (RES && d.dres) store(d.dres + row, g, at);
	if (d.dx) {
		if (RES && dropout.threshold != 0) drop(g, keep, dropout.scale);
		store(d.dx + row, g, at);
	}
}

// backwardWide keeps the sums of a chunk in the partial itself: each column belongs to one thread.
template <class T, bool RES>
INLINE void backwardWide(const Norm<T>& c, const float* stats, const T* dout, const Gradients<T>& d, int chunkRows, float* part, bool vectors) {
	int turn = 0, base = threadIdx.x / 32 * 256, step = blockDim.x * 8, chunks = (c.rows + chunkRows - 1) / chunkRows;
	for (int chunk = blockIdx.x; chunk < chunks; chunk += gridDim.x) {
		float* sums = d.partial + 2 * (i64)chunk * c.W;
		int end = min(c.rows, (chunk + 1) * chunkRows);
		for (int row = chunk * chunkRows; row < end; row++) {
			float mean = stats[2 * (i64)row], rstd = stats[2 * (i64)row + 1], s[2] = {0, 0};
#pragma unroll 1
			for (int pass = 0; pass < 2; pass++) {
#pragma unroll 1
				for (int first = base; first < c.W; first += step) {
					Columns at = columnsOf<T>(first, threadIdx.x % 32, c.W, vectors);
					float v[8], g[8], gamma[8], dGamma[8] = {0}, dBeta[8] = {0}, t[2] = {0, 0};
					u32 keep;
					input<T, RES>(v, c, row, at, keep);
					load(g, dout + (i64)row * c.W, at);
					if (!RES && c.drop.threshold != 0) drop(g, keep, c.drop.scale);
					load(gamma, c.gamma, at);
					bool sum = pass == 0 && d.partial;
					if (sum && row > chunk * chunkRows) {
						load(dGamma, sums, at);
						load(dBeta, sums + c.W, at);
					}
					normalise(v, mean, rstd);
					terms(v, g, gamma, dGamma, dBeta, t);
					if (sum) {
						store(sums, dGamma, at);
						store(sums + c.W, dBeta, at);
					}
					if (pass == 0) {
						s[0] += t[0], s[1] += t[1];
						continue;
					}
					result(g, v, rstd, s[0], s[1]);
					deliver<T, RES>(d, g, (i64)row * c.W, at, keep, c.drop);
				}
				if (!d.dx && !d.dres) break;
				if (pass == 0) {
					teamSum(s, part, turn);
					s[0] *= c.inverse, s[1] *= c.inverse;
				}
			}
		}
	}
}

// Ahead is all that is loaded for a row, while the one before is computed: nothing that a row needs may be loaded
// after what the next one needs, for a thread that waits for the last of its loads has waited for all.
template <class T, bool RES> struct Ahead {
	Raw<T> x, res, dy;
	float mean, rstd;
	Spot spot;

	INLINE void fetch(const Norm<T>& c, const float* stats, const T* dout, int row, const Columns& at) {
		i64 start = (i64)row * c.W;
		if (c.drop.threshold != 0) spot = spotOf(c.header, c.tokens, c.kind, row);
		mean = stats[2 * (i64)row], rstd = stats[2 * (i64)row + 1];
		::fetch(x, c.x + start, at);
		if (RES) ::fetch(res, c.res + start, at);
		::fetch(dy, dout + start, at);
	}
};

template <class T, bool RES, bool WHOLE>
INLINE void backwardRows(const Norm<T>& c, const float* stats, const T* dout, const Gradients<T>& d, int chunkRows, float* part, bool vectors) {
	int turn = 0, chunks = (c.rows + chunkRows - 1) / chunkRows;
	Columns at = columnsOf<T, WHOLE>(threadIdx.x / 32 * 256, threadIdx.x % 32, c.W, vectors);
	float gamma[8];
	load(gamma, c.gamma, at);
	for (int chunk = threadIdx.y * gridDim.x + blockIdx.x; chunk < chunks; chunk += gridDim.x * blockDim.y) {
		int row = chunk * chunkRows, end = min(c.rows, row + chunkRows);
		float dGamma[8] = {0}, dBeta[8] = {0};
		Ahead<T, RES> ahead;
		ahead.fetch(c, stats, dout, row, at);
		for (; row < end; row++) {
			i64 start = (i64)row * c.W;
			float v[8], g[8], s[2] = {0, 0}, rstd = ahead.rstd;
			u32 keep = 0xffu;
			if (c.drop.threshold != 0) keep = keepOf(c.drop, elementOf(ahead.spot, c.kind, c.header[headOrdinal], c.W), at);
			// That came first: the values are about to take their registers.
			unpack(v, ahead.x);
			unpack(g, ahead.dy);
			if (RES) {
				float r[8];
				unpack(r, ahead.res);
				addResidual(v, r, keep, c.drop);
			} else if (c.drop.threshold != 0) {
				drop(g, keep, c.drop.scale);
			}
			normalise(v, ahead.mean, rstd);
			if (row + 1 < end) ahead.fetch(c, stats, dout, row + 1, at);
			terms(v, g, gamma, dGamma, dBeta, s);
			if (!d.dx && !d.dres) continue;
			teamSum(s, part, turn);
			result(g, v, rstd, s[0] * c.inverse, s[1] * c.inverse);
			deliver<T, RES>(d, g, start, at, keep, c.drop);
		}
		if (d.partial) {
			store(d.partial + 2 * (i64)chunk * c.W, dGamma, at);
			store(d.partial + (2 * (i64)chunk + 1) * c.W, dBeta, at);
		}
	}
}

template <class T, bool RES>
INLINE void backward(const Norm<T>& c, const float* stats, const T* dout, const Gradients<T>& d, int chunkRows, float* part) {
	bool vectors = c.W % Layout<T>::whole == 0 && aligned(c.x) && aligned(c.gamma) && aligned(dout) && aligned(d.dx) && aligned(d.dres) &&
		aligned(d.partial) && (!RES || aligned(c.res));
	if (c.W > (int)blockDim.x * 8) backwardWide<T, RES>(c, stats, dout, d, chunkRows, part, vectors);
	else if (sizeof(T) == 2 && vectors && c.W % 256 == 0) backwardRows<T, RES, sizeof(T) == 2>(c, stats, dout, d, chunkRows, part, vectors);
	else backwardRows<T, RES, false>(c, stats, dout, d, chunkRows, part, vectors);
}

enum { teamMax = 320 };

// BLOCKS is how many blocks of add_norm have to fit a multiprocessor: with float32 the loads under way take more
// registers.
#define LAYER_NORM(NAME, TYPE, BLOCKS)                                                                                          \
	extern "C" __global__ void __launch_bounds__(teamMax, 2) layer_norm_##NAME(const int* header, const TYPE* x,                \
		const float* gamma, const float* beta, TYPE* out, float* stats, int T, int kind, int N, int W, float eps, u32 site,     \
		u32 threshold, float scale) {                                                                                           \
		__shared__ float part[2 * teamWarps];                                                                                   \
		forward<TYPE, false>(normOf<TYPE>(header, x, 0, gamma, beta, T, kind, N, W, site, threshold, scale), out, stats,        \
			eps, part);                                                                                                         \
	}                                                                                                                           \
	extern "C" __global__ void __launch_bounds__(teamMax, BLOCKS) add_norm_##NAME(const int* header, const TYPE* x,             \
		const TYPE* res, const float* gamma, const float* beta, TYPE* out, float* stats, int T, int kind, int N, int W,         \
		float eps, u32 site, u32 threshold, float scale) {                                                                      \
		__shared__ float part[2 * teamWarps];                                                                                   \
		forward<TYPE, true>(normOf(header, x, res, gamma, beta, T, kind, N, W, site, threshold, scale), out, stats, eps,        \
			part);                                                                                                              \
	}                                                                                                                           \
	extern "C" __global__ void __launch_bounds__(teamMax, 2) layer_norm_grad_##NAME(const int* header, const TYPE* x,           \
		const float* stats, const float* gamma, const TYPE* dout, TYPE* dx, float* partial, int T, int kind, int N, int W,      \
		int chunkRows, u32 site, u32 threshold, float scale) {                                                                  \
		__shared__ float part[4 * teamWarps];                                                                                   \
		Gradients<TYPE> d = {dx, 0, partial};                                                                                   \
		backward<TYPE, false>(normOf<TYPE>(header, x, 0, gamma, 0, T, kind, N, W, site, threshold, scale), stats, dout, d,      \
			chunkRows, part);                                                                                                   \
	}                                                                                                                           \
	extern "C" __global__ void __launch_bounds__(teamMax, 2) add_norm_grad_##NAME(const int* header, const TYPE* x,             \
		const TYPE* res, const float* stats, const float* gamma, const TYPE* dout, TYPE* dx, TYPE* dres, float* partial,        \
		int T, int kind, int N, int W, int chunkRows, u32 site, u32 threshold, float scale) {                                   \
		__shared__ float part[4 * teamWarps];                                                                                   \
		Gradients<TYPE> d = {dx, dres, partial};                                                                                \
		backward<TYPE, true>(normOf(header, x, res, gamma, 0, T, kind, N, W, site, threshold, scale), stats, dout, d,           \
			chunkRows, part);                                                                                                   \
	}

LAYER_NORM(f32, float, 1)
LAYER_NORM(bf16, bf16, 2)

// fold_rows ends the sums over rows: out_k = beta_k*out_k + the sum of partial[chunk, k] over the chunks in use. A
// block is 8 columns, a sector of memory, by 32 threads, and each of those has eight strands, so that eight loads are
// under way.
extern "C" __global__ void __launch_bounds__(256) fold_rows(const int* header, const float* partial, float* out0, float* out1,
	int T, int kind, int N, int W, int parts, int chunkRows, float beta0, float beta1) {
	__shared__ float sums[8][8]; // of the four threads that a warp has for a column
	int rows = rowsInUse(header, kind, N), chunks = (rows + chunkRows - 1) / chunkRows;
	for (int k = blockIdx.y; k < parts; k += gridDim.y) {
		float *out = k == 0 ? out0 : out1, beta = k == 0 ? beta0 : beta1;
		if (!out) continue;
		for (int first = blockIdx.x * 8; first < W; first += gridDim.x * 8) {
			int column = first + threadIdx.x;
			float strand[8] = {0};
			if (column < W) {
				const float* p = partial + (i64)k * W + column;
				i64 step = (i64)parts * W;
				int chunk = threadIdx.y;
#pragma unroll 1
				for (; chunk + 224 < chunks; chunk += 256) { // loads without conditions are under way together
					float t[8];
#pragma unroll
					for (int i = 0; i < 8; i++) t[i] = p[(chunk + 32 * i) * step];
#pragma unroll
					for (int i = 0; i < 8; i++) strand[i] += t[i];
				}
#pragma unroll
				for (int i = 0; i < 8; i++)
					if (chunk + 32 * i < chunks) strand[i] += p[(chunk + 32 * i) * step];
			}
			float sum = sum8(strand);
			sum += __shfl_xor_sync(0xffffffffu, sum, 8);
			sum += __shfl_xor_sync(0xffffffffu, sum, 16);
			if (threadIdx.y % 4 == 0) sums[threadIdx.y / 4][threadIdx.x] = sum;
			__syncthreads();
			if (threadIdx.y == 0 && column < W) {
				sum = sums[0][threadIdx.x];
#pragma unroll
				for (int i = 1; i < 8; i++) sum += sums[i][threadIdx.x];
				if (beta != 0) sum = fmaf(beta, out[column], sum);
				out[column] = sum;
			}
			__syncthreads();
		}
	}
}
