package devicetest

import "github.com/secencoder/secencoder/internal/rng"

// drawn returns the sizes of a group's problems: its own, or with Selection.Random as many as that, drawn.
func drawn[S any](s *suite, fixed []S, draw func(d *draws) S) []S {
	if s.random == 0 {
		return fixed
	}
	d := &draws{rng.NewStream(s.seed, rng.Probe, 1, 0, 0)}
	list := make([]S, s.random)
	for i := range list {
		list[i] = draw(d)
	}
	return list
}

// draws draws sizes.
type draws struct{ rng.Stream }

// upTo returns a number from low to high, more often a small one: half of them lie in the lower sixth, for what goes wrong
// goes wrong at edges of tiles as often as far behind them.
func (d *draws) upTo(low, high int) int {
	n := high - low + 1
	if d.Intn(2) == 0 {
		n = n/6 + 1
	}
	return low + d.Intn(n)
}

// lengths returns up to 8 lengths of pieces, 300 tokens at most in sum; now and then none.
func (d *draws) lengths() []int {
	var list []int
	for left := 300; len(list) < d.Intn(9); {
		n := d.upTo(1, left/2)
		list, left = append(list, n), left-n
	}
	return list
}
