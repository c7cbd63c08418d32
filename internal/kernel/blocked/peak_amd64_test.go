//go:build !noasm

package blocked_test

import (
	"github.com/secencoder/secencoder/internal/kernel/avx2"
	"github.com/secencoder/secencoder/internal/kernel/avx512"
	"github.com/secencoder/secencoder/internal/kernel/avx512bf16"
)

// probes are the loops of multiply-adds in registers that the products of a family are held against, and the FLOP of a round.
var probes = map[string]probe{"avx2": {avx2.FMAPeak, 192, false}, "avx512": {avx512.FMAPeak, 768, false}, "avx512bf16": {avx512bf16.BF16Peak, 1536, true}}
