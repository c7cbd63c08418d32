package bench

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/secencoder/secencoder/internal/cuda"
	"github.com/secencoder/secencoder/internal/cuda/kernels"
	"github.com/secencoder/secencoder/internal/device/gpu"
	"github.com/secencoder/secencoder/internal/kernel"
	"github.com/secencoder/secencoder/model"
)

// GPUBytes is what a kernel reads and writes in one call where Options say nothing: far beyond the caches of a GPU.
const GPUBytes = 256 << 20

// What a GPU can do, in Machine.Peaks. Copies count each byte when it is read and when it is written, but those between
// host and device, which count it once.
const (
	PeakDeviceCopy   = "device copy"
	PeakToDevice     = "host to device" // from pinned memory
	PeakToHost       = "device to host" // to pinned memory
	PeakHalfProduct  = "bf16 product"   // of two large square matrices, through cublasLt
	PeakFloatProduct = "f32 product"
)

// GPUMachine describes the GPU that was measured.
type GPUMachine struct {
	Index           int    `json:"index"`
	Name            string `json:"name"`
	Capability      string `json:"compute_capability"`
	MemoryBytes     int64  `json:"memory_bytes"`
	FreeBytes       int64  `json:"free_bytes"` // when it was opened
	Multiprocessors int    `json:"multiprocessors"`
	L2Bytes         int64  `json:"l2_bytes"`
	Driver          string `json:"driver_path"`
	CublasLt        string `json:"cublaslt_path"`
}

// Replay compares a graph with the kernels in it. A kernel's own time is that between two events around it, less that
// between two events around nothing, all of them queued behind other work. Each kernel reads and writes the next stretch
// of as many bytes as a call of the others moves, so that none finds its own in a cache.
type Replay struct {
	Nodes         int     `json:"nodes"`
	KernelBytes   int     `json:"kernel_bytes"`   // that one kernel reads and writes
	KernelSeconds float64 `json:"kernel_seconds"` // of one kernel, median
	SumSeconds    float64 `json:"sum_seconds"`    // of all of them
	Seconds       float64 `json:"seconds"`        // of a replay, median, between events, queued behind other work
	TimesOfSum    float64 `json:"times_of_sum"`
	IdleSeconds   float64 `json:"idle_seconds"` // the same on a GPU that waits for it: with the way from the host
	IdleTimes     float64 `json:"idle_times_of_sum"`
	HostSeconds   float64 `json:"host_seconds"`       // that the call of a replay took of the host, median
	SmallSeconds  float64 `json:"small_node_seconds"` // of one node where the kernel does nearly nothing: what a node costs
}

// GPU measures one GPU: copies, products of the encoder's shapes, the cost of launches and of graphs, and every kernel
// of the image beside the measured rate of what bounds it. Times are the device's own, between events, but for the cost
// of launches, which is the host's. The slices of all cases take turns, each right behind one of its peak.
//
// MBPerSecond is the median of copies on the device, GFLOPS the work of one pass over the products of bf16 divided by
// the sum of their median times. The shares of the result are those of the kernels that memory bounds, together.
// PeakBytes is memory of the device.
func GPU(ctx context.Context, o Options) (_ *Result, err error) {
	driver, err := cuda.Load(cuda.Options{Library: o.Library})
	if err != nil {
		return nil, err
	}
	if kernels.Driver > driver.Version() {
		return nil, fmt.Errorf("%w: the kernels need driver %d (CUDA %d.%d) or newer, this one is for CUDA %d.%d; install a newer NVIDIA driver", cuda.ErrDriverTooOld,
			kernels.Release, kernels.Driver/1000, kernels.Driver%1000/10, driver.Version()/1000, driver.Version()%1000/10)
	}
	dev, err := driver.Open(o.GPU, cuda.DeviceOptions{})
	if err != nil {
		return nil, err
	}
	defer func() { err = cuda.Join(err, dev.Close()) }()
	b, err := newGPUBench(driver, dev, o)
	if b != nil {
		defer func() { err = cuda.Join(err, b.close()) }()
	}
	if err != nil {
		return nil, err
	}
	if err := b.measure(ctx); err != nil {
		return nil, err
	}
	return b.result(), nil
}

