package blocked

import "github.com/secencoder/secencoder/internal/kernel"

// WorkBytes returns the bytes of Work that a call with these arguments needs.
func (k *Kernels) WorkBytes(args any) int {
	n := 0
	switch a := args.(type) {
	case *kernel.LinearGradArgs:
		if a.Act != kernel.Linear {
			n = a.N * a.Out
			if a.X.DType == kernel.BF16 {
				n = parts(n, 2)
			}
		}
	case *kernel.AttentionArgs:
		n = k.attentionWork(a)
	case *kernel.AttentionGradArgs:
		n = k.attentionGradWork(a)
	case *kernel.ConvNormArgs:
		n = min(a.T, convRows) * a.H / a.Groups * a.KS
		if a.E.DType == kernel.BF16 {
			n += a.T * a.H
		}
	case *kernel.ConvNormGradArgs:
		n = 2*convRows*a.H/a.Groups*a.KS + 2*a.T*a.H
		if a.E.DType == kernel.BF16 {
			n += a.T * a.H
		}
	case *kernel.MLMLossArgs:
		n = 2 * a.T * parts(a.V, vocabBlock)
	case *kernel.MLMLossGradArgs:
		n = gradGroups * min(a.T, gradRows) * a.E
	}
	return 4 * n
}
