package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/pprof"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/secencoder/secencoder/internal/bench"
	"github.com/secencoder/secencoder/internal/exec"
	"github.com/secencoder/secencoder/internal/kernel"
	"github.com/secencoder/secencoder/internal/progress"
	"github.com/secencoder/secencoder/internal/units"
	"github.com/secencoder/secencoder/model"
)

type benchCmd struct {
	What        string    `arg:"" enum:"gemm,attention,train,infer,tokenizer,gpu" help:"gemm, attention, train, infer, tokenizer or gpu."`
	Size        string    `placeholder:"S" help:"Preset (default: mini; gemm: the shapes of several; gpu: base)."`
	Context     int       `placeholder:"N" help:"Longest piece in tokens (default: the preset's). Above 8,192 exactly one step is run, without warm-up."`
	Tokens      int       `placeholder:"N" help:"Tokens of a micro-batch (default: the larger of the preset's and the context)."`
	DType       string    `name:"dtype" enum:"f32,bf16" default:"f32" placeholder:"D" help:"f32 or bf16: type of activations, and arithmetic of products (gpu: both, always)."`
	Memory      string    `placeholder:"M" help:"train: auto, none, cheap, layer, or a limit such as 8GiB (default: auto, 10 GiB at most)."`
	Device      string    `placeholder:"D" help:"gpu: cuda, or cuda:N for the GPU of that number (default: cuda:0)."`
	Bytes       size      `placeholder:"SIZE" help:"gpu: what a kernel reads and writes in one call (default: 256MiB)."`
	CUDALibrary string    `name:"cuda-library" placeholder:"PATH" help:"gpu: folder of libcuda and libcublasLt, or the file of one of them (default: SECENCODER_CUDA_LIB, then the places in docs/gpu.md)."`
	Duration    *duration `placeholder:"TIME" help:"How long to measure (default 5s)."`
	CPUProfile  string    `name:"cpuprofile" placeholder:"FILE" help:"Write a profile of the time that is measured, for go tool pprof."`
	JSON        bool      `name:"json" help:"One JSON document on stdout."`
}

func (*benchCmd) Help() string {
	return examples("secencoder bench gemm --size base --tokens 2048",
		"secencoder bench train --size base --context 48000 --memory 10GiB --json")
}

func (cmd *benchCmd) Run(c *call) (err error) {
	o, err := cmd.options(c)
	if err != nil {
		return err
	}
	measure := map[string]func(context.Context, bench.Options) (*bench.Result, error){
		"gemm": bench.GEMM, "attention": bench.Attention, "train": bench.Train, "infer": bench.Infer, "tokenizer": bench.Tokenizer,
		"gpu": bench.GPU,
	}[cmd.What]
	if cmd.CPUProfile != "" {
		f, failed := os.Create(cmd.CPUProfile)
		if failed != nil {
			return failed
		}
		var started error
		o.Begun = func() { started = pprof.StartCPUProfile(f) }
		defer func() {
			pprof.StopCPUProfile()
			err = errors.Join(err, started, f.Close())
		}()
	}
	bar := progress.New(c.err, "bench "+cmd.What, c.Quiet)
	o.Report = func(done, total int64, note string) {
		bar.Stage("bench " + cmd.What + ", measuring") // the time left counts from the first report
		bar.Set(done, total, note)
	}
	r, err := measure(c.ctx, o)
	bar.Done()
	switch {
	case errors.Is(err, exec.ErrDoesNotFit) && cmd.What == "train":
		return hint(err, "raise --memory, or lower --tokens, --context, --size or --threads")
	case errors.Is(err, exec.ErrDoesNotFit):
		return hint(err, "lower --tokens, --context or --size")
	case err != nil && cmd.What == "gpu":
		return gpuFailure(err)
	case err != nil:
		return err
	}
	if cmd.JSON {
		return c.printJSON(r)
	}
	return printBench(c.out, r)
}

