package main

import "strings"

// examples lays out the calls that --help shows.
func examples(calls ...string) string {
	return "Examples:\n\n    " + strings.Join(calls, "\n    ") + "\n"
}
