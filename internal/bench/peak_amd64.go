//go:build !noasm

package bench

import (
	"github.com/secencoder/secencoder/internal/kernel/avx2"
	"github.com/secencoder/secencoder/internal/kernel/avx512"
)

// peakLoop returns the register-only loop of a family, and the FLOP of one round.
func peakLoop(family string) (loop func(rounds int), flop float64) {
	switch family {
	case "avx512":
		return avx512.FMAPeak, 768
	case "avx2":
		return avx2.FMAPeak, 192
	}
	return nil, 0
}
