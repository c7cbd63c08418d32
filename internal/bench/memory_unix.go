//go:build unix

package bench

import (
	"os"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// peakBytes returns the most memory that the process held. Linux says it of this program alone (VmHWM); what getrusage
// says there may stem from the program that started it.
func peakBytes() int64 {
	if status, err := os.ReadFile("/proc/self/status"); err == nil {
		if n, ok := highWater(string(status)); ok {
			return n
		}
	}
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		return heldByGo()
	}
	if runtime.GOOS == "darwin" || runtime.GOOS == "ios" {
		return int64(u.Maxrss)
	}
	return int64(u.Maxrss) * 1024
}

// highWater reads the line "VmHWM:  1234 kB".
func highWater(status string) (int64, bool) {
	_, rest, ok := strings.Cut(status, "\nVmHWM:")
	line, _, _ := strings.Cut(rest, "\n")
	n, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(line, "kB")), 10, 64)
	return n * 1024, ok && err == nil
}

// cpuSeconds returns the processor time that the process has used, on all cores.
func cpuSeconds() float64 {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return float64(u.Utime.Nano()+u.Stime.Nano()) * 1e-9
}
