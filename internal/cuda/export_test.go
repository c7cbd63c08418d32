package cuda

import (
	"maps"
	"slices"
)

// Codes returns the codes of the table, for the tests outside of this package.
func Codes() []int { return slices.Sorted(maps.Keys(meanings)) }
