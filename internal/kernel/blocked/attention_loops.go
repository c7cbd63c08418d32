package blocked

import (
	"math"
	"unsafe"

	"github.com/secencoder/secencoder/internal/bf16"
)

// ScoreLoops are the passes over one tile of scores, queries by keys. A family that leaves them nil gets them row by row
// from its other loops.
type ScoreLoops struct {
	// Softmax goes on with the softmax of the tile's rows. With x = Scale·(S + Row + Col): M = max(M, x), Alpha = 2^(M before − M),
	// S = 2^(x − M), L = Alpha·L + Σ S; then S is 0 where it is dropped.
	Softmax func(t *ScoreTile)
	// Grad sets p = 2^(Scale·(S + Row) − Sub), S = p, dropped and scaled, and DP = p·(Inner·DP − Delta), DP dropped and scaled
	// before; up to the next multiple of 16 the columns of DP become 0. It adds sums of the new DP to RowSum and ColSum where
	// these are given, both or none.
	Grad func(t *ScoreTile)
	// AddRows adds src[i·lds + j] to dst[i·ldd + j] for i < rows, j < cols.
	AddRows func(dst []float32, ldd int, src []float32, lds, rows, cols int)
	// Look adds table[i·ldt + index[at−i+j] − base] to x[i·ldx + j] for i < rows, j < cols, Sum adds x to the table. LookTurned
	// and SumTurned do so where x is turned: x[j·ldx + i]. The index rises by 0 or 1 from one element to the next. The table may
	// be read up to 15 elements beyond its last one, which its capacity must hold.
	Look, LookTurned func(x []float32, ldx int, table []float32, ldt int, index []int16, at, base, rows, cols int)
	Sum, SumTurned   func(table []float32, ldt int, x []float32, ldx int, index []int16, at, base, rows, cols int)
	// Fetch asks the memory for lines of 64 bytes from src[j·lds + index[at−j] − base] on, for j < rows. It reads nothing itself
	// but the index.
	Fetch func(src []float32, lds int, index []int16, at, base, rows, lines int)
}

// ScoreTile is a tile of at most 128 rows and 256 columns. Vectors over columns, and rows of S and DP, may be read, and S and
// DP written, up to the next multiple of 16, which their capacity holds. The same goes for M, L, Alpha, Sub and Col over rows.
type ScoreTile struct {
	Rows, Cols     int
	S              []float32 // row i at i·LD
	LD             int
	Row, Col       []float32 // what all rows, all columns get added; nil: nothing. Grad has no Col
	Scale          float32   // log2(e)/σ
	M, L, Alpha    []float32 // Softmax
	Sub            []float32 // scratch of Softmax; of Grad the exponent that rows get subtracted
	DP             []float32 // row i at i·LDP
	LDP            int
	Delta          []float32
	Inner          float32
	RowSum, ColSum []float32
	Drop           bool
	Call           uint64 // of the first row's first 8 columns; a row further on it is rowCalls more
	Counter        Counter
	Threshold      uint32
	Kept           float32  // what Grad multiplies kept elements with; Softmax leaves them as they are
	Keep           []uint64 // scratch: 4 words a row and 4

	// Half, where it is set, is the memory of S, from half a row before it on. What Softmax and Grad leave in S is then BF16,
	// row i from LD + i·2·LD on, the first half of the row, and dP goes to Half too, rounded, row i from i·2·LD on, which is the
	// second half of the row before. Denormals may become 0.
	Half []bf16.BF16
}

// share lays S, and Half where products take BF16, into buf.
func (t *ScoreTile) share(buf *[]float32, half bool) {
	if !half {
		t.S = grow(buf, t.Rows*t.LD)
		return
	}
	before := upTo(t.LD/2, 16) // whole lines
	s := grow(buf, before+t.Rows*t.LD)
	t.S, s = s[before:], s[before-t.LD/2:]
	t.Half = unsafe.Slice((*bf16.BF16)(unsafe.Pointer(unsafe.SliceData(s))), 2*len(s))
}

// factors returns P and dS as factors of products; dp is where Grad left dS.
func (t *ScoreTile) factors(dp matrix) (p, ds matrix) {
	if t.Half == nil {
		return matrix{data: single(t.S), ld: t.LD}, dp
	}
	half := Values{BF16: t.Half}
	return matrix{data: half, at: t.LD, ld: 2 * t.LD}, matrix{data: half, ld: 2 * t.LD}
}

// RowCalls is how many dropout calls further on the next query begins.
const RowCalls = 8192

