package cuda

import (
	"fmt"
)

// ltLibrary is the opened libcublasLt with the functions that are used.
type ltLibrary struct {
	*Library
	version int

	getVersion, statusName, statusString Symbol
	create, destroy                      Symbol
	descCreate, descDestroy, descSet     Symbol
	layoutCreate, layoutDestroy          Symbol
	prefCreate, prefDestroy, prefSet     Symbol
	heuristic, matmul                    Symbol
}

// openLtLibrary opens the first library that a driver of that CUDA version can run and looks its functions up. It needs
// no device.
func openLtLibrary(option string, driver int) (l *ltLibrary, err error) {
	if driver < 12000 {
		return nil, fmt.Errorf("%w: cuBLAS 12 and 13 need a driver for CUDA 12.0 or newer (driver 525 or newer), this one is for CUDA %s; install a newer NVIDIA driver",
			ErrDriverTooOld, versionName(driver))
	}
	_, err = openSuitable(LibCublasLt, option, func(opened *Library) (err error) {
		if l, err = newLtLibrary(opened); err == nil {
			err = l.fits(driver)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return l, nil
}

// newLtLibrary looks the functions up.
func newLtLibrary(opened *Library) (_ *ltLibrary, err error) {
	l := &ltLibrary{Library: opened}
	for _, e := range []struct {
		to   *Symbol
		name string
	}{
		{&l.getVersion, "cublasLtGetVersion"},
		{&l.statusName, "cublasLtGetStatusName"},
		{&l.statusString, "cublasLtGetStatusString"},
		{&l.create, "cublasLtCreate"},
		{&l.destroy, "cublasLtDestroy"},
		{&l.descCreate, "cublasLtMatmulDescCreate"},
		{&l.descDestroy, "cublasLtMatmulDescDestroy"},
		{&l.descSet, "cublasLtMatmulDescSetAttribute"},
		{&l.layoutCreate, "cublasLtMatrixLayoutCreate"},
		{&l.layoutDestroy, "cublasLtMatrixLayoutDestroy"},
		{&l.prefCreate, "cublasLtMatmulPreferenceCreate"},
		{&l.prefDestroy, "cublasLtMatmulPreferenceDestroy"},
		{&l.prefSet, "cublasLtMatmulPreferenceSetAttribute"},
		{&l.heuristic, "cublasLtMatmulAlgoGetHeuristic"},
		{&l.matmul, "cublasLtMatmul"},
	} {
		if *e.to, err = l.Symbol(e.name); err != nil {
			return nil, fmt.Errorf("%w, which cuBLAS 12 and 13 have", err)
		}
	}
	l.version = int(l.getVersion.Call())
	return l, nil
}

// FindLt opens libcublasLt as OpenLt does, without a device, and returns where it is and its version, for a driver of
// that version.
func FindLt(library string, driver int) (path string, version int, err error) {
	l, err := openLtLibrary(library, driver)
	if err != nil {
		return "", 0, err
	}
	return l.Path(), l.version, nil
}

// fits says whether a driver of that CUDA version can run the library.
func (l *ltLibrary) fits(driver int) error {
	switch major := l.version / 10000; {
	case major < 12:
		return fmt.Errorf("cuBLAS %s, want 12 or 13", LtVersionName(l.version))
	case major > driver/1000:
		return fmt.Errorf("%w: cuBLAS %s needs a driver for CUDA %d, this one is for CUDA %s; install a newer NVIDIA driver, or cuBLAS %d",
			ErrDriverTooOld, LtVersionName(l.version), major, versionName(driver), driver/1000)
	}
	return nil
}

// LtVersionName writes a version as people do: 120405 is 12.4.5.
func LtVersionName(v int) string { return fmt.Sprintf("%d.%d.%d", v/10000, v/100%100, v%100) }

// ltStatus is what we know of a cublasStatus_t.
type ltStatus struct {
	name, text, hint string
	kind             error
}

// ltStatuses are the codes of cublasStatus_t. All of cublas_api.h of CUDA 12.8 and 13.2.
var ltStatuses = map[int]ltStatus{
	1:  {"CUBLAS_STATUS_NOT_INITIALIZED", "the library was not initialized", "cuBLAS and the driver do not fit together, or the GPU has no memory left; compare their versions (secencoder info)", nil},
	3:  {"CUBLAS_STATUS_ALLOC_FAILED", "the resource allocation failed", "lower --tokens, --context or --size, or end other programs on this GPU (nvidia-smi lists them)", ErrOutOfMemory},
	7:  {"CUBLAS_STATUS_INVALID_VALUE", "an unsupported value or parameter was passed to the function", ours, nil},
	8:  {"CUBLAS_STATUS_ARCH_MISMATCH", "the function requires an architectural feature absent from the device", "this cuBLAS does not know the GPU; install a newer one (pip install -U nvidia-cublas-cu12)", nil},
	11: {"CUBLAS_STATUS_MAPPING_ERROR", "an access to GPU memory space failed", ours, nil},
	13: {"CUBLAS_STATUS_EXECUTION_FAILED", "the function failed to launch on the GPU", "an earlier kernel may have broken the device; start the program again", nil},
	14: {"CUBLAS_STATUS_INTERNAL_ERROR", "an internal operation failed", "try another version of cuBLAS, and look at nvidia-smi for the state of the GPU", nil},
	15: {"CUBLAS_STATUS_NOT_SUPPORTED", "the functionality requested is not supported", "this cuBLAS has no algorithm for the product on this GPU; install a newer one (pip install -U nvidia-cublas-cu12)", nil},
	16: {"CUBLAS_STATUS_LICENSE_ERROR", "an error was detected checking the license", "install cuBLAS again", nil},
}

// check turns the result of a call into an error. Name and text are the library's own where it knows the code.
func (l *ltLibrary) check(f Symbol, result uintptr) error {
	code := int(int32(result))
	if code == 0 {
		return nil
	}
	s, known := ltStatuses[code]
	if !known {
		s = ltStatus{name: fmt.Sprintf("cuBLAS status %d", code), text: "a status that this program does not know"}
	}
	e := &Error{Call: f.Name, Code: code, Name: s.name, Text: s.text, Hint: s.hint, kind: s.kind}
	if text := cString(l.statusName.Call(uintptr(code))); !known && text != "" {
		e.Name = text
	}
	if text := cString(l.statusString.Call(uintptr(code))); text != "" {
		e.Text = text
	}
	return e
}
