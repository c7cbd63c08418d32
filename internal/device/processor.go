package device

import "runtime"

// Processor describes the processor for `info` and for records of measurements.
type Processor struct {
	Name         string   `json:"name"`         // as the operating system reports it; "" when it does not
	Architecture string   `json:"architecture"` // GOARCH
	Threads      int      `json:"threads"`      // that Go may run at once
	Cores        int      `json:"cores"`        // physical cores that the process may run on; 0: not known
	Features     []string `json:"features"`     // that families of kernels ask for and that are enabled
}

// DescribeProcessor returns what is known of the processor.
func DescribeProcessor() Processor {
	p := Processor{Name: processorName(), Architecture: runtime.GOARCH, Threads: runtime.GOMAXPROCS(0), Cores: physicalCores()}
	seen := map[string]bool{}
	for _, f := range families() {
		for _, n := range f.features {
			if n.has && !seen[n.name] {
				seen[n.name] = true
				p.Features = append(p.Features, n.name)
			}
		}
	}
	return p
}

// DefaultThreads returns the workers that Open starts when none are asked for: one a physical core, since two hardware
// threads of a core share its multipliers and its caches, and no more than Go may run at once, which heeds the limit of a
// container.
func DefaultThreads() int {
	n := runtime.GOMAXPROCS(0)
	if cores := physicalCores(); cores > 0 {
		n = min(n, cores)
	}
	return n
}
