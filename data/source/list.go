package source

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/secencoder/secencoder/data"
)

// Stdin is the path that stands for standard input.
const Stdin = "-"

// ListOptions say which files List finds and how their sources are named.
type ListOptions struct {
	In      []string // files, folders, or Stdin
	Exclude []string // patterns of data.CompileGlob over the path below the --in; what they match is not read
	// Depth is the number of folders below each of In that name a source; 0 means 1. A file with fewer folders above it
	// is named by those; a file without, by its own name.
	Depth int
	// Omit are folders that are not entered, as paths: the output of a build that lies in its input.
	Omit []string
	// KeepGoing passes over folders that cannot be read.
	KeepGoing bool
}

// Listing is what List found.
type Listing struct {
	Files   []data.File     // in the order of data.SortFiles
	Skipped []data.FileNote // what looks like data but is none: devices, links to folders or to nothing
	Failed  []data.FileNote // folders that could not be read
	Unused  []string        // patterns of Exclude that matched nothing
}

// List returns the files below In, in the order of data.SortFiles, which is the order of records everywhere after. Links
// to files are followed, and an entry of In that is a link to a folder. A file that is reached twice is listed once. The error names an entry of In that is not there, a
// folder that cannot be read, or a malformed pattern.
func List(ctx context.Context, o ListOptions) (Listing, error) {
	l := lister{depth: max(o.Depth, 1), keepGoing: o.KeepGoing, used: make([]bool, len(o.Exclude)), seen: map[string]bool{}}
	if o.Depth < 0 {
		return Listing{}, fmt.Errorf("source depth %d: want 1 or more", o.Depth)
	}
	for _, p := range o.Exclude {
		g, err := data.CompileGlob(p, false)
		if err != nil {
			return Listing{}, err
		}
		l.exclude = append(l.exclude, g)
	}
	for _, p := range o.Omit {
		real, err := realPath(p)
		if err != nil {
			return Listing{}, err
		}
		l.omit = append(l.omit, real)
	}
	for _, in := range o.In {
		if err := l.root(ctx, in); err != nil {
			return Listing{}, err
		}
	}
	data.SortFiles(l.Files)
	for i, used := range l.used {
		if !used {
			l.Unused = append(l.Unused, o.Exclude[i])
		}
	}
	return l.Listing, nil
}

type lister struct {
	Listing
	depth     int
	keepGoing bool
	exclude   []data.Glob
	used      []bool // patterns of exclude that matched
	omit      []string
	seen      map[string]bool // absolute paths without links
}

func (l *lister) root(ctx context.Context, in string) error {
	if in == Stdin {
		if !l.seen[Stdin] {
			l.seen[Stdin] = true
			l.Files = append(l.Files, data.File{Path: Stdin, Rel: "stdin", Source: "stdin"})
		}
		return nil
	}
	info, err := os.Stat(in)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		// A pipe or device that is named itself is meant, and read as a stream.
		return l.add(in, filepath.Base(in), info)
	}
	root := in
	if link, err := os.Lstat(in); err == nil && link.Mode()&fs.ModeSymlink != 0 {
		root += string(filepath.Separator) // a link that is named itself is meant; WalkDir enters it with a separator behind
	}
	return filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if ctxErr := ctx.Err(); ctxErr != nil {
			return ctxErr
		}
		if err != nil {
			return l.fail(path, err, path != root)
		}
		if path == root {
			return nil
		}
		rel, err := filepath.Rel(in, path)
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		if l.excluded(rel) {
			if e.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		if e.IsDir() {
			return l.enter(path)
		}
		info, err := os.Stat(path)
		switch {
		case errors.Is(err, fs.ErrNotExist) && e.Type()&fs.ModeSymlink != 0:
			l.Skipped = append(l.Skipped, data.FileNote{Path: path, Reason: "link to a file that is not there"})
			return nil
		case errors.Is(err, fs.ErrNotExist):
			info = nil // vanished since the folder was read: opening it will say so
		case err != nil:
			return l.fail(path, err, true)
		case info.IsDir():
			l.Skipped = append(l.Skipped, data.FileNote{Path: path, Reason: "link to a folder"})
			return nil
		case !info.Mode().IsRegular():
			l.Skipped = append(l.Skipped, data.FileNote{Path: path, Reason: "no regular file"})
			return nil
		}
		return l.add(path, rel, info)
	})
}

