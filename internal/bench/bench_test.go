package bench

import (
	"encoding/json"
	"testing"
	"time"
)

// quick is the shortest measurement of each kind.
func quick() Options {
	return Options{Size: "tiny", Tokens: 64, Context: 32, Threads: 2, Duration: time.Millisecond, Memory: "none"}
}

func TestMeasurements(t *testing.T) {
	for name, run := range map[string]func() (*Result, error){
		"gemm":  func() (*Result, error) { return GEMM(t.Context(), quick()) },
		"train": func() (*Result, error) { return Train(t.Context(), quick()) },
		"infer": func() (*Result, error) { return Infer(t.Context(), quick()) },
	} {
		r, err := run()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if r.What != name || r.GFLOPS+r.TokensPerSecond+r.MBPerSecond <= 0 || r.PeakBytes <= 0 || len(r.Slices) == 0 {
			t.Errorf("%s: a result with a gap: %+v", name, r)
		}
		if s := r.ShareOfPeak; s != nil && (*s <= 0 || *s > 1.5) {
			t.Errorf("%s: share of the peak is %g", name, *s)
		}
		for _, s := range r.Slices {
			if s.Median <= 0 || s.Best < s.Median || s.Runs < 3 || s.Case == "" {
				t.Errorf("%s: a slice with a gap: %+v", name, s)
			}
		}
		if data, err := json.Marshal(r); err != nil || !json.Valid(data) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestUnknownSize(t *testing.T) {
	if _, err := GEMM(t.Context(), Options{Size: "huge"}); err == nil {
		t.Error("no error for an unknown size")
	}
	if _, err := Train(t.Context(), Options{Size: "tiny", Context: 512, Tokens: 64}); err == nil {
		t.Error("no error for fewer tokens than the context")
	}
}

func TestQuantiles(t *testing.T) {
	x := times{5, 1, 4, 2, 3, 6, 7, 8, 9, 10}
	if x.median() != 6 || x.best() != 2 {
		t.Errorf("median %g, best tenth %g", x.median(), x.best())
	}
}
