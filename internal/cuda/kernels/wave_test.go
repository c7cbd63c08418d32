package kernels

import (
	"os"
	"strconv"
	"strings"
	"testing"
)

// TestRegistersAreThoseOfTheAssembler: what the grids are made from is what RESOURCES.md says.
func TestRegistersAreThoseOfTheAssembler(t *testing.T) {
	text, err := os.ReadFile("RESOURCES.md")
	if err != nil {
		t.Fatal(err)
	}
	most := map[string]int{}
	for line := range strings.Lines(string(text)) {
		cells := strings.Split(line, "|")
		if len(cells) != 8 || !strings.HasSuffix(strings.TrimSpace(cells[2]), ".cu") {
			continue
		}
		for number := range strings.SplitSeq(cells[3], "/") {
			n, err := strconv.Atoi(strings.TrimSpace(number))
			if err != nil {
				t.Fatal(err)
			}
			name := strings.TrimSpace(cells[1])
			most[name] = max(most[name], n)
		}
	}
	for name, n := range registers {
		if n != most[name] {
			t.Errorf("%s takes %d registers, wave.go says %d", name, most[name], n)
		}
	}
	for _, name := range []string{"layer_norm_grad_f32", "layer_norm_grad_bf16", "add_norm_grad_f32", "add_norm_grad_bf16"} {
		if n := warpsAtOnce(most[name]); n != gradWarps {
			t.Errorf("a multiprocessor holds %d warps of %s, geometry.go says %d", n, name, gradWarps)
		}
	}
}

// TestOneWave: grids of some launches by hand, and no grid grows or is empty.
func TestOneWave(t *testing.T) {
	for _, c := range []struct {
		name string
		g    Geometry
		want [3]int
	}{
		{"layer_norm_bf16", Teams(48_000, 768, 132), [3]int{5 * 132, 1, 1}},   // 20 warps of 96 registers, 4 in a block
		{"layer_norm_bf16", Teams(48_000, 2048, 132), [3]int{10 * 132, 1, 1}}, // 2 in a block
		{"layer_norm_bf16", Teams(100, 768, 132), [3]int{25, 1, 1}},           // fewer rows than that
		{"adamw", Elements(1<<27, 132), [3]int{5 * 132, 1, 1}},                // 40 warps of 48 registers, 8 in a block
		{"bias_act_bf16_bf16", Tiles(48_000, 3072, 132), [3]int{12, 44, 1}},   // 4 blocks a multiprocessor in 12 columns
		{"gather_grad_bf16", Tiles(48_000, 768, 132), [3]int{3, 352, 1}},      // all 64 warps
		{"act_grad_bf16_bf16", TileChunks(48_000, 768), [3]int{3, 750, 1}},    // its grid is its work
	} {
		if g := OneWave(c.name, c.g, 132); g.Grid != c.want {
			t.Errorf("%s: a grid of %v of %v, want %v", c.name, g.Grid, c.g.Grid, c.want)
		}
	}
	if g := OneWave("bias_act_f32_f32", Tiles(1000, 256*1000, 1), 1); g.Grid != [3]int{4, 1, 1} {
		t.Errorf("more columns than blocks: a grid of %v", g.Grid)
	}
}
