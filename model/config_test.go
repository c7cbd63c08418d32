package model

import (
	"math"
	"strings"
	"testing"
)

// Parameter counts at V = 29,952 with head: the design's table, and the encoder alone as counted with HuggingFace's own
// classes (transformers 5.23.0, meta device).
func TestPresetParameterCounts(t *testing.T) {
	for _, tc := range []struct {
		name              string
		encoder, withHead int
		learningRate      float64
		perStep, context  int
	}{
		{"tiny", 4296448, 4343168, 1e-3, 512, 128},
		{"mini", 10958848, 11055104, 1e-3, 2048, 512},
		{"small", 22346496, 22525056, 7e-4, 8192, 512},
		{"base", 108453888, 109075968, 5e-4, 8192, 512},
		{"large", 333508608, 334590208, 3e-4, 8192, 512},
		{"xlarge", 733837824, 736231680, 2e-4, 8192, 512},
		{"xxlarge", 1073816064, 1076209920, 1e-4, 8192, 512},
	} {
		c, train, err := Preset(tc.name, DefaultVocabSize)
		if err != nil {
			t.Fatal(err)
		}
		count := func(h Heads) int {
			ts, err := Layout(c, h)
			if err != nil {
				t.Fatal(err)
			}
			n := 0
			for _, x := range ts {
				if x.Offset != n {
					t.Errorf("%s: %s starts at %d, want %d: a gap", tc.name, x.Name, x.Offset, n)
				}
				n += x.Size()
			}
			return n
		}
		if got := count(Heads{}); got != tc.encoder {
			t.Errorf("%s: encoder has %d parameters, want %d", tc.name, got, tc.encoder)
		}
		if got := count(Heads{MLM: true}); got != tc.withHead {
			t.Errorf("%s: with head %d parameters, want %d", tc.name, got, tc.withHead)
		}
		if train != (TrainingDefaults{tc.learningRate, tc.perStep, tc.context}) {
			t.Errorf("%s: training defaults %+v", tc.name, train)
		}
	}
	if _, _, err := Preset("huge", 100); err == nil || !strings.Contains(err.Error(), "xxlarge") {
		t.Errorf("unknown size: %v", err)
	}
}

func TestSigma(t *testing.T) {
	c, _, err := Preset("base", DefaultVocabSize)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := c.Sigma(), float32(math.Sqrt(192)); got != want {
		t.Errorf("sigma = %v, want %v", got, want)
	}
	c.RelativeAttention = false // HF still counts pos_att_type
	if got, want := c.Sigma(), float32(math.Sqrt(192)); got != want {
		t.Errorf("sigma without relative attention = %v, want %v", got, want)
	}
	c.PosAttType = []string{"p2p"}
	if got, want := c.Sigma(), float32(8); got != want {
		t.Errorf("sigma of p2p alone = %v, want %v", got, want)
	}
}
