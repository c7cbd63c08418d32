// Embeddings: rows of tables added up (kernel.Embed), and the gradient that adds rows into tables (EmbedGrad).
//
// embed reads the rows of up to three float32 tables and writes one row: 4 bytes an element for each table and 4 (BF16:
// 2) for the result; each addition is rounded, so that families agree bit for bit.
//
// The gradient has to add equal ids in a fixed order without atomics, and one id may be a fifth of all tokens (a
// delimiter, [MASK]), so that "one block for each id" would wait for one block. Instead the tokens are sorted by id:
//
//	embed_sort     each block sorts 1,024 tokens in shared memory, key (id, token): keys are unique, any sort is stable
//	embed_rank     a key's place in the whole is the sum of its places in all tiles, by bisection
//	embed_scatter  each block adds up 32 sorted tokens; a run of equal ids that lies inside goes into its table row, what
//	               hangs over the edges is left as a partial sum: at most one at either edge
//	embed_fold     the block in which a long run begins adds up its partial sums, in eight strands
//
// Sorting costs T/1,024 bisections a token, all in cache, four at a time: about 5 million steps for 8,192 tokens. Where
// all tokens look up row 0 nothing is sorted. The sums read each row of dOut once, 4 bytes an element (BF16: 2), and
// write each table row that occurs once.
//
// Given up by the machine code, nothing was timed: one bisection at a time, eleven loads each of which waits for the
// one before it; table rows and partial sums by single float32; sorting also where every row is 0.
#include "common.cuh"

template <class T>
INLINE void embed(const int* header, const int* ids, const int* positionIDs, const int* typeIDs, const float* word,
	const float* position, const float* type, T* out, int tokens, int E) {
	int rows = header[headTokens];
	const int* place = placeOf(header, tokens);
	bool vectors = E % Layout<T>::whole == 0 && aligned(word) && aligned(position) && aligned(type) && aligned(out);
	Tile t = tile();
	for (int row = t.row; row < rows; row += t.rowStep) {
		i64 w = (i64)ids[row] * E, p = 0, y = 0;
		if (position) p = (i64)(positionIDs ? positionIDs[row] : place[row]) * E;
		if (type) y = (i64)(typeIDs ? typeIDs[row] : 0) * E;
		for (int base = t.base; base < E; base += t.baseStep) {
			Columns at = columnsOf<T>(base, threadIdx.x, E, vectors);
			float v[8], a[8] = {0}, b[8] = {0};
			load(v, word + w, at);
			if (position) load(a, position + p, at);
			if (type) load(b, type + y, at);
#pragma unroll
			for (int i = 0; i < 8; i++) {
				if (position) v[i] = __fadd_rn(v[i], a[i]);
				if (type) v[i] = __fadd_rn(v[i], b[i]);
			}
			store(out + (i64)row * E, v, at);
		}
	}
}

extern "C" __global__ void __launch_bounds__(256) embed_f32(const int* header, const int* ids, const int* positionIDs,
	const int* typeIDs, const float* word, const float* position, const float* type, float* out, int T, int E) {
	embed(header, ids, positionIDs, typeIDs, word, position, type, out, T, E);
}
extern "C" __global__ void __launch_bounds__(256) embed_bf16(const int* header, const int* ids, const int* positionIDs,
	const int* typeIDs, const float* word, const float* position, const float* type, bf16* out, int T, int E) {
	embed(header, ids, positionIDs, typeIDs, word, position, type, out, T, E);
}

enum { sortTile = 1024, window = 32 };

// A key is (row of the table, token). Tokens that add to nothing have the last row there is.
#define NOWHERE 0xffffffffu

extern "C" __global__ void __launch_bounds__(sortTile / 2) embed_sort(const int* header, const int* ids, u64* keys, int T,
	int absent, int pad) {
	__shared__ u64 k[sortTile];
	int rows = header[headTokens], tiles = (T + sortTile - 1) / sortTile;
	const int* place = placeOf(header, T);
	for (int tile = blockIdx.x; tile < tiles; tile += gridDim.x) {
#pragma unroll
		for (int half = 0; half < 2; half++) {
			int i = half * (sortTile / 2) + threadIdx.x, token = tile * sortTile + i;
			u32 id = NOWHERE;
			if (token < rows) {
				int given = ids ? ids[token] : absent ? place[token] : 0;
				if (given >= 0 && given != pad) id = given;
			}
			k[i] = (u64)id << 32 | (u32)token;
		}
		// Batcher's bitonic sort: in each step thread i orders two keys that are `apart` from each other, upwards or
		// downwards by the run of `size` that they lie in. Where all tokens look up row 0 they are in order as they
		// come.
		if (ids || absent) {
			for (int size = 2; size <= sortTile; size *= 2) {
				for (int apart = size / 2; apart > 0; apart /= 2) {
					__syncthreads();
					int low = 2 * (threadIdx.x / apart * apart) + threadIdx.x % apart, high = low + apart;
					u64 a = k[low], b = k[high];
					if ((a > b) == ((low & size) == 0)) k[low] = b, k[high] = a;
				}
			}
		}
		__syncthreads();
#pragma unroll
		for (int half = 0; half < 2; half++) {
			int i = half * (sortTile / 2) + threadIdx.x;
			keys[(i64)tile * sortTile + i] = k[i];
		}
		__syncthreads();
	}
}

