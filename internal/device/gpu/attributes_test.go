package gpu

import (
	"testing"

	"github.com/secencoder/secencoder/internal/cuda/kernels"
)

// attributes asks the driver what each kernel takes, compiled for its own device: none may keep anything in local memory,
// which lies as far away as global memory. RESOURCES.md says so of one assembler, and a driver has another.
func (m *machine) attributes(t *testing.T) {
	names, err := kernels.Names()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		f, err := m.table.module.Function(name)
		if err != nil {
			t.Fatal(err)
		}
		a, err := f.Attributes()
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%s: %d registers, %d bytes of shared memory, code for %d from PTX of %d", name, a.Registers, a.Shared, a.Binary, a.PTX)
		if a.Local != 0 {
			t.Errorf("%s keeps %d bytes a thread in local memory", name, a.Local)
		}
	}
}

func TestStandinAttributes(t *testing.T) { onStandin(t).attributes(t) }
func TestCUDAAttributes(t *testing.T)    { onGPU(t).attributes(t) }
