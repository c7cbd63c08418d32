//go:build windows && !nocuda

package cuda

import (
	"path/filepath"
	"syscall"

	"golang.org/x/sys/windows"
)

// absent says why no library can be opened in this build; empty where one can.
const absent = ""

// dlopen opens a library by path, with its own folder first among the places of what it needs, or by name in the system
// folder (never in the current one, where anybody may have put it).
func dlopen(name string) (uintptr, error) {
	flags := uintptr(windows.LOAD_LIBRARY_SEARCH_DEFAULT_DIRS)
	if filepath.IsAbs(name) {
		flags |= windows.LOAD_LIBRARY_SEARCH_DLL_LOAD_DIR
	}
	h, err := windows.LoadLibraryEx(name, 0, flags)
	return uintptr(h), err
}

func dlsym(library uintptr, name string) (uintptr, error) {
	return windows.GetProcAddress(windows.Handle(library), name)
}

// fileOf returns the file of a library, "" where the system does not tell.
func fileOf(library, _ uintptr) string {
	name := make([]uint16, windows.MAX_LONG_PATH)
	n, err := windows.GetModuleFileName(windows.Handle(library), &name[0], uint32(len(name)))
	if err != nil || int(n) == len(name) {
		return ""
	}
	return windows.UTF16ToString(name[:n])
}

// syscallN calls a C function. What args point to must be kept alive by the caller.
func syscallN(fn uintptr, args []uintptr) uintptr {
	r, _, _ := syscall.SyscallN(fn, args...)
	return r
}
