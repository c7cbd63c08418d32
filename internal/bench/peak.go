package bench

import "sync"

// peak measures the fused multiply-adds that threads cores do at once with the vectors of a family: short slices, in
// GFLOP/s. There are none where no loop is known.
func peak(family string, threads int) times {
	loop, flop := peakLoop(family)
	if loop == nil {
		return nil
	}
	const (
		rounds = 20_000 // about 60 µs: no call may keep the scheduler waiting for long
		calls  = 8
	)
	var wg sync.WaitGroup
	seconds := make([][calls]float64, threads)
	for i := range threads {
		wg.Go(func() {
			for j := range calls {
				seconds[i][j] = clock(func() { loop(rounds) })
			}
		})
	}
	wg.Wait()
	list := make(times, calls)
	for j := range list {
		for i := range threads {
			list[j] += flop * rounds / seconds[i][j] / 1e9
		}
	}
	return list
}
