package kernel

import (
	"math"
	"slices"
	"testing"
)

func TestTokensOfHeader(t *testing.T) {
	for T := range 3000 {
		if got := TokensOfHeader(HeaderWords(T)); got != T {
			t.Fatalf("TokensOfHeader(HeaderWords(%d)) = %d", T, got)
		}
	}
	if got := TokensOfHeader(HeaderWords(65_536)); got != 65_536 {
		t.Errorf("TokensOfHeader = %d, want 65,536", got)
	}
}

func TestFill(t *testing.T) {
	p := Pack{
		Offsets: []int32{0, 3, 4, 9}, Masked: []int32{1, 5, 8}, Labels: []int32{10, 11, 12},
		Step: 1 << 31, Seed: 0x8000000090000001, Ordinal: 7, Scale: 1.0 / 3,
	}
	const T = 11
	words := make([]int32, HeaderWords(T))
	for i := range words {
		words[i] = -1
	}
	p.Fill(words, T)
	h := ViewHeader(words, T)
	if h.Tokens() != 9 || h.Pieces() != 3 || h.MaskedRows() != 3 || h.Step() != 1<<31 || h.Seed() != p.Seed || h.Ordinal() != 7 || h.Scale() != float32(1.0/3) {
		t.Errorf("header %v", words[:16])
	}
	if want := []int32{0, 0, 0, 1, 2, 2, 2, 2, 2, 0, 0}; !slices.Equal(h.Piece, want) {
		t.Errorf("pieces %v, want %v", h.Piece, want)
	}
	if want := []int32{0, 1, 2, 0, 0, 1, 2, 3, 4, 0, 0}; !slices.Equal(h.Place, want) {
		t.Errorf("places %v, want %v", h.Place, want)
	}
	if !slices.Equal(h.Offsets[:4], p.Offsets) || !slices.Equal(h.Masked[:3], p.Masked) || !slices.Equal(h.Labels[:3], p.Labels) {
		t.Error("lists were not copied")
	}
	for k, want := range map[RowKind]int{RowsAll: 40, RowsTokens: 9, RowsMasked: 3, RowsPieces: 3} {
		if got := h.Count(k, 40); got != want {
			t.Errorf("Count(%d) = %d, want %d", k, got, want)
		}
	}
	(&Pack{}).Fill(words, T)
	if slices.ContainsFunc(words, func(w int32) bool { return w != 0 }) {
		t.Error("an empty pack leaves words behind")
	}
}

func TestDropoutCounters(t *testing.T) {
	p := Pack{Offsets: []int32{0, 3, 9}, Masked: []int32{4}, Labels: []int32{1}, Ordinal: 5, Step: 2, Seed: 3}
	words := make([]int32, HeaderWords(20))
	p.Fill(words, 20)
	h := ViewHeader(words, 20)
	const w = 7
	for _, c := range []struct {
		kind RowKind
		row  int
		want uint64
	}{
		{RowsAll, 3, 3 * w}, {RowsTokens, 0, 5 * 65_536 * w}, {RowsTokens, 4, (6*65_536 + 1) * w},
		{RowsMasked, 0, (6*65_536 + 1) * w}, {RowsPieces, 1, 6 * w},
	} {
		if got := h.DropoutElement(c.kind, c.row, w); got != c.want {
			t.Errorf("element of row %d of kind %d: %d, want %d", c.row, c.kind, got, c.want)
		}
	}
	if got, want := h.AttentionCall(1, 12, 5, 100), uint64(((6*12+5)*65_536+100)*8192); got != want {
		t.Errorf("attention call %d, want %d", got, want)
	}
	call := [4]uint32{0x00010000, 0x00030002, 0x00050004, 0x00070006}
	for j := range 24 {
		if got := AttentionHalf(call, j); got != uint32(j%8) {
			t.Errorf("half-word of key %d: %d", j, got)
		}
	}
}

func TestDropoutThresholds(t *testing.T) {
	d := Dropout{P: 0.25}
	if d.Threshold() != 1<<30 || d.HalfThreshold() != 1<<14 || d.Scale() != float32(4.0/3) || !d.On() {
		t.Errorf("P = 1/4: %d, %d, %v", d.Threshold(), d.HalfThreshold(), d.Scale())
	}
	// float32(0.1) is a little above 0.1: the count of float64's 0.1 is 429,496,729.
	d = Dropout{P: 0.1}
	if d.Threshold() != 429_496_736 || d.HalfThreshold() != 6554 {
		t.Errorf("P = 0.1: %d, %d", d.Threshold(), d.HalfThreshold())
	}
	if p := float64(d.Threshold()) / (1 << 32); math.Abs(p-0.1) > 0x1p-24 {
		t.Errorf("P = 0.1 drops %v", p)
	}
	if (Dropout{}).On() || (Dropout{}).Threshold() != 0 {
		t.Error("P = 0 is on")
	}
}
