// Package alloctest counts, for tests, what a call takes from the heap.
//
// Begin at [Fewest]. A process's count holds the runtime's own allocations too, so one count proves nothing on a busy
// machine; the fewest of several does. What a call takes outside the heap (mapped memory, a device's) is not counted.
package alloctest

import "testing"

// rounds is how often Fewest tries before it believes an allocation.
const rounds = 20

// Fewest calls f once to warm up, then until a call takes nothing from the heap, at most 20 times, and returns the fewest
// allocations that one of them took. [testing.AllocsPerRun] counts those of the whole process, and so also what the
// runtime takes now and then for itself: a thread, the record of a waiting goroutine, the refill of a [sync.Pool] after a
// collection. What f allocates in every call stays in every count.
func Fewest(f func()) int {
	fewest := testing.AllocsPerRun(1, f)
	for i := 1; i < rounds && fewest > 0; i++ {
		fewest = min(fewest, testing.AllocsPerRun(1, f))
	}
	return int(fewest)
}
