// Command secencoder pretrains, evaluates and exports encoder language models for logs.
//
// Each verb stands in a file of its own and is thin: it reads flags, calls one public package, prints. Begin with run
// (this file) for the life of a call, words.go for how arguments are read, and failure.go for how errors become one
// sentence and an exit code. Results go to stdout, everything else to stderr.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"syscall"

	"github.com/alecthomas/kong"
)

// Exit codes of the contract in docs/cli.md.
const (
	exitDone        = 0
	exitFailure     = 1
	exitUsage       = 2
	exitInterrupted = 130
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second Ctrl-C has its usual effect: leave at once
	code := run(ctx, os.Args[1:], &streams{in: os.Stdin, out: os.Stdout, err: os.Stderr})
	stop()
	os.Exit(code)
}

// streams are the three files of a call; results to out, remarks and progress to err.
type streams struct {
	in  io.Reader
	out io.Writer
	err io.Writer
}

// errLeave carries kong's wish to exit (after --help) up to run.
type errLeave struct{ code int }

func (e errLeave) Error() string { return fmt.Sprintf("exit %d", e.code) }

// run does one call and returns its exit code. It never calls os.Exit, so that tests can run it in-process.
func run(ctx context.Context, args []string, s *streams) (code int) {
	cli := &commands{}
	parser, err := newParser(cli, s)
	if err != nil {
		return fail(s.err, fmt.Errorf("internal error: %w", err))
	}
	defer func() {
		r := recover()
		if leave, ok := r.(errLeave); ok {
			code = leave.code
		} else if r != nil {
			panic(r)
		}
	}()
	if len(args) > 0 && args[0] == "help" { // as people type it: help pretrain
		args = append(slices.Clone(args[1:]), "--help")
	}
	parsed, err := parser.Parse(expandWords(parser.Model.Node, args))
	if err != nil {
		return fail(s.err, usageOf(err, args))
	}
	if err := errors.Join(cli.check(), checkValues(parsed)); err != nil {
		return fail(s.err, err)
	}
	err = parsed.Run(&call{ctx: ctx, streams: s, global: &cli.global})
	if err == nil {
		return exitDone
	}
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		fmt.Fprintf(s.err, "secencoder: interrupted%s\n", afterInterrupt(err))
		return exitInterrupted
	}
	return fail(s.err, err)
}

func newParser(cli *commands, s *streams) (*kong.Kong, error) {
	return kong.New(cli,
		kong.Name("secencoder"),
		kong.Description("Pretrain, evaluate and export encoder language models for logs. One binary, no Python."),
		kong.Writers(s.out, s.err),
		kong.Vars{"version": toolName()},
		kong.Exit(func(code int) { panic(errLeave{code}) }),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, WrapUpperBound: 110}),
	)
}