// options checks the flags.
func (cmd *benchCmd) options(c *call) (o bench.Options, err error) {
	o = bench.Options{
		Size: cmd.Size, Context: cmd.Context, Tokens: cmd.Tokens, Threads: c.kernelThreads(), Memory: cmd.Memory, Seed: c.seed(), Library: cmd.CUDALibrary,
	}
	if cmd.Size != "" && !slices.Contains(model.PresetNames(), cmd.Size) {
		return o, usagef("--size %s: want one of %s", cmd.Size, strings.Join(model.PresetNames(), ", "))
	}
	if cmd.What == "gemm" && cmd.Context == 0 && (cmd.Tokens == 1 || cmd.Tokens == 2) {
		return o, usagef("--tokens %d: want 3 or more", cmd.Tokens)
	}
	if cmd.Context < 0 || cmd.Tokens < 0 || cmd.Context > 0 && cmd.Context < 3 || cmd.Tokens > 0 && cmd.Tokens < max(cmd.Context, 3) {
		return o, usagef("--context %d --tokens %d: want a context of 3 or more and at least as many tokens", cmd.Context, cmd.Tokens)
	}
	if cmd.Context > kernel.MaxPiece {
		return o, usagef("--context %d: want at most %s", cmd.Context, units.Count(kernel.MaxPiece))
	}
	if cmd.DType == "bf16" {
		o.DType = kernel.BF16
		if cmd.What == "gpu" {
			return o, usagef("bench gpu --dtype bf16: it measures f32 and bf16, leave --dtype out")
		}
		if !slices.Contains(bench.BF16, cmd.What) {
			return o, usagef("bench %s --dtype bf16: want f32", cmd.What)
		}
	}
	if cmd.Memory != "" && cmd.What != "train" {
		return o, usagef("bench %s --memory %s: only train keeps values for a backward pass", cmd.What, cmd.Memory)
	}
	if cmd.Memory != "" && !slices.Contains([]string{"auto", "none", "cheap", "layer"}, cmd.Memory) {
		if n, err := units.ParseSize(cmd.Memory); err != nil || n < 1 {
			return o, usagef("--memory %s: want auto, none, cheap, layer or a size such as 8GiB", cmd.Memory)
		}
	}
	if cmd.What != "gpu" && (cmd.Device != "" || cmd.Bytes != 0 || cmd.CUDALibrary != "") {
		return o, usagef("bench %s: --device, --bytes and --cuda-library are for bench gpu", cmd.What)
	}
	if o.GPU, err = gpuIndex(cmd.Device); err != nil {
		return o, err
	}
	if o.Bytes = int64(cmd.Bytes); o.Bytes != 0 && (o.Bytes < leastGPUBytes || o.Bytes > mostGPUBytes) {
		return o, usagef("--bytes %d: want %s to %s", o.Bytes, units.FormatSize(leastGPUBytes), units.FormatSize(mostGPUBytes))
	}
	if cmd.Duration != nil {
		if *cmd.Duration <= 0 {
			return o, usagef("--duration %v: want more than 0", time.Duration(*cmd.Duration))
		}
		o.Duration = time.Duration(*cmd.Duration)
	}
	return o, nil
}

