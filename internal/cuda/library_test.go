package cuda

import (
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// elfHeader is the beginning of a library for the machine of that number, as far as foreignFile reads it.
func elfHeader(machine uint16) []byte {
	head := make([]byte, 64)
	copy(head, "\x7fELF\x02\x01\x01")
	binary.LittleEndian.PutUint16(head[18:], machine)
	return head
}

// cutLibrary is the beginning of a library of 1,000 bytes, up to and with its one segment.
func cutLibrary(t *testing.T) []byte {
	image := append(elfHeader(ownMachine(t)), make([]byte, 56)...)
	binary.LittleEndian.PutUint64(image[32:], 64)
	binary.LittleEndian.PutUint16(image[54:], 56)
	binary.LittleEndian.PutUint16(image[56:], 1)
	binary.LittleEndian.PutUint32(image[64:], 1)
	binary.LittleEndian.PutUint64(image[64+32:], 1000)
	return image
}

func ownMachine(t *testing.T) uint16 {
	for number, name := range machines {
		if name == runtime.GOARCH {
			return number
		}
	}
	t.Skipf("no ELF number for %s in the table", runtime.GOARCH)
	return 0
}

func put(t *testing.T, content []byte, parts ...string) string {
	t.Helper()
	path := filepath.Join(parts...)
	if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, content, 0o777); err != nil {
		t.Fatal(err)
	}
	return path
}

// clean takes out of the environment what names places.
func clean(t *testing.T) {
	for _, name := range []string{EnvLibrary, "VIRTUAL_ENV", "LD_LIBRARY_PATH", "HOME", "PATH"} {
		t.Setenv(name, "")
	}
}

func linuxOnly(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("the places of linux")
	}
}

