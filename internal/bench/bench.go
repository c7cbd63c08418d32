// Package bench measures what `secencoder bench` reports: matrix products, training steps, embedding, tokenizing. Begin
// with GEMM; all functions take Options and return a Result, which is the document that --json prints.
//
// A measurement is many short slices. Their median is what the machine gave, their best tenth what the code can do: on a
// shared machine the first says little about the code. Shares of the peak compare best tenths, with the peak measured
// between the slices, on the same threads, by a loop that touches registers only.
package bench

import (
	"cmp"
	"runtime"
	"runtime/debug"
	"slices"
	"time"

	"github.com/secencoder/secencoder/internal/device"
)

// Options of all measurements. The zero value is the default in every field.
type Options struct {
	Size     string        // preset; GEMM: only its shapes, else those of tiny, mini and base; others: default mini
	Context  int           // longest piece; 0: the preset's
	Tokens   int           // T of a plan, rows of a product; 0: the larger of the preset's tokens per step and Context
	Threads  int           // 0: all
	Kernels  string        // family; "": as device.Open chooses
	Memory   string        // Train: as in pretrain; "": auto, 10 GiB at most
	Duration time.Duration // time to measure; 0: 5 s
	Seed     uint64
}

// Result is one measurement. Of the three speeds the one that fits What is set.
type Result struct {
	What            string            `json:"what"`
	GFLOPS          float64           `json:"gflops,omitempty"`
	TokensPerSecond float64           `json:"tokens_per_second,omitempty"`
	MBPerSecond     float64           `json:"mb_per_second,omitempty"`
	PeakBytes       int64             `json:"peak_bytes"`    // most memory that the process held
	ShareOfPeak     *float64          `json:"share_of_peak"` // nil where the peak is not known
	Settings        map[string]any    `json:"settings,omitempty"`
	Machine         Machine           `json:"machine"`
	Versions        map[string]string `json:"versions"`
	Slices          []Slice           `json:"slices"`
}

// Machine is where it was measured.
type Machine struct {
	Processor   string   `json:"processor"`
	Features    []string `json:"features"`
	Threads     int      `json:"threads"`
	Kernels     string   `json:"kernels"`
	PeakGFLOPS  float64  `json:"peak_gflops,omitempty"` // best tenth over all threads, of the family's own vectors
	OS          string   `json:"os"`
	Arch        string   `json:"arch"`
	MemoryBytes int64    `json:"memory_bytes,omitempty"` // that the process may use
}

// Slice sums up the slices of one case.
type Slice struct {
	Case        string   `json:"case"`
	Threads     int      `json:"threads"`
	Unit        string   `json:"unit"` // of Median and Best: gflops, tokens_per_second, mb_per_second
	Median      float64  `json:"median"`
	Best        float64  `json:"best_tenth"`
	ShareOfPeak *float64 `json:"share_of_peak,omitempty"`
	PerCPU      float64  `json:"per_cpu_second,omitempty"` // work per second of processor time: what others take does not count
	Runs        int      `json:"runs"`
	Seconds     float64  `json:"median_seconds"` // of one run
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
	cpu float64 // processor time of all of them
}

// run times f once more.
func (t *timed) run(f func() error) error {
	cpu := cpuSeconds()
	var err error
	t.times = append(t.times, clock(func() { err = f() }))
	t.cpu += cpuSeconds() - cpu
	return err
}

// slice sums up runs of work (in units) each.
func (t *timed) slice(name, unit string, threads int, work float64) Slice {
	s := Slice{Case: name, Threads: threads, Unit: unit, Median: work / t.median(), Best: work / t.best(), Runs: len(t.times), Seconds: t.median()}
	if t.cpu > 0 {
		s.PerCPU = work * float64(len(t.times)) / t.cpu
	}
	return s
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
