//go:build !noasm

package avx2

import "github.com/secencoder/secencoder/internal/kernel/blocked"

// Prims returns the inner loops; they must not run where Available says no.
func Prims() blocked.Prims {
	p := blocked.Portable()
	p.Name, p.AddTransposed = "avx2", addTransposed
	p.Single = blocked.Format{MR: 6, NR: 16, KR: 1, Depth: 256, PackRows: packRows, PackCols: packCols, Tile: tile}
	p.Half = blocked.Format{MR: 6, NR: 16, KR: 1, Depth: 256, PackRows: packRowsHalf, PackCols: packColsHalf, Tile: tile}
	p.Widen, p.Narrow, p.Rows = widen, narrow, rows()
	loops(&p)
	p.DropoutHalf = dropoutHalf
	return p
}

// groupCalls is how many Philox calls one group of philoxDropout and philoxDropoutHalves makes.
const groupCalls = 8

// dropoutHalf is blocked.Prims.DropoutHalf: whole groups in place, the rest through a buffer.
func dropoutHalf(dst, src []float32, call uint64, c blocked.Counter, threshold uint32, scale float32) {
	src = src[:len(dst)]
	if threshold > 0xffff { // drops all
		clear(dst)
		return
	}
	const group = 8 * groupCalls
	if groups := len(dst) / group; groups > 0 {
		philoxDropoutHalves(ptr(dst), ptr(src), groups, call, c.Step, c.Site, c.Key[0], c.Key[1], threshold, scale)
		dst, src, call = dst[groups*group:], src[groups*group:], call+uint64(groups)*groupCalls
	}
	if len(dst) == 0 {
		return
	}
	var last [group]float32
	copy(last[:], src)
	philoxDropoutHalves(&last[0], &last[0], 1, call, c.Step, c.Site, c.Key[0], c.Key[1], threshold, scale)
	copy(dst, last[:])
}
