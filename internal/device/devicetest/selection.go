package devicetest

import (
	"slices"
	"testing"
)

// Selection is a part of the suite: for families that do not have all kernels yet, and for those that run slowly. The zero
// value is all of it with float32 activations, which is what Run walks.
type Selection struct {
	Half   bool     // activations are BF16, as RunHalf has them
	Groups []string // names of groups (Groups lists them); none: all
	// Every thins out the problems of the groups to one in that many, always the same ones. 0: all problems, with -short one in
	// five.
	Every int
	// Random replaces the problems of a group by that many of random sizes, which follow from Seed: those of embeddings,
	// norms, linear layers, gathers and pools, sums, AdamW and the sum of squares. Other groups keep their own.
	Random int
	Seed   uint64
	// Allocating lets calls allocate: for families that use sync.Pool, under the race detector, which makes it forget.
	Allocating bool
	// TensorCores is for families that multiply BF16 on those of a GPU, which cut sums where others round them.
	TensorCores bool
}

// Groups returns the names of the groups of the suite, those with BF16 activations when half.
func Groups(half bool) []string {
	var names []string
	for _, g := range groups {
		if g.in(half) {
			names = append(names, g.name)
		}
	}
	return names
}

func (g group) in(half bool) bool { return half && g.half || !half && g.single }

// Run holds a family against the selected part of the suite, as subtests of t named after the groups. A group that the
// suite does not have fails t.
func (c Selection) Run(t *testing.T, open Open) {
	for _, name := range c.unknown() {
		t.Errorf("the suite has no group %s in this arithmetic", name)
	}
	s := newSuite(t, open)
	s.half, s.every, s.random, s.seed, s.allocating = c.Half, c.every(), c.Random, c.Seed, c.Allocating
	s.tensorCores = c.TensorCores
	for _, g := range groups {
		if g.in(c.Half) && (len(c.Groups) == 0 || slices.Contains(c.Groups, g.name)) {
			t.Run(g.name, func(t *testing.T) { g.run(t, s) })
		}
	}
}

// unknown returns the selected groups that the suite does not have.
func (c Selection) unknown() []string {
	all := Groups(c.Half)
	return slices.DeleteFunc(slices.Clone(c.Groups), func(name string) bool { return slices.Contains(all, name) })
}

func (c Selection) every() int {
	switch {
	case c.Every > 0:
		return c.Every
	case testing.Short(): // which is how the race detector runs
		return 5
	}
	return 1
}
