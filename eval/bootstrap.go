package eval

import (
	"math"
	"slices"
	"sync"

	"github.com/secencoder/secencoder/internal/rng"
)

// bootstrap returns the 95 % percentile intervals of each system's figures over draws samples of the documents with
// replacement (Efron 1979). Tokens of one document depend on each other, so documents are drawn, not tokens. Draw d
// reads the stream (seed, Bootstrap, site, d), so the result depends neither on the number of threads nor on their order.
// Draws without a masked token say nothing and are left out. Nothing is drawn from fewer than two documents.
func bootstrap(documents []tally, draws int, seed uint64, site uint32, threads int) (spread [systems][4]Interval) {
	nan := Interval{Figure(math.NaN()), Figure(math.NaN())}
	for k := range spread {
		spread[k] = [4]Interval{nan, nan, nan, nan}
	}
	if len(documents) < 2 || draws < 1 {
		return spread
	}
	results := make([][systems]figures, draws)
	threads = max(1, min(threads, draws))
	var wait sync.WaitGroup
	for w := range threads {
		wait.Go(func() {
			for d := w; d < draws; d += threads {
				stream := rng.NewStream(seed, rng.Bootstrap, site, uint32(d), 0)
				var s sums
				for range documents {
					s.add(&documents[stream.Intn(len(documents))])
				}
				for k := range results[d] {
					results[d][k] = s.of(system(k))
				}
			}
		})
	}
	wait.Wait()
	values := make([]float64, 0, draws)
	for k := range spread {
		for f := range spread[k] {
			values = values[:0]
			for d := range results {
				if v := results[d][k][f]; !math.IsNaN(v) {
					values = append(values, v)
				}
			}
			if len(values) == 0 {
				continue
			}
			slices.Sort(values)
			spread[k][f] = Interval{Figure(nearestRank(values, 0.025)), Figure(nearestRank(values, 0.975))}
		}
	}
	return spread
}

// nearestRank returns the smallest value that at least the share q of sorted does not exceed.
func nearestRank(sorted []float64, q float64) float64 {
	rank := int(math.Ceil(q*float64(len(sorted)) - 0x1p-30)) // 0.025 · 1000 is a hair above 25 in binary
	return sorted[min(max(rank, 1), len(sorted))-1]
}