// scoreLoops are the loops over tiles, made of p's loops over rows.
func scoreLoops(p *Prims) ScoreLoops {
	return ScoreLoops{
		Softmax: func(t *ScoreTile) { softmaxByRow(p, t) },
		Grad:    func(t *ScoreTile) { gradByRow(p, t) },
		AddRows: func(dst []float32, ldd int, src []float32, lds, rows, cols int) {
			for i := range rows {
				row := dst[i*ldd:][:cols]
				p.Add(row, row, src[i*lds:][:cols])
			}
		},
		Look: look, LookTurned: lookTurned, Sum: sumLooked, SumTurned: sumTurned,
		Fetch: func([]float32, int, []int16, int, int, int, int) {},
	}
}

func softmaxByRow(p *Prims, t *ScoreTile) {
	inv := t.Scale * math.Ln2
	for i := range t.Rows {
		row := t.S[i*t.LD:][:t.Cols]
		if t.Row != nil {
			p.Shift(row, t.Row[:t.Cols], 0)
		}
		col := float32(0)
		if t.Col != nil {
			col = t.Col[i]
		}
		top := t.Scale * (p.Max(row) + col)
		m := max(t.M[i], top)
		t.Alpha[i] = float32(math.Exp2(float64(t.M[i] - m)))
		t.M[i] = m
		t.L[i] = t.L[i]*t.Alpha[i] + p.ExpSum(row, row, inv, m/t.Scale-col)
		if t.Drop {
			p.DropoutHalf(row, row, t.Call+uint64(i)*RowCalls, t.Counter, t.Threshold, 1)
		}
		if t.Half != nil {
			p.Narrow(t.Half[(2*i+1)*t.LD:][:t.Cols], row)
		}
	}
}

func gradByRow(p *Prims, t *ScoreTile) {
	inv := t.Scale * math.Ln2
	for i := range t.Rows {
		row, d := t.S[i*t.LD:][:t.Cols], t.DP[i*t.LDP:][:t.Cols]
		if t.Row != nil {
			p.Shift(row, t.Row[:t.Cols], 0)
		}
		p.ExpSum(row, row, inv, t.Sub[i]/t.Scale)
		if t.Drop {
			p.DropoutHalf(d, d, t.Call+uint64(i)*RowCalls, t.Counter, t.Threshold, t.Kept)
		}
		p.SoftmaxGrad(d, row, d, t.Inner, t.Delta[i]/t.Inner)
		clear(t.DP[i*t.LDP+t.Cols : i*t.LDP+upTo(t.Cols, 16)])
		if t.Drop {
			p.DropoutHalf(row, row, t.Call+uint64(i)*RowCalls, t.Counter, t.Threshold, t.Kept)
		}
		if t.RowSum != nil {
			t.RowSum[i] += p.Sum(d)
			p.Add(t.ColSum[:t.Cols], t.ColSum[:t.Cols], d)
		}
		if t.Half != nil {
			p.Narrow(t.Half[(2*i+1)*t.LD:][:t.Cols], row)
			p.Narrow(t.Half[2*i*t.LD:][:t.Cols], d)
		}
	}
}

// plainLooks are the looks over any index.
var plainLooks = ScoreLoops{Look: look, LookTurned: lookTurned, Sum: sumLooked, SumTurned: sumTurned}

func look(x []float32, ldx int, table []float32, ldt int, index []int16, at, base, rows, cols int) {
	for i := range rows {
		row, t, slots := x[i*ldx:][:cols], table[i*ldt:], index[at-i:][:cols]
		for j := range row {
			row[j] += t[int(slots[j])-base]
		}
	}
}

// turnedRows is how many rows of a table lookTurned and sumTurned take at once: their elements of a row of x are one line.
const turnedRows = 16

func lookTurned(x []float32, ldx int, table []float32, ldt int, index []int16, at, base, rows, cols int) {
	for i0 := 0; i0 < rows; i0 += turnedRows {
		i1 := min(i0+turnedRows, rows)
		for j := range cols {
			row, slots := x[j*ldx:][i0:i1], index[at-i1+1+j:][:i1-i0]
			for i := range row {
				row[i] += table[(i0+i)*ldt+int(slots[len(slots)-1-i])-base]
			}
		}
	}
}

func sumLooked(table []float32, ldt int, x []float32, ldx int, index []int16, at, base, rows, cols int) {
	for i := range rows {
		row, t, slots := x[i*ldx:][:cols], table[i*ldt:], index[at-i:][:cols]
		for j, v := range row {
			t[int(slots[j])-base] += v
		}
	}
}

func sumTurned(table []float32, ldt int, x []float32, ldx int, index []int16, at, base, rows, cols int) {
	for i0 := 0; i0 < rows; i0 += turnedRows {
		i1 := min(i0+turnedRows, rows)
		for j := range cols {
			row, slots := x[j*ldx:][i0:i1], index[at-i1+1+j:][:i1-i0]
			for i, v := range row {
				table[(i0+i)*ldt+int(slots[len(slots)-1-i])-base] += v
			}
		}
	}
}
