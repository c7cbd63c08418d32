//go:build !noasm

package avx512

import (
	"unsafe"

	"github.com/secencoder/secencoder/internal/kernel/blocked"
)

// noScores stands for the vectors that a tile does not have.
var noScores [256]float32

// vector returns the start of s, which is read up to the next multiple of 16 elements, or of zeros.
func vector(s []float32, n int) *float32 {
	if s == nil {
		return &noScores[0]
	}
	return ptr(s[:(n+15)&^15])
}

// checkTile panics where the loops would leave the tile's memory.
func checkTile(t *blocked.ScoreTile) {
	_ = noScores[max(t.Cols, t.Rows)-1]
	_ = t.S[:(t.Rows-1)*t.LD+(t.Cols+15)&^15]
}

// halfTile returns the start of t.Half, or nil. It panics where that is not half a row before S.
func halfTile(t *blocked.ScoreTile) *uint16 {
	if t.Half == nil {
		return nil
	}
	if unsafe.Pointer(&t.Half[t.LD]) != unsafe.Pointer(ptr(t.S)) {
		panic("internal error: ScoreTile.Half is not the memory of S")
	}
	return (*uint16)(&t.Half[0])
}

func softmaxScores(t *blocked.ScoreTile) {
	checkTile(t)
	row, col := vector(t.Row, t.Cols), vector(t.Col, t.Rows)
	m, l, alpha, sub := vector(t.M, t.Rows), vector(t.L, t.Rows), vector(t.Alpha, t.Rows), vector(t.Sub, t.Rows)
	half := halfTile(t) != nil
	switch {
	case t.Drop && half:
		words := keepScores(t)
		softmaxTileDropHalf(ptr(t.S), 4*t.LD, t.Rows, t.Cols, row, col, t.Scale, m, l, alpha, sub, &t.Keep[0], words)
	case t.Drop:
		words := keepScores(t)
		softmaxTileDrop(ptr(t.S), 4*t.LD, t.Rows, t.Cols, row, col, t.Scale, m, l, alpha, sub, &t.Keep[0], words)
	case half:
		softmaxTileHalf(ptr(t.S), 4*t.LD, t.Rows, t.Cols, row, col, t.Scale, m, l, alpha, sub)
	default:
		softmaxTile(ptr(t.S), 4*t.LD, t.Rows, t.Cols, row, col, t.Scale, m, l, alpha, sub)
	}
}

func gradScores(t *blocked.ScoreTile) {
	checkTile(t)
	_ = t.DP[:(t.Rows-1)*t.LDP+(t.Cols+15)&^15]
	row, sub, delta := vector(t.Row, t.Cols), ptr(t.Sub[:t.Rows]), ptr(t.Delta[:t.Rows])
	s, dp, ld, ldp := ptr(t.S), ptr(t.DP), 4*t.LD, 4*t.LDP
	var rowSum, colSum *float32
	if t.RowSum != nil {
		rowSum, colSum = ptr(t.RowSum[:t.Rows]), vector(t.ColSum, t.Cols)
	}
	if t.Half != nil {
		gradHalves(t, s, dp, ld, ldp, row, sub, delta, rowSum, colSum)
		return
	}
	switch {
	case t.Drop && rowSum != nil:
		words := keepScores(t)
		gradTileDropSums(s, dp, ld, ldp, t.Rows, t.Cols, row, sub, delta, t.Scale, t.Inner*t.Kept, &t.Keep[0], words, t.Kept, rowSum, colSum)
	case t.Drop:
		words := keepScores(t)
		gradTileDrop(s, dp, ld, ldp, t.Rows, t.Cols, row, sub, delta, t.Scale, t.Inner*t.Kept, &t.Keep[0], words, t.Kept)
	case rowSum != nil:
		gradTileSums(s, dp, ld, ldp, t.Rows, t.Cols, row, sub, delta, t.Scale, t.Inner, rowSum, colSum)
	default:
		gradTile(s, dp, ld, ldp, t.Rows, t.Cols, row, sub, delta, t.Scale, t.Inner)
	}
}

// gradHalves is gradScores of a tile with Half.
func gradHalves(t *blocked.ScoreTile, s, dp *float32, ld, ldp int, row, sub, delta, rowSum, colSum *float32) {
	half := halfTile(t)
	switch {
	case t.Drop && rowSum != nil:
		words := keepScores(t)
		gradTileDropSumsHalf(s, dp, ld, ldp, t.Rows, t.Cols, row, sub, delta, t.Scale, t.Inner*t.Kept, &t.Keep[0], words, t.Kept, rowSum, colSum, half)
	case t.Drop:
		words := keepScores(t)
		gradTileDropHalf(s, dp, ld, ldp, t.Rows, t.Cols, row, sub, delta, t.Scale, t.Inner*t.Kept, &t.Keep[0], words, t.Kept, half)
	case rowSum != nil:
		gradTileSumsHalf(s, dp, ld, ldp, t.Rows, t.Cols, row, sub, delta, t.Scale, t.Inner, rowSum, colSum, half)
	default:
		gradTileHalf(s, dp, ld, ldp, t.Rows, t.Cols, row, sub, delta, t.Scale, t.Inner, half)
	}
}

