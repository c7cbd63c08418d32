//go:build !noasm

package blocked_test

import (
	"github.com/secencoder/secencoder/internal/kernel/avx2"
	"github.com/secencoder/secencoder/internal/kernel/avx512"
)

// probes are the loops of multiply-adds in registers that the products of a family are held against, and the FLOP of a round.
var probes = map[string]probe{"avx512": {avx512.FMAPeak, 768}, "avx2": {avx2.FMAPeak, 192}}
