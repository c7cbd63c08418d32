package bench

import "sync"

// peak measures the fused multiply-adds that threads cores do at once with the vectors of a family: one short slice, in
// GFLOP/s. It is 0 where no loop is known.
func peak(family string, threads int) float64 {
	loop, flop := peakLoop(family)
	if loop == nil {
		return 0
	}
	const rounds = 20_000 // about 100 µs: no call may keep the scheduler waiting for long
	var wg sync.WaitGroup
	seconds := make([]float64, threads)
	for i := range threads {
		wg.Go(func() { seconds[i] = clock(func() { loop(rounds) }) })
	}
	wg.Wait()
	total := 0.0
	for _, s := range seconds {
		total += flop * rounds / s / 1e9
	}
	return total
}
