package kernel

import (
	"fmt"
	"math"
)

// MaxSpan is the largest attention span K: slots 0 … 2K−1 are stored as int16.
const MaxSpan = 1 << 14

// Span returns the attention span K of a configuration (HF: pos_ebd_size): position_buckets when positive, else
// max_relative_positions.
func Span(buckets, maxRelative int) int {
	if buckets > 0 {
		return buckets
	}
	return maxRelative
}

// CheckSlots returns an error that names the value when the bucket map of (position_buckets, max_relative_positions) is
// not defined for relative positions up to reach, or too wide for the slot table.
func CheckSlots(buckets, maxRelative, reach int) error {
	switch mid := buckets / 2; {
	case Span(buckets, maxRelative) < 1:
		return fmt.Errorf("position_buckets is %d and max_relative_positions is %d, want one of them positive", buckets, maxRelative)
	case Span(buckets, maxRelative) > MaxSpan:
		return fmt.Errorf("the attention span is %d, want at most %d", Span(buckets, maxRelative), MaxSpan)
	case buckets == 1:
		return fmt.Errorf("position_buckets is 1, want at least 2")
	case buckets > 0 && reach > mid && maxRelative < mid+2:
		// The logarithm of (M−1)/mid is not positive: HF's map then goes backwards, or divides by zero.
		return fmt.Errorf("max_relative_positions is %d with position_buckets %d: pieces of more than %d tokens need at least %d", maxRelative, buckets, mid+1, mid+2)
	}
	return nil
}

// Slots returns the row of the position table for each relative position r = query − key, |r| ≤ reach: element
// r + reach is clamp(bucket(r) + K, 0, 2K−1). maxRelative is max_relative_positions after HF's default
// (max_position_embeddings when below 1). Slots never fall as r grows. It panics, an internal error, where CheckSlots
// gives an error or reach is negative.
//
// Every step of the logarithm is a float32, rounded as torch rounds it: a float64 version gives another slot in about a
// quarter of all configurations. Source: HF 5.23.0 make_log_bucket_position, build_relative_position.
func Slots(buckets, maxRelative, reach int) []int16 {
	if err := CheckSlots(buckets, maxRelative, reach); err != nil {
		panic("internal error: " + err.Error())
	}
	k := Span(buckets, maxRelative)
	slots := make([]int16, 2*reach+1)
	slots[reach] = int16(k)
	for r := 1; r <= reach; r++ {
		b := bucket(r, buckets, maxRelative)
		slots[reach+r] = int16(min(k+b, 2*k-1))
		slots[reach-r] = int16(max(k-b, 0))
	}
	return slots
}

// bucket returns the bucket of a distance r > 0; that of −r is its negative.
func bucket(r, buckets, maxRelative int) int {
	mid := buckets / 2
	if buckets <= 0 || r <= mid {
		return r
	}
	q := float32(r) / float32(mid)
	num := float32(math.Log(float64(q)))
	den := float32(math.Log(float64(float32(float64(maxRelative-1) / float64(mid)))))
	t := float32(num / den)
	t = float32(t * float32(mid-1))
	return int(math.Ceil(float64(t))) + mid
}
