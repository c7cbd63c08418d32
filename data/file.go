package data

import (
	"cmp"
	"slices"
	"strings"
)

// File is one input of a build.
type File struct {
	Path   string // as it is opened; "-" is standard input
	Rel    string // below its --in, with slashes; of a file given itself, its name
	Source string // name of the source that its records belong to
	Size   int64  // bytes on disk, 0 where it is not known
}

// SortFiles puts files into the order of (source, path below the --in, path), bytewise: the order of records everywhere.
func SortFiles(files []File) {
	slices.SortStableFunc(files, func(a, b File) int {
		return cmp.Or(strings.Compare(a.Source, b.Source), strings.Compare(a.Rel, b.Rel), strings.Compare(a.Path, b.Path))
	})
}
