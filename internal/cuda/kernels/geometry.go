package kernels

import "math"

// Geometry is the grid and the block of a launch.
type Geometry struct{ Grid, Block [3]int }

// Sizes that kernels and their callers share; interface_test.go compares them with the sources.
const (
	SumRows = 64   // rows whose column sums act_grad leaves as one partial
	sumNums = 4096 // elements whose squares sum_squares leaves as one partial

	vector   = 8    // columns of one thread
	perBlock = 256  // threads of most blocks
	teamMax  = 320  // threads that share a row of a norm
	sortTile = 1024 // keys that one block sorts
	window   = 32   // sorted tokens that embed_scatter adds up in one go
	maxGridY = 65535

	largest   = 132 // multiprocessors of a large GPU, for what may not depend on the one that is there
	gradWarps = 20  // warps of a norm's gradient that a multiprocessor holds at once, for want of registers
)

// Chunks returns how many chunks of size cover n, 0 for none.
func Chunks(n, size int) int { return (n + size - 1) / size }

// grid1 is a launch in one dimension; it keeps a grid from being empty, which no driver launches.
func grid1(x, block int) Geometry {
	return Geometry{Grid: [3]int{max(1, x), 1, 1}, Block: [3]int{block, 1, 1}}
}

// Elements is the launch of kernels over n elements on a GPU of mp multiprocessors.
func Elements(n, mp int) Geometry { return grid1(min(Chunks(n, 4*perBlock), 8*mp), perBlock) }

// Tiles is the launch of kernels over rows that treat each element alone: 32 threads of 8 columns, 8 rows at a time.
func Tiles(n, w, mp int) Geometry {
	x := Chunks(w, 32*vector)
	y := min(Chunks(n, perBlock/32), Chunks(8*mp, x), maxGridY)
	return Geometry{Grid: [3]int{x, max(1, y), 1}, Block: [3]int{32, perBlock / 32, 1}}
}

// TileChunks is the launch of act_grad: one block for 256 columns of SumRows rows.
func TileChunks(n, w int) Geometry {
	return Geometry{Grid: [3]int{Chunks(w, 32*vector), max(1, min(Chunks(n, SumRows), maxGridY)), 1}, Block: [3]int{32, perBlock / 32, 1}}
}

// block1 is a block for teams of so many threads: several teams where a team is one warp, for those need no barrier.
func block1(threads int) [3]int {
	if threads == 32 {
		return [3]int{32, 4, 1}
	}
	return [3]int{threads, 1, 1}
}

// Teams is the launch of the norms: a warp for each 1,024 columns of a row.
func Teams(n, w, mp int) Geometry {
	b := block1(min(Chunks(w, 32*4*vector)*32, teamMax))
	return Geometry{Grid: [3]int{max(1, min(Chunks(n, b[1]), Chunks(2048*mp, b[0]*b[1]))), 1, 1}, Block: b}
}

// chunkBlock is the block of the gradients of the norms: a warp for each 256 columns of a row.
func chunkBlock(w int) [3]int { return block1(min(Chunks(w, 32*vector)*32, teamMax)) }

// NormChunks returns the rows of one partial of dGamma and dBeta, and how many partials there are, for n rows of w
// columns in the shape: as many as a large GPU computes at once, so that none waits for a team, but no more than one
// for 8 rows, because each is written and read once. It does not ask what GPU there is: the bits of the sums depend on
// it.
func NormChunks(n, w int) (rows, chunks int) {
	b := chunkBlock(w)
	teams := largest * (gradWarps / (b[0] * b[1] / 32)) * b[1]
	rows = max(Chunks(n, teams), 8)
	return rows, Chunks(n, rows)
}

// TeamChunks is the launch of the gradients of the norms: one team for each partial.
func TeamChunks(n, w int) Geometry {
	b := chunkBlock(w)
	_, chunks := NormChunks(n, w)
	return Geometry{Grid: [3]int{max(1, Chunks(chunks, b[1])), 1, 1}, Block: b}
}

// Fold is the launch of fold_rows.
func Fold(w, parts int) Geometry {
	return Geometry{Grid: [3]int{Chunks(w, 8), parts, 1}, Block: [3]int{8, 32, 1}}
}

// SortTiles is the launch of embed_sort.
func SortTiles(t int) Geometry { return grid1(Chunks(t, sortTile), sortTile/2) }

// SortRanks is the launch of embed_rank.
func SortRanks(t int) Geometry { return grid1(Chunks(t, sortTile)*(sortTile/perBlock), perBlock) }

// Windows is the launch of embed_scatter.
func Windows(t, e int) Geometry {
	return Geometry{Grid: [3]int{max(1, Chunks(t, window)), Chunks(e, 4*perBlock), 1}, Block: [3]int{min(Chunks(e, 4*32)*32, perBlock), 1, 1}}
}

// WindowRuns is the launch of embed_fold.
func WindowRuns(t, e int) Geometry {
	return Geometry{Grid: [3]int{max(1, Chunks(t, window)), min(Chunks(e, 32), maxGridY), 1}, Block: [3]int{32, 8, 1}}
}

// EmbedWork returns the bytes of the workspace of one table's gradient: keys, sorted keys, partial sums.
func EmbedWork(t, e int) (keys, sorted, partial int) {
	keys = Chunks(t, sortTile) * sortTile * 8
	return keys, keys, (2*Chunks(t, window)*e*4 + 15) &^ 15
}

// SumBlocks is the launch of sum_squares.
func SumBlocks(n, mp int) Geometry { return grid1(min(Chunks(n, sumNums), 8*mp), perBlock) }

// SumPartials is the number of float64 that sum_squares leaves to sum_tree.
func SumPartials(n int) int { return Chunks(n, sumNums) }

// SumTree is the launch of sum_tree.
func SumTree() Geometry { return grid1(1, 1024) }

// Pools is the launch of pool: a block sums 64 columns of a piece over 32 strands of its tokens.
func Pools(t, w, mp int) Geometry {
	x := Chunks(w, 64)
	y := min(max(1, t/2), Chunks(32*mp, x), maxGridY)
	return Geometry{Grid: [3]int{x, y, 1}, Block: [3]int{8, 32, 1}}
}

// AdamWScalars returns the eight float32 parameters of adamw in their order, each computed in float64 and rounded once.
func AdamWScalars(lr, beta1, beta2, eps, decay, clip float64, step int) (s [8]float32) {
	t := float64(step)
	for i, v := range [...]float64{1 - lr*decay, clip, 1 - beta1, 1 - beta2, beta2, eps, lr / (1 - math.Pow(beta1, t)), math.Sqrt(1 - math.Pow(beta2, t))} {
		s[i] = float32(v)
	}
	return s
}
