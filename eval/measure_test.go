package eval

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"reflect"
	"slices"
	"testing"

	"github.com/secencoder/secencoder/data/batch"
	"github.com/secencoder/secencoder/tokenizer"
)

// A vocabulary by hand: 0-4 special, 5 and 6 delimiters, 7 to 9 content.
var handClasses = []tokenizer.Class{
	tokenizer.ClassSpecial, tokenizer.ClassSpecial, tokenizer.ClassSpecial, tokenizer.ClassSpecial, tokenizer.ClassSpecial,
	tokenizer.ClassDelimiter, tokenizer.ClassDelimiter, tokenizer.ClassContent, tokenizer.ClassContent, tokenizer.ClassContent,
}

const handCLS = 1

func TestBaselinesByHand(t *testing.T) {
	c := NewCounts(handClasses, handCLS, 6) // pieces of 4 tokens
	c.Add([]uint32{7, 5, 8, 5, 8})          // the second 8 begins a piece: its neighbour is [CLS]
	c.Add([]uint32{7, 5, 8})
	content, all := c.forSet(batch.Content), c.forSet(batch.All)

	// Content: 7 twice, 8 three times, 9 never: (n + 0.5) / 6.5.
	for id, want := range map[int32]float64{7: 2.5 / 6.5, 8: 3.5 / 6.5, 9: 0.5 / 6.5} {
		if nats, first := content.unigram(id); math.Abs(math.Exp(-nats)-want) > 1e-15 || first != (id == 8) {
			t.Errorf("unigram of %d: %v, most probable %v; want %v", id, math.Exp(-nats), first, want)
		}
	}
	// All: 5 three times, 6 never, 7 twice, 8 three times, 9 never: (n + 0.5) / 10.5; 5 and 8 tie, the lower id wins.
	for id, want := range map[int32]float64{5: 3.5 / 10.5, 6: 0.5 / 10.5, 7: 2.5 / 10.5, 8: 3.5 / 10.5, 9: 0.5 / 10.5} {
		if nats, first := all.unigram(id); math.Abs(math.Exp(-nats)-want) > 1e-15 || first != (id == 5) {
			t.Errorf("unigram of %d in all: %v, most probable %v; want %v", id, math.Exp(-nats), first, want)
		}
	}
	// Behind 5 stood 8 twice: λ = 2/12. Behind [CLS]: 7 twice and 8 once: λ = 3/13. Behind 7, content never: λ = 0.
	for _, x := range []struct {
		left, label int32
		want        float64
		first       bool
	}{
		{5, 8, 2./12*1 + 10./12*3.5/6.5, true},
		{5, 7, 10. / 12 * 2.5 / 6.5, false},
		{handCLS, 7, 3./13*2./3 + 10./13*2.5/6.5, false},
		{handCLS, 8, 3./13*1./3 + 10./13*3.5/6.5, true},
		{7, 8, 3.5 / 6.5, true},
		{9, 9, 0.5 / 6.5, false},
	} {
		if nats, first := content.left(x.left, x.label); math.Abs(math.Exp(-nats)-x.want) > 1e-15 || first != x.first {
			t.Errorf("%d behind %d: %v, most probable %v; want %v, %v", x.label, x.left, math.Exp(-nats), first, x.want, x.first)
		}
	}
	// Behind 7 stood 5 twice, when delimiters count.
	if nats, first := all.left(7, 5); math.Abs(math.Exp(-nats)-(2./12+10./12*3.5/10.5)) > 1e-15 || !first {
		t.Errorf("5 behind 7 in all: %v, %v", math.Exp(-nats), first)
	}
	for left := range int32(len(handClasses)) {
		sum := 0.0
		for id := int32(7); id <= 9; id++ {
			nats, _ := content.left(left, id)
			sum += math.Exp(-nats)
		}
		if math.Abs(sum-1) > 1e-14 {
			t.Errorf("probabilities behind %d add up to %v", left, sum)
		}
	}
}

func TestPairTableCounts(t *testing.T) {
	var table pairTable
	want := map[uint64]uint32{}
	for i := range uint64(20_000) {
		key := i * i % 9973 << 32 & 0xffff_0000_0000 / 3 * 7 % (1 << 45)
		table.add(key)
		want[key]++
	}
	got := table.sorted()
	if len(got) != len(want) || !slices.IsSortedFunc(got, func(a, b keyCount) int { return int(a.key>>1) - int(b.key>>1) }) {
		t.Fatalf("%d keys, want %d, ascending", len(got), len(want))
	}
	for _, k := range got {
		if want[k.key] != k.count {
			t.Errorf("key %d: %d, want %d", k.key, k.count, want[k.key])
		}
	}
}

func TestLeftNeighbourPassesOverMaskedTokens(t *testing.T) {
	m := &batch.Micro{
		IDs:             []int32{1, 7, 4, 4, 8, 2, 1, 4, 9, 2},
		Offsets:         []int32{0, 6, 10},
		MaskedPositions: []int32{2, 3, 4, 7, 8},
	}
	for i, want := range []int32{7, 7, 7, 1, 1} {
		if got := leftOf(m, i); got != want {
			t.Errorf("masked position %d: neighbour %d, want %d", i, got, want)
		}
	}
}

