package blocked_test

import (
	"testing"

	"github.com/secencoder/secencoder/internal/kernel"
	"github.com/secencoder/secencoder/internal/kernel/blocked"
)

// TestHits puts the label at the top of its vocabulary block, and of all, alone and tied: the lowest id wins.
func TestHits(t *testing.T) {
	const v = 700
	for _, c := range []struct {
		tops  map[int]float32 // logits other than 0
		label int32
		hit   float32
	}{
		{map[int]float32{5: 3}, 5, 1},
		{map[int]float32{5: 3, 6: 4}, 5, 0},
		{map[int]float32{5: 3, 650: 4}, 5, 0},
		{map[int]float32{5: 4, 650: 3}, 650, 0},
		{map[int]float32{650: 3}, 650, 1},
		{map[int]float32{5: 3, 650: 3}, 5, 1},
		{map[int]float32{5: 3, 650: 3}, 650, 0},
		{map[int]float32{5: 3, 6: 3}, 6, 0},
		{map[int]float32{5: 3, 6: 3}, 5, 1},
		{nil, 0, 1},
		{nil, 300, 0},
	} {
		for _, p := range families() {
			k := blocked.New(p, pool(2))
			words := make([]int32, kernel.HeaderWords(4))
			pack := kernel.Pack{Offsets: []int32{0, 4}, Masked: []int32{1}, Labels: []int32{c.label}, Scale: 1}
			pack.Fill(words, 4)
			table := make([]float32, v)
			for id, x := range c.tops {
				table[id] = x
			}
			hit := make([]float32, 4)
			buf := func(n int) kernel.Buf { return kernel.FromF32(make([]float32, n)) }
			a := kernel.MLMLossArgs{Header: kernel.FromI32(words), Z: kernel.FromF32([]float32{1, 0, 0, 0}), Word: kernel.FromF32(table), Bias: buf(v),
				Loss: buf(1), NLL: buf(4), Hit: kernel.FromF32(hit), LSE: buf(4), T: 4, E: 1, V: v}
			a.Work = buf(k.WorkBytes(&a) / 4)
			k.MLMLoss(0, &a)
			if hit[0] != c.hit {
				t.Errorf("%s: logits %v, label %d: hit is %g, want %g", p.Name, c.tops, c.label, hit[0], c.hit)
			}
		}
	}
}
