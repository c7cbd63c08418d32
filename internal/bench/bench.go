// Package bench measures what `secencoder bench` reports: matrix products, attention, training steps, embedding,
// tokenizing, GPUs. Begin with GEMM; all functions take Options and return a Result, which is the document that --json prints.
//
// A measurement is many short slices. Their median is what the machine gave, their best tenth what the code can do: on a
// shared machine the first says little about the code. What bounds a slice (multiplications on registers, streams through
// memory) is measured by loops between the slices, on the same threads. A share of the peak is given twice: best tenth by
// best tenth, and the median over the slices of each by the loop that ran right before it.
package bench

import (
	"cmp"
	"runtime"
	"runtime/debug"
	"slices"
	"time"

	"github.com/secencoder/secencoder/internal/device"
	"github.com/secencoder/secencoder/internal/kernel"
)

// Options of all measurements. The zero value is the default in every field.
type Options struct {
	Size     string        // preset; GEMM: only its shapes, else those of tiny, mini and base; GPU: default base; others: default mini
	Context  int           // longest piece; 0: the preset's
	Tokens   int           // T of a plan, rows of a product; 0: the larger of the preset's tokens per step and Context
	DType    kernel.DType  // kernel.F32 or kernel.BF16: values of activations, and the arithmetic that follows from them
	Threads  int           // 0: all
	Kernels  string        // family; "": as device.Open chooses
	Memory   string        // Train: as in pretrain; "": auto, 10 GiB at most
	Duration time.Duration // time to measure; 0: 5 s
	Seed     uint64
	GPU      int    // GPU: its index
	Bytes    int64  // GPU: what a kernel reads and writes in one call; 0: GPUBytes
	Library  string // GPU: the option of cuda.OpenLibrary for all libraries, a folder or a file; "": none
	// Report is told about progress: done of total, and what is running. It may be called from another goroutine.
	Report func(done, total int64, note string)
	Begun  func() // called once, when everything is made and measuring begins
}

// Result is one measurement. Of the three speeds those that fit What are set.
type Result struct {
	What            string  `json:"what"`
	GFLOPS          float64 `json:"gflops,omitempty"` // median; the operations that the model asks for
	TokensPerSecond float64 `json:"tokens_per_second,omitempty"`
	MBPerSecond     float64 `json:"mb_per_second,omitempty"`
	PeakBytes       int64   `json:"peak_bytes"` // most memory that the process held, without what the peaks are measured with
	// The shares are of the peak of the arithmetic in use; nil where that is not known.
	ShareOfPeak *float64          `json:"share_of_peak"`                  // best tenth by best tenth
	MedianShare *float64          `json:"median_share_of_peak,omitempty"` // each slice by the loop before it
	Settings    map[string]any    `json:"settings,omitempty"`
	Machine     Machine           `json:"machine"`
	Versions    map[string]string `json:"versions"`
	Slices      []Slice           `json:"slices"`
	Kernels     []KernelTime      `json:"kernels,omitempty"` // where the time of steps went, the longest first
	Bounds      *Bounds           `json:"bounds,omitempty"`
	Replay      *Replay           `json:"replay,omitempty"` // of a graph, on a GPU
}

// Machine is where it was measured.
type Machine struct {
	Processor   string   `json:"processor"`
	Features    []string `json:"features"`
	Threads     int      `json:"threads"`
	Kernels     string   `json:"kernels"`
	PeakGFLOPS  float64  `json:"peak_gflops,omitempty"` // best tenth, over all threads, of the peak that shares divide by
	Peaks       []Peak   `json:"peaks,omitempty"`
	OS          string   `json:"os"`
	Arch        string   `json:"arch"`
	MemoryBytes int64    `json:"memory_bytes,omitempty"` // that the process may use

	GPU *GPUMachine `json:"gpu,omitempty"`
}

// Slice sums up the slices of one case.
type Slice struct {
	Case        string   `json:"case"`
	Threads     int      `json:"threads"`
	Unit        string   `json:"unit"` // of Median and Best: gflops, tokens_per_second, mb_per_second, launches_per_second
	Median      float64  `json:"median"`
	Best        float64  `json:"best_tenth"`
	ShareOfPeak *float64 `json:"share_of_peak,omitempty"`        // best tenth by best tenth
	MedianShare *float64 `json:"median_share_of_peak,omitempty"` // each slice by the loop before it
	PerCPU      float64  `json:"per_cpu_second,omitempty"`       // work per second of processor time: what others take does not count
	Runs        int      `json:"runs"`
	Seconds     float64  `json:"median_seconds"`     // of one run
	BestSeconds float64  `json:"best_tenth_seconds"` // of one run
}

