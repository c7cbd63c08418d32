package ref

import (
	"math"
	"math/bits"

	"github.com/secencoder/secencoder/internal/bf16"
	"github.com/secencoder/secencoder/internal/kernel"
)

// Add: out = a + b.
func (k *table) Convert(_ kernel.Stream, a *kernel.ConvertArgs) {
	if a.Out.DType == kernel.BF16 {
		x, out := a.X.F32(), a.Out.BF16()
		for i := range out[:a.N] {
			out[i] = bf16.FromFloat32(x[i])
		}
		return
	}
	x, out := a.X.BF16(), a.Out.F32()
	for i := range out[:a.N] {
		out[i] = x[i].Float32()
	}
}

func (k *table) Add(_ kernel.Stream, a *kernel.AddArgs) {
	k.lock()
	defer k.unlock()
	x, y, out := k.read(a.A), k.read(a.B), k.write(a.Out)
	for i := range out[:a.N] {
		out[i] = x[i] + y[i]
	}
}

// AdamW: torch.optim.AdamW's single-tensor update after clip_grad_norm_. All tensor arithmetic is float32, each
// operation rounded; the conversions keep a compiler from fusing a product into a sum.
func (*table) AdamW(_ kernel.Stream, a *kernel.AdamWArgs) {
	decay := float32(1 - a.LR*a.Decay)
	clip := float32(a.Clip)
	beta1, beta2 := float32(1-a.Beta1), float32(1-a.Beta2)
	keep2, eps := float32(a.Beta2), float32(a.Eps)
	step := float32(a.LR / (1 - math.Pow(a.Beta1, float64(a.Step))))
	root := float32(math.Sqrt(1 - math.Pow(a.Beta2, float64(a.Step))))
	w, g, m, v := a.W.F32(), a.G.F32(), a.M.F32(), a.V.F32()
	for i := range a.N {
		grad := float32(g[i] * clip)
		m[i] += float32(beta1 * (grad - m[i]))
		v[i] = float32(v[i]*keep2) + float32(float32(beta2*grad)*grad)
		denominator := float32(math.Sqrt(float64(v[i])))/root + eps
		w[i] = float32(w[i]*decay) - float32(step*m[i])/denominator
	}
}

// sumBlock is the number of elements that are summed one after the other.
const sumBlock = 4096

// SumSquares: blocks of 4,096 elements, each summed in order, combined in a binary tree whose left half holds the
// largest power of two of blocks below the whole.
func (*table) SumSquares(_ kernel.Stream, a *kernel.SumSquaresArgs) float64 {
	return sumTree(a.G.F32()[:a.N])
}

func sumTree(g []float32) float64 {
	if blocks := (len(g) + sumBlock - 1) / sumBlock; blocks > 1 {
		left := 1 << (bits.Len(uint(blocks-1)) - 1) * sumBlock
		return sumTree(g[:left]) + sumTree(g[left:])
	}
	var sum float64
	for _, v := range g {
		sum += float64(v) * float64(v)
	}
	return sum
}
