package data

// File is one input of a build.
type File struct {
	Path   string // as it is opened; "-" is standard input
	Rel    string // below its --in, with slashes; of a file given itself, its name
	Source string // name of the source that its records belong to
	Size   int64  // bytes on disk, 0 where it is not known
}
