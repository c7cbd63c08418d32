//go:build race

package gpu

// raceDetector says that sync.Pool drops what it holds now and then, so that nothing can be said of allocations.
const raceDetector = true
