package bench

import "runtime"

// heldByGo returns the memory that the Go runtime has from the system.
func heldByGo() int64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.Sys)
}
