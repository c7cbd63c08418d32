package cuda_test

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/secencoder/secencoder/internal/cuda"
	"github.com/secencoder/secencoder/internal/cuda/standin"
)

// codesFor lists what the real driver may answer to a call: a plain error, one after which the device is lost, and what
// the call itself is known for.
func codesFor(call string) []int {
	codes := []int{1, 999}
	switch call {
	case "cuInit":
		codes = append(codes, 34, 100, 803)
	case "cuDeviceGetCount":
		codes = append(codes, 100)
	case "cuDeviceGet", "cuDeviceGetName", "cuDeviceTotalMem_v2", "cuDeviceGetAttribute":
		codes = append(codes, 101)
	case "cuDevicePrimaryCtxRetain":
		codes = append(codes, 2, 46)
	case "cuCtxSetCurrent":
		codes = append(codes, 201)
	case "cuMemAlloc_v2", "cuMemHostAlloc", "cuStreamCreate", "cuEventCreate", "cuGraphInstantiateWithFlags":
		codes = append(codes, 2)
	case "cuModuleLoadDataEx":
		codes = append(codes, 2, 200, 209, 218, 221, 222)
	case "cuModuleGetFunction":
		codes = append(codes, 500)
	case "cuLaunchKernel":
		codes = append(codes, 700, 701)
	case "cuStreamSynchronize", "cuEventSynchronize", "cuCtxSynchronize", "cuMemFree_v2":
		codes = append(codes, 700, 719)
	case "cuStreamEndCapture":
		codes = append(codes, 901, 904)
	}
	return codes
}

// Each function of the driver fails, at each of its first calls, with the codes that it is known for: one clear error comes
// out, nothing is left behind, nothing hangs, and the driver works again afterwards.
func TestStandinEachCallFails(t *testing.T) {
	most, delays := 100, []int{standin.Immediately, standin.Late}
	if testing.Short() {
		most, delays = 3, delays[:1]
	}
	fail(t, most, delays, codesFor)
}

// The same with every code of the table, also those that the real driver has never given from such a call, at the first
// call of each function.
func TestStandinEachCodeFails(t *testing.T) {
	codes := cuda.Codes()
	if len(codes) < 90 {
		t.Fatalf("the table has %d codes", len(codes))
	}
	delays := []int{standin.Immediately, standin.Late}
	if testing.Short() { // a third of them
		thin := []int{}
		for i := 0; i < len(codes); i += 3 {
			thin = append(thin, codes[i])
		}
		codes, delays = thin, delays[1:]
	}
	fail(t, 1, delays, func(string) []int { return codes })
}

// fail lets each function of the driver fail, at each of its first calls, with each of the codes.
func fail(t *testing.T, most int, delays []int, codesFor func(call string) []int) {
	lib, drv := loadStandin(t)
	succeed(t, everything(drv))
	counts := lib.Calls()
	lib.Reset()
	tried := 0
	said := map[string]bool{} // one report for each call and code
	for _, call := range slices.Sorted(maps.Keys(counts)) {
		if call == "cuInit" || call == "cuDriverGetVersion" { // once for each driver: below
			continue
		}
		for n := 1; n <= min(counts[call], most); n++ {
			for i := range len(codesFor(call)) * len(delays) {
				code, delay := codesFor(call)[i/len(delays)], delays[i%len(delays)]
				what := fmt.Sprintf("call %d of %s returns %d, delay %d", n, call, code, delay)
				lib.Set(standin.Delay, delay)
				lib.Fail(call, n, code)
				err := within(t, 20*time.Second, what, func() error { return everything(drv) })
				if lib.Calls()[call] < n {
					t.Fatalf("%s: the call was never made", what)
				}
				if key := fmt.Sprint(call, code); !said[key] {
					said[key] = !checkFault(t, what, call, code, err)
					if errors.Is(err, cuda.ErrDeviceLost) {
						said[key] = !released(t, lib, what) || said[key]
					} else {
						said[key] = !clean(t, lib, what) || said[key]
					}
				}
				lib.Reset()
				if err := within(t, 20*time.Second, "after "+what, func() error { return everything(drv) }); err != nil {
					t.Fatalf("after %s the driver does not work: %v", what, err)
				}
				clean(t, lib, "after "+what)
				lib.Reset()
				tried++
			}
		}
	}
	t.Logf("%d faults in %d functions", tried, len(counts))
}

// released checks what a lost device leaves: nothing of it can be given back but the context, which takes all with it.
func released(t *testing.T, lib *standin.Library, what string) (ok bool) {
	t.Helper()
	ok = true
	for _, v := range append(lib.Violations(), lib.Leaks()...) {
		if !strings.HasSuffix(v, "was not given back") && !strings.HasSuffix(v, "was not freed") {
			t.Errorf("%s: %s", what, v)
			ok = false
		}
	}
	return ok
}

