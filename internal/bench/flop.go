package bench

import "github.com/secencoder/secencoder/model"

// Operations, a multiplication and an addition counted as two, of the arithmetic that the model asks for; what an
// implementation computes twice, or computes for pairs that it leaves out, does not count. h hidden size, i intermediate
// size, E embedding size, V vocabulary, L layers, N tokens of a piece, K attention span, W = min(2N−1, 2K) slots in use.

// attentionFLOP returns those of one layer's attention over one piece of n tokens. Forward, per token: 4·N·h for QKᵀ and
// P·V, and 2·W·h for each position term. Backward: 2.5 times the first (QKᵀ again, dP, dQ, dK, dV) and 3 times the second
// (the term again, the gradients of its two factors).
func attentionFLOP(c *model.Config, n int) (forward, backward float64) {
	h, tokens := float64(c.HiddenSize), float64(n)
	content, position := 4*tokens*h, 0.0
	for _, on := range []bool{c.C2P(), c.P2C()} {
		if on {
			position += 2 * slotsInUse(c, n) * h
		}
	}
	return tokens * (content + position), tokens * (2.5*content + 3*position)
}

func slotsInUse(c *model.Config, n int) float64 { return float64(min(2*n-1, 2*c.AttentionSpan())) }

// positionFLOP returns those of projecting the position tables of all layers: 2·2K·h² for each term and layer.
func positionFLOP(c *model.Config) float64 {
	h, terms := float64(c.HiddenSize), 0.0
	for _, on := range []bool{c.C2P(), c.P2C()} {
		if on {
			terms++
		}
	}
	return float64(c.NumHiddenLayers) * terms * 2 * float64(2*c.AttentionSpan()) * h * h
}

// tokenFLOP returns those of everything else in the encoder for one token: L·(8h² + 4hi), and the convolution.
func tokenFLOP(c *model.Config) float64 {
	h, i := float64(c.HiddenSize), float64(c.IntermediateSize)
	sum := float64(c.NumHiddenLayers) * (8*h*h + 4*h*i)
	if c.ConvKernelSize > 0 {
		sum += 2 * float64(c.ConvKernelSize) * h * h / float64(c.ConvGroups)
	}
	return sum
}

// headFLOP returns those of the masked-token head for one masked token: 2hE + 2EV.
func headFLOP(c *model.Config) float64 {
	h, e := float64(c.HiddenSize), float64(c.Embedding())
	return 2*h*e + 2*e*float64(c.VocabSize)
}
