package model

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"strings"
	"sync"
	"testing"
)

// expected is what HF gives for the folder testdata/hf/legacy (scripts/parity/make_fixtures.py).
type expected struct {
	Lines   []string
	IDs     [][]int32
	Vectors [][]float64
	Masked  string
	Masks   []Mask
}

func loadExpected(t *testing.T) expected {
	t.Helper()
	text, err := os.ReadFile(hfFolder("expected.json"))
	if err != nil {
		t.Fatal(err)
	}
	var want expected
	if err := json.Unmarshal(text, &want); err != nil {
		t.Fatal(err)
	}
	return want
}

func load(t *testing.T, opts ...Option) *Encoder {
	t.Helper()
	e, err := Load(hfFolder("legacy"), opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	return e
}

// vectorBound is the bound of hidden states: a mean of them has no more noise.
const vectorBound = boundHidden

// Vectors equal HF's for the folder that HF wrote, whatever the lines are packed with and in whatever order.
func TestEmbedEqualsHuggingFace(t *testing.T) {
	want := loadExpected(t)
	for _, tokens := range []int{4, 64, 100, 4096} {
		e := load(t, WithBatchTokens(tokens))
		for i, line := range want.Lines {
			if got := e.frame(nil, e.tok.Append(nil, []byte(line))); fmt.Sprint(got) != fmt.Sprint(want.IDs[i]) {
				t.Errorf("ids of %q: %v, want %v", line, got, want.IDs[i])
			}
		}
		for _, order := range [][]int{{0, 1, 2, 3, 4, 5, 6}, {6, 3, 3, 3, 0, 5, 2, 1, 4, 0}} {
			lines := make([]string, len(order))
			for i, o := range order {
				lines[i] = want.Lines[o]
			}
			got, err := e.Embed(context.Background(), lines)
			if err != nil {
				t.Fatal(err)
			}
			for i, o := range order {
				for j, x := range got[i] {
					if d := math.Abs(float64(x) - want.Vectors[o][j]); !(d <= vectorBound) {
						t.Fatalf("batches of %d: line %d differs by %.1e", tokens, i, d)
					}
				}
			}
		}
	}
}

// BF16 vectors are those of HF but for roundings: a mean over tokens of hidden states, each within the bound of
// TestParityHalf, as vectors. A type that is none is refused.
func TestEmbedInHalf(t *testing.T) {
	want := loadExpected(t)
	e := load(t, WithDType("bf16"))
	got, err := e.Embed(context.Background(), want.Lines)
	if err != nil {
		t.Fatal(err)
	}
	for i, vector := range want.Vectors {
		var off, size float64
		for j, x := range vector {
			off += (float64(got[i][j]) - x) * (float64(got[i][j]) - x)
			size += x * x
		}
		share := math.Sqrt(off / size)
		within(t, want.Lines[i], share, halfRMS*math.Sqrt(float64(4*(e.Config().NumHiddenLayers+1))))
		if share < halfRMS/16 {
			t.Errorf("line %d differs by %.1e: is that BF16?", i, share)
		}
	}
	if _, err := Load(hfFolder("legacy"), WithDType("f16")); err == nil || err.Error() != `dtype is "f16", want f32 or bf16` {
		t.Errorf("f16: %v", err)
	}
}

func TestEmbedPools(t *testing.T) {
	lines := []string{"sshd[1]: Failed password", "", "x"}
	e := load(t)
	_, h := lines, e.Config().HiddenSize
	hidden := make([][]float32, len(lines))
	for i, line := range lines {
		ids := e.frame(nil, e.tok.Append(nil, []byte(line)))
		plan, err := e.plan(ModeHidden, len(ids), 0)
		if err != nil {
			t.Fatal(err)
		}
		if err := plan.Run(t.Context(), &Batch{IDs: ids, Offsets: []int32{0, int32(len(ids))}}, false); err != nil {
			t.Fatal(err)
		}
		hidden[i] = append([]float32{}, plan.Hidden(e.Config().NumHiddenLayers)[:len(ids)*h]...)
	}
	for _, tc := range []struct {
		pool     Pool
		from, to int // of the tokens, to counted from the end
	}{{PoolMean, 0, 0}, {PoolContent, 1, 1}, {PoolFirst, 0, -1}} {
		got, err := load(t, WithPool(tc.pool)).Embed(context.Background(), lines)
		if err != nil {
			t.Fatal(err)
		}
		for i := range lines {
			n := len(hidden[i]) / h
			last := n - tc.to
			if tc.to < 0 {
				last = 1
			}
			for j := range h {
				var sum float64
				for at := tc.from; at < last; at++ {
					sum += float64(hidden[i][at*h+j])
				}
				if last > tc.from {
					sum /= float64(last - tc.from)
				}
				if d := math.Abs(sum - float64(got[i][j])); !(d <= vectorBound) {
					t.Fatalf("pool %v, line %d: differs by %.1e", tc.pool, i, d)
				}
			}
		}
	}
}

// A window averages its pieces, each weighted by its tokens; a line that fits is not touched by it.
func TestEmbedWindow(t *testing.T) {
	line := strings.Repeat("Failed password for root; ", 10)
	whole := load(t)
	e := load(t, WithWindow(20), WithBatchTokens(50))
	ids := whole.tok.Append(nil, []byte(line))
	var want []float64
	var total float64
	for at := 0; at < len(ids); at += 18 {
		part := ids[at:min(at+18, len(ids))]
		v, err := whole.Embed(context.Background(), []string{string(whole.Tokenizer().AppendDecode(nil, part))})
		if err != nil {
			t.Fatal(err)
		}
		if want == nil {
			want = make([]float64, len(v[0]))
		}
		for j, x := range v[0] {
			want[j] += float64(x) * float64(len(part)+2)
		}
		total += float64(len(part) + 2)
	}
	got, err := e.Embed(context.Background(), []string{"short", line, "short"})
	if err != nil {
		t.Fatal(err)
	}
	for j, x := range got[1] {
		if d := math.Abs(float64(x) - want[j]/total); !(d <= vectorBound) {
			t.Fatalf("differs by %.1e", d)
		}
	}
	short, err := whole.Embed(context.Background(), []string{"short"})
	if err != nil {
		t.Fatal(err)
	}
	for j, x := range short[0] {
		if d := math.Abs(float64(x - got[0][j])); !(d <= vectorBound) {
			t.Fatalf("a line that fits the window differs by %.1e", d)
		}
	}
}

// A line's vector has the same bits whatever it is packed with and whatever plan it runs in.
func TestEmbedIgnoresCompany(t *testing.T) {
	lines := loadExpected(t).Lines
	together, err := load(t).Embed(context.Background(), append(lines, lines...))
	if err != nil {
		t.Fatal(err)
	}
	for i, line := range lines {
		alone, err := load(t).Embed(context.Background(), []string{line})
		if err != nil {
			t.Fatal(err)
		}
		if a := fmt.Sprint(alone[0]); a != fmt.Sprint(together[i]) || a != fmt.Sprint(together[i+len(lines)]) {
			t.Errorf("%q has another vector in company", line)
		}
	}
}

func TestEmbedRefuses(t *testing.T) {
	e := load(t)
	var long *LineError
	if _, err := e.Embed(context.Background(), []string{"fine", strings.Repeat("\x00", maxPieceTokens)}); !errors.As(err, &long) || long.Line != 1 {
		t.Errorf("a line beyond the bound: %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := e.Embed(ctx, []string{"x"}); err != context.Canceled {
		t.Errorf("a cancelled context: %v", err)
	}
	if _, err := e.FillMask(ctx, "a [MASK]", 1); err != context.Canceled {
		t.Errorf("a cancelled context: %v", err)
	}
	if got, err := e.Embed(context.Background(), nil); err != nil || len(got) != 0 {
		t.Errorf("no lines: %v, %v", got, err)
	}
	// What an error left behind is not in the next call.
	a, err := e.Embed(context.Background(), []string{"x"})
	if err != nil {
		t.Fatal(err)
	}
	b, err := load(t).Embed(context.Background(), []string{"x"})
	if err != nil {
		t.Fatal(err)
	}
	if fmt.Sprint(a) != fmt.Sprint(b) {
		t.Error("a failed call changed the next one")
	}
	if _, err := Load(hfFolder("legacy"), WithWindow(3)); err == nil {
		t.Error("a window of 3 tokens was accepted")
	}
	// A line whose pass does not fit is refused with both numbers before the pass takes any memory, and shorter ones go on.
	tight := load(t)
	tight.available = func() (int64, error) { return 1 << 20, nil }
	if _, err := tight.Embed(context.Background(), []string{strings.Repeat("\x00", 20_000)}); err == nil ||
		!strings.Contains(err.Error(), " tokens needs ") || !strings.Contains(err.Error(), "1.0 MB are available") || len(tight.plans) > 0 {
		t.Errorf("a context that does not fit: %v, %d plans", err, len(tight.plans))
	}
	tight.available = func() (int64, error) { return 1 << 40, nil }
	if _, err := tight.Embed(context.Background(), []string{"x"}); err != nil {
		t.Error(err)
	}
	closed := load(t)
	if err := closed.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := closed.Embed(context.Background(), []string{"x"}); err == nil {
		t.Error("a closed encoder embeds")
	}
}

func TestEmbedConcurrently(t *testing.T) {
	e := load(t)
	want, err := e.EmbedBytes(context.Background(), [][]byte{{0xff, 0xfe}, []byte("a b c")})
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			got, err := e.EmbedBytes(context.Background(), [][]byte{{0xff, 0xfe}, []byte("a b c")})
			if err != nil {
				t.Error(err)
			} else if fmt.Sprint(got) != fmt.Sprint(want) {
				t.Error("another result beside other calls")
			}
		})
	}
	wg.Wait()
}

