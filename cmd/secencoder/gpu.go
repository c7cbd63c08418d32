package main

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/secencoder/secencoder/internal/bench"
	"github.com/secencoder/secencoder/internal/cuda"
	"github.com/secencoder/secencoder/internal/cuda/kernels"
	"github.com/secencoder/secencoder/internal/units"
)

// What bench gpu --bytes may be: kernels have to have a few rows, and their places in a value are int32.
const (
	leastGPUBytes = 16 << 10
	mostGPUBytes  = 1 << 30
)

// gpuIndex reads --device: cuda, or cuda:N.
func gpuIndex(device string) (int, error) {
	name, number, given := strings.Cut(device, ":")
	if device == "" || name == "cuda" && !given {
		return 0, nil
	}
	n, err := strconv.Atoi(number)
	if name != "cuda" || err != nil || n < 0 {
		return 0, usagef("--device %s: want cuda or cuda:N, such as cuda:1", device)
	}
	return n, nil
}

// gpuFailure makes one sentence of an error of a GPU. What was looked for where is left to info.
func gpuFailure(err error) error {
	var code *cuda.Error
	switch short, _, listed := strings.Cut(err.Error(), placesTried); {
	case listed:
		return fmt.Errorf("%s (secencoder info lists the places that were looked at)", short)
	case errors.Is(err, cuda.ErrNoDevice) && !errors.As(err, &code):
		return hint(err, "secencoder info lists the GPUs")
	case errors.Is(err, cuda.ErrOutOfMemory):
		return hint(err, "or lower --bytes")
	default:
		return err
	}
}

// placesTried stands before the list of places in the error of a library that was not found.
const placesTried = "; tried:"

// gpuInfo is what info says of GPUs.
type gpuInfo struct {
	Driver        string       `json:"driver_path,omitempty"`
	DriverVersion string       `json:"driver_version,omitempty"` // the CUDA version that it is for
	CublasLt      string       `json:"cublaslt_path,omitempty"`
	LtVersion     string       `json:"cublaslt_version,omitempty"`
	Kernels       string       `json:"kernels_need"`
	Devices       []gpuDevice  `json:"devices"`
	Missing       []gpuMissing `json:"missing,omitempty"`
}

type gpuDevice struct {
	Index           int    `json:"index"`
	Name            string `json:"name"`
	Capability      string `json:"compute_capability"`
	MemoryBytes     int64  `json:"memory_bytes"`
	FreeBytes       int64  `json:"free_bytes"`
	Multiprocessors int    `json:"multiprocessors"`
	L2Bytes         int64  `json:"l2_bytes"`
	Problem         string `json:"problem,omitempty"`
}

// gpuMissing is one thing that keeps GPUs from being used.
type gpuMissing struct {
	What  string   `json:"what"`  // and how to get it
	Tried []string `json:"tried"` // places and what was wrong there
}

// findGPUs looks at what there is, in the place of --cuda-library first. Nothing of it is an error of info.
func findGPUs(library string) gpuInfo {
	g := gpuInfo{
		Kernels: fmt.Sprintf("compute capability %d.%d or newer and driver %d or newer (PTX %s)", kernels.Capability/10, kernels.Capability%10, kernels.Release, kernels.ISA),
		Devices: []gpuDevice{},
	}
	drv, err := cuda.Load(cuda.Options{Library: library})
	if err != nil {
		g.miss(err)
		return g
	}
	g.Driver, g.DriverVersion = drv.Path(), fmt.Sprintf("%d.%d", drv.Version()/1000, drv.Version()%1000/10)
	if drv.Version() < kernels.Driver {
		g.miss(fmt.Errorf("the driver is for CUDA %s, the kernels need %d or newer (CUDA %d.%d); install a newer NVIDIA driver", g.DriverVersion, kernels.Release,
			kernels.Driver/1000, kernels.Driver%1000/10))
	}
	list, err := drv.Devices()
	if err != nil {
		g.miss(err)
	}
	for _, d := range list {
		one := gpuDevice{
			Index: d.Index, Name: d.Name, Capability: fmt.Sprintf("%d.%d", d.Major, d.Minor), MemoryBytes: d.Total, FreeBytes: d.Free,
			Multiprocessors: d.Multiprocessors, L2Bytes: int64(d.L2),
		}
		switch {
		case d.Err != nil:
			one.Problem = d.Err.Error()
		case 10*d.Major+d.Minor < kernels.Capability:
			one.Problem = fmt.Sprintf("the kernels need compute capability %d.%d or newer", kernels.Capability/10, kernels.Capability%10)
		}
		g.Devices = append(g.Devices, one)
	}
	if len(list) == 0 && err == nil {
		g.miss(errors.New("the driver sees no GPU; look at nvidia-smi and at CUDA_VISIBLE_DEVICES, and start a container with --gpus all"))
	}
	if len(list) == 0 {
		return g // the library is large: opening it for nothing takes long
	}
	path, version, err := cuda.FindLt(library, drv.Version())
	if err != nil {
		g.miss(err)
		return g
	}
	g.CublasLt, g.LtVersion = path, cuda.LtVersionName(version)
	return g
}

