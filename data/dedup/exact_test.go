package dedup

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/secencoder/secencoder/data"
)

func TestNumbers(t *testing.T) {
	var e Exact
	r := rand.New(rand.NewPCG(1, 2))
	want := map[string]uint32{}
	for range 50_000 {
		text := fmt.Sprint(r.IntN(20_000))
		n, added, err := e.Add(Hash([]byte(text)))
		if err != nil {
			t.Fatal(err)
		}
		number, seen := want[text]
		if !seen {
			number = uint32(len(want))
			want[text] = number
		}
		if n != number || added == seen {
			t.Fatalf("%q: got %d, added %v; want %d, added %v", text, n, added, number, !seen)
		}
	}
	if e.Len() != len(want) {
		t.Fatalf("%d distinct, want %d", e.Len(), len(want))
	}
}

// Keys whose low halves are equal meet in the table and must still be told apart.
func TestCollidingPlaces(t *testing.T) {
	var e Exact
	for pass := range 2 {
		for i := range uint32(3000) {
			n, added, err := e.Add(Key{Hi: uint64(i), Lo: 7})
			if err != nil || n != i || added != (pass == 0) {
				t.Fatalf("pass %d: key %d: got %d, added %v, %v", pass, i, n, added, err)
			}
		}
	}
}

// Choices do not depend on the order of the calls.
func TestChoose(t *testing.T) {
	type place struct {
		number uint32
		split  data.Split
		at     uint64
	}
	places := []place{
		{0, data.Train, 5}, {0, data.Train, 3}, {0, data.Train, 9},
		{1, data.Train, 1}, {1, data.ODTS, 8}, {1, data.IDTS, 2}, {1, data.ODTS, 9},
		{2, data.Valid, 7}, {2, data.Train, 6},
		{3, data.IDTS, 1<<62 - 1}, {3, data.Valid, 0},
	}
	want := []place{{0, data.Train, 3}, {1, data.ODTS, 8}, {2, data.Valid, 7}, {3, data.IDTS, 1<<62 - 1}}
	for seed := range uint64(20) {
		var e Exact
		for i := range 4 {
			if _, _, err := e.Add(Key{Lo: uint64(i)}); err != nil {
				t.Fatal(err)
			}
		}
		rand.New(rand.NewPCG(seed, 0)).Shuffle(len(places), func(i, j int) { places[i], places[j] = places[j], places[i] })
		for _, p := range places {
			e.Choose(p.number, p.split, p.at)
		}
		for _, w := range want {
			if s, at := e.Chosen(w.number); s != w.split || at != w.at {
				t.Fatalf("seed %d: text %d: got %v at %d, want %v at %d", seed, w.number, s, at, w.split, w.at)
			}
		}
	}
}

func BenchmarkAdd(b *testing.B) {
	var e Exact
	r := rand.New(rand.NewPCG(1, 2))
	keys := make([]Key, 1<<20)
	for i := range keys {
		keys[i] = Key{Hi: r.Uint64(), Lo: r.Uint64()}
	}
	for i := 0; b.Loop(); i++ {
		if _, _, err := e.Add(keys[i%len(keys)]); err != nil {
			b.Fatal(err)
		}
	}
}