func TestFillMaskEqualsHuggingFace(t *testing.T) {
	want := loadExpected(t)
	e := load(t)
	got, err := e.FillMask(context.Background(), want.Masked, 4)
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != len(want.Masks) {
		t.Fatalf("%d masks, want %d", len(got), len(want.Masks))
	}
	for i, m := range want.Masks {
		if got[i].Position != m.Position {
			t.Errorf("mask %d stands at %d, want %d", i, got[i].Position, m.Position)
		}
		for j, c := range m.Candidates {
			g := got[i].Candidates[j]
			// A logit is off by at most boundLogits, its probability by that relative share, twice with the sum.
			if g.ID != c.ID || math.Abs(g.Probability-c.Probability) > 2*boundLogits*c.Probability {
				t.Errorf("mask %d, candidate %d: %+v, want %+v", i, j, g, c)
			}
		}
	}
	for text, why := range map[string]string{"no mask here": "[MASK]"} {
		if _, err := e.FillMask(context.Background(), text, 4); err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("%q: %v", text, err)
		}
	}
	if _, err := e.FillMask(context.Background(), "[MASK]", 0); err == nil {
		t.Error("no candidates were asked for")
	}
	all, err := e.FillMask(context.Background(), "[MASK]", 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	var sum float64
	for i, c := range all[0].Candidates {
		sum += c.Probability
		if i > 0 && c.Probability > all[0].Candidates[i-1].Probability {
			t.Error("candidates do not descend")
		}
	}
	if math.Abs(sum-1) > 1e-12 || len(all[0].Candidates) != e.Tokenizer().VocabSize() {
		t.Errorf("%d candidates sum to %v", len(all[0].Candidates), sum)
	}
	bare, err := Load(hfFolder("bare"))
	if err != nil {
		t.Fatal(err)
	}
	defer bare.Close()
	if _, err := bare.FillMask(context.Background(), "[MASK]", 1); err == nil || !strings.Contains(err.Error(), "head") {
		t.Errorf("a model without head: %v", err)
	}
}

func TestPlanTokens(t *testing.T) {
	for n, want := range map[int]int{1: 16, 16: 16, 17: 24, 24: 24, 25: 32, 33: 48, 49: 64, 4097: 6144, 65536: 65536} {
		if got := planTokens(n); got != want {
			t.Errorf("planTokens(%d) = %d, want %d", n, got, want)
		}
	}
}
