package batch

import (
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/secencoder/secencoder/internal/alloctest"
	"github.com/secencoder/secencoder/internal/rng"
)

func TestPermutationIsBijective(t *testing.T) {
	for _, n := range []int{1, 2, 3, 4, 5, 15, 16, 17, 63, 64, 65, 1000, 4096, 70_001} {
		p := newPermutation(7, rng.Order, n)
		for epoch := range uint32(2) {
			seen := make([]bool, n)
			for i := range n {
				d := p.at(epoch, uint64(i))
				if d < 0 || d >= n || seen[d] {
					t.Fatalf("n %d, epoch %d: position %d gives %d, out of range or a second time", n, epoch, i, d)
				}
				seen[d] = true
			}
		}
	}
}

func TestPermutationMixes(t *testing.T) {
	const n = 10_000
	p, q := newPermutation(1, rng.Order, n), newPermutation(2, rng.Order, n)
	var fixed, sameEpoch, sameSeed, ascents int
	for i := range uint64(n) {
		a := p.at(0, i)
		fixed += b2i(a == int(i))
		sameEpoch += b2i(a == p.at(1, i))
		sameSeed += b2i(a == q.at(0, i))
		ascents += b2i(i > 0 && a > p.at(0, i-1))
	}
	// Chance agreements of two random orders follow Poisson(1): more than 12 has probability below 1e-9.
	if fixed > 12 || sameEpoch > 12 || sameSeed > 12 {
		t.Errorf("%d fixed points, %d places equal in the next epoch, %d under another seed", fixed, sameEpoch, sameSeed)
	}
	// Ascents of a random order: mean (n−1)/2, variance (n+1)/12; six standard deviations are 173.
	if ascents < n/2-174 || ascents > n/2+174 {
		t.Errorf("%d ascents of %d", ascents, n)
	}
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

// Every token of every document is seen exactly once an epoch, in order within its document, framed, whatever T is.
func TestLoaderShowsEverythingOnce(t *testing.T) {
	docs := testDocuments(3, 300, 70)
	nonEmpty := 0
	for _, d := range docs.docs {
		nonEmpty += b2i(len(d) > 0)
	}
	for _, o := range []Options{
		{Context: 3, T: 3}, {Context: 3, T: 50}, {Context: 16, T: 16, Accumulate: 3},
		{Context: 32, T: 100, Accumulate: 2}, {Context: 128, T: 128}, {Context: 72, T: 1000, Accumulate: 2},
	} {
		o.Seed = 11
		l := newTestLoader(t, docs, o)
		for epoch := range uint32(2) {
			got := make([][]uint32, len(docs.docs))
			for l.state.Epoch == epoch {
				for _, m := range mustStep(t, l) {
					checkMicro(t, docs, m, o)
					for p, ref := range m.Pieces {
						if l.state.Epoch > epoch && len(got[ref.Document]) == len(docs.docs[ref.Document]) {
							continue // the step runs on into the next epoch
						}
						if ref.Start != len(got[ref.Document]) || ref.Start != ref.Index*(o.Context-2) {
							t.Fatalf("%+v: piece %+v, but %d tokens came before", o, ref, len(got[ref.Document]))
						}
						ids := original(m, p)
						for _, id := range ids[1 : len(ids)-1] {
							got[ref.Document] = append(got[ref.Document], uint32(id))
						}
					}
				}
			}
			for i, d := range docs.docs {
				if len(d)+len(got[i]) > 0 && !reflect.DeepEqual(got[i], d) {
					t.Fatalf("%+v: epoch %d, document %d: got %v, want %v", o, epoch, i, got[i], d)
				}
			}
			// Begin the next epoch at its first document.
			if err := l.Restore(State{Epoch: epoch + 1}); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// checkMicro checks what every micro-batch promises.
func checkMicro(t *testing.T, docs *memory, m *Micro, o Options) {
	t.Helper()
	if m.T != o.T || len(m.IDs) != o.T || m.Tokens() > o.T {
		t.Fatalf("T %d, %d ids, %d tokens, want T %d", m.T, len(m.IDs), m.Tokens(), o.T)
	}
	n := len(m.Pieces)
	if n == 0 || n > o.T/2 || len(m.Offsets) != n+1 || len(m.MaskedOffsets) != n+1 || m.Offsets[0] != 0 || m.MaskedOffsets[0] != 0 {
		t.Fatalf("%d pieces, offsets %v, masked offsets %v", n, m.Offsets, m.MaskedOffsets)
	}
	if len(m.MaskedPositions) != len(m.Labels) || int(m.MaskedOffsets[n]) != len(m.Labels) {
		t.Fatalf("%d masked positions, %d labels, last offset %d", len(m.MaskedPositions), len(m.Labels), m.MaskedOffsets[n])
	}
	for _, id := range m.IDs[m.Tokens():] {
		if id != 0 {
			t.Fatalf("tail holds id %d", id)
		}
	}
	for p, ref := range m.Pieces {
		ids := original(m, p)
		if len(ids) < 3 || len(ids) > o.Context || ids[0] != 1 || ids[len(ids)-1] != 2 {
			t.Fatalf("piece %+v is framed as %v", ref, ids)
		}
		if ref.Source != ref.Document%3 || ref.Record != uint32(ref.Document*10) {
			t.Fatalf("piece %+v has the source or record of another document", ref)
		}
		for i, id := range ids[1 : len(ids)-1] {
			if docs.docs[ref.Document][ref.Start+i] != uint32(id) {
				t.Fatalf("piece %+v: token %d is %d, want %d", ref, i, id, docs.docs[ref.Document][ref.Start+i])
			}
		}
		last := m.Offsets[p]
		for _, x := range m.MaskedPositions[m.MaskedOffsets[p]:m.MaskedOffsets[p+1]] {
			if x <= last || x >= m.Offsets[p+1]-1 {
				t.Fatalf("piece %+v: masked position %d after %d, piece ends at %d", ref, x, last, m.Offsets[p+1])
			}
			last = x
		}
	}
}

// Next-fit: a piece opens a micro-batch only if the one before had no room for it, and ordinals count on in a step.
func TestLoaderPacksNextFit(t *testing.T) {
	docs := testDocuments(5, 200, 40)
	o := Options{Context: 20, T: 64, Accumulate: 3, Seed: 1}
	l := newTestLoader(t, docs, o)
	var last *Micro
	for range 30 {
		ordinal := uint32(0)
		for i, m := range clone(mustStep(t, l)) {
			if m.Ordinal != ordinal {
				t.Fatalf("micro-batch %d: ordinal %d, want %d", i, m.Ordinal, ordinal)
			}
			ordinal += uint32(len(m.Pieces))
			if last != nil && last.Tokens()+int(m.Offsets[1]) <= o.T {
				t.Fatalf("a piece of %d tokens was not put into the %d free places", m.Offsets[1], o.T-last.Tokens())
			}
			last = &m
		}
	}
	c := l.Counts()
	if c.Micros != 90 || c.Tokens+c.Padding != 90*64 || c.Pieces < c.Micros || c.Masked == 0 || c.EmptyDocuments == 0 {
		t.Errorf("counts %+v", c)
	}
}

// The masks of a piece depend on seed, epoch, document and piece only.
func TestMasksDoNotDependOnPacking(t *testing.T) {
	docs := testDocuments(9, 150, 60)
	seen := map[PieceRef]piece{}
	for i, o := range []Options{{T: 24}, {T: 24, Accumulate: 4}, {T: 100}, {T: 999, Accumulate: 2}} {
		o.Context, o.Seed = 24, 5
		l := newTestLoader(t, docs, o)
		for l.state.Epoch == 0 {
			for _, m := range mustStep(t, l) {
				for _, p := range pieces(m) {
					if before, ok := seen[p.ref]; i == 0 {
						if !ok { // not again, from epoch 1
							seen[p.ref] = p
						}
					} else if l.state.Epoch == 0 && before != p {
						t.Fatalf("%+v: %+v, with other packing %+v", o, p, before)
					}
				}
			}
		}
	}
	for ref, want := range seen {
		got, err := Inspect(docs, testVocabulary(t), 5, 24, MaskOptions{}, Place{Document: ref.Document, Piece: ref.Index})
		if err != nil {
			t.Fatal(err)
		}
		m := &Micro{IDs: got.IDs, MaskedPositions: got.MaskedPositions, Labels: got.Labels, Pieces: []PieceRef{got.PieceRef},
			Offsets: []int32{0, int32(len(got.IDs))}, MaskedOffsets: []int32{0, int32(len(got.Labels))}}
		if pieces(m)[0] != want {
			t.Fatalf("Inspect gives %+v, the loader %+v", pieces(m)[0], want)
		}
	}
}

// Batches after a restore at any step equal those of the run that was not interrupted.
func TestResumeIsExact(t *testing.T) {
	docs := testDocuments(21, 60, 90)
	o := Options{Context: 24, T: 60, Accumulate: 2, Seed: 77}
	whole := newTestLoader(t, docs, o)
	const steps = 120 // more than two epochs
	var want [][]Micro
	states := []State{whole.State()}
	for range steps {
		want = append(want, clone(mustStep(t, whole)))
		states = append(states, whole.State())
	}
	if states[steps].Epoch < 2 {
		t.Fatalf("%d steps reach epoch %d only", steps, states[steps].Epoch)
	}
	inside := 0
	for k := range steps {
		inside += b2i(states[k].Piece > 0)
		fresh := newTestLoader(t, docs, o)
		if err := fresh.Restore(states[k]); err != nil {
			t.Fatal(err)
		}
		for j := k; j < min(k+3, steps); j++ {
			if got := clone(mustStep(t, fresh)); !reflect.DeepEqual(got, want[j]) {
				t.Fatalf("restored at step %d: step %d differs", k, j)
			}
			if fresh.State() != states[j+1] {
				t.Fatalf("restored at step %d: state after step %d is %+v, want %+v", k, j, fresh.State(), states[j+1])
			}
		}
	}
	if inside == 0 {
		t.Error("no state lies inside a document: the test shows too little")
	}

	p := NewPrefetcher(newTestLoader(t, docs, o))
	for j := range 10 {
		if got := clone(mustStep(t, p)); !reflect.DeepEqual(got, want[j]) {
			t.Fatalf("prefetched step %d differs", j)
		}
		if p.State() != states[j+1] {
			t.Fatalf("prefetcher's state after step %d is %+v, want %+v", j, p.State(), states[j+1])
		}
	}
	for _, k := range []int{3, 90, 0} {
		if err := p.Restore(states[k]); err != nil {
			t.Fatal(err)
		}
		for j := k; j < k+4; j++ {
			if got := clone(mustStep(t, p)); !reflect.DeepEqual(got, want[j]) {
				t.Fatalf("prefetcher restored at step %d: step %d differs", k, j)
			}
		}
	}
	if err := p.Restore(State{Position: 1 << 40}); err == nil || p.State() != states[4] {
		t.Errorf("restoring a foreign state: error %v, state %+v", err, p.State())
	}
	if got := clone(mustStep(t, p)); !reflect.DeepEqual(got, want[4]) {
		t.Error("a refused restore changed the order")
	}
	if err := p.Close(); err != nil || p.l.State() != states[5] {
		t.Errorf("close: %v, loader stands at %+v, want %+v", err, p.l.State(), states[5])
	}
	if err := p.Close(); err != nil {
		t.Error(err)
	}
}

// slow documents make the reader wait.
type slow struct{ *memory }

func (s slow) Length(i int) int { time.Sleep(time.Millisecond); return s.memory.Length(i) }

func TestPrefetcherMeasuresWaiting(t *testing.T) {
	p := NewPrefetcher(newTestLoader(t, slow{testDocuments(4, 50, 30)}, Options{Context: 32, T: 64}))
	mustStep(t, p)
	if p.Waited() < 2*time.Millisecond {
		t.Errorf("waited %v for documents that take milliseconds", p.Waited())
	}
	before := p.Waited()
	time.Sleep(100 * time.Millisecond)
	mustStep(t, p)
	if d := p.Waited() - before; d > 50*time.Millisecond {
		t.Errorf("waited %v for a step that was ready", d)
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestLoaderErrors(t *testing.T) {
	docs := testDocuments(2, 40, 30)
	v := testVocabulary(t)
	good := Options{Context: 32, T: 256}
	for _, c := range []struct {
		name string
		docs Documents
		o    func(*Options)
		want string
	}{
		{"context", docs, func(o *Options) { o.Context = 2 }, "context of 2"},
		{"long context", docs, func(o *Options) { o.Context, o.T = 65537, 70000 }, "context of 65537"},
		{"small T", docs, func(o *Options) { o.T = 31 }, "micro-batch of 31"},
		{"accumulate", docs, func(o *Options) { o.Accumulate = -1 }, "-1 micro-batches"},
		{"no documents", &memory{}, func(*Options) {}, "0 documents"},
		{"rate", docs, func(o *Options) { o.Mask.Rate = 1.5 }, "rate 1.5"},
		{"shares", docs, func(o *Options) { o.Mask.MaskShare, o.Mask.RandomShare = 0.8, 0.3 }, "share 0.8"},
		{"runs", docs, func(o *Options) { o.Mask.MaxNgram = 65 }, "run 65"},
		{"runs and draw", docs, func(o *Options) { o.Mask.MaxNgram, o.Mask.Draw = 3, Bernoulli }, "exact"},
	} {
		o := good
		c.o(&o)
		if _, err := NewLoader(c.docs, v, o); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want %q", c.name, err, c.want)
		}
	}

	if _, err := newTestLoader(t, &memory{docs: make([][]uint32, 9), broken: -1, lying: -1}, good).NextStep(); err == nil || !strings.Contains(err.Error(), "none of the 9") {
		t.Errorf("documents without tokens: %v", err)
	}
	var l *Loader
	broken := testDocuments(2, 1000, 30)
	broken.broken = 17
	l = newTestLoader(t, broken, good)
	p := NewPrefetcher(newTestLoader(t, broken, good))
	for {
		before, counts := l.State(), l.Counts()
		_, err := l.NextStep()
		_, perr := p.NextStep()
		if (err == nil) != (perr == nil) {
			t.Fatalf("loader says %v, prefetcher %v", err, perr)
		}
		if err == nil {
			if l.State().Epoch > 0 {
				t.Fatal("an epoch without the broken document")
			}
			continue
		}
		if !errors.Is(err, errBroken) || !strings.Contains(err.Error(), "document 17") {
			t.Errorf("error %v does not name document 17 and its cause", err)
		}
		if l.State() != before || l.Counts() != counts || p.State() != before {
			t.Errorf("a failed step moved the state from %+v to %+v, %+v", before, l.State(), p.State())
		}
		if _, again := l.NextStep(); again == nil || again.Error() != err.Error() {
			t.Errorf("second try: %v", again)
		}
		if _, again := p.NextStep(); again == nil || again.Error() != err.Error() {
			t.Errorf("prefetcher's second try: %v", again)
		}
		if err := p.Close(); err != nil { // before the documents change
			t.Fatal(err)
		}
		// Once the document can be read, the loader goes on as if nothing had been.
		broken.broken = -1
		fresh := newTestLoader(t, broken, good)
		if err := fresh.Restore(before); err != nil {
			t.Fatal(err)
		}
		for range 20 {
			if got, want := clone(mustStep(t, l)), clone(mustStep(t, fresh)); !reflect.DeepEqual(got, want) {
				t.Fatal("a failed step changed what follows")
			}
		}
		break
	}
	// A step that fails in the midst of a document's pieces must not leave that document's tokens behind.
	long := testDocuments(2, 2, 0)
	long.docs[0], long.docs[1] = make([]uint32, 100), make([]uint32, 100)
	for i := range 100 {
		long.docs[0][i], long.docs[1][i] = uint32(delimiter+i), uint32(testV-1-i)
	}
	var fresh *Loader
	l, fresh = newTestLoader(t, long, Options{Context: 32, T: 75}), newTestLoader(t, long, Options{Context: 32, T: 75})
	mustStep(t, l) // two of four pieces of the first document
	long.broken = l.order.at(0, 1)
	if _, err := l.NextStep(); err != nil { // the other two
		t.Fatal(err)
	}
	if _, err := l.NextStep(); err == nil {
		t.Fatal("the broken document was read")
	}
	long.broken = -1
	if err := l.Restore(State{}); err != nil {
		t.Fatal(err)
	}
	if got, want := clone(mustStep(t, l)), clone(mustStep(t, fresh)); !reflect.DeepEqual(got, want) {
		t.Fatal("a failed read left its tokens behind")
	}
	lying := testDocuments(2, 10, 30)
	for i, d := range lying.docs {
		if len(d) > 5 {
			lying.lying = i
		}
	}
	foreign := testDocuments(2, 10, 30)
	foreign.docs[3] = []uint32{7, testV}
	for _, c := range []struct {
		docs *memory
		want string
	}{{lying, "the index says"}, {foreign, "outside the vocabulary"}} {
		l := newTestLoader(t, c.docs, good)
		var err error
		for err == nil && l.State().Epoch < 2 {
			_, err = l.NextStep()
		}
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("error %v, want %q", err, c.want)
		}
	}
	l = newTestLoader(t, docs, good)
	for _, s := range []State{{Position: 40}, {Position: 1 << 63}, {Piece: 1000}} {
		if err := l.Restore(s); err == nil {
			t.Errorf("state %+v was taken", s)
		}
	}
}

// A step takes no memory once all buffers have their size.
func TestStepsDoNotAllocate(t *testing.T) {
	docs := testDocuments(8, 500, 200)
	for _, mask := range []MaskOptions{{}, {Set: All, MaxNgram: 3}, {Draw: Bernoulli}} {
		o := Options{Context: 64, T: 256, Accumulate: 2, Mask: mask}
		l := newTestLoader(t, docs, o)
		p := NewPrefetcher(newTestLoader(t, docs, o))
		defer p.Close()
		for name, s := range map[string]interface{ NextStep() ([]*Micro, error) }{"loader": l, "prefetcher": p} {
			for l.state.Epoch < 1 && name == "loader" || p.state.Epoch < 1 && name == "prefetcher" {
				mustStep(t, s)
			}
			if n := alloctest.Fewest(func() {
				for range 100 {
					if _, err := s.NextStep(); err != nil {
						t.Error(err)
					}
				}
			}); n > 0 {
				t.Errorf("%s, %+v: %v allocations in 100 steps", name, mask, n)
			}
		}
	}
}

func BenchmarkLoader(b *testing.B) {
	l := newTestLoader(b, testDocuments(8, 5000, 200), Options{Context: 512, T: 8192})
	b.SetBytes(8192)
	for b.Loop() {
		mustStep(b, l)
	}
}
