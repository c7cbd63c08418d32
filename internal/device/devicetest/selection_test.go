package devicetest

import (
	"slices"
	"testing"

	"github.com/secencoder/secencoder/internal/kernel"
	"github.com/secencoder/secencoder/internal/kernel/ref"
)

// counted is the reference with its calls of Add and Gather counted.
type counted struct {
	kernel.Kernels
	adds, gathers int
}

func (c *counted) Add(s kernel.Stream, a *kernel.AddArgs) {
	c.adds++
	c.Kernels.Add(s, a)
}

func (c *counted) Gather(s kernel.Stream, a *kernel.GatherArgs) {
	c.gathers++
	c.Kernels.Gather(s, a)
}

// A selection runs its groups alone, and about one in n problems of them, on each of the three families.
func TestSelection(t *testing.T) {
	for _, half := range []bool{false, true} {
		var c counted
		open := func(kernel.Pool) kernel.Kernels { c.Kernels = ref.New(); return &c }
		Selection{Half: half, Groups: []string{"Add"}, Every: 7}.Run(t, open)
		if all := 3 * len((&suite{}).lengths()); c.adds < all/14 || c.adds > all/4 || c.gathers != 0 {
			t.Errorf("half %v: %d calls of Add, want about a seventh of %d; %d of Gather, want 0", half, c.adds, all, c.gathers)
		}
	}
}

// What goes by a problem's number in cycles is met at every point of the cycle.
func TestThinningIsScattered(t *testing.T) {
	for _, every := range []int{3, 5, 7} {
		for _, cycle := range []int{3, 4, 5, 7, 11, 12} {
			s, met := &suite{every: every}, map[int]bool{}
			for range 500 {
				if !s.skip() {
					met[s.cases%cycle] = true
				}
			}
			if len(met) != cycle {
				t.Errorf("one in %d problems meets %d of a cycle of %d", every, len(met), cycle)
			}
		}
	}
}

func TestSelectionOfNothing(t *testing.T) {
	if got := (Selection{Groups: []string{"Add", "Sub", "AdamW"}}).unknown(); !slices.Equal(got, []string{"Sub"}) {
		t.Errorf("unknown groups are %v, want Sub", got)
	}
	if got := (Selection{Half: true, Groups: []string{"AdamW"}}).unknown(); len(got) != 1 {
		t.Error("AdamW is a group in BF16, where it is the same")
	}
}

// Random sizes stay within what the problems are made for, and the reference within its bounds there.
func TestRandomSizes(t *testing.T) {
	groups := []string{
		"Embed", "EmbedGrad", "LayerNorm", "LayerNormGrad", "AddNorm", "AddNormGrad", "Linear", "LinearGrad", "Gather", "GatherGrad", "Pool",
		"PoolGrad", "Add",
	}
	n := 20
	if testing.Short() {
		n = 10 // and one in five of them
	}
	Selection{Groups: append(groups, "AdamW", "SumSquares"), Random: n, Seed: 1}.Run(t, func(kernel.Pool) kernel.Kernels { return ref.New() })
	Selection{Groups: append(groups, "LinearGradAdd"), Half: true, Random: n, Seed: 2}.Run(t, func(kernel.Pool) kernel.Kernels { return ref.New() })
	var c counted
	Selection{Groups: []string{"Add"}, Random: 9, Every: 1}.Run(t, func(kernel.Pool) kernel.Kernels { c.Kernels = ref.New(); return &c })
	if c.adds != 27 {
		t.Errorf("%d calls of Add, want 9 on each of three families", c.adds)
	}
}