// Bounds are times that no run of the encoder can be shorter than, each from a rate measured in the same slices: the
// larger one is what it could reach. They assume that nothing stays in the caches from run to run.
type Bounds struct {
	WeightBytes         float64 `json:"weight_bytes"` // of the layers, in the type that products read
	WeightSeconds       float64 `json:"weight_seconds"`
	WeightBestSeconds   float64 `json:"weight_best_tenth_seconds"`
	GFLOP               float64 `json:"gflop"`
	ProductSeconds      float64 `json:"product_seconds"`
	ProductBestSeconds  float64 `json:"product_best_tenth_seconds"`
	TimesOfBound        float64 `json:"times_of_bound"`            // median time by the larger of the two medians
	TimesOfBoundOfBests float64 `json:"times_of_bound_best_tenth"` // the same of best tenths
	TimesOfBoundCPU     float64 `json:"times_of_bound_cpu"`        // processor time a thread by the larger median; 0: not known
}

// machine describes this one.
func machine(dev *device.Device, threads int) Machine {
	p := device.DescribeProcessor()
	m := Machine{Processor: p.Name, Features: p.Features, Threads: threads, OS: runtime.GOOS, Arch: runtime.GOARCH}
	if dev != nil {
		m.Kernels = dev.Family()
	}
	if n, err := device.AvailableMemory(); err == nil {
		m.MemoryBytes = n
	}
	return m
}

// versions returns what was built with what.
func versions() map[string]string {
	v := map[string]string{"go": runtime.Version(), "secencoder": "(devel)"}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return v
	}
	if info.Main.Version != "" {
		v["secencoder"] = info.Main.Version
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			v["commit"] = s.Value
		}
	}
	return v
}

// times are the seconds of slices.
type times []float64

// at returns the quantile q of the times.
func (t times) at(q float64) float64 {
	s := slices.SortedFunc(slices.Values(t), cmp.Compare[float64])
	return s[min(int(q*float64(len(s))), len(s)-1)]
}

// median and best return the median and the tenth below which the fastest tenth lies.
func (t times) median() float64 { return t.at(0.5) }
func (t times) best() float64   { return t.at(0.1) }

// timed are the slices of one case.
type timed struct {
	times
	cpu   float64 // processor time of all of them
	rates times   // GFLOP/s of the loop before each of them; empty where there is none
}

// run times f once more; rate is what the loop before it gave.
func (t *timed) run(rate float64, f func() error) error {
	cpu := cpuSeconds()
	var err error
	t.times = append(t.times, clock(func() { err = f() }))
	if t.times[len(t.times)-1] < 0.2 {
		// Linux brings the time of a thread that runs on another core up to date every few milliseconds, and when it sleeps:
		// a helper of the pool does after some 100 µs, which then count too.
		time.Sleep(time.Millisecond)
	}
	t.cpu += cpuSeconds() - cpu
	if rate > 0 {
		t.rates = append(t.rates, rate)
	}
	return err
}

// slice sums up runs of work (in units) each.
func (t *timed) slice(name, unit string, threads int, work float64) Slice {
	s := Slice{
		Case: name, Threads: threads, Unit: unit, Median: work / t.median(), Best: work / t.best(), Runs: len(t.times),
		Seconds: t.median(), BestSeconds: t.best(),
	}
	if t.cpu > 0 {
		s.PerCPU = work * float64(len(t.times)) / t.cpu
	}
	return s
}

// shares fills in the shares of the peak: best is the best tenth of the loop, gflop the operations of a run.
func (t *timed) shares(s *Slice, best, gflop float64) {
	if best == 0 || len(t.rates) != len(t.times) {
		return
	}
	share := gflop / t.best() / best
	each := make(times, len(t.times))
	for i := range each {
		each[i] = gflop / t.times[i] / t.rates[i]
	}
	median := each.median()
	s.ShareOfPeak, s.MedianShare = &share, &median
}

// clock times one run.
func clock(f func()) float64 {
	from := time.Now()
	f()
	return time.Since(from).Seconds()
}

func (o *Options) duration() time.Duration {
	if o.Duration > 0 {
		return o.Duration
	}
	return 5 * time.Second
}

// begin says that measuring begins, and returns when.
func (o *Options) begin() time.Time {
	if o.Begun != nil {
		o.Begun()
	}
	return time.Now()
}

// leastRuns are the runs of a case that are made however long they take.
const leastRuns = 3

// more says whether another run is due, and reports how much of the work is over.
func (o *Options) more(begun time.Time, runs int) bool {
	spent := time.Since(begun)
	if o.Report != nil {
		total := max(o.duration(), spent)
		if runs < leastRuns {
			total = max(total, spent/time.Duration(max(1, runs))*leastRuns)
		}
		o.Report(int64(spent), int64(total), "")
	}
	return runs < leastRuns || spent < o.duration()
}

// BF16 are the measurements that take DType BF16.
var BF16 = []string{"gemm", "attention", "train", "infer"}
