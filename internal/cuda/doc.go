// Package cuda talks to an NVIDIA GPU through libcuda, opened at run time: nothing of CUDA is needed to build, no C
// compiler, no headers, and a binary starts on a machine that has never seen a GPU. Nothing is opened before Load.
//
// Begin with driver.go (Load finds and opens the driver), then device.go (a Device is one GPU with its primary context),
// then thread.go: CUDA keeps the current context per operating system thread, goroutines wander, and that file is the one
// place where the two meet. After that each file is one idea: stream.go, event.go, host.go and copy.go move data;
// module.go (with ptx.go), function.go and launch.go (with slab.go) run kernels; graph.go replays them; pool.go gives
// device memory; lt*.go multiply matrices. Below stand library.go and places.go (where libraries are looked for), elf.go
// (whether a file is one), dl_*.go (how one is opened on each system), symbols.go (every function of libcuda that is
// used), errors.go and hints.go (what its codes mean and what to do).
//
// Every method may be called from any goroutine, unless it says otherwise. What was closed answers with ErrClosed. After
// the device is lost (a fault in a kernel, a GPU that fell off the bus) every call returns the first error at once.
//
// The build tag nocuda leaves the opening of libraries out, so that the binary is static; Load then says so.
package cuda