func printBench(out io.Writer, r *bench.Result) error {
	if r.Machine.GPU != nil {
		return printBenchGPU(out, r)
	}
	var b strings.Builder
	threads := fmt.Sprintf("%d threads", r.Machine.Threads)
	if r.Machine.Threads == 1 {
		threads = "1 thread"
	}
	if r.Machine.Kernels != "" {
		threads = "kernels " + r.Machine.Kernels + ", " + threads
	}
	fmt.Fprintf(&b, "%s on %s, %s\n", r.What, r.Machine.Processor, threads)
	var settings []string
	for _, name := range []string{"size", "context", "tokens", "dtype", "vocab_size", "recompute"} {
		if v, ok := r.Settings[name]; ok {
			settings = append(settings, fmt.Sprintf("%s %v", strings.ReplaceAll(name, "_", " "), v))
		}
	}
	fmt.Fprintf(&b, "%s\n\n", strings.Join(settings, ", "))
	table(&b, "case\tthreads\tmedian\tbest tenth\tper CPU s\tunit\tshare of peak\tbest tenth\tslices\t", len(r.Slices), func(i int) string {
		s := r.Slices[i]
		perCPU := "-"
		if s.PerCPU > 0 {
			perCPU = fmt.Sprintf("%.1f", s.PerCPU)
		}
		return fmt.Sprintf("%s\t%d\t%.1f\t%.1f\t%s\t%s\t%s\t%s\t%d\t", s.Case, s.Threads, s.Median, s.Best, perCPU, unitNames[s.Unit],
			percent(s.MedianShare), percent(s.ShareOfPeak), s.Runs)
	})
	table(&b, "peak\tthreads\tmedian\tbest tenth\tunit\tslices\t", len(r.Machine.Peaks), func(i int) string {
		p := r.Machine.Peaks[i]
		return fmt.Sprintf("%s\t%d\t%.1f\t%.1f\t%s\t%d\t", p.Name, p.Threads, p.Median, p.Best, p.Unit, p.Slices)
	})
	table(&b, "kernel\tcalls\tseconds\tshare\t", len(r.Kernels), func(i int) string {
		k := r.Kernels[i]
		return fmt.Sprintf("%s\t%d\t%.3f\t%.1f %%\t", k.Name, k.Calls, k.Seconds, 100*k.Share)
	})
	if v := r.Bounds; v != nil {
		fmt.Fprintf(&b, "bounds of a run: %.2f ms to read %s of weights once, %.2f ms for %.2f GFLOP; it takes %.2f times the larger (best tenths: %.2f, processor time: %.2f)\n",
			1e3*v.WeightSeconds, units.FormatSize(int64(v.WeightBytes)), 1e3*v.ProductSeconds, v.GFLOP, v.TimesOfBound, v.TimesOfBoundOfBests, v.TimesOfBoundCPU)
	}
	if gflop, ok := r.Settings["gflop_a_step"].(float64); ok {
		fmt.Fprintf(&b, "%.1f GFLOP in %.3f s, ", gflop, r.Slices[0].Seconds)
	}
	if r.GFLOPS > 0 {
		fmt.Fprintf(&b, "%.1f GFLOP/s in the median, ", r.GFLOPS)
	}
	fmt.Fprintf(&b, "peak memory %s\n", units.FormatSize(r.PeakBytes))
	_, err := io.WriteString(out, b.String())
	return err
}

var unitNames = map[string]string{"gflops": "GFLOP/s", "tokens_per_second": "tokens/s", "mb_per_second": "MB/s", "launches_per_second": "launches/s"}

func percent(x *float64) string {
	if x == nil {
		return "-"
	}
	return fmt.Sprintf("%.0f %%", 100**x)
}

// table writes n rows under a head, nothing for n = 0; the first column is aligned on the left, the others on the right.
func table(b *strings.Builder, head string, n int, row func(i int) string) {
	if n == 0 {
		return
	}
	lines, width := []string{head}, 0
	for i := range n {
		lines = append(lines, row(i))
	}
	for _, l := range lines {
		first, _, _ := strings.Cut(l, "\t")
		width = max(width, len([]rune(first)))
	}
	w := tabwriter.NewWriter(b, 0, 0, 2, ' ', tabwriter.AlignRight)
	for _, l := range lines {
		first, rest, _ := strings.Cut(l, "\t")
		fmt.Fprintf(w, "%s%s\t%s\n", first, strings.Repeat(" ", width-len([]rune(first))), rest)
	}
	w.Flush()
	b.WriteString("\n")
}
