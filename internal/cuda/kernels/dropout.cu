// Dropout of a whole value: out = dropout(x) + add. It makes the dropped factor of a product (kernel.Linear), and takes
// the product of a gradient back through the dropout, adds what another reader of x left, and rounds once (LinearGrad's
// DX).
//
// Bytes an element, float32: 8, with an addend 12; from float32 to BF16 6 and 8. Two calls of Philox for eight elements
// are 255 instructions of PTX: they bound what moves few bytes. dropout_mask writes 1 where an element stays, for tests
// and for whoever wants to see it.
//
// Given up by count, nothing was timed: eight neighbouring float32 in one thread (common.cuh says why). Not built: a
// mask of bits that the forward pass leaves to the backward one. By count that is less than Philox once more (1/8 byte
// against 32 instructions an element), but it is memory for each dropout of each layer, and an operand that
// kernel.Kernels has not.
#include "philox.cuh"

template <class I, class O>
INLINE void dropRows(const int* header, const I* x, const O* add, O* out, int tokens, int kind, int rows, int W, const Drop& d) {
	bool vectors = W % Layout<O>::whole == 0 && aligned(x) && aligned(add) && aligned(out);
	Tile t = tile();
	for (int base = t.base; base < W; base += t.baseStep) {
		Columns at = columnsOf<O>(base, threadIdx.x, W, vectors);
		Raw<I> raw;
		Raw<O> addend;
		if (t.row < rows) {
			fetch(raw, x + (i64)t.row * W, at);
			if (add) fetch(addend, add + (i64)t.row * W, at);
		}
		for (int row = t.row; row < rows; row += t.rowStep) {
			i64 start = (i64)row * W, next = start + (i64)t.rowStep * W;
			float v[8], a[8];
			unpack(v, raw);
			if (add) unpack(a, addend);
			if (row + t.rowStep < rows) {
				fetch(raw, x + next, at);
				if (add) fetch(addend, add + next, at);
			}
			if (d.threshold != 0) drop(v, keepOf(d, elementOf(header, tokens, kind, row, W), at), d.scale);
			if (add) {
#pragma unroll
				for (int i = 0; i < 8; i++) v[i] = __fadd_rn(v[i], a[i]);
			}
			store(out + start, v, at);
		}
	}
}

#define DROPOUT(NAME, IN, OUT)                                                                                                  \
	extern "C" __global__ void __launch_bounds__(256, 3) dropout_##NAME(const int* header, const IN* x, const OUT* add,         \
		OUT* out, int T, int kind, int N, int W, u32 site, u32 threshold, float scale) {                                        \
		dropRows(header, x, add, out, T, kind, rowsInUse(header, kind, N), W, dropOf(header, site, threshold, scale));          \
	}

DROPOUT(f32_f32, float, float)
DROPOUT(f32_bf16, float, bf16)
DROPOUT(bf16_bf16, bf16, bf16)

extern "C" __global__ void __launch_bounds__(256) dropout_mask(const int* header, unsigned char* mask, int T, int kind, int N,
	int W, u32 site, u32 threshold) {
	int rows = rowsInUse(header, kind, N);
	Drop d = dropOf(header, site, threshold, 1.0f);
	Tile t = tile();
	for (int base = t.base; base < W; base += t.baseStep) {
		Columns at = columnsOf<bf16>(base, threadIdx.x, W, false);
		for (int row = t.row; row < rows; row += t.rowStep) {
			u32 keep = threshold != 0 ? keepOf(d, elementOf(header, T, kind, row, W), at) : 0xffu;
#pragma unroll
			for (int i = 0; i < 8; i++)
				if (at.a + i < W) mask[(i64)row * W + at.a + i] = keep >> i & 1u;
		}
	}
}
