package standin

import (
	"fmt"
	"slices"
)

// Geometry is a kernel's name with the grid and the block that it was launched with.
type Geometry struct {
	Name        string
	Grid, Block [3]int
}

// Geometries returns and forgets the launches since the last call, each that is different once, at most four hundred. No
// other goroutine may launch meanwhile.
func (l *Library) Geometries() []Geometry {
	var list []Geometry
	for _, line := range lines(l.ask("standin_launched")) {
		var x Geometry
		if _, err := fmt.Sscan(line, &x.Name, &x.Grid[0], &x.Grid[1], &x.Grid[2], &x.Block[0], &x.Block[1], &x.Block[2]); err != nil {
			panic("internal error: the stand-in notes a launch as " + line + ": " + err.Error())
		}
		list = append(list, x)
	}
	return list
}

// Launched is Geometries, of which it returns the names alone, once each.
func (l *Library) Launched() []string {
	var names []string
	for _, x := range l.Geometries() {
		if !slices.Contains(names, x.Name) {
			names = append(names, x.Name)
		}
	}
	return names
}