func TestSearchOrder(t *testing.T) {
	linuxOnly(t)
	clean(t)
	dir := t.TempDir()
	lib := elfHeader(ownMachine(t))
	inVenv := put(t, lib, dir, "venv[1]", "lib", "python3.11", "site-packages", "nvidia", "cublas", "lib", "libcublasLt.so.12")
	put(t, nil, dir, "venv[1]", "lib", "python3.11", "site-packages", "nvidia", "cudnn", "lib", "libcudnn.so.9")
	real := put(t, []byte("#!"), dir, "opt", "bin", "python3.12")
	inReal := put(t, lib, dir, "opt", "lib", "python3.12", "site-packages", "nvidia", "cu13", "lib", "libcublasLt.so.13")
	if err := os.MkdirAll(filepath.Join(dir, "bin"), 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(real, filepath.Join(dir, "bin", "python3")); err != nil {
		t.Fatal(err)
	}
	inPath := put(t, lib, dir, "ld", "libcublasLt.so.12")
	inEnv := put(t, lib, dir, "env", "libcublasLt.so.13")
	t.Setenv("VIRTUAL_ENV", filepath.Join(dir, "venv[1]"))
	t.Setenv("PATH", filepath.Join(dir, "bin"))
	t.Setenv("LD_LIBRARY_PATH", filepath.Join(dir, "nothing")+":"+filepath.Join(dir, "ld"))

	var got []string
	for _, c := range find(LibCUDA, "") {
		got = append(got, c.from)
	}
	for _, dir := range []string{"/usr/local/cuda/lib64", "/usr/local/nvidia/lib64", "/usr/lib/wsl/lib", "/run/opengl-driver/lib", "/usr/lib64-nvidia"} {
		if !strings.Contains(strings.Join(got, "\n"), "system "+dir) {
			t.Errorf("%s is not among the places:\n%s", dir, strings.Join(got, "\n"))
		}
	}
	got = nil
	for _, c := range find(LibCublasLt, "") {
		if c.problem == nil && !strings.HasPrefix(c.path, "/usr") && !strings.HasPrefix(c.path, "/run") {
			got = append(got, c.path)
		}
	}
	want := []string{"libcublasLt.so.12", "libcublasLt.so.13", inVenv, inReal, inPath}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("order of places:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}

	for _, c := range []struct {
		name, option, env string
		kind              Kind
		want              string // the first place
		alone             bool   // and the only one
	}{
		{"a folder in the environment that holds it", "", filepath.Dir(inEnv), LibCublasLt, inEnv, true},
		{"a folder in the environment without it", "", filepath.Dir(inEnv), LibCUDA, "", false},
		{"a file in the environment", "", inEnv, LibCublasLt, inEnv, true},
		{"a file of another library, beside it", "", put(t, lib, dir, "env", "libnvrtc.so.12"), LibCublasLt, inEnv, false},
		{"a file of no library", "", put(t, lib, dir, "other", "libm.so.6"), LibCublasLt, "", true},
		{"a file that is not there", "", filepath.Join(dir, "libcublasLt.so.12"), LibCublasLt, "", true},
		{"the option goes before the environment", inPath, inEnv, LibCublasLt, inPath, true},
		{"an option without it", filepath.Dir(inEnv), "", LibCUDA, "", false},
	} {
		t.Setenv(EnvLibrary, c.env)
		list := find(c.kind, c.option)
		if list[0].path != c.want || (c.want == "") != (list[0].problem != nil) {
			t.Errorf("%s: first place %q (%v), want %q", c.name, list[0].path, list[0].problem, c.want)
		}
		if (len(list) == 1) != c.alone {
			t.Errorf("%s: %d places", c.name, len(list))
		}
	}
	t.Setenv(EnvLibrary, inEnv)
	if list := find(LibCublasLt, filepath.Dir(real)); len(list) != 2 || list[1].path != inEnv || !list[1].only {
		t.Errorf("an option without it, the environment behind it: %+v", list)
	}
	older := put(t, lib, dir, "env", "libcublasLt.so.12")
	if list := find(LibCublasLt, filepath.Dir(inEnv)); len(list) != 2 || list[0].path != older || list[0].only || list[1].path != inEnv || !list[1].only {
		t.Errorf("a folder with two versions: %+v", list)
	}
}

// A name without a folder means a file here when it was asked for, not one that the system may find somewhere else.
func TestAskedForIsNotTheSystems(t *testing.T) {
	linuxOnly(t)
	clean(t)
	t.Chdir(t.TempDir())
	put(t, elfHeader(ownMachine(t)), "libcuda.so.1")
	if c := find(LibCUDA, "libcuda.so.1"); len(c) != 1 || !filepath.IsAbs(c[0].path) {
		t.Errorf("places: %+v, want the file in this folder", c)
	}
}

func TestLoadSaysWhatWasTried(t *testing.T) {
	linuxOnly(t)
	if absent != "" {
		t.Skip(absent)
	}
	clean(t)
	other := uint16(183)
	if runtime.GOARCH == "arm64" {
		other = 62
	}
	dir := t.TempDir()
	wrong := put(t, elfHeader(other), dir, "libcuda.so.1")
	text := put(t, []byte("/* GNU ld script */\nINPUT(libcuda.so.1)"), dir, "script", "libcuda.so.1")
	broken := put(t, elfHeader(ownMachine(t)), dir, "broken", "libcuda.so.1")
	cut := put(t, cutLibrary(t), dir, "cut", "libcuda.so.1")
	old := elfHeader(3)[:52]
	old[4] = 1 // ELF32
	short := put(t, old, dir, "short", "libcuda.so.1")
	folder := filepath.Join(dir, "folder")
	if err := os.MkdirAll(filepath.Join(folder, "libcuda.so.1"), 0o777); err != nil { // as a named pipe: not to be opened
		t.Fatal(err)
	}
	for _, c := range []struct{ library, want string }{
		{short, "wrong architecture: the library is for 386"},
		{folder, "no regular file"},
		{wrong, "could not be opened: option " + wrong + ": wrong architecture"},
		{wrong, "wrong architecture: the library is for " + machines[other] + ", this program for " + runtime.GOARCH},
		{dir, "wrong architecture"},
		{text, "not a shared library"},
		{cut, "cut short: 120 bytes are there, and 1000 at 0 are not"},
		{broken, "tried:\n  option " + broken + ": "},
		{filepath.Join(dir, "no"), "there is no such file or folder"},
		{filepath.Join(dir, "script", ".."), "wrong architecture"},
	} {
		_, err := Load(Options{Library: c.library})
		if !errors.Is(err, ErrNoDriver) || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), c.library) {
			t.Errorf("%s: error %v\nwant one that wraps ErrNoDriver and says %q", c.library, err, c.want)
		}
	}
}

// A library of the right kind of file that is not CUDA's is not called an old driver.
func TestAnotherLibraryIsSaid(t *testing.T) {
	linuxOnly(t)
	if absent != "" {
		t.Skip(absent)
	}
	handle, err := dlopen("libc.so.6")
	if err != nil {
		t.Skip(err)
	}
	_, err = resolve(&Library{path: "libc.so.6", handle: handle})
	if !errors.Is(err, ErrDriverTooOld) || !strings.Contains(err.Error(), "libc.so.6 has no function cuInit") {
		t.Errorf("error %v, want one that names cuInit", err) // what every missing function gives; Load does not get there
	}
	refused := candidate{from: "a place", path: "libc.so.6", only: true}
	for kind, want := range map[Kind]string{
		LibCUDA:     "a place: not a CUDA driver: it has no function cuInit",
		LibCublasLt: "a place: not a cublasLt: it has no function cublasLtCreate",
		LibNVRTC:    "a place: not an NVRTC: it has no function nvrtcVersion",
	} {
		_, err := firstOf(kind, []candidate{refused}, func(*Library) error { return nil })
		if !errors.Is(err, libraries[kind].missing) || errors.Is(err, ErrDriverTooOld) || strings.Count(err.Error(), want) != 2 {
			t.Errorf("error %v, want one that says %q", err, want)
		}
	}
}

func TestAbsentIsSaid(t *testing.T) {
	if absent == "" {
		t.Skip("this build opens libraries")
	}
	if _, err := Load(Options{}); !errors.Is(err, ErrNoDriver) || !strings.Contains(err.Error(), absent) {
		t.Errorf("error %v, want one that says %q", err, absent)
	}
}
