package rng

import (
	"math"
	"testing"

	"github.com/secencoder/secencoder/internal/alloctest"
)

// The vectors are those of Random123's known-answer file kat_vectors (philox4x32, 10 rounds).
func TestPhiloxVectors(t *testing.T) {
	const all = 0xffffffff
	for _, c := range []struct {
		ctr  [4]uint32
		key  [2]uint32
		want [4]uint32
	}{
		{[4]uint32{}, [2]uint32{}, [4]uint32{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
		{[4]uint32{all, all, all, all}, [2]uint32{all, all}, [4]uint32{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
		{[4]uint32{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, [2]uint32{0xa4093822, 0x299f31d0}, [4]uint32{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
	} {
		if got := Philox(c.ctr, c.key); got != c.want {
			t.Errorf("Philox(%08x, %08x) = %08x, want %08x", c.ctr, c.key, got, c.want)
		}
	}
}

func TestBlockCounter(t *testing.T) {
	got := Block(0x299f31d0_a4093822, Purpose(0x03), 0x707344, 0x13198a2e, 0x85a308d3_243f6a88)
	if want := [4]uint32{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}; got != want {
		t.Errorf("Block = %08x, want %08x", got, want)
	}
	defer func() {
		if recover() == nil {
			t.Error("a site of 2^24 was accepted")
		}
	}()
	Block(0, Init, MaxSite+1, 0, 0)
}

func TestStreamReadsConsecutiveBlocks(t *testing.T) {
	start := uint64(0xffffffff) // the counter's low word wraps after the first block
	s := NewStream(7, Synth, 3, 5, start)
	for i := range uint64(3) {
		want := Block(7, Synth, 3, 5, start+i)
		for j, w := range want {
			if got := s.Uint32(); got != w {
				t.Fatalf("word %d of block %d: got %08x, want %08x", j, i, got, w)
			}
		}
	}
	s = NewStream(7, Synth, 3, 5, 0)
	b := Block(7, Synth, 3, 5, 0)
	if got, want := s.Uint64(), uint64(b[0])|uint64(b[1])<<32; got != want {
		t.Errorf("Uint64 = %016x, want %016x", got, want)
	}
}

func TestPurposesDiffer(t *testing.T) {
	seen := map[[4]uint32]Purpose{}
	for p := Init; p <= Probe; p++ {
		b := Block(0, p, 0, 0, 0)
		if q, ok := seen[b]; ok {
			t.Errorf("purposes %d and %d give the same words", p, q)
		}
		seen[b] = p
	}
}

// The bounds are five standard errors of the statistic, so that one seed in 1.7 million would fail.
func TestDistributions(t *testing.T) {
	const n = 200_000
	s := NewStream(1, Probe, 0, 0, 0)
	var sum, norm, square, fourth float64
	var counts [7]int
	for range n {
		u := s.Float64()
		if u < 0 || u >= 1 {
			t.Fatalf("Float64 = %v", u)
		}
		sum += u
		counts[s.Intn(7)]++
		z := s.Norm()
		norm += z
		square += z * z
		fourth += z * z * z * z
	}
	within := func(name string, got, want, deviation float64) {
		if bound := 5 * deviation / math.Sqrt(n); math.Abs(got-want) > bound {
			t.Errorf("%s: got %v, want %v ± %v", name, got, want, bound)
		}
	}
	within("mean of Float64", sum/n, 0.5, math.Sqrt(1./12))
	within("mean of Norm", norm/n, 0, 1)
	within("variance of Norm", square/n, 1, math.Sqrt(2))
	within("fourth moment of Norm", fourth/n, 3, math.Sqrt(96))
	for i, c := range counts {
		within("share of Intn", float64(c)/n, 1./7, math.Sqrt(1./7*6/7))
		if c == 0 {
			t.Errorf("Intn(7) never gave %d", i)
		}
	}
}

func TestIntnRejects(t *testing.T) {
	s := NewStream(2, Probe, 0, 0, 0)
	n := int(3) << 61 // a quarter of all words is rejected; without that v mod 3 would have shares 3/8, 3/8, 2/8
	var counts [3]int
	const draws = 6000
	for range draws {
		v := s.Intn(n)
		if v < 0 || v >= n {
			t.Fatalf("Intn(%d) = %d", n, v)
		}
		counts[v%3]++
	}
	for i, c := range counts {
		if math.Abs(float64(c)-draws/3) > 5*math.Sqrt(draws*2./9) {
			t.Errorf("%d of %d draws are %d mod 3", c, draws, i)
		}
	}
	if s.Intn(1) != 0 {
		t.Error("Intn(1) is not 0")
	}
}

func TestShuffle(t *testing.T) {
	counts := map[[3]int]int{}
	s := NewStream(3, Probe, 0, 0, 0)
	const n = 6000
	for range n {
		a := [3]int{0, 1, 2}
		s.Shuffle(3, func(i, j int) { a[i], a[j] = a[j], a[i] })
		counts[a]++
	}
	if len(counts) != 6 {
		t.Fatalf("%d of 6 orders occur", len(counts))
	}
	for a, c := range counts {
		if math.Abs(float64(c)-n/6) > 5*math.Sqrt(n*5./36) {
			t.Errorf("order %v occurs %d times in %d", a, c, n)
		}
	}
}

func TestNoAllocation(t *testing.T) {
	var sink uint64
	allocs := alloctest.Fewest(func() {
		for i := range uint64(100) {
			s := NewStream(i, Dropout, 1, 2, 3)
			sink += s.Uint64() + uint64(Block(i, Dropout, 1, 2, 3)[0])
		}
	})
	if allocs != 0 {
		t.Errorf("%v allocations", allocs)
	}
	_ = sink
}

func BenchmarkPhilox(b *testing.B) {
	b.SetBytes(16)
	var sink uint32
	for i := range b.N {
		sink += Philox([4]uint32{uint32(i)}, [2]uint32{})[0]
	}
	_ = sink
}
