// Dropout of a whole value: out = dropout(x) + add. It makes the dropped factor of a product (kernel.Linear), and takes the
// product of a gradient back through the dropout, adds what another reader of x left, and rounds once (LinearGrad's DX).
//
// Bytes an element, float32: 8, with an addend 12; from float32 to BF16 6 and 8. Two calls of Philox for eight elements,
// 25 operations an element: bound by memory on a large GPU. dropout_mask writes 1 where an element stays, for tests and for
// whoever wants to see it.
#include "philox.cuh"

template <class I, class O>
INLINE void dropRows(const int* header, const I* x, const O* add, O* out, int tokens, int kind, int rows, int W, const Drop& d) {
	bool vectors = W % 8 == 0 && aligned(x) && aligned(add) && aligned(out);
	Tile t = tile();
	for (int column = t.column; column < W; column += t.columnStep) {
		int n = within(column, W);
		bool whole = vectors && n == 8;
		Raw<I> raw;
		Raw<O> addend;
		if (t.row < rows) {
			fetch(raw, x + (i64)t.row * W + column, n, whole);
			if (add) fetch(addend, add + (i64)t.row * W + column, n, whole);
		}
		for (int row = t.row; row < rows; row += t.rowStep) {
			i64 at = (i64)row * W + column, next = at + (i64)t.rowStep * W;
			float v[8], a[8];
			unpack(v, raw);
			if (add) unpack(a, addend);
			if (row + t.rowStep < rows) {
				fetch(raw, x + next, n, whole);
				if (add) fetch(addend, add + next, n, whole);
			}
			if (d.threshold != 0) drop(v, keep8(d, elementOf(header, tokens, kind, row, W) + column), d.scale);
			if (add) {
#pragma unroll
				for (int i = 0; i < 8; i++) v[i] = __fadd_rn(v[i], a[i]);
			}
			store(out + at, v, n, whole);
		}
	}
}

#define DROPOUT(NAME, IN, OUT)                                                                                            \
	extern "C" __global__ void __launch_bounds__(256, 3) dropout_##NAME(const int* header, const IN* x, const OUT* add,      \
		OUT* out, int T, int kind, int N, int W, u32 site, u32 threshold, float scale) {                                  \
		dropRows(header, x, add, out, T, kind, rowsInUse(header, kind, N), W, dropOf(header, site, threshold, scale));    \
	}

DROPOUT(f32_f32, float, float)
DROPOUT(f32_bf16, float, bf16)
DROPOUT(bf16_bf16, bf16, bf16)

extern "C" __global__ void __launch_bounds__(256) dropout_mask(const int* header, unsigned char* mask, int T, int kind, int N,
	int W, u32 site, u32 threshold) {
	int rows = rowsInUse(header, kind, N);
	Drop d = dropOf(header, site, threshold, 1.0f);
	Tile t = tile();
	for (int column = t.column; column < W; column += t.columnStep) {
		for (int row = t.row; row < rows; row += t.rowStep) {
			u32 keep = threshold != 0 ? keep8(d, elementOf(header, T, kind, row, W) + column) : 0xffu;
			int n = within(column, W);
#pragma unroll
			for (int i = 0; i < 8; i++)
				if (i < n) mask[(i64)row * W + column + i] = keep >> i & 1u;
		}
	}
}
