package exec

import (
	"strings"
	"testing"
	"time"
)

// Under every policy a step runs attention forward once a layer: its arithmetic grows with the square of the length.
func TestAttentionIsNeverComputedAgain(t *testing.T) {
	for _, policy := range Policies {
		e := newEncoder(t, 0, true)
		p := e.compile(t, Options{Device: open(t, "", 1), Recompute: policy})
		calls := map[string]int{}
		p.SetTrace(func(name string, _ time.Duration) { calls[name]++ })
		run(t, p)
		if calls["attention"] != testLayers || calls["attention_grad"] != testLayers {
			t.Errorf("%v: attention runs %d times forward and %d times backward, want %d", policy, calls["attention"], calls["attention_grad"], testLayers)
		}
		dense := 0
		for name, n := range calls {
			if strings.HasPrefix(name, "qkv") && !strings.HasSuffix(name, "_grad") {
				dense += n
			}
		}
		if want := map[Policy]int{None: testLayers, Cheap: testLayers, Layer: 2 * testLayers}[policy]; dense != want {
			t.Errorf("%v: qkv runs %d times, want %d", policy, dense, want)
		}
	}
}