// gpuBench is a measurement in progress.
type gpuBench struct {
	o       Options
	driver  *cuda.Driver
	dev     *cuda.Device
	lt      *cuda.Lt
	table   *gpu.Table
	module  *cuda.Module
	stream  *cuda.Stream
	on      kernel.Stream // the same for the table
	marks   [2]*cuda.Event
	owned   []cuda.Ptr
	graphs  []*cuda.Graph
	hosts   []*cuda.Host
	noise   map[cuda.Type][]byte
	starts  map[string]*gpuStart
	T, E, I int // tokens of products, hidden and intermediate size
	V       int // words

	peaks  map[string]*gpuCase
	cases  []*gpuCase
	launch launchCost
}

// gpuCase is one piece of work that is timed.
type gpuCase struct {
	name, unit string
	work       float64 // in GFLOP or MB, of a call
	peak       string  // what bounds it
	apart      bool    // its share of the peak is not among those that are summed up
	call       func() error
	repeat     int   // calls between two events
	times      times // seconds of a call
	rates      times // of the peak right before
}

// launchCost is what is timed of launches and graphs.
type launchCost struct {
	direct, table func() error
	directTimes   times
	tableTimes    times
	graph, small  *cuda.Graph
	kernel        func() error // a node of graph
	elements      int          // of kernel, which reads and writes 6 bytes for each
	kernelTimes   times
	empty         times // between two events around nothing
	replay, host  times
	idle          times
	smallTimes    times
}

// graphNodes are the kernels in a graph, and launchesATime those in one slice of launches: fewer than a driver queues.
const (
	graphNodes    = 500
	launchesATime = 400
)

func newGPUBench(driver *cuda.Driver, dev *cuda.Device, o Options) (b *gpuBench, err error) {
	if o.Size == "" {
		o.Size = "base"
	}
	if o.Bytes == 0 {
		o.Bytes = GPUBytes
	}
	o.Bytes &^= 255 // halves and quarters of it are whole elements
	c, d, err := model.Preset(o.Size, model.DefaultVocabSize)
	if err != nil {
		return nil, err
	}
	if o.Context == 0 {
		o.Context = d.Context
	}
	if o.Tokens == 0 {
		o.Tokens = max(d.TokensPerStep, o.Context)
	}
	b = &gpuBench{o: o, driver: driver, dev: dev, T: o.Tokens, E: c.HiddenSize, I: c.IntermediateSize,
		V:      min(c.VocabSize, max(64, int(o.Bytes)/(4*c.HiddenSize))), // a table no larger than a call
		starts: map[string]*gpuStart{}, peaks: map[string]*gpuCase{}, noise: map[cuda.Type][]byte{}}
	if b.table, err = gpu.New(dev, gpu.Options{CublasLt: o.Library}); err != nil {
		return b, err
	}
	if b.lt, err = dev.OpenLt(o.Library); err != nil {
		return b, err
	}
	if b.stream, err = dev.NewStream(); err != nil {
		return b, err
	}
	b.on = b.table.Stream(b.stream)
	for i := range b.marks {
		if b.marks[i], err = dev.NewEvent(); err != nil {
			return b, err
		}
	}
	image, err := kernels.PTX(dev.Info().Major, dev.Info().Minor)
	if err != nil {
		return b, err
	}
	if b.module, err = dev.LoadModule(image); err != nil {
		return b, err
	}
	if err := b.openPeaks(); err != nil {
		return b, err
	}
	if err := b.openProducts(); err != nil {
		return b, err
	}
	if err := b.openKernels(); err != nil {
		return b, err
	}
	return b, b.openLaunches()
}

// close gives everything back.
func (b *gpuBench) close() error {
	var errs []error
	if b.stream != nil {
		errs = append(errs, b.stream.Synchronize())
	}
	for _, g := range b.graphs {
		errs = append(errs, g.Close())
	}
	for _, l := range b.starts {
		errs = append(errs, l.Close())
	}
	for _, p := range b.owned {
		errs = append(errs, b.dev.Free(b.stream, p))
	}
	for _, h := range b.hosts {
		errs = append(errs, h.Close())
	}
	for _, e := range b.marks {
		if e != nil {
			errs = append(errs, e.Close())
		}
	}
	if b.table != nil {
		errs = append(errs, b.table.Close())
	}
	if b.lt != nil {
		errs = append(errs, b.lt.Close())
	}
	if b.module != nil {
		errs = append(errs, b.module.Close())
	}
	if b.stream != nil {
		errs = append(errs, b.stream.Close())
	}
	return cuda.Join(errs...)
}

