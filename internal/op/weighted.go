package op

import "github.com/secencoder/secencoder/internal/kernel"

// Weighted is a Step of products with weights that may be packed ahead of its calls (kernel.Kernels.PackWeight).
type Weighted interface {
	Step
	// Weights returns what to pack, without Packed. Each W is there after Bind only, and absent where the step then has no
	// product with it.
	Weights() []kernel.PackWeightArgs
	// SetPacked gives packed weight i of Weights. It stays until the next call; the absent Buf takes it away.
	SetPacked(i int, b kernel.Buf)
}

var (
	_ Weighted = (*linearStep)(nil)
	_ Weighted = (*linearGradStep)(nil)
	_ Weighted = (*posStep)(nil)
	_ Weighted = (*posGradStep)(nil)
)

func weightOf(a *kernel.LinearArgs) kernel.PackWeightArgs {
	p := kernel.PackWeightArgs{W: a.W, In: a.In, Out: a.Out, X: a.X.DType}
	if a.Y.DType == kernel.BF16 {
		p.X = kernel.BF16
	}
	return p
}

func gradWeightOf(a *kernel.LinearGradArgs) kernel.PackWeightArgs {
	p := kernel.PackWeightArgs{In: a.In, Out: a.Out, X: a.X.DType, Transposed: true}
	if !a.DX.Absent() {
		p.W = a.W
	}
	return p
}

// Weights implements Weighted.
func (s *linearStep) Weights() []kernel.PackWeightArgs {
	return []kernel.PackWeightArgs{weightOf(&s.LinearArgs)}
}

// SetPacked implements Weighted.
func (s *linearStep) SetPacked(_ int, b kernel.Buf) { s.Packed = b }

// Weights implements Weighted.
func (s *linearGradStep) Weights() []kernel.PackWeightArgs {
	return []kernel.PackWeightArgs{gradWeightOf(&s.LinearGradArgs)}
}

// SetPacked implements Weighted.
func (s *linearGradStep) SetPacked(_ int, b kernel.Buf) { s.Packed = b }

// Weights implements Weighted.
func (s *posStep) Weights() []kernel.PackWeightArgs {
	var list []kernel.PackWeightArgs
	for i := range s.parts {
		list = append(list, weightOf(&s.calls[i]))
	}
	return list
}

// SetPacked implements Weighted.
func (s *posStep) SetPacked(i int, b kernel.Buf) { s.calls[i].Packed = b }

// Weights implements Weighted.
func (s *posGradStep) Weights() []kernel.PackWeightArgs {
	var list []kernel.PackWeightArgs
	for i := range s.parts {
		list = append(list, gradWeightOf(&s.calls[i]))
	}
	return list
}

// SetPacked implements Weighted.
func (s *posGradStep) SetPacked(i int, b kernel.Buf) { s.calls[i].Packed = b }
