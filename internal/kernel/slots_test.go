package kernel

import "testing"

// slotOf reads the slot of r.
func slotOf(s []int16, r int) int { return int(s[len(s)/2+r]) }

// The facts were measured on HF 5.23.0's make_log_bucket_position.
func TestSlotsPublishedMap(t *testing.T) {
	s := Slots(256, 512, 1000)
	want := func(r, slot int) {
		t.Helper()
		if got := slotOf(s, r); got != slot {
			t.Errorf("slot of %d: got %d, want %d", r, got, slot)
		}
	}
	for r := -131; r <= 131; r++ { // the identity goes three beyond the rule's 128
		want(r, r+256)
	}
	want(132, 131+256)
	want(505, 510)
	want(506, 511)
	want(1000, 511)
	want(511, 511) // bucket 255 = 2·mid − 1
	want(-511, 1)  // its negative
	want(-512, 0)  // nothing clamps r before the logarithm
	want(-1000, 0) // clamped
	s = Slots(256, 512, 511)
	if s[0] != 1 || s[len(s)-1] != 511 {
		t.Errorf("pieces of 512 tokens use slots %d … %d, want 1 … 511", s[0], s[len(s)-1])
	}
	for _, c := range []struct{ run, first int }{{2, 131}, {3, 198}, {4, 290}} {
		if got := firstRun(Slots(256, 512, 600), c.run); got != c.first {
			t.Errorf("first run of %d positions in one slot at %d, want %d", c.run, got, c.first)
		}
	}
}

// firstRun returns the smallest r > 0 that starts n positions of one slot.
func firstRun(s []int16, n int) int {
	for r := 1; r+n-1 <= len(s)/2; r++ {
		if slotOf(s, r) == slotOf(s, r+n-1) {
			return r
		}
	}
	return -1
}

func TestSlotsLongMap(t *testing.T) {
	s := Slots(256, 48_000, 47_999)
	for r, slot := range map[int]int{129: 385, -129: 127, 45_810: 510, 45_811: 511, 47_999: 511, -47_999: 1} {
		if got := slotOf(s, r); got != slot {
			t.Errorf("slot of %d: got %d, want %d", r, got, slot)
		}
	}
	if slotOf(s, 130) == 386 {
		t.Error("the identity goes beyond 129")
	}
	for _, c := range []struct{ run, first int }{{8, 162}, {16, 326}, {32, 687}, {64, 1384}, {128, 2786}, {256, 5354}, {512, 10_782}} {
		if got := firstRun(s, c.run); got != c.first {
			t.Errorf("first run of %d positions in one slot at %d, want %d", c.run, got, c.first)
		}
	}
}

// Distinct slots of a tile of 64×64, by the distance of its corners.
func TestSlotsOfTiles(t *testing.T) {
	for m, want := range map[int]map[int]int{
		512:    {0: 127, 64: 127, 128: 101, 192: 64, 256: 47, 320: 38, 384: 31, 448: 26, 512: 12, 576: 1, 1024: 1},
		48_000: {0: 127, 64: 127, 128: 73, 192: 15, 256: 12, 1024: 3, 8192: 2, 32_768: 1},
		2048:   {128: 83, 192: 32, 448: 14, 512: 12, 1024: 7, 2048: 2},
		8192:   {128: 77, 192: 22, 448: 10, 512: 8, 1024: 5, 4096: 2},
	} {
		s := Slots(256, m, 40_000)
		for d, n := range want {
			if got := slotOf(s, d+63) - slotOf(s, d-63) + 1; got != n {
				t.Errorf("M %d, distance %d: %d slots, want %d", m, d, got, n)
			}
		}
	}
}

