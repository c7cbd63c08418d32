package model

import (
	"fmt"
	"strings"
	"testing"
)

// P11: the slot tables of HF, every entry, for fifteen pairs of position_buckets and max_relative_positions up to the
// map of 48,000 positions. No tolerance: a slot is an index.
func TestParitySlots(t *testing.T) {
	g := openGolden(t, "P11")
	tables := 0
	for _, name := range g.names("") {
		pair, ok := strings.CutSuffix(name, ".starts")
		if !ok {
			continue
		}
		tables++
		c := DefaultConfig()
		c.RelativeAttention = true
		if _, err := fmt.Sscanf(pair, "%d.%d", &c.PositionBuckets, &c.MaxRelativePositions); err != nil {
			t.Fatal(err)
		}
		starts, slots := g.i32(t, name), g.i16(t, pair+".slots")
		length := int(g.i32(t, pair+".length")[0])
		got, err := c.SlotTable(length / 2)
		if err != nil {
			t.Fatal(err)
		}
		if len(got) != length {
			t.Fatalf("%s: %d entries, want %d", pair, len(got), length)
		}
		run := 0
		for i, s := range got {
			if run+1 < len(starts) && int(starts[run+1]) == i {
				run++
			}
			if s != slots[run] {
				t.Fatalf("%s: slot of r = %d is %d, want %d", pair, i-length/2, s, slots[run])
			}
		}
	}
	if tables != 15 {
		t.Errorf("%d tables, want 15", tables)
	}
}
