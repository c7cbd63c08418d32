//go:build linux && !android && (amd64 || arm64) && !nocuda

package cuda

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/ebitengine/purego"
)

// absent says why no library can be opened in this build; empty where one can.
const absent = ""

// dlopen opens a library by path, or by name in the places that the dynamic linker knows. Its symbols stay its own
// (RTLD_LOCAL), so that two drivers in one process, as tests have, do not mix.
func dlopen(name string) (uintptr, error) {
	return purego.Dlopen(name, purego.RTLD_NOW|purego.RTLD_LOCAL)
}

func dlsym(library uintptr, name string) (uintptr, error) { return purego.Dlsym(library, name) }

// fileOf returns the file of a library that has a function at an address, "" where the system does not tell.
func fileOf(_, function uintptr) string {
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		return ""
	}
	return mappedFile(string(maps), function)
}

// mappedFile returns the file that is mapped at an address, of lines "from-to access offset device inode path".
func mappedFile(maps string, at uintptr) string {
	for line := range strings.Lines(maps) {
		f := strings.SplitN(strings.TrimSuffix(line, "\n"), " ", 6)
		if len(f) < 6 {
			continue
		}
		first, last, _ := strings.Cut(f[0], "-")
		from, err1 := strconv.ParseUint(first, 16, 64)
		to, err2 := strconv.ParseUint(last, 16, 64)
		if err1 != nil || err2 != nil || uint64(at) < from || uint64(at) >= to {
			continue
		}
		if path := strings.TrimLeft(f[5], " "); filepath.IsAbs(path) {
			return path
		}
		return ""
	}
	return ""
}

// syscallN calls a C function. What args point to must be kept alive by the caller.
func syscallN(fn uintptr, args []uintptr) uintptr {
	r, _, _ := purego.SyscallN(fn, args...)
	return r
}
