package train

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

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
	if len(bytes.TrimSpace(text)) == 0 {
		return c, nil
	}
	err = yaml.UnmarshalWithOptions(text, &c, yaml.Strict())
	var placed yaml.Error
	switch {
	case err == nil:
		return c, nil
	case errors.As(err, &placed) && placed.GetToken() != nil && placed.GetToken().Position != nil:
		return configFile{}, usagef("line %d: %s", placed.GetToken().Position.Line, placed.GetMessage())
	case errors.Is(err, io.EOF): // nothing but comments
		return configFile{}, nil
	}
	return configFile{}, usagef("%s", firstLine(err.Error()))
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
