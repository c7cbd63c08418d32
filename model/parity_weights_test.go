package model

import (
	"hash/fnv"
	"strings"

	"github.com/secencoder/secencoder/internal/rng"
)

// The counter that Go and Python share: scripts/parity/counter_weights.py says what it is.
const (
	strongScale  = 0.14
	initialScale = 0.035
	samples      = 256
	sampleSeed   = 0x5EED
)

func nameHash(name string) uint32 {
	h := fnv.New32a()
	h.Write([]byte(name))
	return h.Sum32()
}

func fillCounter(dst []float32, name string, scale float64) {
	center := 0.0
	switch {
	case strings.HasSuffix(name, "LayerNorm.weight"):
		center, scale = 1, 0.17
	case strings.HasSuffix(name, "bias"):
		scale = 0.17
	case strings.Contains(name, "rel_embeddings"):
		scale = 0.87
	}
	key := [2]uint32{nameHash(name), 1}
	for i := 0; i < len(dst); i += 4 {
		w := rng.Philox([4]uint32{uint32(i / 4)}, key)
		for j := range min(4, len(dst)-i) {
			u := float64(w[j]>>8) * 0x1p-24
			dst[i+j] = float32(center + scale*(2*u-1))
		}
	}
}

// fillParams sets every weight from the counter.
func fillParams(p *Params, scale float64) {
	for _, t := range p.Tensors() {
		fillCounter(p.Weight(t.Name), t.Name, scale)
	}
}

// sampleIndices names the entries that a golden keeps of a tensor with n elements.
func sampleIndices(name string, n int) []int {
	out := make([]int, min(n, samples))
	if n <= samples {
		for i := range out {
			out[i] = i
		}
		return out
	}
	key := [2]uint32{nameHash(name), sampleSeed}
	for i := range out {
		w := rng.Philox([4]uint32{uint32(i / 4)}, key)
		out[i] = int(uint64(w[i%4]) % uint64(n))
	}
	return out
}
