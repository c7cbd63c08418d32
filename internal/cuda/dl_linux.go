//go:build linux && !android && (amd64 || arm64) && !nocuda

package cuda

import "github.com/ebitengine/purego"

// absent says why no library can be opened in this build; empty where one can.
const absent = ""

// dlopen opens a library by path, or by name in the places that the dynamic linker knows. Its symbols stay its own
// (RTLD_LOCAL), so that two drivers in one process, as tests have, do not mix.
func dlopen(name string) (uintptr, error) {
	return purego.Dlopen(name, purego.RTLD_NOW|purego.RTLD_LOCAL)
}

func dlsym(library uintptr, name string) (uintptr, error) { return purego.Dlsym(library, name) }

// syscallN calls a C function. What args point to must be kept alive by the caller.
func syscallN(fn uintptr, args []uintptr) uintptr {
	r, _, _ := purego.SyscallN(fn, args...)
	return r
}
