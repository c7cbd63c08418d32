//go:build !nocuda && !((linux && !android && (amd64 || arm64)) || windows)

package cuda

import "runtime"

// absent says why no library can be opened in this build; empty where one can.
const absent = "there is no CUDA for " + runtime.GOOS + "/" + runtime.GOARCH + "; NVIDIA GPUs are used on linux and windows"
