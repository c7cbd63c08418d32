//go:build !(linux && (amd64 || arm64)) || nocuda

package standin

import "errors"

const unavailable = "it is built on linux, without the tag nocuda"

func dlopen(string) (uintptr, error) { return 0, errors.New(unavailable) }

func dlsym(uintptr, string) (uintptr, error) { return 0, errors.New(unavailable) }

func syscallN(uintptr, ...uintptr) uintptr { return 0 }