// checkFault checks the error of a program in which that call failed.
func checkFault(t *testing.T, what, call string, code int, err error) (ok bool) {
	t.Helper()
	bad := func(format string, args ...any) {
		t.Helper()
		ok = false
		t.Errorf(format, args...)
	}
	ok = true
	if err == nil {
		if call == "cuMemAlloc_v2" && code == 2 {
			return ok // cached memory was given back and the second try went well
		}
		if call == "cuEventQuery" && code == 600 {
			return ok // CUDA_ERROR_NOT_READY is an answer
		}
		bad("%s: the error was swallowed", what)
		return ok
	}
	if call == "cuDeviceGetCount" && (code == 100 || code == 101) {
		if !errors.Is(err, cuda.ErrNoDevice) {
			bad("%s: the error does not say that there is no device: %v", what, err)
		}
		return ok
	}
	var e *cuda.Error
	if !errors.As(err, &e) {
		bad("%s: no *cuda.Error in %v", what, err)
		return ok
	}
	if e.Call != call || e.Code != code {
		bad("%s: the first error is of %s with %d: %v", what, e.Call, e.Code, err)
	}
	text := err.Error()
	if !strings.Contains(text, call) || !strings.Contains(text, e.Name) || !strings.HasPrefix(e.Name, "CUDA_ERROR_") {
		bad("%s: call and name are not in the error: %s", what, text)
	}
	if n := strings.Count(text, "("+e.Name+", "); n != 1 {
		bad("%s: the error is said %d times:\n%s", what, n, text)
	}
	if strings.Contains(text, "still open") {
		bad("%s: the error speaks of what the program left open, but it closes everything:\n%s", what, text)
	}
	return ok
}

// The names and texts of codes come from the driver; without them our own stand in.
func TestStandinErrorTextFails(t *testing.T) {
	lib, drv := loadStandin(t)
	for _, call := range []string{"cuGetErrorName", "cuGetErrorString"} {
		lib.Fail(call, 0, 1)
		lib.Fail("cuStreamCreate", 1, 2)
		err := everything(drv)
		checkFault(t, call+" fails", "cuStreamCreate", 2, err)
		if !errors.Is(err, cuda.ErrOutOfMemory) || !strings.Contains(err.Error(), "out of memory") {
			t.Errorf("%s fails: %v", call, err)
		}
		clean(t, lib, call)
		lib.Reset()
	}
}

// A driver that cannot start says why, can be tried again, and then works.
func TestStandinInitFails(t *testing.T) {
	for _, call := range []string{"cuInit", "cuDriverGetVersion"} {
		for _, code := range codesFor(call) {
			lib := standin.Build(t)
			lib.Fail(call, 1, code)
			_, err := cuda.Load(cuda.Options{Library: lib.Path()})
			what := fmt.Sprintf("%s returns %d", call, code)
			checkFault(t, what, call, code, err)
			for sentinel, codes := range map[error][]int{cuda.ErrNoDriver: {34, 803}, cuda.ErrNoDevice: {100}, cuda.ErrDeviceLost: {999}} {
				if slices.Contains(codes, code) != errors.Is(err, sentinel) {
					t.Errorf("%s: errors.Is(%v) = %v: %v", what, sentinel, errors.Is(err, sentinel), err)
				}
			}
			drv, err := cuda.Load(cuda.Options{Library: lib.Path()})
			if err != nil {
				t.Errorf("after %s: %v", what, err)
				continue
			}
			succeed(t, everything(drv))
		}
	}
}

// Two calls fail, one of them the one that cleans up after the other.
func TestStandinTwoCallsFail(t *testing.T) {
	lib, drv := loadStandin(t)
	succeed(t, everything(drv))
	counts := lib.Calls()
	lib.Reset()
	first := []string{"cuStreamSynchronize", "cuLaunchKernel", "cuStreamEndCapture", "cuGraphInstantiateWithFlags", "cuMemcpyHtoDAsync_v2", "cuEventRecord"}
	then := []string{"cuCtxSynchronize", "cuMemFree_v2", "cuStreamDestroy_v2", "cuEventDestroy_v2", "cuModuleUnload", "cuMemFreeHost", "cuGraphDestroy", "cuStreamEndCapture", "cuDevicePrimaryCtxRelease_v2", "cuStreamSynchronize"}
	for _, a := range first {
		for _, b := range then {
			for n := 1; n <= min(counts[a], 2); n++ {
				what := fmt.Sprintf("call %d of %s and every %s fail", n, a, b)
				if a == b {
					continue
				}
				lib.Fail(a, n, 1)
				lib.Fail(b, 0, 400)
				err := within(t, 20*time.Second, what, func() error { return everything(drv) })
				if err == nil {
					t.Errorf("%s: no error", what)
				}
				clean(t, lib, what)
				lib.Reset()
			}
		}
	}
}
