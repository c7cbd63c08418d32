// Package devicetest is the conformance suite of kernel families: it walks every method of kernel.Kernels, forward and
// gradient, over awkward shapes, and compares a family with the reference (package ref).
//
// Begin with Run, and RunHalf for activations of BF16; Selection walks a part of either. What they hold against a family:
//
//   - results within a bound that follows from the number of roundings (bounds.go), row by row and element by element;
//   - the same bits for 1, 2 and 7 workers, whatever the order of the parts;
//   - nothing written outside the outputs, nothing changed in the inputs: every operand lies between guard words, most at
//     odd addresses;
//   - nothing read beyond the rows in use, from a destination with beta 0, or from a fresh workspace: all hold NaN;
//   - the masks of dropout bit for bit;
//   - no allocation in a second call of the same sizes.
//
// Operands lie in memory of the host. A family whose memory is elsewhere is tested through one that stages them (that of
// internal/device/gpu: staged_test.go there). Speed is not tested.
package devicetest

import (
	"hash/fnv"
	"math"
	"testing"

	"github.com/secencoder/secencoder/internal/alloctest"
	"github.com/secencoder/secencoder/internal/kernel"
	"github.com/secencoder/secencoder/internal/kernel/ref"
	"github.com/secencoder/secencoder/internal/rng"
)

// Open makes the kernels of a family that run on a pool.
type Open func(kernel.Pool) kernel.Kernels

// Run holds a family against the suite, as subtests of t named after the methods.
func Run(t *testing.T, open Open) { Selection{}.Run(t, open) }

// group is the cases of one method.
type group struct {
	name         string
	run          func(*testing.T, *suite)
	single, half bool // whether Run and RunHalf walk it
}

// groups lists all of the suite. Losses over float32 logits, the optimizer and its norm are the same in both arithmetics.
var groups = []group{
	{"Embed", embedCases, true, true}, {"EmbedGrad", embedGradCases, true, true},
	{"LayerNorm", layerNormCases, true, true}, {"LayerNormGrad", layerNormGradCases, true, true},
	{"AddNorm", addNormCases, true, true}, {"AddNormGrad", addNormGradCases, true, true},
	{"Linear", linearCases, true, true}, {"LinearGrad", linearGradCases, true, true},
	{"LinearGradAdd", linearGradAddCases, false, true}, {"PackWeight", packWeightCases, true, false},
	{"Attention", attentionCases, true, true}, {"AttentionGrad", attentionGradCases, true, true},
	{"ConvNorm", convNormCases, true, true}, {"ConvNormGrad", convNormGradCases, true, true},
	{"Gather", gatherCases, true, true}, {"GatherGrad", gatherGradCases, true, true},
	{"MLMLoss", mlmLossCases, true, true}, {"MLMLossGrad", mlmLossGradCases, true, true},
	{"Pool", poolCases, true, true}, {"PoolGrad", poolGradCases, true, true},
	{"ClassifyLoss", classifyLossCases, true, false}, {"ClassifyLossGrad", classifyLossGradCases, true, false},
	{"SpanLoss", spanLossCases, true, false}, {"SpanLossGrad", spanLossGradCases, true, false},
	{"Convert", convertCases, true, false}, {"Add", addCases, true, true}, {"AdamW", adamWCases, true, false}, {"SumSquares", sumSquaresCases, true, false},
	{"DropoutMasks", dropoutMaskCases, true, true}, {"AttentionMasks", attentionMaskCases, true, true},
	{"NotANumber", nanCases, true, true}, {"NotANumberLoss", nanLossCases, true, true},
}

func newSuite(t *testing.T, open Open) *suite {
	t.Helper()
	s := &suite{reference: ref.New(), workers: []int{1, 2, 7}}
	for _, workers := range s.workers {
		s.families = append(s.families, open(&pool{workers: workers}))
	}
	if name := s.families[0].Name(); name == "" {
		t.Error("the family has no name")
	}
	return s
}

// suite holds the families under test.
type suite struct {
	half      bool // activations are BF16
	reference kernel.Kernels
	families  []kernel.Kernels // one for each number of workers
	workers   []int
	every     int // of how many problems one is run
	cases     int
	random    int    // problems of a group, of random sizes; 0: the group's own
	seed      uint64 // of the sizes

	allocating  bool // calls may allocate
	tensorCores bool // see terms
}

// in returns what problems are made with in an arithmetic.
func (s *suite) in(half bool) *suite {
	return &suite{half: half, random: s.random, seed: s.seed, tensorCores: s.tensorCores}
}

// problem is one call of one kernel.
type problem struct {
	name   string
	half   bool // activations are BF16
	random rng.Stream

	tensorCores bool // see terms

	tensors []*tensor
	header  *tensor // of pack
	pack    kernel.Pack
	tokens  int // T of the plan
	// bind fills the argument struct with the operands of m and returns the call.
	bind func(k kernel.Kernels, m *memory) func()
	// bounds sets the bound of each output, given what the reference computed. Without it outputs must be equal.
	bounds func(want *memory)
}

