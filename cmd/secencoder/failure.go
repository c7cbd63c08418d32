package main

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/alecthomas/kong"

	"github.com/secencoder/secencoder/data/build"
	"github.com/secencoder/secencoder/internal/atomicfile"
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
	return &errUsage{fmt.Errorf("%w; see: secencoder %s--help", err, verb)}
}

// isUsage reports whether a library's error is wrong use.
func isUsage(err error) bool {
	return errors.Is(err, train.ErrUsage) || errors.Is(err, build.ErrUsage) || isDeviceUsage(err)
}

// fail prints the one sentence and returns the exit code.
func fail(w io.Writer, err error) int {
	var usage *errUsage
	code := exitFailure
	if errors.As(err, &usage) || isUsage(err) {
		code = exitUsage
	}
	text := strings.Join(strings.Fields(strings.ReplaceAll(err.Error(), "\n", " ")), " ")
	fmt.Fprintf(w, "secencoder: %s\n", text)
	return code
}

// outHint says what to do about a folder that cannot be written.
func outHint(err error) error {
	switch {
	case errors.Is(err, atomicfile.ErrExists):
		return &errUsage{hint(err, "choose another --out, or remove it")}
	case errors.Is(err, atomicfile.ErrLocked):
		return hint(err, "another process is writing it")
	}
	return err
}
