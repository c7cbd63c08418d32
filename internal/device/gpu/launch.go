package gpu

import (
	"github.com/secencoder/secencoder/internal/cuda"
	"github.com/secencoder/secencoder/internal/cuda/kernels"
	"github.com/secencoder/secencoder/internal/kernel"
)

// entry is one kernel of internal/cuda/kernels, whose README lists the parameters of each.
type entry uint8

// Of a kernel in two types the one of F32 stands first, that of BF16 behind it (of); of one with a type coming in and a
// type going out the order is F32 to F32, F32 to BF16, BF16 to BF16 (between).
const (
	convert entry = iota // F32 to BF16
	widen                // BF16 to F32
	addF32
	addBF16
	scale
	layerNormF32
	layerNormBF16
	addNormF32
	addNormBF16
	layerNormGradF32
	layerNormGradBF16
	addNormGradF32
	addNormGradBF16
	foldRows
	biasActF32
	biasActF32BF16
	biasActBF16
	actGradF32
	actGradF32BF16
	actGradBF16
	dropoutF32
	dropoutF32BF16
	dropoutBF16
	embedF32
	embedBF16
	embedSort
	embedRank
	embedScatterF32
	embedScatterBF16
	embedFold
	adamW
	sumSquares
	sumTree
	gatherF32
	gatherBF16
	gatherGradF32
	gatherGradBF16
	poolF32
	poolBF16
	poolGradF32
	poolGradBF16
	entries
)

var entryNames = [entries]string{
	convert: "convert_f32_bf16", widen: "convert_bf16_f32",
	addF32: "add_f32", addBF16: "add_bf16", scale: "scale_f32",
	layerNormF32: "layer_norm_f32", layerNormBF16: "layer_norm_bf16", addNormF32: "add_norm_f32", addNormBF16: "add_norm_bf16",
	layerNormGradF32: "layer_norm_grad_f32", layerNormGradBF16: "layer_norm_grad_bf16",
	addNormGradF32: "add_norm_grad_f32", addNormGradBF16: "add_norm_grad_bf16",
	foldRows:   "fold_rows",
	biasActF32: "bias_act_f32_f32", biasActF32BF16: "bias_act_f32_bf16", biasActBF16: "bias_act_bf16_bf16",
	actGradF32: "act_grad_f32_f32", actGradF32BF16: "act_grad_f32_bf16", actGradBF16: "act_grad_bf16_bf16",
	dropoutF32: "dropout_f32_f32", dropoutF32BF16: "dropout_f32_bf16", dropoutBF16: "dropout_bf16_bf16",
	embedF32: "embed_f32", embedBF16: "embed_bf16", embedSort: "embed_sort", embedRank: "embed_rank",
	embedScatterF32: "embed_scatter_f32", embedScatterBF16: "embed_scatter_bf16", embedFold: "embed_fold",
	adamW: "adamw", sumSquares: "sum_squares", sumTree: "sum_tree",
	gatherF32: "gather_f32", gatherBF16: "gather_bf16", gatherGradF32: "gather_grad_f32", gatherGradBF16: "gather_grad_bf16",
	poolF32: "pool_f32", poolBF16: "pool_bf16", poolGradF32: "pool_grad_f32", poolGradBF16: "pool_grad_bf16",
}

// of returns the kernel for activations of a type, e the one of F32.
func (e entry) of(dtype kernel.DType) entry {
	if dtype == kernel.BF16 {
		return e + 1
	}
	return e
}

// between returns the kernel that reads one type and writes another, e the one of F32 to F32.
func (e entry) between(from, to kernel.DType) entry {
	switch {
	case from == kernel.F32 && to == kernel.F32:
		return e
	case from == kernel.F32:
		return e + 1
	case to == kernel.BF16:
		return e + 2
	}
	panic("internal error: no CUDA kernel widens the values of a layer")
}

// call is one call of the table while it is put on a stream. Its methods do nothing after the first error.
type call struct {
	t      *Table
	stream *cuda.Stream
}

// begin locks the table for a call.
func (t *Table) begin(on kernel.Stream) call {
	t.mu.Lock()
	stream, err := t.stream(on)
	if err != nil {
		t.fail(err)
	}
	return call{t, stream}
}

// end gives back what the call took.
func (c call) end() {
	for _, p := range c.t.taken {
		c.check(c.t.device.Free(c.stream, p))
	}
	c.t.taken = c.t.taken[:0]
	c.t.mu.Unlock()
}

// failed reports whether a call since the last Sync failed, this one included.
func (c call) failed() bool { return c.t.err != nil }

func (c call) check(err error) {
	if err != nil {
		c.t.fail(err)
	}
}

// pack begins the parameters of a kernel.
func (c call) pack(e entry) *cuda.Launch {
	c.t.packed = e
	return c.t.launches[e].Reset()
}

// run launches the kernel that was packed last.
func (c call) run(l *cuda.Launch, g kernels.Geometry) {
	if !c.failed() {
		c.check(Run(c.stream, l, entryNames[c.t.packed], g, c.t.cores))
	}
}

// Run launches the kernel of that name, whose parameters were packed, on a GPU of so many multiprocessors. g is how its
// work is parted; the launch has no more blocks of it than fit at once. Whoever launches one of these kernels does it
// here, so that what is measured is what the table launches.
func Run(on *cuda.Stream, l *cuda.Launch, name string, g kernels.Geometry, multiprocessors int) error {
	g = kernels.OneWave(name, g, multiprocessors)
	return l.Run(on, cuda.Grid{X: g.Grid[0], Y: g.Grid[1], Z: g.Grid[2]}, cuda.Grid{X: g.Block[0], Y: g.Block[1], Z: g.Block[2]}, 0)
}

// clear fills device memory with zeros.
func (c call) clear(p cuda.Ptr, bytes int) {
	if !c.failed() && bytes > 0 {
		c.check(c.stream.Fill(p, 0, bytes))
	}
}

// scratch returns memory for this call, on a multiple of 256 bytes; 0 after an error.
func (c call) scratch(bytes int) cuda.Ptr {
	if c.failed() || bytes == 0 {
		return 0
	}
	p, err := c.t.device.Alloc(c.stream, bytes)
	if err != nil {
		c.t.fail(err)
		return 0
	}
	c.t.taken = append(c.t.taken, p)
	return p
}

// shape packs what kernels over rows are told of them.
func shape(l *cuda.Launch, tokens int, rows kernel.RowKind, n, width int) *cuda.Launch {
	return l.I32(int32(tokens)).I32(int32(rows)).I32(int32(n)).I32(int32(width))
}

// dropout packs what kernels are told of a dropout.
func dropout(l *cuda.Launch, d kernel.Dropout) *cuda.Launch {
	if !d.On() {
		return l.U32(d.Site).U32(0).F32(1)
	}
	return l.U32(d.Site).U32(d.Threshold()).F32(d.Scale())
}

func number(b bool) int32 {
	if b {
		return 1
	}
	return 0
}
