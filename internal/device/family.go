package device

import (
	"fmt"
	"os"
	"strings"

	"github.com/secencoder/secencoder/internal/kernel"
	"github.com/secencoder/secencoder/internal/kernel/ref"
)

// family is one implementation of the kernel table.
type family struct {
	name    string
	built   bool      // this program contains it
	needs   []feature // of the processor, each enabled by the operating system
	open    func(kernel.Pool) kernel.Kernels
	because string // why it is worth using
}

// feature is one thing that a processor has or lacks. Each is asked for by itself: switching one off (GODEBUG=cpu.…)
// leaves those that are built on it on.
type feature struct {
	name string
	has  bool
}

// families lists all families, best first. The reference is always there and last.
func families() []family {
	return append(vectorised(), family{
		name: "ref", built: true, because: "plain Go, one thread",
		open: func(kernel.Pool) kernel.Kernels { return ref.New() },
	})
}

// missing returns why a family cannot be used; "" when it can.
func (f family) missing() string {
	var lacking []string
	for _, n := range f.needs {
		if !n.has {
			lacking = append(lacking, n.name)
		}
	}
	switch {
	case len(lacking) > 0:
		return "the processor or the operating system does not offer " + strings.Join(lacking, ", ")
	case !f.built:
		return "this program was built without it"
	}
	return ""
}

// Family describes a family of kernels for people.
type Family struct {
	Name      string
	Available bool
	Reason    string // what it is, or why it is not available
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
	for _, f := range families() {
		missing := f.missing()
		if missing == "" {
			names = append(names, f.name)
		}
		switch {
		case name == "" && missing == "":
			return Choice{Family: f.name, Why: "the best available: " + f.because, make: f.open}, nil
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
