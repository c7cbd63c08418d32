package model

import (
	"fmt"
	"math"
)

// bucket maps the distance r = i − j (query index minus key index) to its log bucket. The steps round exactly as HF's
// make_log_bucket_position does in float32: a float64 version disagrees with HF for about one configuration in four,
// so every intermediate result is forced to float32 by its conversion. The map is odd.
func (c *Config) bucket(r int) int {
	if c.PositionBuckets <= 0 {
		return r
	}
	mid := c.PositionBuckets / 2
	a := max(r, -r)
	if a <= mid {
		return r
	}
	q := float32(float32(a) / float32(mid))
	num := float32(math.Log(float64(q)))
	den := float32(math.Log(float64(float32(float64(c.MaxRelative()-1) / float64(mid)))))
	t := float32(num / den)
	t = float32(t * float32(mid-1))
	b := int(float32(math.Ceil(float64(t)))) + mid
	if r < 0 {
		return -b
	}
	return b
}

// Slot returns the row of the position table that serves a query at place i and a key at place j with r = i − j:
// clamp(bucket(r) + K, 0, 2K−1), where bucket is r itself up to position_buckets/2 and logarithmic beyond, or r without
// buckets. Both terms, content-to-position and position-to-content, read the same slot.
//
// Source: make_log_bucket_position, build_relative_position and disentangled_attention_bias, transformers 5.23.0.
func (c *Config) Slot(r int) int {
	k := c.AttentionSpan()
	return min(max(c.bucket(r)+k, 0), 2*k-1)
}

// SlotTable returns the slots of all r in [−reach, reach]: element r + reach. It is strictly Toeplitz in HF, so one
// such table replaces HF's N×N map for pieces of up to reach + 1 tokens. reach may be 0; a negative one, or one beyond
// the bound of max_position_embeddings, is an error.
func (c *Config) SlotTable(reach int) ([]int16, error) {
	if reach < 0 || reach > maxPositions {
		return nil, fmt.Errorf("slot table: reach %d, want 0 to %d", reach, maxPositions)
	}
	t := make([]int16, 2*reach+1)
	for r := -reach; r <= reach; r++ {
		t[r+reach] = int16(c.Slot(r))
	}
	return t, nil
}
