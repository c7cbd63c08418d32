//go:build nocuda || !((linux && !android && (amd64 || arm64)) || windows)

package cuda

import "errors"

// dlopen opens nothing: this build has no way to, and absent (dl_tag.go, dl_system.go) says why.
func dlopen(string) (uintptr, error) { return 0, errors.New(absent) }

func dlsym(uintptr, string) (uintptr, error) { return 0, errors.New(absent) }

func fileOf(uintptr, uintptr) string { return "" }

func syscallN(uintptr, []uintptr) uintptr {
	panic("internal error: a function of a library was called, but this build opens none")
}
