package op

import "github.com/secencoder/secencoder/internal/kernel"

// Weighted is a Step of a product with a weight that may be packed ahead of its calls (kernel.Kernels.PackWeight).
type Weighted interface {
	Step
	// Weight returns what to pack, without Packed; W is there after Bind only.
	Weight() kernel.PackWeightArgs
	// SetPacked gives the packed weight. It stays until the next call; the absent Buf takes it away.
	SetPacked(kernel.Buf)
}

var _ Weighted = (*linearStep)(nil)

// Weight implements Weighted.
func (s *linearStep) Weight() kernel.PackWeightArgs {
	return kernel.PackWeightArgs{W: s.W, In: s.In, Out: s.Out, X: s.X.DType}
}

// SetPacked implements Weighted.
func (s *linearStep) SetPacked(b kernel.Buf) { s.Packed = b }
