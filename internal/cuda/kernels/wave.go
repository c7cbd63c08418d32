package kernels

// registers is what a thread of a kernel takes on the GPU where it takes most, for the kernels whose threads go from row to
// row (or from element to element), all of the same work. A test compares it with RESOURCES.md.
var registers = map[string]int{
	"convert_f32_bf16": 35, "convert_bf16_f32": 34, "add_f32": 40, "add_bf16": 28, "scale_f32": 36,
	"layer_norm_f32": 94, "layer_norm_bf16": 94, "add_norm_f32": 162, "add_norm_bf16": 96,
	"bias_act_f32_f32": 62, "bias_act_f32_bf16": 64, "bias_act_bf16_bf16": 63,
	"dropout_f32_f32": 76, "dropout_f32_bf16": 70, "dropout_bf16_bf16": 62, "dropout_mask": 33,
	"embed_f32": 43, "embed_bf16": 44,
	"adamw": 44, "sum_squares": 34,
	"gather_f32": 31, "gather_bf16": 32, "gather_grad_f32": 26, "gather_grad_bf16": 28, "pool_grad_f32": 33, "pool_grad_bf16": 36,
}

// OneWave returns a launch with no more blocks than mp multiprocessors hold at once: more of them would begin when the
// first end, and the last would have the GPU to themselves. It leaves launches alone whose grid is their work: sums over
// chunks, sorting, pieces of unequal length.
func OneWave(name string, g Geometry, mp int) Geometry {
	n, ok := registers[name]
	if !ok {
		return g
	}
	blocks := mp * max(1, warpsAtOnce(n)/(g.Block[0]*g.Block[1]/32))
	g.Grid[1] = max(1, min(g.Grid[1], blocks/g.Grid[0]))
	g.Grid[0] = min(g.Grid[0], blocks)
	return g
}

// warpsAtOnce is how many warps a multiprocessor holds at once when a thread takes so many registers: each of its four parts
// has 16,384, gives them to a warp by 256, and holds up to 16 warps.
func warpsAtOnce(registers int) int {
	return 4 * min(16, 16_384/(Chunks(32*registers, 256)*256))
}
