package tokenizer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// naiveMerges trains by counting all pairs anew for every merge: the definition.
func naiveMerges(s *Scanner, records [][]byte, size int, least int64) []merge {
	counts := make(map[string]int64)
	for _, r := range records {
		for _, p := range pieces(s, r) {
			counts[p]++
		}
	}
	type symbols struct {
		ids   []uint32
		count int64
	}
	var words []symbols
	for text, n := range counts {
		var w symbols
		for i := range len(text) {
			w.ids = append(w.ids, 5+byteRank[text[i]])
		}
		w.count = n
		words = append(words, w)
	}
	var merges []merge
	for next := firstMerge; int(next) < size; next++ {
		pairs := make(map[[2]uint32]int64)
		for _, w := range words {
			for i := 1; i < len(w.ids); i++ {
				pairs[[2]uint32{w.ids[i-1], w.ids[i]}] += w.count
			}
		}
		var best [2]uint32
		most := int64(0)
		for p, n := range pairs {
			if n > most || n == most && slices.Compare(p[:], best[:]) < 0 {
				best, most = p, n
			}
		}
		if most < max(1, least) {
			break
		}
		merges = append(merges, merge{best[0], best[1], next})
		for k := range words {
			var out []uint32
			for i, ids := 0, words[k].ids; i < len(ids); i++ {
				if i+1 < len(ids) && ids[i] == best[0] && ids[i+1] == best[1] {
					out = append(out, next)
					i++
				} else {
					out = append(out, ids[i])
				}
			}
			words[k].ids = out
		}
	}
	return merges
}

// TestTrainEqualsNaive: few letters, so that runs, overlaps and ties are everywhere.
func TestTrainEqualsNaive(t *testing.T) {
	for seed := range uint64(60) {
		rng := rand.New(rand.NewPCG(seed, 1))
		alphabet := []string{"ab", "aab", "abc .", "a1 \x80\xff", "xyz=/ 0123"}[seed%5]
		var records [][]byte
		for range 1 + rng.IntN(12) {
			r := make([]byte, rng.IntN(40))
			for i := range r {
				r[i] = alphabet[rng.IntN(len(alphabet))]
			}
			records = append(records, r)
		}
		records = append(records, []byte("aa"))
		size, least := int(firstMerge)+rng.IntN(60), int64(rng.IntN(4))
		s := allScanners(t)[rng.IntN(12)]
		tok, _, err := Train(context.Background(), each(records), TrainOptions{
			VocabSize: size, MinFrequency: least, Digits: s.Digits(), Space: s.Space(), Threads: 1 + int(seed%3),
		})
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		if want := naiveMerges(s, records, size, least); !slices.Equal(tok.merges, want) {
			t.Fatalf("seed %d: got %v, want %v for %q", seed, tok.merges, want, records)
		}
	}
}

// TestTrainIsDeterministic: the same bytes for any number of threads and any order of records.
func TestTrainIsDeterministic(t *testing.T) {
	var lines [][]byte
	for range 12 { // several blocks of text, so that threads get different ones
		lines = append(lines, trainingLines(t)...)
	}
	var first [32]byte
	for i, threads := range []int{1, 2, 3, 7} {
		tok, _, err := Train(context.Background(), each(lines), TrainOptions{VocabSize: 1200, Threads: threads})
		if err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			first = tok.Fingerprint()
		} else if tok.Fingerprint() != first {
			t.Errorf("%d threads: another tokenizer than with 1", threads)
		}
		slices.Reverse(lines)
	}
}

// paperLine is the log line of Table 1 of the SecEncoder paper.
const paperLine = "sudo: root : TTY=unknown ; PWD=/ ; USER=root ; COMMAND=/bin/ip netns identify 4867"

