package gpu

import (
	"errors"
	"testing"

	"github.com/secencoder/secencoder/internal/cuda"
	"github.com/secencoder/secencoder/internal/cuda/kernels/shim"
	"github.com/secencoder/secencoder/internal/cuda/standin"
)

// machine is a device with a table: the stand-in, which runs everywhere where a C++ compiler is, or a GPU.
type machine struct {
	driver  *cuda.Driver
	device  *cuda.Device
	table   *Table
	standin *standin.Library // nil on a GPU
}

// onStandin opens the stand-in, or skips. What it finds wrong fails the test.
func onStandin(t testing.TB) *machine { return onStandinWith(t, 0) }

// onStandinWith is onStandin with a limit of device memory, 0 for none.
func onStandinWith(t testing.TB, limit int64) *machine {
	t.Helper()
	library := standin.Build(t)
	shim.Build(t, library.Path())
	return (&machine{standin: library}).load(t, library.Path(), limit)
}

// besides opens the stand-in of another process, whose memory it shares.
func besides(t testing.TB, folder string) *machine {
	t.Helper()
	library, err := standin.Open(folder)
	if err != nil {
		t.Fatal(err)
	}
	return (&machine{standin: library}).load(t, folder, 0)
}

// load opens the driver of a stand-in, and its device.
func (m *machine) load(t testing.TB, folder string, limit int64) *machine {
	t.Helper()
	driver, err := cuda.Load(cuda.Options{Library: folder})
	if err != nil {
		t.Fatal(err)
	}
	return m.open(t, driver, 0, Options{CublasLt: folder}, cuda.DeviceOptions{MemoryLimit: limit})
}

// onGPU opens the first GPU, or skips.
func onGPU(t testing.TB) *machine { return onGPUWith(t, 0) }

// onGPUWith is onGPU with a limit of device memory, 0 for none.
func onGPUWith(t testing.TB, limit int64) *machine {
	t.Helper()
	driver, err := cuda.Load(cuda.Options{})
	if err == nil {
		var devices []cuda.Info
		if devices, err = driver.Devices(); err == nil && len(devices) == 0 {
			err = cuda.ErrNoDevice
		}
	}
	switch {
	case absent(err):
		t.Skipf("no GPU here: %v", err)
	case err != nil:
		t.Fatal(err)
	}
	return new(machine).open(t, driver, 0, Options{}, cuda.DeviceOptions{MemoryLimit: limit})
}

// free returns what the driver says of the device's memory now: how much is free, and how much there is.
func (m *machine) free(t testing.TB) (free, total int64) {
	t.Helper()
	list, err := m.driver.Devices()
	if err != nil {
		t.Fatal(err)
	}
	d := list[m.device.Info().Index]
	if d.Err != nil {
		t.Fatal(d.Err)
	}
	return d.Free, d.Total
}

// absent says whether an error means that there is no GPU; any other is one of a GPU that does not work.
func absent(err error) bool {
	return errors.Is(err, cuda.ErrNoDriver) || errors.Is(err, cuda.ErrNoDevice)
}

// open opens device and table; both are closed at the end of the test, and must close without an error.
func (m *machine) open(t testing.TB, driver *cuda.Driver, index int, o Options, limits cuda.DeviceOptions) *machine {
	t.Helper()
	var err error
	m.driver = driver
	if m.device, err = driver.Open(index, limits); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.device.Close(); err != nil {
			t.Errorf("close the device: %v", err)
		}
	})
	if m.table, err = New(m.device, o); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.table.Close(); err != nil {
			t.Errorf("close the table: %v", err)
		}
	})
	return m
}
