package bf16

import (
	"math"
	"testing"
)

func TestEveryValueRoundTrips(t *testing.T) {
	for i := range 1 << 16 {
		x := BF16(i)
		f := x.Float32()
		y := FromFloat32(f)
		if f != f {
			if g := y.Float32(); g == g || math.Signbit(float64(g)) != math.Signbit(float64(f)) {
				t.Fatalf("NaN %04x became %04x", i, y)
			}
			continue
		}
		if x != y {
			t.Fatalf("%04x became %04x", i, y)
		}
	}
}

func TestRoundsToNearestEven(t *testing.T) {
	bits := math.Float32frombits
	for _, c := range []struct {
		in   float32
		want BF16
	}{
		{1, 0x3f80}, {-2, 0xc000}, {0, 0}, {float32(math.Copysign(0, -1)), 0x8000},
		{bits(0x3f808000), 0x3f80}, // tie, even below
		{bits(0x3f818000), 0x3f82}, // tie, even above
		{bits(0x3f808001), 0x3f81}, {bits(0x3f817fff), 0x3f81},
		{math.MaxFloat32, 0x7f80}, {-math.MaxFloat32, 0xff80}, {bits(0x7f7f7fff), 0x7f7f},
		{float32(math.Inf(1)), 0x7f80}, {float32(math.Inf(-1)), 0xff80},
		{bits(0x7f800001), 0x7fc0}, {bits(0xffc12345), 0xffc1}, // NaN whose fraction lies in the lower half only
		{bits(1), 0}, {bits(0x00018000), 2}, // denormals
	} {
		if got := FromFloat32(c.in); got != c.want {
			t.Errorf("FromFloat32(%08x) = %04x, want %04x", math.Float32bits(c.in), got, c.want)
		}
	}
}

// The nearest of the two neighbours wins for every float32 of a dense sample.
func TestNearest(t *testing.T) {
	for b := uint64(0); b < 0x7f7f0000; b += 65_537 * 7 / 3 {
		f := math.Float32frombits(uint32(b))
		down, up := BF16(b>>16), BF16(b>>16+1)
		dd, du := float64(f)-float64(down.Float32()), float64(up.Float32())-float64(f)
		want := down
		if du < dd || du == dd && up&1 == 0 {
			want = up
		}
		if got := FromFloat32(f); got != want {
			t.Fatalf("FromFloat32(%08x) = %04x, want %04x", b, got, want)
		}
	}
}
