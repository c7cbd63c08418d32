package train

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"

	"github.com/goccy/go-yaml"
)

// maxConfigBytes bounds a settings file. Ours have about 5 KiB; the YAML library needs time that grows with the square of
// a hostile one (brackets alone), seconds at 64 KiB.
const maxConfigBytes = 24 << 10

// configFile is what a settings file may hold: the settings, and where to.
type configFile struct {
	Settings `yaml:",inline"`
	Out      *string `yaml:"out"`
}

// readConfigFile reads a settings file. Relative paths in it are kept: they are relative to the working directory, as
// flags are. An unknown or repeated key and a value of the wrong kind are errors with the line.
func readConfigFile(path string) (configFile, error) {
	f, err := os.Open(path)
	if err != nil {
		return configFile{}, err
	}
	defer f.Close() // it was only read
	text, err := io.ReadAll(io.LimitReader(f, maxConfigBytes+1))
	if err != nil {
		return configFile{}, fmt.Errorf("%s: %w", path, err)
	}
	c, err := parseConfig(text)
	if err != nil {
		return c, fmt.Errorf("%s: %w", path, err)
	}
	return c, nil
}

// parseConfig reads a settings file's text. Errors are ErrUsage.
func parseConfig(text []byte) (c configFile, err error) {
	if len(text) > maxConfigBytes {
		return c, usagef("more than %d bytes: not a settings file", maxConfigBytes)
	}
	defer func() {
		// The YAML library has had inputs that make it panic; a file is no reason for a stack trace.
		if r := recover(); r != nil {
			c, err = configFile{}, usagef("not readable as YAML: %v", r)
		}
	}()
	text = bytes.TrimPrefix(text, []byte("\xef\xbb\xbf")) // Windows editors begin with it
	if len(bytes.TrimSpace(text)) == 0 {
		return c, nil
	}
	err = yaml.UnmarshalWithOptions(text, &c, yaml.Strict())
	var placed yaml.Error
	var unknown *yaml.UnknownFieldError
	var kind *yaml.TypeError
	switch {
	case err == nil:
		return c, nil
	case errors.As(err, &unknown) && unknown.Token != nil:
		return configFile{}, usagef("line %d: unknown key %q%s", unknown.Token.Position.Line, unknown.Token.Value, nearest(unknown.Token.Value))
	case errors.As(err, &kind) && kind.Token != nil && kind.StructFieldName != nil:
		return configFile{}, usagef("line %d: %q is no value of this key, which takes %s", kind.Token.Position.Line, kind.Token.Value, words(kind.DstType))
	case errors.As(err, &placed) && placed.GetToken() != nil && placed.GetToken().Position != nil:
		return configFile{}, usagef("line %d: %s", placed.GetToken().Position.Line, placed.GetMessage())
	case errors.Is(err, io.EOF): // nothing but comments
		return configFile{}, nil
	}
	return configFile{}, usagef("%s", firstLine(err.Error()))
}

// words names what a setting of a type is written as.
func words(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Int, reflect.Int64, reflect.Uint64:
		return "a whole number"
	case reflect.Float64:
		return "a number"
	}
	return "a text"
}

// nearest proposes the key that an unknown one was probably meant to be; "" when none is near.
func nearest(key string) string {
	best, proposal := 3, ""
	t := reflect.TypeFor[Config]()
	for i := range t.NumField() {
		known := t.Field(i).Tag.Get("yaml")
		if d := editDistance(strings.ReplaceAll(key, "-", "_"), known); d < best {
			best, proposal = d, fmt.Sprintf(" (did you mean %s?)", known)
		}
	}
	return proposal
}

// editDistance is Levenshtein's: the insertions, removals and changes of a byte that make b of a.
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

func firstLine(s string) string {
	line, _, _ := bytes.Cut([]byte(s), []byte("\n"))
	return string(line)
}

// absolute makes a path from the command line hold in another working directory.
func absolute(path string) (string, error) {
	if path == "" {
		return "", nil
	}
	return filepath.Abs(path)
}