// TestPaperTable1: with such lines in the corpus the paper's line has the paper's 25 tokens, its words whole.
func TestPaperTable1(t *testing.T) {
	tok, _, err := Train(context.Background(), each(trainingLines(t)), TrainOptions{VocabSize: 4096})
	if err != nil {
		t.Fatal(err)
	}
	ids := tok.NewEncoder().Append(nil, []byte(paperLine))
	var words []string
	for _, id := range ids {
		words = append(words, string(tok.TokenBytes(id)))
	}
	if len(ids) != 25 {
		t.Errorf("%d tokens, want 25: %q", len(ids), words)
	}
	for _, w := range []string{" TTY", " PWD", " netns", " 4867", " ;", "="} {
		if !slices.Contains(words, w) {
			t.Errorf("%q is not one token in %q", w, words)
		}
	}
}

func TestTrainReport(t *testing.T) {
	records := [][]byte{[]byte("aaa bbb"), []byte("aaa 1"), {}}
	stages := make(map[string]int64)
	tok, r, err := Train(context.Background(), each(records), TrainOptions{
		VocabSize: 1000,
		Progress:  func(stage string, done, _ int64) { stages[stage] = done },
	})
	if err != nil {
		t.Fatal(err)
	}
	// Pieces: aaa, " bbb", aaa, " 1". Merges: aa, aaa, bb, and then what joins " bbb" and " 1".
	want := Report{Documents: 3, Bytes: 12, Pieces: 4, DistinctPieces: 3, WantedSize: 1000, VocabSize: tok.VocabSize(), LastCount: 1, LongestToken: 4}
	if r != want {
		t.Errorf("got %+v, want %+v", r, want)
	}
	if tok.VocabSize() != 267 || r.Shortfall() != 733 {
		t.Errorf("vocabulary %d, shortfall %d, want 267 and 733", tok.VocabSize(), r.Shortfall())
	}
	if stages["count"] != 12 || stages["merge"] != 267 {
		t.Errorf("progress ended at %v", stages)
	}
}

func TestTrainErrors(t *testing.T) {
	some := each([][]byte{[]byte("some text")})
	cancelled, cancel := context.WithCancel(context.Background())
	cancel()
	failing := iter.Seq2[[]byte, error](func(yield func([]byte, error) bool) {
		if yield([]byte("a"), nil) {
			yield(nil, io.ErrUnexpectedEOF)
		}
	})
	for _, c := range []struct {
		name string
		ctx  context.Context
		docs iter.Seq2[[]byte, error]
		o    TrainOptions
		is   error
		want string
	}{
		{"small", context.Background(), some, TrainOptions{VocabSize: 260}, nil, "too small for the alphabet"},
		{"huge", context.Background(), some, TrainOptions{VocabSize: 1 << 30}, nil, "over the limit"},
		{"rule", context.Background(), some, TrainOptions{Digits: "d9"}, nil, "unknown digit rule"},
		{"threads", context.Background(), some, TrainOptions{Threads: -1}, nil, "no negative number"},
		{"empty", context.Background(), each(nil), TrainOptions{}, ErrNoText, ""},
		{"nothing", context.Background(), each([][]byte{{}, {}}), TrainOptions{}, ErrNoText, ""},
		{"source", context.Background(), failing, TrainOptions{}, io.ErrUnexpectedEOF, "record 2"},
		{"cancelled", cancelled, some, TrainOptions{}, context.Canceled, ""},
	} {
		_, _, err := Train(c.ctx, c.docs, c.o)
		if err == nil || c.is != nil && !errors.Is(err, c.is) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %v %q", c.name, err, c.is, c.want)
		}
	}
}

func ExampleTrain() {
	logs := strings.Repeat("sudo: root : TTY=unknown ; PWD=/ ; USER=root\n", 10)
	records := func(yield func([]byte, error) bool) {
		for line := range bytes.Lines([]byte(logs)) {
			if !yield(bytes.TrimSuffix(line, []byte("\n")), nil) {
				return
			}
		}
	}
	tok, report, err := Train(context.Background(), records, TrainOptions{VocabSize: 300})
	if err != nil {
		panic(err)
	}
	var words [][]byte
	for _, id := range tok.NewEncoder().Append(nil, []byte("root : TTY=no")) {
		words = append(words, tok.TokenBytes(id))
	}
	fmt.Printf("%q\n", words)
	fmt.Println(report.Documents, report.VocabSize, report.Shortfall())
	// Output:
	// ["root" " :" " TTY" "=" "n" "o"]
	// 10 286 14
}
