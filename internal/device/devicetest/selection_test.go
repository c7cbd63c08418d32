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

// A selection runs its groups alone, and every n-th problem of them, on each of the three families.
func TestSelection(t *testing.T) {
	for _, half := range []bool{false, true} {
		var c counted
		open := func(kernel.Pool) kernel.Kernels { c.Kernels = ref.New(); return &c }
		Selection{Half: half, Groups: []string{"Add"}, Every: 7}.Run(t, open)
		if want := 3 * (len(lengths()) / 7); c.adds != want || c.gathers != 0 {
			t.Errorf("half %v: %d calls of Add, want %d; %d of Gather, want 0", half, c.adds, want, c.gathers)
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
