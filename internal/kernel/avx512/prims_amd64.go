//go:build !noasm

package avx512

import "github.com/secencoder/secencoder/internal/kernel/blocked"

// Prims returns the inner loops; they must not run where Available says no.
func Prims() blocked.Prims {
	p := blocked.Portable()
	p.Name, p.AddTransposed = "avx512", addTransposed
	p.Single = blocked.Format{MR: mr, NR: 32, KR: 1, Depth: 256, PackRows: packRowsOf, PackCols: packColsOf, PackWide: packWideOf, Tile: tile, Sweep: sweepPanels, InPlace: inPlace}
	p.Half = blocked.Format{MR: mr, NR: 32, KR: 1, Depth: 256, PackRows: packRowsHalf, PackCols: packColsHalf, PackWide: packWideHalf, Tile: tile, Sweep: sweepPanels}
	p.Widen, p.Narrow, p.Rows = widen, narrow, rows()
	loops(&p)
	p.Scores = blocked.ScoreLoops{
		Softmax: softmaxScores, Grad: gradScores, AddRows: addScoreRows, Look: lookScores, LookTurned: lookTurned, Sum: sumScores, SumTurned: sumTurned, Fetch: fetchScores,
	}
	return p
}

// groupCalls is how many Philox calls one group of philoxDropout and philoxKeep makes.
const groupCalls = 32
