package device

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"

	"github.com/secencoder/secencoder/internal/kernel"
	"github.com/secencoder/secencoder/internal/kernel/amx"
	"github.com/secencoder/secencoder/internal/kernel/avx2"
	"github.com/secencoder/secencoder/internal/kernel/avx512"
	"github.com/secencoder/secencoder/internal/kernel/avx512bf16"
	"github.com/secencoder/secencoder/internal/kernel/blocked"
	"github.com/secencoder/secencoder/internal/kernel/ref"
	"golang.org/x/sys/cpu"
)

// family is one implementation of the kernel table.
type family struct {
	name      string
	available func() (bool, string) // whether this program and this machine can run it, and why not
	features  []feature             // of the processor that it is built on
	open      func(kernel.Pool) kernel.Kernels
	because   string // why it is worth using
}

// feature is one thing that a processor has or lacks, enabled by the operating system. Package cpu reports AVX and what
// is built on it only where the wide registers are saved. Each feature is asked for by itself: switching one off
// (GODEBUG=cpu.…) leaves those that are built on it on.
type feature struct {
	name string
	has  bool
}

// families lists all families, best first. The reference is always there and last.
func families() []family {
	x := &cpu.X86
	ymm := []feature{{"AVX2", x.HasAVX2}, {"FMA", x.HasFMA}}
	zmm := append(slices.Clone(ymm), feature{"AVX512F", x.HasAVX512F}, feature{"AVX512BW", x.HasAVX512BW},
		feature{"AVX512DQ", x.HasAVX512DQ}, feature{"AVX512VL", x.HasAVX512VL})
	pairs := append(slices.Clone(zmm), feature{"AVX512-BF16", x.HasAVX512BF16})
	tiles := append(slices.Clone(pairs), feature{"AMX-TILE", x.HasAMXTile}, feature{"AMX-BF16", x.HasAMXBF16})
	vectors := []family{
		{
			name: "avx512bf16", features: pairs, because: "AVX-512 assembly with products of BF16, all cores", available: avx512bf16.Available,
			open: func(p kernel.Pool) kernel.Kernels { return blocked.New(avx512bf16.Prims(), p) },
		},
		{
			name: "avx512", features: zmm, because: "AVX-512 assembly, all cores", available: avx512.Available,
			open: func(p kernel.Pool) kernel.Kernels { return blocked.New(avx512.Prims(), p) },
		},
	}
	if !avx512bf16.Fast() {
		slices.Reverse(vectors)
	}
	return []family{
		{
			name: "amx", features: tiles, because: "AMX tiles for products of BF16, else AVX-512 assembly, all cores", available: amx.Available,
			open: func(p kernel.Pool) kernel.Kernels { return blocked.New(amx.Prims(), p) },
		},
		vectors[0], vectors[1],
		{
			name: "avx2", features: ymm, because: "AVX2 and FMA assembly, all cores", available: avx2.Available,
			open: func(p kernel.Pool) kernel.Kernels { return blocked.New(avx2.Prims(), p) },
		},
		{
			name: "portable", because: "plain Go, all cores", available: always,
			open: func(p kernel.Pool) kernel.Kernels { return blocked.New(blocked.Portable(), p) },
		},
		{
			name: "ref", because: "the reference: plain Go, one thread, float64 inside", available: always,
			open: func(kernel.Pool) kernel.Kernels { return ref.New() },
		},
	}
}

func always() (bool, string) { return true, "" }

// missing returns why a family cannot be used; "" when it can.
func (f family) missing() string {
	ok, why := f.available()
	switch {
	case ok:
		return ""
	case why == "":
		return "it is not available"
	}
	return why
}

// Family describes a family of kernels for people.
type Family struct {
	Name      string `json:"name"`
	Available bool   `json:"available"`
	Reason    string `json:"reason"` // what it is, or why it is not available
}

// Families returns all families, best first.
func Families() []Family {
	var list []Family
	for _, f := range families() {
		reason := f.missing()
		available := reason == ""
		if available {
			reason = f.because
		}
		list = append(list, Family{Name: f.name, Available: available, Reason: reason})
	}
	return list
}

// Choice is the family that Open would use.
type Choice struct {
	Family string
	Why    string
	Slow   string // a sentence for people where no assembly fits the processor; else ""
	make   func(kernel.Pool) kernel.Kernels
}

// Choose decides on a family: the one called name; else that of the environment variable; else the best available. The
// choice never depends on timing. A name that is unknown or not available is a *UsageError that lists what there is.
func Choose(name string) (Choice, error) {
	source := "asked for"
	if name == "" {
		name, source = os.Getenv(KernelsVariable), "by "+KernelsVariable
	}
	var names []string
	lacks := "no vectorised kernels for " + runtime.GOARCH
	for _, f := range families() {
		missing := f.missing()
		if f.name == "avx2" && missing != "" && runtime.GOARCH == "amd64" {
			lacks = missing
		}
		if missing == "" {
			names = append(names, f.name)
		}
		switch {
		case name == "" && missing == "":
			c := Choice{Family: f.name, Why: "the best available: " + f.because, make: f.open}
			if len(f.features) == 0 {
				c.Slow = "plain Go kernels, many times slower than assembly: " + lacks
			}
			return c, nil
		case name == f.name && missing == "":
			return Choice{Family: f.name, Why: source + ": " + f.because, make: f.open}, nil
		case name == f.name:
			return Choice{}, usage(ErrUnavailableKernels, "%q %s: %s", name, source, missing)
		}
	}
	return Choice{}, usage(ErrUnknownKernels, "%q %s, available are %s", name, source, strings.Join(names, ", "))
}

// String returns the family and the reason.
func (c Choice) String() string { return fmt.Sprintf("%s (%s)", c.Family, c.Why) }
