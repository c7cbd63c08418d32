//go:build unix

package bench

import (
	"runtime"

	"golang.org/x/sys/unix"
)

// peakBytes returns the most memory that the process held.
func peakBytes() int64 {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		return heldByGo()
	}
	if runtime.GOOS == "darwin" || runtime.GOOS == "ios" {
		return int64(u.Maxrss)
	}
	return int64(u.Maxrss) * 1024
}
