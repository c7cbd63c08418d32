package cuda

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/secencoder/secencoder/internal/cuda/standin"
)

// TestLtSearchGoesOn: a library that the driver cannot run, or that lacks a function, does not end the search, unless a
// person named that file.
func TestLtSearchGoesOn(t *testing.T) {
	m, fits := ltOnStandin(t) // its driver is for CUDA 12.4
	fits.Set(standin.CublasLt, 120801)
	fitsFile := filepath.Join(fits.Path(), "libcublasLt.so.12")
	newer := standin.Build(t)
	newer.Set(standin.CublasLt, 130100)
	newerFile := filepath.Join(newer.Path(), "libcublasLt.so.12")
	incomplete, err := fits.Without("cublasLtMatmul")
	if err != nil {
		t.Fatal(err)
	}
	clean(t)
	folder := func(older, newer string) string {
		dir := t.TempDir()
		for name, file := range map[string]string{"libcublasLt.so.12": older, "libcublasLt.so.13": newer} {
			if err := os.Symlink(file, filepath.Join(dir, name)); err != nil {
				t.Fatal(err)
			}
		}
		return dir
	}
	both := folder(newerFile, fitsFile)
	open := func(option string) (path string, version int) {
		t.Helper()
		lt, err := m.d.OpenLt(option)
		if err != nil {
			t.Fatal(err)
		}
		path, version = lt.Path(), lt.Version()
		if err := lt.Close(); err != nil {
			t.Error(err)
		}
		return path, version
	}
	if path, version := open(both); version != 120801 || path != filepath.Join(both, "libcublasLt.so.13") {
		t.Errorf("of a folder with two: %s, version %d", path, version)
	}
	if path, version, err := FindLt(both, 13000); err != nil || version != 130100 || path != filepath.Join(both, "libcublasLt.so.12") {
		t.Errorf("of a folder with two, newer driver: %s, version %d, %v", path, version, err)
	}
	if _, err := OpenLibrary(LibCublasLt, ""); err != nil { // else the system's comes first
		t.Setenv("LD_LIBRARY_PATH", strings.Join([]string{newer.Path(), incomplete.Path(), fits.Path()}, ":"))
		if path, version := open(""); version != 120801 || path != fitsFile {
			t.Errorf("of three folders: %s, version %d", path, version)
		}
	}

	why := "CUDA driver too old: cuBLAS 13.1.0 needs a driver for CUDA 13, this one is for CUDA 12.4; install a newer NVIDIA driver, or cuBLAS 12"
	for _, c := range []struct{ option, env string }{{newerFile, ""}, {"", newerFile}, {newer.Path(), fits.Path()}} {
		t.Setenv(EnvLibrary, c.env)
		_, err := m.d.OpenLt(c.option)
		if !errors.Is(err, ErrNoLibrary) || !errors.Is(err, ErrDriverTooOld) || !strings.Contains(err.Error(), c.option) || !strings.Contains(err.Error(), c.env) && c.option == "" ||
			!strings.Contains(err.Error(), why) {
			t.Errorf("the file that was named does not fit: %v", err)
		}
	}

	_, err = m.d.OpenLt(folder(newerFile, filepath.Join(incomplete.Path(), "libcublasLt.so.12")))
	if err == nil || strings.Count(err.Error(), why) != 2 || strings.Count(err.Error(), "has no function cublasLtMatmul, which cuBLAS 12 and 13 have") != 1 {
		t.Errorf("of a folder with two that do not fit: %v", err)
	}
}

// TestLtOldDriver: no cuBLAS helps a driver for CUDA 11, and none is looked for.
func TestLtOldDriver(t *testing.T) {
	if absent != "" {
		t.Skip(absent)
	}
	_, _, err := FindLt("", 11040)
	if !errors.Is(err, ErrDriverTooOld) || strings.Contains(err.Error(), "pip") || strings.Contains(err.Error(), "tried") ||
		!strings.HasSuffix(err.Error(), "this one is for CUDA 11.4; install a newer NVIDIA driver") {
		t.Errorf("%v", err)
	}
}
