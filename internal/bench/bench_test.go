package bench

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/secencoder/secencoder/internal/exec"
	"github.com/secencoder/secencoder/internal/kernel"
	"github.com/secencoder/secencoder/model"
)

func TestMain(m *testing.M) {
	streamBytes = 64 << 20
	os.Exit(m.Run())
}

// quick is the shortest measurement of each kind.
func quick() Options {
	return Options{Size: "tiny", Tokens: 64, Context: 32, Threads: 2, Duration: time.Millisecond, Memory: "none"}
}

func TestMeasurements(t *testing.T) {
	for _, dtype := range []kernel.DType{kernel.F32, kernel.BF16} {
		o := quick()
		o.DType = dtype
		measureAll(t, o)
	}
}

// measureAll demands that every measurement of kernels is whole.
func measureAll(t *testing.T, o Options) {
	for name, run := range map[string]func() (*Result, error){
		"gemm":      func() (*Result, error) { return GEMM(t.Context(), o) },
		"attention": func() (*Result, error) { return Attention(t.Context(), o) },
		"train":     func() (*Result, error) { return Train(t.Context(), o) },
		"infer":     func() (*Result, error) { return Infer(t.Context(), o) },
	} {
		r, err := run()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if r.What != name || r.GFLOPS <= 0 || r.PeakBytes <= 0 || len(r.Slices) == 0 || r.Settings["dtype"] != o.DType.String() {
			t.Errorf("%s: a result with a gap: %+v", name, r)
		}
		if (name == "train" || name == "infer") != (r.TokensPerSecond > 0 && len(r.Kernels) > 3) {
			t.Errorf("%s: %g tokens a second, %d kernels", name, r.TokensPerSecond, len(r.Kernels))
		}
		checkSlices(t, r)
		checkPeaks(t, r)
		if data, err := json.Marshal(r); err != nil || !json.Valid(data) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// checkSlices holds the slices of a result against each other and against the peak.
func checkSlices(t *testing.T, r *Result) {
	t.Helper()
	for _, s := range append([]Slice{{Case: r.What, Median: 1, Best: 1, Runs: 3, ShareOfPeak: r.ShareOfPeak, MedianShare: r.MedianShare, Seconds: 1, BestSeconds: 1}}, r.Slices...) {
		if s.Median <= 0 || s.Best < s.Median || s.Runs < 3 || s.Case == "" || s.BestSeconds > s.Seconds {
			t.Errorf("%s: a slice with a gap: %+v", r.What, s)
		}
		if (s.ShareOfPeak == nil) != (r.Machine.PeakGFLOPS == 0) || (s.MedianShare == nil) != (s.ShareOfPeak == nil) {
			t.Errorf("%s, %s: a share without a peak, or the other way round", r.What, s.Case)
		}
		if s.ShareOfPeak != nil && (*s.ShareOfPeak <= 0 || *s.ShareOfPeak > 1.5 || *s.MedianShare <= 0) {
			t.Errorf("%s, %s: shares of the peak are %g and %g", r.What, s.Case, *s.ShareOfPeak, *s.MedianShare)
		}
	}
}

// checkPeaks demands memory on every machine, and multiplications where there is a loop for them.
func checkPeaks(t *testing.T, r *Result) {
	t.Helper()
	want := []string{PeakRead, PeakCopy}
	fma, half := loops(r.Machine.Kernels)
	if fma.run != nil {
		want = append(want, PeakFMA)
	}
	if half.run != nil {
		want = append(want, PeakBF16)
	}
	for _, name := range want {
		i := slices.IndexFunc(r.Machine.Peaks, func(p Peak) bool { return p.Name == name && p.Threads == r.Machine.Threads })
		if i < 0 {
			t.Errorf("%s: no %q on %d threads: %+v", r.What, name, r.Machine.Threads, r.Machine.Peaks)
			continue
		}
		if p := r.Machine.Peaks[i]; p.Unit == "" || p.Median <= 0 || p.Best < p.Median || p.Slices < 3 {
			t.Errorf("%s: a peak with a gap: %+v", r.What, p)
		}
	}
}

func TestInferComparesWithItsBounds(t *testing.T) {
	o := quick()
	o.Tokens = 32
	r, err := Infer(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if r.Machine.PeakGFLOPS == 0 {
		t.Skip("no loop for multiplications with these kernels")
	}
	b := r.Bounds
	if b == nil {
		t.Fatal("no bounds")
	}
	// tiny: 2 layers of 4·128² + 2·128·512 weights.
	if b.WeightBytes != 4*2*(4*128*128+2*128*512) {
		t.Errorf("%g bytes of weights", b.WeightBytes)
	}
	if b.WeightSeconds <= 0 || b.ProductSeconds <= 0 || b.WeightBestSeconds > b.WeightSeconds || b.ProductBestSeconds > b.ProductSeconds {
		t.Errorf("bounds with a gap: %+v", b)
	}
	if got, want := b.TimesOfBound, r.Slices[0].Seconds/max(b.WeightSeconds, b.ProductSeconds); got != want {
		t.Errorf("%g times the bound, want %g", got, want)
	}
}

func TestUnknownSize(t *testing.T) {
	for name, run := range map[string]func() error{
		"gemm":      func() error { _, err := GEMM(t.Context(), Options{Size: "huge"}); return err },
		"attention": func() error { _, err := Attention(t.Context(), Options{Size: "huge"}); return err },
	} {
		if run() == nil {
			t.Errorf("%s: no error for an unknown size", name)
		}
	}
	if _, err := Train(t.Context(), Options{Size: "tiny", Context: 512, Tokens: 64}); err == nil {
		t.Error("no error for fewer tokens than the context")
	}
}

func TestTrainRefusesWhatDoesNotFit(t *testing.T) {
	o := quick()
	o.Memory = "1MiB"
	if _, err := Train(t.Context(), o); !errors.Is(err, exec.ErrDoesNotFit) {
		t.Errorf("%v", err)
	}
}

// A limit holds for all that the process takes: the kernels' scratch counts too.
func TestTrainCountsScratch(t *testing.T) {
	o := quick()
	o.Memory, o.Threads = "100MB", 2 // parameters and plan take 75 MB, scratch may take 55
	if _, err := Train(t.Context(), o); !errors.Is(err, exec.ErrDoesNotFit) {
		t.Errorf("%v", err)
	}
	o.Memory = "2GB"
	if _, err := Train(t.Context(), o); err != nil {
		t.Error(err)
	}
}

// Operands that memory cannot hold are refused before any of them is made.
func TestOperandsThatDoNotFit(t *testing.T) {
	o := quick()
	o.Context, o.Tokens = 512, 1<<34
	for name, run := range map[string]func(context.Context, Options) (*Result, error){"attention": Attention, "gemm": GEMM} {
		if _, err := run(t.Context(), o); !errors.Is(err, exec.ErrDoesNotFit) || !strings.Contains(err.Error(), "bytes are needed") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestQuantiles(t *testing.T) {
	x := times{5, 1, 4, 2, 3, 6, 7, 8, 9, 10}
	if x.median() != 6 || x.best() != 2 {
		t.Errorf("median %g, best tenth %g", x.median(), x.best())
	}
}

func TestShares(t *testing.T) {
	one := timed{times: times{1, 2, 4}, rates: times{100, 100, 20}}
	var s Slice
	one.shares(&s, 200, 40) // 40, 20, 10 GFLOP/s
	if s.ShareOfPeak == nil || *s.ShareOfPeak != 0.2 || s.MedianShare == nil || *s.MedianShare != 0.4 {
		t.Errorf("%+v", s)
	}
	s = Slice{}
	one.shares(&s, 0, 40)
	if s.ShareOfPeak != nil || s.MedianShare != nil {
		t.Errorf("shares of an unknown peak: %+v", s)
	}
}

// TestFLOP compares with a table of the operations of the presets, in MFLOP a token, made from the formulas by hand.
func TestFLOP(t *testing.T) {
	for _, c := range []struct {
		size               string
		n                  int
		dense, both, fifth float64 // fifth: the head, for 0.15 masked tokens a token
	}{
		{"base", 128, 170, 4.7 + 9.4, 7.1},
		{"base", 512, 170, 19 + 19, 7.1},
		{"base", 8192, 170, 302 + 19, 7.1},
		{"base", 48000, 170, 1769 + 19, 7.1},
		{"large", 2048, 604, 201 + 50, 9.5},
		{"xlarge", 512, 1359 + 14, 75 + 75, 14.5},
	} {
		cfg, _, err := model.Preset(c.size, model.DefaultVocabSize)
		if err != nil {
			t.Fatal(err)
		}
		forward, backward := attentionFLOP(cfg, c.n)
		each := float64(cfg.NumHiddenLayers) / float64(c.n) / 1e6
		for name, x := range map[string][2]float64{
			"dense": {tokenFLOP(cfg) / 1e6, c.dense}, "attention": {forward * each, c.both}, "head": {0.15 * headFLOP(cfg) / 1e6, c.fifth},
		} {
			if math.Abs(x[0]-x[1]) > 1+0.01*x[1] {
				t.Errorf("%s, %d tokens, %s: %.1f MFLOP, want %.1f", c.size, c.n, name, x[0], x[1])
			}
		}
		if r := backward / forward; r < 2.5 || r > 3 {
			t.Errorf("%s, %d tokens: the backward pass is %.2f times the forward one", c.size, c.n, r)
		}
	}
	base, _, err := model.Preset("base", model.DefaultVocabSize)
	if err != nil {
		t.Fatal(err)
	}
	if got := positionFLOP(base) / 1e9; math.Abs(got-14.5) > 0.1 {
		t.Errorf("position tables of base: %.1f GFLOP, want 14.5", got)
	}
}

func TestOffsets(t *testing.T) {
	for _, c := range []struct {
		tokens, piece int
		want          []int32
	}{
		{64, 32, []int32{0, 32, 64}}, {65, 32, []int32{0, 32, 64}}, {66, 32, []int32{0, 32, 64, 66}}, {10, 10, []int32{0, 10}}, {7, 3, []int32{0, 3, 6}},
	} {
		if got := offsets(c.tokens, c.piece); !slices.Equal(got, c.want) {
			t.Errorf("%d tokens in pieces of %d: %v, want %v", c.tokens, c.piece, got, c.want)
		}
	}
}

func TestJourney(t *testing.T) {
	work := map[string]float64{"short": 1, "long": 8}
	j := begin(nil, []string{"short", "long", "short"}, func(name string) float64 { return work[name] })
	defer j.end()
	j.next()
	j.since = j.begun.Add(time.Second)
	if done, total, note := j.state(j.since.Add(4 * time.Second)); done*10 != 5*total || note != "long, call 2 of 3, for 4 s" {
		t.Errorf("%d of %d, %q", done, total, note) // 1 unit a second: 1 done, 4 under way
	}
	if done, total, _ := j.state(j.since.Add(time.Hour)); float64(done) > 0.9*float64(total) {
		t.Errorf("%d of %d while the second call still runs", done, total)
	}
	j.next()
	j.next()
	j.next() // one more than there are
	if done, total, note := j.state(time.Now()); done != total || note != "update" {
		t.Errorf("at the end: %d of %d, %q", done, total, note)
	}
}

func TestLongContextIsOneStepThatSaysWhereItIs(t *testing.T) {
	defer func(n int, d time.Duration) { longContext, reportEvery = n, d }(longContext, reportEvery)
	longContext, reportEvery = 512, time.Microsecond
	for name, run := range map[string]func(context.Context, Options) (*Result, error){"train": Train, "infer": Infer, "attention": Attention} {
		var mu sync.Mutex
		var notes []string
		o := Options{Size: "tiny", Context: longContext + 1, Threads: 2, Duration: time.Hour}
		o.Report = func(done, total int64, note string) {
			mu.Lock()
			defer mu.Unlock()
			notes = append(notes, note)
		}
		r, err := run(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		if r.Slices[0].Runs != 1 || r.Settings["tokens"] != longContext+1 {
			t.Errorf("%s: %d steps of %v tokens", name, r.Slices[0].Runs, r.Settings["tokens"])
		}
		if !slices.ContainsFunc(notes, func(s string) bool { return strings.Contains(s, ", call ") }) {
			t.Errorf("%s: not a word on what ran: %q", name, notes)
		}
		checkPeaks(t, r)
	}
}

func TestPeakMemoryLeavesOutTheProbe(t *testing.T) {
	p := newProbes("")
	if err := p.openStream(1); err != nil {
		t.Fatal(err)
	}
	size := 4 * int64(len(p.stream))
	if got := p.peakBytes(); got > p.before+size/4 {
		t.Errorf("%d bytes, of which the stream's are %d; before them it was %d", got, size, p.before)
	}
	if err := p.close(); err != nil {
		t.Fatal(err)
	}
}

func TestPeakMemoryOfTheProcess(t *testing.T) {
	before := peakBytes()
	b := make([]byte, 96<<20)
	for i := 0; i < len(b); i += 1024 {
		b[i] = 1
	}
	if got := peakBytes(); got < before || got < 96<<20 || got > 96<<30 {
		t.Errorf("%d bytes with %d in use, %d before", got, len(b), before)
	}
	runtime.KeepAlive(b)
}

func TestStreamReadsAllSizes(t *testing.T) {
	for n := range 200 {
		readStream(make([]float32, n))
	}
}

func TestProbeOfAnUnknownFamilyGivesNothing(t *testing.T) {
	p := newProbes("none such")
	if rate := p.arithmetic(kernel.BF16, 2); rate != 0 || p.best(p.bound(kernel.BF16, 2)) != 0 {
		t.Errorf("a rate of %g without a loop", rate)
	}
}
