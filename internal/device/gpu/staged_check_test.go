package gpu

import (
	"strings"
	"testing"

	"github.com/secencoder/secencoder/internal/cuda"
	"github.com/secencoder/secencoder/internal/kernel"
)

// The staging family finds what it is there for: writes outside of operands, and calls that do not repeat.
func TestStandinStaging(t *testing.T) {
	m := onStandin(t)
	s := stage(t, m.device, m.table, 2)
	args := &kernel.AddArgs{A: kernel.FromF32(filled(5, 1)), B: kernel.FromF32(filled(5, 2)), Out: kernel.FromF32(filled(5, 0)), N: 5}
	fill := func(p cuda.Ptr, value byte) {
		if err := s.stream.Fill(p, value, 1); err != nil {
			t.Fatal(err)
		}
	}
	calls := 0
	for _, c := range []struct {
		says string
		run  func(kernel.Stream, *kernel.AddArgs)
	}{
		{"0 bytes behind Out", func(_ kernel.Stream, a *kernel.AddArgs) { fill(address(a.Out)+20, 1) }},
		{"1 before A", func(_ kernel.Stream, a *kernel.AddArgs) { fill(address(a.A)-1, 1) }},
		{"leaves other bits, in Out, byte 3", func(_ kernel.Stream, a *kernel.AddArgs) { calls++; fill(address(a.Out)+3, byte(calls)) }},
		{"", m.table.Add},
	} {
		stagedCall(s, args, c.run)
		if err := s.Sync(0); c.says == "" && err != nil || c.says != "" && (err == nil || !strings.Contains(err.Error(), c.says)) {
			t.Errorf("Sync returns %v, want %q in it", err, c.says)
		}
	}
	if sum := args.Out.F32()[4]; sum != 3 {
		t.Errorf("1 + 2 is %v", sum)
	}
}