// inUse says what GPUs are used for.
const inUse = "none in use: models run on the CPU, bench gpu measures a GPU"

// miss notes what is missing.
func (g *gpuInfo) miss(err error) {
	what, tried, _ := strings.Cut(err.Error(), placesTried)
	m := gpuMissing{What: what, Tried: []string{}}
	for line := range strings.Lines(tried) {
		if line = strings.TrimSpace(line); line != "" {
			m.Tried = append(m.Tried, line)
		}
	}
	g.Missing = append(g.Missing, m)
}

// print writes the section of info.
func (g *gpuInfo) print(w io.Writer) {
	head := "gpu"
	row := func(format string, args ...any) {
		fmt.Fprintf(w, "%s\t%s\n", head, fmt.Sprintf(format, args...))
		head = ""
	}
	for _, d := range g.Devices {
		problem := ""
		if d.Problem != "" {
			problem = "; cannot be used: " + d.Problem
		}
		row("%d: %s, compute capability %s, %s of %s free, %d multiprocessors, %s L2%s", d.Index, d.Name, d.Capability, units.FormatSize(d.FreeBytes),
			units.FormatSize(d.MemoryBytes), d.Multiprocessors, units.FormatSize(d.L2Bytes), problem)
	}
	if len(g.Devices) == 0 {
		row("none found")
	}
	if g.Driver != "" {
		row("driver %s for CUDA %s", g.Driver, g.DriverVersion)
	}
	if g.CublasLt != "" {
		row("cuBLAS %s: %s", g.LtVersion, g.CublasLt)
	}
	for _, m := range g.Missing {
		row("missing: %s", m.What)
		for _, t := range m.Tried {
			const most = 3
			if places := strings.Split(t, ", "); len(places) > most+1 {
				t = fmt.Sprintf("%s and %d more places (--json lists them)", strings.Join(places[:most], ", "), len(places)-most)
			}
			row("  %s", t)
		}
	}
	row("the kernels for it need %s", g.Kernels)
	row("%s", inUse)
}

// printBenchGPU prints the measurement of a GPU.
func printBenchGPU(out io.Writer, r *bench.Result) error {
	var b strings.Builder
	g := r.Machine.GPU
	fmt.Fprintf(&b, "gpu on %d: %s, compute capability %s, CUDA %s, cuBLAS %s\n", g.Index, g.Name, g.Capability, r.Versions["cuda_driver"], r.Versions["cublaslt"])
	fmt.Fprintf(&b, "size %v, tokens %v, context %v, %s a call\n\n", r.Settings["size"], r.Settings["tokens"], r.Settings["context"], units.FormatSize(r.Settings["bytes"].(int64)))
	table(&b, "case\tmicroseconds\tmedian\tbest tenth\tunit\tshare of peak\tbest tenth\tslices\t", len(r.Slices), func(i int) string {
		s := r.Slices[i]
		scale, unit := 1.0, unitNames[s.Unit]
		switch s.Unit {
		case "mb_per_second":
			scale, unit = 1e-3, "GB/s"
		case "gflops":
			scale, unit = 1e-3, "TFLOP/s"
		}
		return fmt.Sprintf("%s\t%.1f\t%.1f\t%.1f\t%s\t%s\t%s\t%d\t", s.Case, 1e6*s.Seconds, scale*s.Median, scale*s.Best, unit, percent(s.MedianShare), percent(s.ShareOfPeak), s.Runs)
	})
	table(&b, "peak\tmedian\tbest tenth\tunit\tslices\t", len(r.Machine.Peaks), func(i int) string {
		p := r.Machine.Peaks[i]
		return fmt.Sprintf("%s\t%.1f\t%.1f\t%s\t%d\t", p.Name, p.Median, p.Best, p.Unit, p.Slices)
	})
	k := r.Replay
	fmt.Fprintf(&b, "a graph of %d kernels of %.1f µs: %.1f µs on the GPU, %.2f times their sum (%.2f times when the GPU waited for it); its launch takes the host %.1f µs; a node that does nothing %.2f µs\n",
		k.Nodes, 1e6*k.KernelSeconds, 1e6*k.Seconds, k.TimesOfSum, k.IdleTimes, 1e6*k.HostSeconds, 1e6*k.SmallSeconds)
	fmt.Fprintf(&b, "kernels that memory bounds: %s of the copy's rate in the median, %s in the best tenth; %s of device memory at most\n",
		percent(r.MedianShare), percent(r.ShareOfPeak), units.FormatSize(r.PeakBytes))
	_, err := io.WriteString(out, b.String())
	return err
}
