package batch

import (
	"errors"
	"io"
	"strings"
	"testing"
)

func newTestEvaluation(t *testing.T, docs Documents, o EvaluationOptions) *Evaluation {
	t.Helper()
	e, err := NewEvaluation(docs, testVocabulary(t), o)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func all(t *testing.T, e *Evaluation, docs *memory) []piece {
	t.Helper()
	var out []piece
	for {
		m, err := e.Next()
		if errors.Is(err, io.EOF) {
			if _, err := e.Next(); !errors.Is(err, io.EOF) {
				t.Fatalf("after the end: %v", err)
			}
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		checkMicro(t, docs, m, Options{Context: e.o.Context, T: e.o.T})
		if int(m.Ordinal) != len(out) {
			t.Fatalf("ordinal %d after %d pieces", m.Ordinal, len(out))
		}
		out = append(out, pieces(m)...)
	}
}

// The whole set comes in order, each piece once, with the masks of training's epoch 0, and again after Reset.
func TestEvaluationOfAWholeSet(t *testing.T) {
	docs := testDocuments(31, 120, 80)
	o := EvaluationOptions{Context: 24, T: 70, Seed: 5}
	e := newTestEvaluation(t, docs, o)
	got := all(t, e, docs)
	want, empty := 0, int64(0)
	for i, d := range docs.docs {
		for index := range PieceCount(len(d), o.Context) {
			if got[want].ref.Document != i || got[want].ref.Index != index {
				t.Fatalf("piece %d is %+v, want document %d, piece %d", want, got[want].ref, i, index)
			}
			want++
		}
		empty += int64(b2i(len(d) == 0))
	}
	if len(got) != want {
		t.Fatalf("%d pieces, want %d", len(got), want)
	}
	if c := e.Counts(); c.Pieces != int64(want) || c.EmptyDocuments != empty {
		t.Errorf("counts %+v, want %d pieces and %d empty documents", c, want, empty)
	}
	o.T = 500
	e.Reset()
	for name, again := range map[string][]piece{"after Reset": all(t, e, docs), "in larger micro-batches": all(t, newTestEvaluation(t, docs, o), docs)} {
		for i := range got {
			if again[i] != got[i] {
				t.Fatalf("%s: piece %d is %+v, was %+v", name, i, again[i], got[i])
			}
		}
	}
	byRef := map[PieceRef]piece{}
	for _, p := range got {
		byRef[p.ref] = p
	}
	for _, m := range mustStep(t, newTestLoader(t, docs, Options{Context: 24, T: 200, Seed: 5})) {
		for _, p := range pieces(m) {
			if byRef[p.ref] != p {
				t.Fatalf("training masks %+v, evaluation %+v", p, byRef[p.ref])
			}
		}
	}
}

func TestEvaluationSample(t *testing.T) {
	docs := testDocuments(32, 400, 80)
	base := EvaluationOptions{Context: 24, T: 70, Seed: 5}
	first := func(pieces int, tokens int64, seed uint64, T int) []piece {
		o := base
		o.Pieces, o.Tokens, o.Seed, o.T = pieces, tokens, seed, T
		e := newTestEvaluation(t, docs, o)
		out := all(t, e, docs)
		if c := e.Counts(); pieces > 0 && c.Pieces > int64(pieces) || tokens > 0 && c.Tokens > tokens && c.Pieces > 1 {
			t.Fatalf("sample of at most %d pieces and %d tokens: counts %+v", pieces, tokens, c)
		}
		return out
	}
	a := first(100, 0, 5, 70)
	if len(a) != 100 {
		t.Fatalf("%d pieces, want 100", len(a))
	}
	same := func(name string, x, y []piece) {
		for i := range min(len(x), len(y)) {
			if x[i] != y[i] {
				t.Fatalf("%s: piece %d is %+v, was %+v", name, i, x[i], y[i])
			}
		}
	}
	same("again", first(100, 0, 5, 70), a)
	same("other T", first(100, 0, 5, 333), a)
	tokens := first(0, 1000, 5, 70)
	same("by tokens", tokens, a)
	if len(tokens) >= 100 || len(tokens) < 30 {
		t.Errorf("1,000 tokens are %d pieces", len(tokens))
	}
	if n := len(first(100, 1000, 5, 70)); n != len(tokens) {
		t.Errorf("both limits: %d pieces, want %d", n, len(tokens))
	}
	if n := len(first(0, 1, 5, 70)); n != 1 {
		t.Errorf("a limit of one token: %d pieces, want 1", n)
	}
	other := first(100, 0, 6, 70)
	if other[0].ref == a[0].ref && other[1].ref == a[1].ref {
		t.Error("another seed gives the same sample")
	}
	documents := map[int]bool{}
	for _, p := range a {
		documents[p.ref.Document] = true
	}
	low := 0
	for d := range documents {
		low += b2i(d < 200)
	}
	if low < len(documents)/5 || low > len(documents)*4/5 {
		t.Errorf("%d of %d sampled documents lie in the first half", low, len(documents))
	}
	if n := len(first(1_000_000, 0, 5, 70)); n != len(first(0, 0, 5, 70)) {
		t.Errorf("a sample larger than the set has %d pieces", n)
	}
	if o := base.Sample(); o.Pieces != 2000 || o.Tokens != 100_000 || o.Context != 24 {
		t.Errorf("the usual sample is %+v", o)
	}
}

func TestEvaluationErrors(t *testing.T) {
	docs := testDocuments(1, 20, 30)
	for _, o := range []EvaluationOptions{{Context: 2, T: 9}, {Context: 20, T: 9}, {Context: 20, T: 20, Pieces: -1}, {Context: 20, T: 20, Tokens: -1}} {
		if _, err := NewEvaluation(docs, testVocabulary(t), o); err == nil {
			t.Errorf("%+v was taken", o)
		}
	}
	docs.broken = 7
	e := newTestEvaluation(t, docs, EvaluationOptions{Context: 20, T: 40})
	var err error
	for err == nil {
		_, err = e.Next()
	}
	if !errors.Is(err, errBroken) || !strings.Contains(err.Error(), "document 7") {
		t.Errorf("error %v", err)
	}
	nothing := newTestEvaluation(t, &memory{docs: make([][]uint32, 3), broken: -1}, EvaluationOptions{Context: 20, T: 40})
	if _, err := nothing.Next(); !errors.Is(err, io.EOF) || nothing.Counts().EmptyDocuments != 3 {
		t.Errorf("a set without tokens: %v, counts %+v", err, nothing.Counts())
	}
}