// fail notes what cannot be read, or returns the error.
func (l *lister) fail(path string, err error, below bool) error {
	if !l.keepGoing || !below {
		return err
	}
	l.Failed = append(l.Failed, data.FileNote{Path: path, Reason: err.Error()})
	return nil
}

func (l *lister) excluded(rel string) bool {
	out := false
	for i, g := range l.exclude {
		if g.Match(rel) {
			l.used[i], out = true, true
		}
	}
	return out
}

func (l *lister) enter(path string) error {
	if len(l.omit) == 0 {
		return nil
	}
	real, err := realPath(path)
	if err != nil {
		return err
	}
	if slices.Contains(l.omit, real) {
		return fs.SkipDir
	}
	return nil
}

// realPath returns the absolute path without links, as far as it is there.
func realPath(path string) (string, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	if real, err := filepath.EvalSymlinks(abs); err == nil {
		return real, nil
	}
	if real, err := filepath.EvalSymlinks(filepath.Dir(abs)); err == nil {
		return filepath.Join(real, filepath.Base(abs)), nil // not made yet
	}
	return abs, nil
}

func (l *lister) add(path, rel string, info fs.FileInfo) error {
	real, err := realPath(path)
	if err != nil {
		return err
	}
	if l.seen[real] {
		return nil
	}
	l.seen[real] = true
	f := data.File{Path: path, Rel: rel, Source: Name(rel, l.depth)}
	if info != nil && info.Mode().IsRegular() {
		f.Size = info.Size()
	}
	l.Files = append(l.Files, f)
	return nil
}

// endings say what is in a file and how it is packed, not where it comes from.
var endings = []string{".log", ".jsonl", ".json", ".csv", ".txt", ".gz", ".zst"}

// Name returns the source of a file at rel, a path with slashes below its --in: the first depth folders, or, where there
// is no folder, the file's name without .log .jsonl .json .csv .txt .gz .zst, however many there are, and without one
// rotation number (auth.log.1.gz, auth-20240131.log are auth; 10.0.0.1.log is 10.0.0.1).
func Name(rel string, depth int) string {
	names := strings.Split(rel, "/")
	if folders := names[:len(names)-1]; len(folders) > 0 {
		return strings.Join(folders[:min(depth, len(folders))], "/")
	}
	name := names[0]
	rotated := false
	for {
		cut := cutEnding(name)
		if cut == name && !rotated {
			cut = cutRotation(name)
			rotated = cut != name
		}
		if cut == name || cut == "" {
			return name
		}
		name = cut
	}
}

func cutEnding(name string) string {
	for _, e := range endings {
		if len(name) > len(e) && strings.EqualFold(name[len(name)-len(e):], e) {
			return name[:len(name)-len(e)]
		}
	}
	return name
}

// cutRotation removes .N (not from an address or a version, where another number stands before it) or -YYYYMMDD.
func cutRotation(name string) string {
	base := strings.TrimRight(name, "0123456789")
	digits := len(name) - len(base)
	if digits == 0 || base == "" {
		return name
	}
	rest := base[:len(base)-1]
	if rest == "" {
		return name
	}
	last := rest[len(rest)-1]
	switch {
	case base[len(base)-1] == '.' && digits <= 4 && (last < '0' || last > '9'):
		return rest
	case base[len(base)-1] == '.' && digits <= 4 && !strings.ContainsAny(rest, ".") && strings.Trim(rest, "0123456789") != "":
		return rest // web01.1, but not 10.0
	case base[len(base)-1] == '-' && digits == 8:
		return rest
	}
	return name
}
