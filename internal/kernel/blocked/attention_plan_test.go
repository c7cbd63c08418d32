package blocked

import (
	"math/rand/v2"
	"testing"

	"github.com/secencoder/secencoder/internal/kernel"
)

// planned returns the family after it cut the keys of pieces of these lengths, far beyond their slot map.
func planned(heads int, lengths []int) *Kernels {
	k := &Kernels{p: Portable()}
	pack := kernel.Pack{Offsets: []int32{0}}
	tokens, longest := 0, 1
	for _, n := range lengths {
		tokens += n
		longest = max(longest, n)
		pack.Offsets = append(pack.Offsets, int32(tokens))
	}
	T := max(tokens, 2*len(lengths))
	words := make([]int32, kernel.HeaderWords(T))
	pack.Fill(words, T)
	k.h = kernel.ViewHeader(words, T)
	k.call.att = attentionCall{f: &k.p.Single, slots: kernel.Slots(256, 512, longest-1), reach: longest - 1, heads: heads, d: 8, k2: 512, c2p: true, p2c: true, tokens: tokens}
	k.planAttention()
	k.planKeys()
	return k
}

// TestGradientPlan wants every key of a packing in one group, no more groups than Work has sums for, and in every phase no two
// groups at the same queries.
func TestGradientPlan(t *testing.T) {
	random := rand.New(rand.NewPCG(4, 8))
	for range 300 {
		heads := 1 + random.IntN(20)
		var lengths []int
		for left := 1 + random.IntN(60_000); left > 0; {
			n := min(left, 1+random.IntN([]int{50, 500, 5_000, 60_000}[random.IntN(4)]))
			lengths = append(lengths, n)
			left -= n
		}
		k := planned(heads, lengths)
		c := &k.call.att
		if limit := maxGradGroups(heads, c.tokens); c.groups > limit {
			t.Fatalf("%d heads, pieces %v: %d groups, room for %d", heads, lengths, c.groups, limit)
		}
		keys := make([]int, c.tokens)
		queries := make([]int, c.tokens) // by the last phase that met them
		for group := range c.groups {
			for _, it := range k.s.items[k.s.starts[group]:k.s.starts[group+1]] {
				for j := it.i0; j < it.i1; j++ {
					keys[it.base+j]++
				}
			}
		}
		for phase := 1; phase <= c.phases; phase++ {
			for _, it := range k.s.items {
				chunks := parts(int(it.n), int(it.step))
				if chunks < phase {
					continue
				}
				from := (int(it.i0/it.step) + phase - 1) % chunks * int(it.step)
				for i := from; i < min(from+int(it.step), int(it.n)); i++ {
					if queries[int(it.base)+i] == phase {
						t.Fatalf("%d heads, pieces %v: two groups meet token %d in phase %d", heads, lengths, int(it.base)+i, phase)
					}
					queries[int(it.base)+i] = phase
				}
			}
		}
		for i, n := range keys {
			if n != 1 {
				t.Fatalf("%d heads, pieces %v: token %d is a key of %d groups", heads, lengths, i, n)
			}
		}
	}
}

// TestGradientPlanOfOneDocument wants work for 16 workers in every phase of one document of 48,000 tokens with 12 heads: six
// rounds of equal parts.
func TestGradientPlanOfOneDocument(t *testing.T) {
	k := planned(12, []int{48_000})
	c := &k.call.att
	if c.cut != 0 || c.groups != 8 || c.phases != 8 {
		t.Errorf("%d groups, %d of them whole pieces, %d phases, want 8 chunks and phases", c.groups, c.cut, c.phases)
	}
	for _, it := range k.s.items {
		if n := it.i1 - it.i0; n > 6_200 {
			t.Errorf("a chunk has %d keys, want 6,000, rounded up to whole tiles", n)
		}
	}
}
