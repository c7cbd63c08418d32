package train

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"github.com/secencoder/secencoder/data/batch"
)

// counting counts the micro-batches that a network sees.
type counting struct {
	network
	runs int
}

func (c *counting) run(ctx context.Context, m *batch.Micro, seed uint64, step uint32, scale float32, accumulate bool) (float64, error) {
	c.runs++
	return c.network.run(ctx, m, seed, step, scale, accumulate)
}

// A probe whose steps are long ends after the first one that passes the limit.
func TestProbeEndsEarly(t *testing.T) {
	o := small(t, filepath.Join(t.TempDir(), "run"), 2)
	s, err := open(context.Background(), &o)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.close(); err != nil {
			t.Error(err)
		}
	}()
	net := &counting{network: s.net}
	s.net = net
	for steps, limit := range map[int]time.Duration{1: 0, 4: probeTime} {
		net.runs = 0
		if _, err := s.probe(context.Background(), 4, limit); err != nil {
			t.Fatal(err)
		}
		if want := steps * s.c.Accumulate; net.runs != want {
			t.Errorf("a limit of %v: %d micro-batches, want %d", limit, net.runs, want)
		}
	}
}
