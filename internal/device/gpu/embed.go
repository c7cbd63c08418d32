package gpu

import (
	"github.com/secencoder/secencoder/internal/cuda"
	"github.com/secencoder/secencoder/internal/cuda/kernels"
	"github.com/secencoder/secencoder/internal/kernel"
)

// Embed is one kernel.
func (t *Table) Embed(on kernel.Stream, a *kernel.EmbedArgs) {
	c := t.begin(on)
	defer c.end()
	h, tokens := header(a.Header)
	if tokens == 0 || c.failed() {
		return
	}
	l := c.pack(embedF32.of(a.Out.DType)).Ptr(h).Ptr(want(a.IDs, kernel.I32, tokens)).Ptr(may(a.PositionIDs, kernel.I32, tokens)).
		Ptr(may(a.TypeIDs, kernel.I32, tokens)).Ptr(want(a.Word, kernel.F32, a.E)).Ptr(may(a.Position, kernel.F32, a.E)).
		Ptr(may(a.Type, kernel.F32, a.E)).Ptr(want(a.Out, a.Out.DType, tokens*a.E))
	c.run(l.I32(int32(tokens)).I32(int32(a.E)), kernels.Tiles(tokens, a.E, t.cores))
}

// EmbedGrad sorts the tokens by the row that they looked up and adds each row's up in token order, one table after the
// other.
func (t *Table) EmbedGrad(on kernel.Stream, a *kernel.EmbedGradArgs) {
	c := t.begin(on)
	defer c.end()
	c.scatter(a, a.DWord, a.Beta[0], a.IDs, 0, a.PadID)
	c.scatter(a, a.DPosition, a.Beta[1], a.PositionIDs, 1, -1)
	c.scatter(a, a.DType, a.Beta[2], a.TypeIDs, 0, -1)
}

// scatter makes the gradient of one table. Without ids a token's row is the place in its piece (absent 1) or 0 (absent 0).
func (c call) scatter(a *kernel.EmbedGradArgs, d kernel.Buf, beta float32, ids kernel.Buf, absent int32, pad int) {
	if d.Absent() || c.failed() {
		return
	}
	h, tokens := header(a.Header)
	c.scale(d, beta)
	if tokens == 0 {
		return
	}
	keyBytes, sortedBytes, partialBytes := kernels.EmbedWork(tokens, a.E)
	keys := c.scratch(keyBytes + sortedBytes + partialBytes)
	sorted := keys + cuda.Ptr(keyBytes)
	partial := sorted + cuda.Ptr(sortedBytes)
	if ids.Absent() && absent == 0 {
		keys = sorted // all look up row 0: the keys are in order as they come
	}
	table, of := want(d, kernel.F32, a.E), a.DOut.DType

	l := c.pack(embedSort).Ptr(h).Ptr(may(ids, kernel.I32, tokens)).Ptr(keys).I32(int32(tokens)).I32(absent).I32(int32(max(pad, -1)))
	c.run(l, kernels.SortTiles(tokens))
	if keys != sorted {
		c.run(c.pack(embedRank).Ptr(keys).Ptr(sorted).I32(int32(tokens)), kernels.SortRanks(tokens))
	}
	l = c.pack(embedScatterF32.of(of)).Ptr(sorted).Ptr(want(a.DOut, of, tokens*a.E)).Ptr(table).Ptr(partial).I32(int32(tokens)).I32(int32(a.E))
	c.run(l, kernels.Windows(tokens, a.E))
	c.run(c.pack(embedFold).Ptr(sorted).Ptr(partial).Ptr(table).I32(int32(tokens)).I32(int32(a.E)), kernels.WindowRuns(tokens, a.E))
}

// scale multiplies a float32 operand with a beta; with 0 it is cleared and not read.
func (c call) scale(d kernel.Buf, beta float32) {
	n := d.Len()
	if n == 0 || beta == 1 || c.failed() {
		return
	}
	c.run(c.pack(scale).Ptr(want(d, kernel.F32, n)).I64(int64(n)).F32(beta), kernels.Elements(n, c.t.cores))
}