// At r = 1643 and 6395 of (512, 4096) float32 and exact arithmetic disagree; the float32 answer is HF's.
func TestSlotsRoundLikeFloat32(t *testing.T) {
	s := Slots(512, 4096, 7000)
	for _, r := range []int{1643, 6395} {
		if got, exact := bucket(r, 512, 4096), exactBucket(r, 512, 4096); got == exact {
			t.Errorf("bucket of %d is %d in float32 and in exact arithmetic", r, got)
		}
		if r < 4096 && slotOf(s, r) != 512+bucket(r, 512, 4096) {
			t.Errorf("slot of %d is not its bucket + 512", r)
		}
	}
	for _, c := range [][2]int{{256, 512}, {256, 2048}, {256, 8192}, {256, 48_000}, {128, 512}, {64, 512}, {16, 64}, {8, 32}} {
		for r := 1; r < c[1]; r++ {
			if got, exact := bucket(r, c[0], c[1]), exactBucket(r, c[0], c[1]); got != exact && r != c[1]-1 {
				t.Errorf("%v: bucket of %d is %d, exactly %d", c, r, got, exact)
			}
		}
		if got := bucket(c[1]-1, c[0], c[1]); got != c[0]/2*2-1 {
			t.Errorf("%v: the last bucket is %d, want %d", c, got, c[0]-1)
		}
	}
}

// At |r| = M − 1 the quotient is (M−1)/mid over itself: the bucket is 2·mid − 1, never the next one. A division in
// float64 before the logarithm would round numerator and denominator apart.
func TestLastBucket(t *testing.T) {
	for buckets := 4; buckets <= 512; buckets += 2 {
		for _, m := range []int{64, 100, 200, 512, 1000, 1024, 2048, 4096, 48_000} {
			if m < buckets/2+2 {
				continue
			}
			if got := bucket(m-1, buckets, m); got != buckets-1 {
				t.Errorf("buckets %d, M %d: the last bucket is %d, want %d", buckets, m, got, buckets-1)
			}
		}
	}
}

func TestSlotsProperties(t *testing.T) {
	for _, c := range [][2]int{{256, 512}, {16, 64}, {8, 32}, {2, 3}, {3, 9}, {7, 33}, {-1, 24}, {0, 1}, {512, 48_000}} {
		k := Span(c[0], c[1])
		s := Slots(c[0], c[1], 2*c[1])
		for r := range 2*c[1] + 1 {
			if a, b := slotOf(s, r), slotOf(s, -r); a < 2*k-1 && b > 0 && a+b != 2*k {
				t.Errorf("%v: slots of ±%d are %d and %d, want the sum %d", c, r, a, b, 2*k)
			}
			if a := slotOf(s, r); a < 0 || a >= 2*k || r > 0 && a < slotOf(s, r-1) {
				t.Errorf("%v: slot of %d is %d after %d", c, r, a, slotOf(s, r-1))
			}
		}
	}
	s := Slots(-1, 24, 40) // without buckets: r + K, clamped
	for r := -40; r <= 40; r++ {
		if got, want := slotOf(s, r), min(max(r+24, 0), 47); got != want {
			t.Errorf("linear slot of %d is %d, want %d", r, got, want)
		}
	}
	if got := Slots(4, 16, 0); len(got) != 1 || got[0] != 4 {
		t.Errorf("Slots of one position: %v", got)
	}
}

func TestCheckSlots(t *testing.T) {
	for _, c := range []struct {
		buckets, maxRelative, reach int
		ok                          bool
	}{
		{256, 512, 65_535, true}, {256, 130, 1000, true}, {256, 129, 1000, false}, {256, 64, 128, true}, {256, 64, 129, false},
		{1, 512, 5, false}, {0, 0, 5, false}, {-1, -1, 5, false}, {-1, MaxSpan, 5, true}, {-1, MaxSpan + 1, 5, false}, {2, 3, 9, true},
	} {
		if err := CheckSlots(c.buckets, c.maxRelative, c.reach); (err == nil) != c.ok {
			t.Errorf("%+v: %v", c, err)
		}
	}
	defer func() {
		if recover() == nil {
			t.Error("Slots accepted an undefined map")
		}
	}()
	Slots(1, 512, 5)
}
