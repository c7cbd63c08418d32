package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"

	"github.com/alecthomas/kong"

	"github.com/secencoder/secencoder/data/build"
	"github.com/secencoder/secencoder/data/source"
	"github.com/secencoder/secencoder/data/synth"
	"github.com/secencoder/secencoder/internal/atomicfile"
	"github.com/secencoder/secencoder/internal/manifest"
	"github.com/secencoder/secencoder/internal/printable"
	"github.com/secencoder/secencoder/train"
)

// errUsage is wrong use: exit code 2.
type errUsage struct{ err error }

func (e *errUsage) Error() string { return e.err.Error() }
func (e *errUsage) Unwrap() error { return e.err }

func usagef(format string, args ...any) error { return &errUsage{fmt.Errorf(format, args...)} }

// errHint adds what the person can do to an error; it comes last in the sentence.
type errHint struct {
	err  error
	hint string
}

func (e *errHint) Error() string { return e.err.Error() + "; " + e.hint }
func (e *errHint) Unwrap() error { return e.err }

func hint(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	return &errHint{err, fmt.Sprintf(format, args...)}
}

// usageOf turns the parser's error into wrong use, with the command whose help says more.
func usageOf(err error, args []string) error {
	verb := ""
	var parse *kong.ParseError
	if errors.As(err, &parse) && parse.Context != nil {
		verb = strings.TrimSpace(strings.Split(parse.Context.Command(), "<")[0])
	}
	if verb != "" {
		verb += " "
	}
	if len(args) == 0 {
		return &errUsage{errors.New("no verb given; try: secencoder quickstart, or secencoder --help")}
	}
	return &errUsage{fmt.Errorf("%s; see: secencoder %s--help", missingValue.ReplaceAllString(err.Error(), "$1: a value is missing"), verb)}
}

// missingValue is how the parser says that a flag is the last word.
var missingValue = regexp.MustCompile(`(--[a-z-]+): expected .* but got "EOL" \(<EOL>\)`)

// mayBeEmpty are the flags and arguments that mean something without a character; elsewhere an empty word is a shell
// variable that was not set.
var mayBeEmpty = []string{"delimiters", "text"}

// checkValues refuses empty words as names of files, folders and choices.
func checkValues(parsed *kong.Context) error {
	for _, p := range parsed.Path {
		value, name := p.Positional, ""
		switch {
		case p.Flag != nil:
			value, name = p.Flag.Value, "--"+p.Flag.Name
		case value != nil:
			name = "<" + value.Name + ">"
		default:
			continue
		}
		if slices.Contains(mayBeEmpty, value.Name) {
			continue
		}
		words := []string{}
		switch target := value.Target.Interface().(type) {
		case string:
			words = []string{target}
		case []string:
			words = target
		}
		if slices.Contains(words, "") {
			return usagef("%s: the value is empty", name)
		}
	}
	return nil
}

// isUsage reports whether a library's error is wrong use.
func isUsage(err error) bool {
	return errors.Is(err, train.ErrUsage) || errors.Is(err, build.ErrUsage) || errors.Is(err, synth.ErrUsage) || isDeviceUsage(err)
}

// fail prints the one sentence and returns the exit code.
func fail(w io.Writer, err error) int {
	var usage *errUsage
	code := exitFailure
	if errors.As(err, &usage) || isUsage(err) {
		code = exitUsage
	}
	if !errors.As(err, new(*errHint)) {
		err = pathHint(err)
	}
	text := strings.TrimPrefix(err.Error(), "wrong use: ")
	text = strings.Join(strings.Fields(strings.ReplaceAll(text, "\n", " ")), " ")
	fmt.Fprintf(w, "secencoder: %s\n", printable.String(text))
	return code
}

// pathHint says what to do about a file or folder where nothing more particular is known.
func pathHint(err error) error {
	switch {
	case errors.Is(err, syscall.ENOSPC):
		return hint(err, "make room there, or write elsewhere")
	case errors.Is(err, atomicfile.ErrLocked):
		return hint(err, "wait for it to end")
	case !errors.As(err, new(*fs.PathError)):
		return err
	case errors.Is(err, fs.ErrNotExist):
		return hint(err, "check the path")
	case errors.Is(err, fs.ErrPermission):
		return hint(err, "choose a place that you may use, or another user")
	}
	return err
}

// manifestHint says how a data folder is made to a person who named a folder without a manifest.
func manifestHint(err error) error {
	var path *fs.PathError
	if errors.Is(err, fs.ErrNotExist) && errors.As(err, &path) && filepath.Base(path.Path) == manifest.Name {
		return hint(err, "--data wants a folder that secencoder data build wrote")
	}
	return err
}

// unusedFile refuses to write over a file that somebody made. Pipes and devices are written to.
func unusedFile(path string) error {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.Mode().IsRegular() && info.Size() > 0:
		return hint(usagef("--out %s: exists already", path), "choose another --out, or remove it")
	}
	return nil
}

// outHint says what to do about a folder that cannot be written.
func outHint(err error) error {
	switch {
	case errors.Is(err, atomicfile.ErrExists):
		return &errUsage{hint(err, "choose another --out, or remove it")}
	case errors.Is(err, atomicfile.ErrLocked):
		return hint(err, "wait for it to end, or choose another --out")
	}
	return err
}

// below tells whether path lies in one of the folders.
func below(path string, folders []string) bool {
	return slices.ContainsFunc(folders, func(folder string) bool {
		rel, err := filepath.Rel(folder, path)
		return err == nil && rel != "." && filepath.IsLocal(rel)
	})
}

// dataHint says what to do about a folder that is no data folder.
func dataHint(err error, dir string) error {
	if errors.Is(err, fs.ErrNotExist) {
		return hint(fmt.Errorf("%s: no data folder: %w", dir, err), "make one with: secencoder data build --in LOGS --out DIR --tokenizer train")
	}
	return err
}

// inHint says what to do about input below in that cannot be read: damaged, not permitted, vanished.
func inHint(err error, in []string) error {
	var damaged *source.ReadError
	var place *fs.PathError
	switch {
	case errors.As(err, &damaged), errors.As(err, &place) && slices.Contains([]string{"open", "stat", "lstat"}, place.Op) && below(place.Path, in):
		return hint(err, "use --keep-going to go on with the next file")
	case errors.Is(err, build.ErrNothing):
		return hint(err, "give --in files or folders of text logs")
	}
	return err
}
