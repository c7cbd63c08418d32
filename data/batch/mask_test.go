package batch

import (
	"fmt"
	"math"
	"testing"

	"github.com/secencoder/secencoder/tokenizer"
)

// line makes a framed piece of n content tokens, d delimiters and u [UNK], mixed.
func line(n, d, u int) []int32 {
	ids := []int32{1}
	for i := 0; n+d+u > 0; i++ {
		switch {
		case i%3 == 1 && d > 0:
			ids = append(ids, int32(5+d%15))
			d--
		case i%7 == 2 && u > 0:
			ids = append(ids, 3)
			u--
		case n > 0:
			ids = append(ids, int32(delimiter+(i*37)%(testV-delimiter)))
			n--
		case d > 0:
			ids = append(ids, int32(5+d%15))
			d--
		default:
			ids = append(ids, 3)
			u--
		}
	}
	return append(ids, 2)
}

func newTestMasker(t testing.TB, o MaskOptions) *Masker {
	t.Helper()
	m, err := NewMasker(testVocabulary(t), 42, o)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestMaskCountIsExact(t *testing.T) {
	for _, o := range []MaskOptions{
		{}, {Set: All}, {Rate: 0.4}, {Rate: 1}, {Rate: 0.01}, {RateBase: RateOfPiece}, {Rate: 0.9, RateBase: RateOfPiece},
		{MaxNgram: 3}, {MaxNgram: 5, Rate: 0.7}, {MaxNgram: 2, Set: All, Rate: 1},
	} {
		m := newTestMasker(t, o)
		for _, c := range [][3]int{{0, 0, 0}, {0, 9, 3}, {1, 0, 0}, {1, 40, 2}, {3, 0, 1}, {4, 5, 0}, {10, 10, 0}, {50, 20, 5}, {126, 0, 0}, {300, 200, 10}} {
			ids := line(c[0], c[1], c[2])
			before := append([]int32{}, ids...)
			positions, labels := m.Mask(Place{Document: c[0], Piece: c[1]}, ids, 1000, nil, nil)
			eligible := c[0]
			if o.Set == All {
				eligible += c[1]
			}
			base, rate := eligible, m.o.Rate
			if o.RateBase == RateOfPiece {
				base = len(ids)
			}
			want := min(eligible, max(1, int(math.Floor(rate*float64(base)+0.5))))
			if len(positions) != want || len(labels) != want {
				t.Errorf("%+v, %v: %d masked, %d labels, want %d", o, c, len(positions), len(labels), want)
			}
			last := int32(1000)
			changed := map[int]bool{}
			for j, p := range positions {
				if p <= last {
					t.Fatalf("%+v, %v: positions %v do not ascend", o, c, positions)
				}
				last = p
				p -= 1000
				changed[int(p)] = true
				if before[p] != labels[j] {
					t.Fatalf("%+v: label %d at %d, want %d", o, labels[j], p, before[p])
				}
				if labels[j] < 5 || o.Set == Content && labels[j] < delimiter {
					t.Fatalf("%+v: id %d was masked", o, labels[j])
				}
			}
			for i := range ids {
				if ids[i] != before[i] && !changed[i] {
					t.Fatalf("%+v: id at %d changed without being masked", o, i)
				}
			}
		}
	}
}

// tally masks many pieces of n content tokens and counts what became of them.
type tally struct {
	masked, toMask, toOther, kept int
	place                         map[int32]int
	token                         map[int32]int // random replacements
}

func count(t testing.TB, o MaskOptions, runs int, ids func() []int32) tally {
	m := newTestMasker(t, o)
	r := tally{place: map[int32]int{}, token: map[int32]int{}}
	for d := range runs {
		x := ids()
		positions, labels := m.Mask(Place{Epoch: 3, Document: d}, x, 0, nil, nil)
		for j, p := range positions {
			r.masked++
			r.place[p]++
			switch x[p] {
			case 4:
				r.toMask++
			case labels[j]:
				r.kept++
			default:
				r.toOther++
				r.token[x[p]]++
			}
		}
	}
	return r
}

// near fails unless got is within five standard deviations of a binomial count.
func near(t *testing.T, what string, got, n int, p float64) {
	t.Helper()
	mean, sd := float64(n)*p, math.Sqrt(float64(n)*p*(1-p))
	if math.Abs(float64(got)-mean) > 5*sd+1 {
		t.Errorf("%s: %d of %d, want %.1f ± %.1f", what, got, n, mean, 5*sd)
	}
}

func TestMaskSharesAndUniformity(t *testing.T) {
	const runs, n = 20_000, 20 // 3 of 20 are masked
	ids := func() []int32 { return line(n, 0, 0) }
	r := count(t, MaskOptions{}, runs, ids)
	if r.masked != 3*runs {
		t.Fatalf("%d masked, want %d", r.masked, 3*runs)
	}
	same := 1.0 / (testV - delimiter) // a random token that happens to be the original
	near(t, "[MASK]", r.toMask, r.masked, 0.8)
	near(t, "random", r.toOther, r.masked, 0.1*(1-same))
	near(t, "kept", r.kept, r.masked, 0.1+0.1*same)
	for p := int32(1); p <= n; p++ {
		near(t, fmt.Sprintf("place %d", p), r.place[p], runs, 3.0/n)
	}
	for id := range int32(testV) {
		if want := id >= delimiter; (r.token[id] > 0) != want {
			t.Errorf("random replacement %d: %d times", id, r.token[id])
		} else if want {
			near(t, fmt.Sprintf("replacement %d", id), r.token[id], r.toOther, same)
		}
	}

	r = count(t, MaskOptions{Set: All, MaskShare: 0.5, RandomShare: 0.5}, 4000, func() []int32 { return line(20, 20, 0) })
	near(t, "[MASK] of half", r.toMask, r.masked, 0.5)
	for id := range int32(testV) {
		if (r.token[id] > 0) != (id >= 5) {
			t.Errorf("set all: random replacement %d: %d times", id, r.token[id])
		}
	}
	r = count(t, MaskOptions{RandomFrom: RandomFromVocabulary, RandomShare: 1}, 4000, ids)
	for id := range int32(testV) {
		if id == 4 {
			near(t, "[MASK] by chance", r.toMask, r.masked, 1.0/testV)
		} else if r.token[id] == 0 {
			t.Errorf("whole vocabulary: id %d never replaced", id)
		}
	}
	r = count(t, MaskOptions{Draw: Bernoulli}, runs, ids)
	near(t, "independent draws", r.masked, runs*n, 0.15)
	for p := int32(1); p <= n; p++ {
		near(t, fmt.Sprintf("independent, place %d", p), r.place[p], runs, 0.15)
	}
}

// Pairs of masked places are as frequent as drawing without replacement makes them.
func TestMaskPairs(t *testing.T) {
	m := newTestMasker(t, MaskOptions{Rate: 0.3})
	const runs, n = 20_000, 10 // 3 of 10: a given pair has probability 3·2/(10·9)
	pairs := map[[2]int32]int{}
	for d := range runs {
		p, _ := m.Mask(Place{Document: d}, line(n, 0, 0), 0, nil, nil)
		pairs[[2]int32{p[0], p[1]}]++
		pairs[[2]int32{p[0], p[2]}]++
		pairs[[2]int32{p[1], p[2]}]++
	}
	for a := int32(1); a <= n; a++ {
		for b := a + 1; b <= n; b++ {
			near(t, fmt.Sprintf("pair %d, %d", a, b), pairs[[2]int32{a, b}], runs, 6.0/90)
		}
	}
}

// Runs of up to three with weights 1, 1/2, 1/3: the first start's length shows in single-run pieces.
func TestMaskRuns(t *testing.T) {
	m := newTestMasker(t, MaskOptions{MaxNgram: 3, Rate: 0.1})
	neighbours, masked := 0, 0
	for d := range 4000 {
		p, _ := m.Mask(Place{Document: d}, line(100, 0, 0), 0, nil, nil)
		masked += len(p)
		for j := 1; j < len(p); j++ {
			neighbours += b2i(p[j] == p[j-1]+1)
		}
	}
	// A run has 1·6/11 + 2·3/11 + 3·2/11 = 18/11 places, so about 7/18 of the masked follow a masked one, chance and cuts apart.
	if share := float64(neighbours) / float64(masked); share < 0.33 || share > 0.5 {
		t.Errorf("%.3f of the masked follow a masked one", share)
	}
}

func TestMaskFollowsFromItsPlaceOnly(t *testing.T) {
	a, b := newTestMasker(t, MaskOptions{}), newTestMasker(t, MaskOptions{})
	show := func(m *Masker, at Place) string {
		ids := line(200, 50, 0)
		p, l := m.Mask(at, ids, 0, nil, nil)
		return fmt.Sprint(ids, p, l)
	}
	at := Place{Epoch: 1, Document: 1 << 33, Piece: 70_000}
	want := show(a, at)
	show(a, Place{Epoch: 9})
	if show(a, at) != want || show(b, at) != want {
		t.Error("the same place gives different masks")
	}
	other, err := NewMasker(testVocabulary(t), 43, MaskOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if show(other, at) == want {
		t.Error("another seed gives the same masks")
	}
	for _, p := range []Place{{0, 1 << 33, 70_000}, {1, 1<<33 + 1, 70_000}, {1, 1 << 33, 70_001}, {1, 1 << 33, 70_000 - 65_536}, {1, 1, 70_000}} {
		if show(a, p) == want {
			t.Errorf("%+v has the masks of %+v", p, at)
		}
	}
}

func TestNewVocabularyErrors(t *testing.T) {
	special := tokenizer.Special{PAD: 0, CLS: 1, SEP: 2, UNK: 3, MASK: 4}
	all := make([]tokenizer.Class, 9)
	for i := range all {
		all[i] = tokenizer.ClassDelimiter
		if i < 5 {
			all[i] = tokenizer.ClassSpecial
		}
	}
	if _, err := NewVocabulary(special, all); err == nil {
		t.Error("a vocabulary without content tokens was taken")
	}
	all[8] = tokenizer.ClassContent
	if v, err := NewVocabulary(special, all); err != nil || v.Size() != 9 {
		t.Error(err)
	}
	special.MASK = 9
	if _, err := NewVocabulary(special, all); err == nil {
		t.Error("[MASK] outside the vocabulary was taken")
	}
	special.MASK = 8
	if _, err := NewVocabulary(special, all); err == nil {
		t.Error("a content token as [MASK] was taken")
	}
}

func TestMaskSetNames(t *testing.T) {
	for _, s := range []MaskSet{Content, All} {
		if got, err := ParseMaskSet(s.String()); err != nil || got != s {
			t.Errorf("%v: %v, %v", s, got, err)
		}
	}
	if _, err := ParseMaskSet("none"); err == nil {
		t.Error(`"none" was taken`)
	}
}
