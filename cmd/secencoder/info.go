package main

import (
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"
	"text/tabwriter"

	"github.com/secencoder/secencoder/internal/device"
	"github.com/secencoder/secencoder/internal/units"
)

// isDeviceUsage reports whether a device or kernel family was asked for that there is not.
func isDeviceUsage(err error) bool {
	var usage *device.UsageError
	return errors.As(err, &usage)
}

type infoCmd struct {
	CUDALibrary string `name:"cuda-library" placeholder:"PATH" help:"Folder of libcuda and libcublasLt, or the file of one of them (default: SECENCODER_CUDA_LIB, then the places in docs/gpu.md)."`
	JSON        bool   `name:"json" help:"One JSON document on stdout."`
}

func (*infoCmd) Help() string {
	return examples("secencoder info", "SECENCODER_KERNELS=ref secencoder info --json")
}

func (cmd *infoCmd) Run(c *call) error {
	choice, err := device.Choose("")
	if err != nil {
		return err
	}
	memory, err := device.AvailableMemory()
	if err != nil {
		return err
	}
	processor := device.DescribeProcessor()
	build := buildVersion()
	gpus := findGPUs(cmd.CUDALibrary)
	if cmd.JSON {
		return c.printJSON(map[string]any{
			"version": build, "go": runtime.Version(), "os": runtime.GOOS, "processor": processor,
			"kernels": choice.Family, "why": choice.Why, "families": device.Families(), "gpu": inUse, "cuda": gpus, "available_memory": memory,
		})
	}
	w := tabwriter.NewWriter(c.out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "version\t%s, %s, %s/%s\n", build, runtime.Version(), runtime.GOOS, runtime.GOARCH)
	cores := ""
	if processor.Cores > 0 {
		cores = fmt.Sprintf("%d cores, ", processor.Cores)
	}
	fmt.Fprintf(w, "processor\t%s, %s%d threads, %s\n", processor.Name, cores, processor.Threads, strings.Join(processor.Features, " "))
	fmt.Fprintf(w, "kernels\t%s: %s\n", choice.Family, choice.Why)
	for _, f := range device.Families() {
		state := "available"
		if !f.Available {
			state = "not available"
		}
		fmt.Fprintf(w, "\t%s: %s (%s)\n", f.Name, state, f.Reason)
	}
	gpus.print(w)
	fmt.Fprintf(w, "memory\t%s available\n", units.FormatSize(memory))
	return w.Flush()
}

// buildVersion returns the version that the Go tool stamped into the binary.
func buildVersion() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	version := info.Main.Version
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && len(s.Value) >= 12 && !strings.Contains(version, s.Value[:12]) {
			version += " " + s.Value[:12]
		}
	}
	return version
}
