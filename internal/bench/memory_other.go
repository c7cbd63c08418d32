//go:build !unix

package bench

// peakBytes returns what the Go runtime holds: the nearest that is known here.
func peakBytes() int64 { return heldByGo() }

// cpuSeconds returns 0: not known here.
func cpuSeconds() float64 { return 0 }