extern "C" __global__ void __launch_bounds__(256) embed_rank(const u64* keys, u64* sorted, int T) {
	int tiles = (T + sortTile - 1) / sortTile;
	for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < tiles * sortTile; i += gridDim.x * blockDim.x) {
		u64 key = keys[i];
		int place = 0;
		for (int tile = 0; tile < tiles; tile += 4) { // four bisections at a time, for each waits for its loads
			int low[4] = {0};                         // how many keys there are smaller
			const u64* other[4];
#pragma unroll
			for (int k = 0; k < 4; k++) other[k] = keys + (i64)min(tile + k, tiles - 1) * sortTile;
#pragma unroll 1
			for (int step = sortTile / 2; step > 0; step /= 2) {
				u64 at[4];
#pragma unroll
				for (int k = 0; k < 4; k++) at[k] = other[k][low[k] + step - 1];
#pragma unroll
				for (int k = 0; k < 4; k++)
					if (at[k] < key) low[k] += step;
			}
#pragma unroll
			for (int k = 0; k < 4; k++)
				if (tile + k < tiles) place += low[k] + (other[k][low[k]] < key);
		}
		sorted[place] = key;
	}
}

INLINE u32 rowOf(u64 key) { return (u32)(key >> 32); }

// put4 is the counterpart of fetch4.
INLINE void put4(float* p, float4 v, int n, bool whole) {
	if (whole) *(float4*)p = v;
	else store4(p, v, n);
}

INLINE void plus(float4& a, const float4& b) { a.x += b.x, a.y += b.y, a.z += b.z, a.w += b.w; }

// The partial sums of window w: row 2w of a run that began before it, row 2w+1 of one that goes on behind it.
template <class T> INLINE void scatter(const u64* sorted, const T* dout, float* d, float* partial, int tokens, int E) {
	int keys = (tokens + sortTile - 1) / sortTile * sortTile, windows = (tokens + window - 1) / window;
	bool vectors = E % 4 == 0 && aligned(dout), table = E % 4 == 0 && aligned(d) && aligned(partial);
	for (int w = blockIdx.x; w < windows; w += gridDim.x) {
		int begin = w * window, end = min(begin + window, keys);
		for (int column = (blockIdx.y * blockDim.x + threadIdx.x) * 4; column < E; column += gridDim.y * blockDim.x * 4) {
			int n = E - column;
			bool whole = vectors && n >= 4;
			u32 last = begin > 0 ? rowOf(sorted[begin - 1]) : NOWHERE;
			float4 sum = make_float4(0, 0, 0, 0);
			bool before = false; // the run began before the window
			for (int i = begin; i < end; i += 8) {
				u64 key[9];
				float4 v[8];
#pragma unroll
				for (int j = 0; j < 9; j++) key[j] = i + j < keys ? sorted[i + j] : ~0ull;
#pragma unroll
				for (int j = 0; j < 8; j++) {
					v[j] = make_float4(0, 0, 0, 0);
					if (rowOf(key[j]) != NOWHERE) v[j] = fetch4(dout + (i64)(u32)key[j] * E + column, n, whole);
				}
#pragma unroll
				for (int j = 0; j < 8; j++) {
					u32 id = rowOf(key[j]);
					if (id == NOWHERE) break;
					if (id != last) {
						sum = make_float4(0, 0, 0, 0);
						before = false;
					} else if (i + j == begin) {
						before = true;
					}
					last = id;
					plus(sum, v[j]);
					bool over = rowOf(key[j + 1]) != id;
					bool edge = i + j + 1 == end;
					if (over && !before) {
						float4 old = fetch4(d + (i64)id * E + column, n, table);
						plus(old, sum);
						put4(d + (i64)id * E + column, old, n, table);
					}
					if (before && (over || edge)) put4(partial + 2 * (i64)w * E + column, sum, n, table);
					if (!before && !over && edge) put4(partial + (2 * (i64)w + 1) * E + column, sum, n, table);
				}
			}
		}
	}
}

extern "C" __global__ void __launch_bounds__(256) embed_scatter_f32(const u64* sorted, const float* dout, float* d, float* partial, int T, int E) {
	scatter(sorted, dout, d, partial, T, E);
}
extern "C" __global__ void __launch_bounds__(256) embed_scatter_bf16(const u64* sorted, const bf16* dout, float* d, float* partial, int T, int E) {
	scatter(sorted, dout, d, partial, T, E);
}

extern "C" __global__ void __launch_bounds__(256) embed_fold(const u64* sorted, const float* partial, float* d, int T, int E) {
	__shared__ float strands[8][32];
	int keys = (T + sortTile - 1) / sortTile * sortTile, windows = (T + window - 1) / window;
	for (int w = blockIdx.x; w < windows; w += gridDim.x) {
		int begin = w * window, last = begin + window - 1;
		if (last + 1 >= keys) continue;
		u32 id = rowOf(sorted[last]);
		if (id == NOWHERE || rowOf(sorted[last + 1]) != id) continue;            // nothing goes on behind the window
		if (begin > 0 && rowOf(sorted[begin - 1]) == id) continue;               // it began before it
		int low = last + 1, high = keys; // the end of the run
		while (low < high) {
			int middle = (low + high) / 2;
			if (rowOf(sorted[middle]) == id) low = middle + 1;
			else high = middle;
		}
		int final = (low - 1) / window;
		for (int first = blockIdx.y * 32; first < E; first += gridDim.y * 32) {
			int column = first + threadIdx.x;
			float sum = 0;
			if (column < E)
#pragma unroll 4
				for (int k = w + 1 + threadIdx.y; k <= final; k += 8) sum += partial[2 * (i64)k * E + column];
			strands[threadIdx.y][threadIdx.x] = sum;
			__syncthreads();
			if (threadIdx.y == 0 && column < E) {
				sum = partial[(2 * (i64)w + 1) * E + column];
#pragma unroll
				for (int k = 0; k < 8; k++) sum += strands[k][threadIdx.x];
				d[(i64)id * E + column] += sum;
			}
			__syncthreads();
		}
	}
}
