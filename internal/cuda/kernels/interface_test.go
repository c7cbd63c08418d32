//go:build (linux || darwin) && !nocuda

package kernels_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unsafe"

	"github.com/ebitengine/purego"

	"github.com/secencoder/secencoder/internal/cuda/kernels"
)

// launches reads the table of README.md: each entry with its parameters.
func launches(t *testing.T) map[string]string {
	t.Helper()
	text, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	table := map[string]string{}
	entry := regexp.MustCompile("`(\\w+)`")
	for line := range strings.Lines(string(text)) {
		cells := strings.Split(line, "|")
		if len(cells) != 5 || !strings.Contains(cells[3], "`") {
			continue
		}
		first := ""
		for _, m := range entry.FindAllStringSubmatch(cells[1], -1) {
			name := m[1]
			if strings.HasPrefix(name, "_") { // the same with other types: those of the first name are taken off
				types := strings.Count(name, "_")
				parts := strings.Split(first, "_")
				name = strings.Join(parts[:len(parts)-types], "_") + name
			} else {
				first = name
			}
			table[name] = cells[2]
		}
	}
	return table
}

// TestReadmeListsTheKernels: names and numbers of parameters in README.md, in the sources, and in the PTX are the same.
func TestReadmeListsTheKernels(t *testing.T) {
	m := theMachine(t)
	text, _, _ := purego.SyscallN(m.names)
	names := strings.Fields(goString(text))
	table := launches(t)
	for _, name := range names {
		params, ok := table[name]
		if !ok {
			t.Errorf("README.md does not list %s", name)
			continue
		}
		delete(table, name)
		c := append([]byte(name), 0)
		n, _, _ := purego.SyscallN(m.parameters, uintptr(unsafe.Pointer(&c[0])))
		if want := len(strings.Split(params, ",")); want != int(int32(n)) {
			t.Errorf("%s has %d parameters, README.md gives %d", name, int(int32(n)), want)
		}
	}
	for name := range table {
		t.Errorf("README.md lists %s, which is not there", name)
	}
	slices.Sort(names)
	inPTX, err := kernels.Names()
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(names, inPTX) {
		t.Errorf("the PTX has the kernels %v, the sources have %v", inPTX, names)
	}
}

// TestSizesAreTheSources: constants that Go and the kernels share.
func TestSizesAreTheSources(t *testing.T) {
	files, err := filepath.Glob("*.cu*")
	if err != nil {
		t.Fatal(err)
	}
	var all string
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		all += string(text)
	}
	for name, want := range map[string]int{
		"teamMax": kernels.Teams(1, 1<<20, 1).Block[0], "sumRows": kernels.SumRows, "sortTile": 2 * kernels.SortTiles(1).Block[0],
		"window": kernels.Chunks(1<<20, kernels.Windows(1<<20, 1).Grid[0]), "sumBlock": kernels.Chunks(1<<20, kernels.SumPartials(1<<20)),
	} {
		found := regexp.MustCompile(`\b` + name + ` = (\d+)\b`).FindStringSubmatch(all)
		if found == nil {
			t.Errorf("the sources do not set %s", name)
		} else if got, _ := strconv.Atoi(found[1]); got != want {
			t.Errorf("%s is %d in the sources and %d in Go", name, got, want)
		}
	}
}

// TestGeometryFits: every launch is one that a GPU takes, and within the bounds that its kernel was compiled for.
func TestGeometryFits(t *testing.T) {
	for _, n := range []int{0, 1, 7, 8, 1000, 48_000, 1 << 20, 1 << 31} {
		for _, w := range []int{1, 31, 256, 257, 768, 2560, 2561, 5120, 29_952} {
			for _, mp := range []int{1, 14, 132} {
				if n > 1<<20 && w > 1000 {
					continue // no such value fits a GPU
				}
				for name, g := range map[string]kernels.Geometry{
					"Elements": kernels.Elements(n, mp), "Tiles": kernels.Tiles(n, w, mp), "TileChunks": kernels.TileChunks(n, w),
					"Teams": kernels.Teams(n, w, mp), "TeamChunks": kernels.TeamChunks(n, w), "Fold": kernels.Fold(w, 2),
					"SortTiles": kernels.SortTiles(n), "SortRanks": kernels.SortRanks(n), "Windows": kernels.Windows(n, w),
					"WindowRuns": kernels.WindowRuns(n, w), "SumBlocks": kernels.SumBlocks(n, mp), "SumTree": kernels.SumTree(), "Pools": kernels.Pools(n, w, mp),
				} {
					most := map[string]int{"Teams": 320, "TeamChunks": 320, "SortTiles": 512, "SumTree": 1024}[name]
					if most == 0 {
						most = 256
					}
					threads := g.Block[0] * g.Block[1] * g.Block[2]
					if threads < 1 || threads > most || threads%32 != 0 {
						t.Errorf("%s(%d, %d): blocks of %d threads", name, n, w, threads)
					}
					if g.Grid[0] < 1 || g.Grid[0] > 1<<31-1 || g.Grid[1] < 1 || g.Grid[1] > 65_535 || g.Grid[2] != 1 {
						t.Errorf("%s(%d, %d): a grid of %v", name, n, w, g.Grid)
					}
				}
			}
		}
	}
}

// TestWorkspaces: what the host has to make fits what the kernels write; sizes from the rules of README.md.
func TestWorkspaces(t *testing.T) {
	for _, n := range []int{0, 1, 8, 9, 16_384, 16_385, 131_072, 1 << 20} {
		for w, most := range map[int]int{1: 2640, 256: 2640, 257: 1320, 768: 792, 1024: 660, 1536: 396, 2560: 264, 29_952: 264} {
			rows, chunks := kernels.NormChunks(n, w)
			if rows < 8 || chunks > most || rows > 8 && kernels.Chunks(n, rows-1) <= most || rows*chunks < n || rows*(chunks-1) >= n && n > 0 {
				t.Errorf("%d rows of %d: %d chunks of %d, %d teams are there at once", n, w, chunks, rows, most)
			}
		}
	}
	for _, T := range []int{1, 32, 33, 1024, 1025} {
		keys, sorted, partial := kernels.EmbedWork(T, 5)
		if keys != (T+1023)/1024*8192 || sorted != keys || partial < 2*((T+31)/32)*5*4 || partial%16 != 0 {
			t.Errorf("%d tokens: a workspace of %d, %d and %d bytes", T, keys, sorted, partial)
		}
	}
}