// newProblem returns a problem whose random numbers follow from its name.
func newProblem(name string) *problem {
	h := fnv.New64a()
	h.Write([]byte(name))
	return &problem{name: name, random: rng.NewStream(h.Sum64(), rng.Probe, 0, 0, 0)}
}

// flip returns true or false, each as likely.
func (p *problem) flip() bool { return p.random.Intn(2) == 1 }

// tensor is one operand: what it holds before the call, how much of it is in use, and how exact it has to be after it.
type tensor struct {
	name  string
	dtype kernel.DType
	f     []float32 // also of BF16
	i     []int32
	s     []int16
	used  int // elements in use, from the front
	out   bool
	keep  bool      // BF16 also where the reference writes: the arithmetic of the call follows from it
	bound []float64 // of each element in use, before it is rounded to BF16; nil: equal
}

// normal adds an input of n elements, used of them normal variates times scale, the others NaN.
func (p *problem) normal(name string, n, used int, scale float64) *tensor {
	t := p.floats(name, n, used)
	for i := range t.f[:used] {
		t.f[i] = float32(p.random.Norm() * scale)
	}
	return t
}

// floats adds an input of n elements, used of them 0, the others NaN.
func (p *problem) floats(name string, n, used int) *tensor {
	t := &tensor{name: name, dtype: kernel.F32, f: make([]float32, n), used: used}
	for i := range t.f[used:] {
		t.f[used+i] = nan
	}
	p.tensors = append(p.tensors, t)
	return t
}

// ints adds an input of int32.
func (p *problem) ints(name string, values []int32) *tensor {
	t := &tensor{name: name, dtype: kernel.I32, i: values, used: len(values)}
	p.tensors = append(p.tensors, t)
	return t
}

// shorts adds an input of int16.
func (p *problem) shorts(name string, values []int16) *tensor {
	t := &tensor{name: name, dtype: kernel.I16, s: values, used: len(values)}
	p.tensors = append(p.tensors, t)
	return t
}

// output adds an output of n elements that holds NaN before the call.
func (p *problem) output(name string, n, used int) *tensor {
	t := p.floats(name, n, 0)
	t.used, t.out = used, true
	return t
}

// accumulated adds an output with a beta: NaN before the call when beta is 0, else normal variates.
func (p *problem) accumulated(name string, n int, beta float32) *tensor {
	if beta == 0 {
		return p.output(name, n, n)
	}
	t := p.normal(name, n, n, 1)
	t.out = true
	return t
}

// maybe returns t, or nil, the absent operand, with its tensor taken out.
func (p *problem) maybe(keep bool, t *tensor) *tensor {
	if keep {
		return t
	}
	for i, o := range p.tensors {
		if o == t {
			p.tensors = append(p.tensors[:i], p.tensors[i+1:]...)
			break
		}
	}
	return nil
}

var nan = float32(math.NaN())

// check runs the problem on the reference and on every family, and compares.
func (s *suite) check(t *testing.T, p *problem) {
	t.Helper()
	shift := s.cases % 4 // elements off the alignment
	want := newMemory(p, 0, p.bounds != nil)
	p.bind(s.reference, want)()
	want.verify(t, p, "the reference")
	if p.bounds != nil {
		p.bounds(want)
	}
	var first *memory
	for i, k := range s.families {
		got := newMemory(p, shift, false)
		call := p.bind(k, got)
		call()
		if err := k.Sync(0); err != nil {
			t.Errorf("%s: Sync: %v", p.name, err)
		}
		got.verify(t, p, k.Name())
		if i > 0 {
			got.compareBits(t, p, first, s.workers[i])
			continue
		}
		first = got
		got.compare(t, p, want)
	}
	if t.Failed() {
		t.Fatalf("%s: stopped at the first case that failed", p.name)
	}
}

// checkAllocations runs a problem twice and wants the second call to allocate nothing.
func (s *suite) checkAllocations(t *testing.T, p *problem) {
	t.Helper()
	if s.allocating {
		return
	}
	k := s.families[0]
	call := p.bind(k, newMemory(p, 0, false))
	call()
	if n := alloctest.Fewest(func() {
		for range 20 {
			call()
		}
	}); n > 0 {
		t.Errorf("%s: %v allocations in 20 calls after the first, want 0", p.name, n)
	}
}

// skip counts a problem and says whether the selection leaves it out. The choice is scattered, because much in a problem
// (kinds of rows, what is absent) goes by its number: a fixed step would meet some of it never.
func (s *suite) skip() bool {
	s.cases++
	return rng.Philox([4]uint32{uint32(s.cases)}, [2]uint32{})[0]%uint32(s.every) != 0
}

// run is check, and checkAllocations where asked, of a problem that the selection holds.
func (s *suite) run(t *testing.T, p *problem, allocations bool) {
	t.Helper()
	if s.skip() {
		return
	}
	s.check(t, p)
	if allocations {
		s.checkAllocations(t, p)
	}
}
