//go:build !amd64 || noasm

package bench

func peakLoop(string) (loop func(rounds int), flop float64) { return nil, 0 }