// keepScores fills t.Keep and returns its words a row: 1, 2 or 4. A group of four chains makes four words.
func keepScores(t *blocked.ScoreTile) (words int) {
	const chain = 8 // calls
	inner, outer, next := chain, chain, blocked.RowCalls-3*chain
	switch {
	case t.Cols <= 64:
		words, inner, outer, next = 1, blocked.RowCalls, blocked.RowCalls, blocked.RowCalls
	case t.Cols <= 128:
		words, outer, next = 2, blocked.RowCalls-chain, blocked.RowCalls-chain
	default:
		words = 4
	}
	groups := (t.Rows*words + 3) / 4
	keep := t.Keep[:4*groups]
	if t.Threshold > 0xffff { // drops all
		clear(keep)
		return words
	}
	philoxHalves(&keep[0], groups, t.Call, inner, outer, next, t.Counter.Step, t.Counter.Site, t.Counter.Key[0], t.Counter.Key[1], t.Threshold)
	return words
}

func addScoreRows(dst []float32, ldd int, src []float32, lds, rows, cols int) {
	_, _ = dst[(rows-1)*ldd+cols-1], src[(rows-1)*lds+cols-1]
	addRows(ptr(dst), 4*ldd, ptr(src), 4*lds, rows, cols)
}

func fetchScores(src []float32, lds int, index []int16, at, base, rows, lines int) {
	_, _ = index[at], index[at-rows+1]
	fetchRows(ptr(src), 4*lds, &index[at], base, rows, lines)
}

// checkLook panics where the rows of a look leave their memory: the table is read as far as extra beyond the last element.
func checkLook(x []float32, ldx int, table []float32, ldt int, index []int16, at, base, rows, cols, extra int) {
	_ = x[(rows-1)*ldx+cols-1]
	checkTable(table, ldt, index, at, base, rows, cols, extra)
}

func checkTurned(x []float32, ldx int, table []float32, ldt int, index []int16, at, base, rows, cols, extra int) {
	_ = x[(cols-1)*ldx+rows-1]
	checkTable(table, ldt, index, at, base, rows, cols, extra)
}

func checkTable(table []float32, ldt int, index []int16, at, base, rows, cols, extra int) {
	_, _ = index[at-rows+1], index[at+cols-1]
	_ = table[:cap(table)][int(index[at])-base]
	_ = table[:cap(table)][(rows-1)*ldt+int(index[at-rows+cols])-base+extra]
}

func lookScores(x []float32, ldx int, table []float32, ldt int, index []int16, at, base, rows, cols int) {
	checkLook(x, ldx, table, ldt, index, at, base, rows, cols, 15)
	lookRows(ptr(x), 4*ldx, ptr(table), 4*ldt, &index[at], base, rows, cols)
}

func lookTurned(x []float32, ldx int, table []float32, ldt int, index []int16, at, base, rows, cols int) {
	checkTurned(x, ldx, table, ldt, index, at, base, rows, cols, 15)
	var block [256]float32
	for j := 0; j < rows; j += 16 {
		n, from, whole := min(16, rows-j), ptr(table[j*ldt:]), 0
		if n == 16 && cols >= 16 {
			whole = cols &^ 15
			lookTurned16(ptr(x[j:]), 4*ldx, from, 4*ldt, &index[at-j], base, whole)
		}
		for i := whole; i < cols; i += 16 {
			m := min(16, cols-i)
			pickRows(&block[0], 64, from, 4*ldt, &index[at-j+i], base, n, m)
			addTransposed16(ptr(x[i*ldx+j:]), 4*ldx, &block[0], 64, m, n)
		}
	}
}

func sumTurned(table []float32, ldt int, x []float32, ldx int, index []int16, at, base, rows, cols int) {
	checkTurned(x, ldx, table, ldt, index, at, base, rows, cols, 0)
	var block [256]float32
	for j := 0; j < rows; j += 16 {
		n, to, whole := min(16, rows-j), ptr(table[j*ldt:]), 0
		if n == 16 && cols >= 16 {
			whole = cols &^ 15
			sumTurned16(ptr(x[j:]), 4*ldx, to, 4*ldt, &index[at-j], base, whole, &block[0])
		}
		for i := whole; i < cols; i += 16 {
			m := min(16, cols-i)
			clear(block[:])
			addTransposed16(&block[0], 64, ptr(x[i*ldx+j:]), 4*ldx, n, m)
			sumRows(&block[0], 64, to, 4*ldt, &index[at-j+i], base, n, m)
		}
	}
}

func sumScores(table []float32, ldt int, x []float32, ldx int, index []int16, at, base, rows, cols int) {
	checkLook(x, ldx, table, ldt, index, at, base, rows, cols, 0)
	sumRows(ptr(x), 4*ldx, ptr(table), 4*ldt, &index[at], base, rows, cols)
}