func TestMeasureUniform(t *testing.T) {
	v, err := batch.NewVocabulary(tokenizer.Special{PAD: 0, CLS: 1, SEP: 2, UNK: 3, MASK: 4}, handClasses)
	if err != nil {
		t.Fatal(err)
	}
	docs := memory{{7, 5, 8}, {5, 5}, {}, {9, 9, 9, 9, 9, 9, 9, 9}}
	e, err := batch.NewEvaluation(docs, v, batch.EvaluationOptions{Context: 8, T: 16, Mask: batch.MaskOptions{Rate: 1}})
	if err != nil {
		t.Fatal(err)
	}
	lengths := []int32{0, 0, 0, 0, 0, 1, 1, 2, 3, 4}
	r, err := measure(context.Background(), &uniform{vocabulary: 10}, e, lengths, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	m := r.report(200, 0, 0, 1)
	if m.Tokens != 10 || m.Bytes != 2+3+8*4 || m.Documents != 2 || m.Baselines != nil {
		t.Errorf("measured %+v", m)
	}
	if math.Abs(float64(m.Perplexity)-10) > 1e-5 || m.Accuracy != 0 {
		t.Errorf("perplexity %v, accuracy %v, want 10 and 0", m.Perplexity, m.Accuracy)
	}
	if want := 10 * math.Log2(10) / 37; math.Abs(float64(m.BitsPerByte)-want) > 1e-6 {
		t.Errorf("bits per byte %v, want %v", m.BitsPerByte, want)
	}
	if got := r.sources(); !slices.Equal(got, []int{0, 1}) {
		t.Errorf("sources %v", got)
	}
	// Source 1 has the documents of delimiters alone and of nines; source 0 the first one.
	if one := r.ofSource(0).report(10, 0, 0, 1); one.Tokens != 2 || !math.IsNaN(float64(one.PerplexityInterval[0])) {
		t.Errorf("source 0: %+v: two tokens, no interval from one document", one)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := measure(ctx, &uniform{vocabulary: 10}, e, lengths, nil, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("a cancelled context: %v", err)
	}
}

func TestEmptyMeasurement(t *testing.T) {
	for name, docs := range map[string][]tally{"no documents": nil, "nothing masked": {{}, {source: 1}, {}}} {
		m := (&measurement{documents: docs, baselines: true}).report(100, 0, 0, 2)
		for _, f := range []Figure{m.Perplexity, m.Accuracy, m.BitsPerByte, m.CrossEntropy, m.AccuracyInterval[0], m.Baselines.Unigram.Perplexity} {
			if !math.IsNaN(float64(f)) {
				t.Errorf("%s: %+v", name, m)
			}
		}
		text, err := json.Marshal(m)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		var back Measured
		if err := json.Unmarshal(text, &back); err != nil || !math.IsNaN(float64(back.Perplexity)) {
			t.Errorf("%s: %s: %v", name, text, err)
		}
	}
}

func TestBootstrap(t *testing.T) {
	var docs []tally
	for i := range 200 {
		n := int64(1 + i%7)
		docs = append(docs, tally{masked: n, bytes: 3 * n, nats: [systems]float64{float64(i%11) * 0.1 * float64(n), float64(n), float64(n)}, hits: [systems]int64{n / 2, 0, n}})
	}
	one := bootstrap(docs, 1000, 3, 5, 1)
	for _, threads := range []int{2, 7} {
		if got := bootstrap(docs, 1000, 3, 5, threads); !reflect.DeepEqual(got, one) {
			t.Errorf("%d threads give %v, one gives %v", threads, got, one)
		}
	}
	if got := bootstrap(docs, 1000, 4, 5, 1); reflect.DeepEqual(got, one) {
		t.Error("another seed gives the same intervals")
	}
	var total sums
	for i := range docs {
		total.add(&docs[i])
	}
	for f, i := range one[ofModel] {
		v := total.of(ofModel)[f]
		if !(float64(i[0]) < v && v < float64(i[1])) {
			t.Errorf("figure %d: %v lies outside %v", f, v, i)
		}
	}
	// The interval of a mean of n equal weights is about ± 1.96 standard errors.
	var plain []tally
	mean, square := 0.0, 0.0
	for i := range 400 {
		x := float64(i*i%101) / 101
		mean += x / 400
		square += x * x / 400
		plain = append(plain, tally{masked: 1, nats: [systems]float64{x}})
	}
	half := 1.96 * math.Sqrt((square-mean*mean)/400)
	i := bootstrap(plain, 1000, 0, 0, 2)[ofModel][figCrossEntropy]
	for end, want := range map[Figure]float64{i[0]: mean - half, i[1]: mean + half} {
		// The spread of a percentile of 1,000 draws is some 5 % of the half width; 20 % is four times that.
		if math.Abs(float64(end)-want) > 0.2*half {
			t.Errorf("interval %v, want about %v ± %v", i, mean, half)
		}
	}
}

func TestNearestRank(t *testing.T) {
	values := make([]float64, 1000)
	for i := range values {
		values[i] = float64(i + 1)
	}
	if lo, hi := nearestRank(values, 0.025), nearestRank(values, 0.975); lo != 25 || hi != 975 {
		t.Errorf("got %v and %v, want 25 and 975", lo, hi)
	}
	if got := nearestRank([]float64{3}, 0.025); got != 3 {
		t.Errorf("of one value: %v", got)
	}
}
