package model

import (
	"fmt"

	"github.com/secencoder/secencoder/internal/kernel"
)

// SlotTable returns, for r = i − j (place of the query minus place of the key) in [−reach, reach], the row of the
// position table that serves the pair: element r + reach. Both terms, content-to-position and position-to-content, read
// the same slot. HF's N×N map is strictly Toeplitz, so the table serves every piece of up to reach + 1 tokens. A reach
// that is negative or beyond the bound of max_position_embeddings is an error, and so is a map that is not defined.
//
// Source: make_log_bucket_position, build_relative_position and disentangled_attention_bias, transformers 5.23.0.
func (c *Config) SlotTable(reach int) ([]int16, error) {
	if reach < 0 || reach > maxPositions {
		return nil, fmt.Errorf("slot table: reach is %d, want 0 to %d", reach, maxPositions)
	}
	if err := kernel.CheckSlots(c.PositionBuckets, c.MaxRelative(), reach); err != nil {
		return nil, fmt.Errorf("slot table: %w", err)
	}
	return kernel.Slots(c.PositionBuckets, c.MaxRelative(), reach), nil
}
