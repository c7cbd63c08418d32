//go:build !noasm

package bench

import (
	"unsafe"

	"github.com/secencoder/secencoder/internal/kernel/amx"
	"github.com/secencoder/secencoder/internal/kernel/avx2"
	"github.com/secencoder/secencoder/internal/kernel/avx512"
	"github.com/secencoder/secencoder/internal/kernel/avx512bf16"
)

// loops returns the register-only loops of a family: multiply-adds of float32, and products of bf16.
func loops(family string) (fma, half loop) {
	switch family {
	case "amx":
		half = loop{amx.Peak, 131_072, 1000}
	case "avx512bf16":
		half = loop{avx512bf16.BF16Peak, 1536, 20_000}
	}
	switch family {
	case "amx", "avx512bf16", "avx512":
		fma = loop{avx512.FMAPeak, 768, 20_000}
	case "avx2":
		fma = loop{avx2.FMAPeak, 192, 20_000}
	}
	return fma, half
}

// readStream loads every byte of b.
func readStream(b []float32) {
	if len(b) >= 64 && avx2Available {
		read256(unsafe.SliceData(b), len(b)/64)
		return
	}
	readPlain(b)
}

var avx2Available, _ = avx2.Available()

// read256 loads n blocks of 256 bytes.
//
//go:noescape
func read256(p *float32, n int)