// measure runs all cases in turns.
func (b *gpuBench) measure(ctx context.Context) error {
	for _, c := range append(b.peakList(), b.cases...) {
		if err := b.settle(c); err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	begun := b.o.begin()
	for rounds := 0; b.o.more(begun, rounds); rounds++ {
		for _, c := range b.cases {
			if err := ctx.Err(); err != nil {
				return err
			}
			p := b.peaks[c.peak]
			if err := cuda.Join(b.slice(p), b.slice(c)); err != nil {
				return fmt.Errorf("%s: %w", c.name, err)
			}
			c.rates = append(c.rates, p.work/p.times[len(p.times)-1])
		}
		if err := cuda.Join(b.slice(b.peaks[PeakToDevice]), b.slice(b.peaks[PeakToHost]), b.launches()); err != nil {
			return err
		}
	}
	return nil
}

// settle runs a case until its libraries and the clocks have settled, and finds out how many calls make a slice of half
// a millisecond.
func (b *gpuBench) settle(c *gpuCase) error {
	c.repeat = 1
	for range 2 {
		if err := b.slice(c); err != nil {
			return err
		}
	}
	const slice = 500e-6
	c.repeat = max(1, min(100, int(slice/c.times[len(c.times)-1])))
	c.times = nil
	return nil
}

// slice times the calls of a case between two events.
func (b *gpuBench) slice(c *gpuCase) error {
	seconds, err := b.between(func() error {
		for range c.repeat {
			if err := c.call(); err != nil {
				return err
			}
		}
		return nil
	})
	c.times = append(c.times, seconds/float64(max(1, c.repeat)))
	return cuda.Join(err, b.table.Sync(b.on))
}

// between returns the device's time for what f puts on the stream. While it is put there the device copies, so that it
// does not wait for the host in between.
func (b *gpuBench) between(f func() error) (float64, error) {
	if err := b.peaks[PeakDeviceCopy].call(); err != nil {
		return math.NaN(), err
	}
	return b.fromIdle(f)
}

// fromIdle is between on a device that may have nothing else to do.
func (b *gpuBench) fromIdle(f func() error) (float64, error) {
	if err := cuda.Join(b.marks[0].Record(b.stream), f(), b.marks[1].Record(b.stream), b.marks[1].Synchronize()); err != nil {
		return math.NaN(), err
	}
	d, err := b.marks[1].Since(b.marks[0])
	return max(d, time.Nanosecond).Seconds(), err // events tell no shorter time
}

// launches times launches and graphs once.
func (b *gpuBench) launches() error {
	l := &b.launch
	for _, x := range []struct {
		call  func() error
		times *times
	}{{l.direct, &l.directTimes}, {l.table, &l.tableTimes}} {
		if err := b.stream.Synchronize(); err != nil {
			return err
		}
		var err error
		seconds := clock(func() {
			for i := 0; i < launchesATime && err == nil; i++ {
				err = x.call()
			}
		})
		if err != nil {
			return err
		}
		*x.times = append(*x.times, seconds/launchesATime)
	}
	if err := b.table.Sync(b.on); err != nil {
		return err
	}
	for range 10 {
		empty, err := b.between(func() error { return nil })
		if err != nil {
			return err
		}
		one, err := b.between(l.kernel)
		if err != nil {
			return err
		}
		l.empty, l.kernelTimes = append(l.empty, empty), append(l.kernelTimes, one)
	}
	var host float64
	replay, err := b.between(func() (err error) {
		host = clock(func() { err = l.graph.Launch(b.stream) })
		return err
	})
	if err != nil {
		return err
	}
	idle, err := b.fromIdle(func() error { return l.graph.Launch(b.stream) })
	if err != nil {
		return err
	}
	small, err := b.between(func() error { return l.small.Launch(b.stream) })
	l.replay, l.idle, l.host = append(l.replay, replay), append(l.idle, idle), append(l.host, host)
	l.smallTimes = append(l.smallTimes, small/graphNodes)
	return err
}

// result sums up.
func (b *gpuBench) result() *Result {
	info := b.dev.Info()
	r := &Result{
		What: "gpu", Machine: machine(nil, 1), Versions: versions(), PeakBytes: b.dev.Memory().ReservedHighWater,
		Settings: map[string]any{"size": b.o.Size, "tokens": b.T, "context": b.o.Context, "bytes": b.o.Bytes},
	}
	r.Machine.Kernels = "cuda"
	r.Machine.GPU = &GPUMachine{
		Index: info.Index, Name: info.Name, Capability: fmt.Sprintf("%d.%d", info.Major, info.Minor), MemoryBytes: info.Total, FreeBytes: info.Free,
		Multiprocessors: info.Multiprocessors, L2Bytes: int64(info.L2), Driver: b.driver.Path(), CublasLt: b.lt.Path(),
	}
	r.Versions["cuda_driver"] = fmt.Sprintf("%d.%d", b.driver.Version()/1000, b.driver.Version()%1000/10)
	r.Versions["cublaslt"] = cuda.LtVersionName(b.lt.Version())
	r.Versions["ptx"] = kernels.ISA
	for _, p := range b.peakList() {
		r.Machine.Peaks = append(r.Machine.Peaks, Peak{Name: p.name, Unit: p.peakUnit(), Median: p.work / p.times.median() * p.peakScale(),
			Best: p.work / p.times.best() * p.peakScale(), Slices: len(p.times)})
	}
	r.MBPerSecond = b.peaks[PeakDeviceCopy].work / b.peaks[PeakDeviceCopy].times.median()
	var flop, flopSeconds, moved, bests, could float64
	for _, c := range b.cases {
		t := timed{times: c.times, rates: c.rates}
		s := t.slice(c.name, c.unit, 0, c.work)
		t.shares(&s, b.peaks[c.peak].work/b.peaks[c.peak].times.best(), c.work)
		r.Slices = append(r.Slices, s)
		switch {
		case c.peak == PeakHalfProduct:
			flop, flopSeconds = flop+c.work, flopSeconds+c.times.median()
		case c.peak == PeakDeviceCopy && !c.apart:
			moved, bests = moved+c.work, bests+c.times.best()
			could += c.work / *s.MedianShare
		}
	}
	r.GFLOPS = flop / flopSeconds
	share := moved / bests / (b.peaks[PeakDeviceCopy].work / b.peaks[PeakDeviceCopy].times.best())
	median := moved / could
	r.ShareOfPeak, r.MedianShare = &share, &median
	l := &b.launch
	r.Slices = append(r.Slices, perSecond("launch from Go", l.directTimes), perSecond("launch of add through the table", l.tableTimes))
	k := Replay{
		Nodes: graphNodes, KernelBytes: 6 * l.elements, KernelSeconds: max(0, l.kernelTimes.median()-l.empty.median()), Seconds: l.replay.median(),
		IdleSeconds: l.idle.median(), HostSeconds: l.host.median(), SmallSeconds: l.smallTimes.median(),
	}
	k.SumSeconds = graphNodes * k.KernelSeconds
	if k.SumSeconds > 0 {
		k.TimesOfSum, k.IdleTimes = k.Seconds/k.SumSeconds, k.IdleSeconds/k.SumSeconds
	}
	r.Replay = &k
	return r
}

// perSecond is the slice of something that is counted, not weighed.
func perSecond(name string, t times) Slice {
	one := timed{times: t}
	return one.slice(name, "launches_per_second", 0, 1)
}

// peakUnit and peakScale say what a peak is reported in: cases count MB and GFLOP.
func (c *gpuCase) peakUnit() string {
	if c.unit == "mb_per_second" {
		return "GB/s"
	}
	return "GFLOP/s"
}

func (c *gpuCase) peakScale() float64 {
	if c.unit == "mb_per_second" {
		return 1e-3
	}
	return 1
}

// peakList returns the peaks in a fixed order.
func (b *gpuBench) peakList() []*gpuCase {
	var list []*gpuCase
	for _, name := range []string{PeakDeviceCopy, PeakToDevice, PeakToHost, PeakHalfProduct, PeakFloatProduct} {
		list = append(list, b.peaks[name])
	}
	return list
}
