package gpu

import (
	"cmp"
	"slices"
	"testing"

	"github.com/secencoder/secencoder/internal/cuda/standin"
	"github.com/secencoder/secencoder/internal/device/devicetest"
	"github.com/secencoder/secencoder/internal/kernel"
)

// methodOf names the method that a group of the suite needs, where it is not the group's name.
var methodOf = map[string]string{
	"LinearGradAdd": "LinearGrad", "DropoutMasks": "Linear", "AttentionMasks": "Attention", "NotANumber": "Linear", "NotANumberLoss": "MLMLoss",
}

func methodFor(group string) string { return cmp.Or(methodOf[group], group) }

// built returns the groups of the suite whose kernels the table has.
func built(t testing.TB, table *Table, half bool) []string {
	var names []string
	for _, name := range devicetest.Groups(half) {
		if table.Has(methodFor(name)) {
			names = append(names, name)
		}
	}
	if !slices.Contains(names, "LinearGrad") || slices.Contains(names, "Attention") {
		t.Fatalf("the groups that are built are %v", names)
	}
	return names
}

// family opens the table for the suite. A GPU has no workers that could be counted: its blocks run in an order that no
// one sets. In place of the suite's 1, 2 and 7 workers there are three streams, and of the last two each call is made
// twice, or three times, from the same operands (the stand-in, whose blocks run in one order, makes one, one and two);
// all must give the same bits.
func (m *machine) family(t testing.TB) devicetest.Open {
	return func(p kernel.Pool) kernel.Kernels {
		repeats := map[int]int{1: 1, 2: 2, 7: 3}[p.Workers()]
		if m.standin != nil {
			repeats = (repeats + 1) / 2
		}
		return stage(t, m.device, m.table, repeats)
	}
}

func (m *machine) conformance(t *testing.T, c devicetest.Selection) {
	m.some(t, c, func(string) bool { return true })
}

// some is conformance of the groups that are wanted.
func (m *machine) some(t *testing.T, c devicetest.Selection, wanted func(group string) bool) {
	for _, half := range []bool{false, true} {
		t.Run(map[bool]string{false: "f32", true: "bf16"}[half], func(t *testing.T) {
			c.Half, c.Allocating, c.TensorCores = half, raceDetector, m.standin == nil
			c.Groups = slices.DeleteFunc(built(t, m.table, half), func(name string) bool { return !wanted(name) })
			c.Run(t, m.family(t))
		})
	}
}

// On the stand-in one problem in nine is run, a GPU runs them all: the kernels are the same, but threads of blocks run
// one after the other there. Work that is queued runs at random times, so that a call which does not wait for what it
// reads shows.
func TestStandinConformance(t *testing.T) {
	m := onStandin(t)
	m.standin.Set(standin.Delay, standin.AtRandom)
	every := 9
	if testing.Short() {
		every = 40
	}
	m.conformance(t, devicetest.Selection{Every: every})
}

func TestCUDAConformance(t *testing.T) {
	onGPU(t).conformance(t, devicetest.Selection{Every: count(t, "SECENCODER_CUDA_EVERY", 1)})
}

// drawn are the groups that have random sizes.
var drawn = []string{
	"Embed", "EmbedGrad", "LayerNorm", "LayerNormGrad", "AddNorm", "AddNormGrad", "Linear", "LinearGrad", "LinearGradAdd", "PackWeight",
	"Gather", "GatherGrad", "Pool", "PoolGrad", "Convert", "Add", "AdamW", "SumSquares",
}

// shapes holds the table against the reference at n random shapes in all, of both arithmetics.
func (m *machine) shapes(t *testing.T, n int) {
	for _, half := range []bool{false, true} {
		t.Run(map[bool]string{false: "f32", true: "bf16"}[half], func(t *testing.T) {
			groups := slices.DeleteFunc(built(t, m.table, half), func(name string) bool { return !slices.Contains(drawn, name) })
			c := devicetest.Selection{Half: half, Groups: groups, Every: 1, Random: (n/2 + len(groups) - 1) / len(groups), Seed: 20_261_122,
				Allocating: raceDetector, TensorCores: m.standin == nil}
			c.Run(t, m.family(t))
		})
	}
}

func TestStandinRandomShapes(t *testing.T) {
	n := 200
	if testing.Short() {
		n = 60
	}
	onStandin(t).shapes(t, n)
}

func TestCUDARandomShapes(t *testing.T) {
	onGPU(t).shapes(t, count(t, "SECENCODER_CUDA_SHAPES", 10_000))
}
