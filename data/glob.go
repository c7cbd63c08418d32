package data

import (
	"fmt"
	"path"
	"strings"
)

// Glob is a pattern over paths with slashes. * and ? stand for characters within one name, [a-z] for one of a class,
// ** as a whole name for any number of folders, {a,b} for one of several texts. A pattern matches a path when it matches
// the path itself or a folder above it, so "labelled" and "labelled/" take the whole folder; and the endings .gz and
// .zst of the path may be left out of the pattern, because they say how a file is packed, not what it is.
type Glob struct {
	text     string
	variants [][]string // names of the pattern, one slice for each choice of braces
}

// maxVariants bounds how many patterns braces may stand for.
const maxVariants = 1024

// CompileGlob reads a pattern. Unless anchored, a pattern without a slash (but for one at its end) matches at any depth,
// so that "*.md" takes every such file; anchored, it begins at the top. A malformed pattern is an error that quotes it.
func CompileGlob(pattern string, anchored bool) (Glob, error) {
	texts, err := expandBraces(pattern)
	if err != nil {
		return Glob{}, fmt.Errorf("pattern %q: %w", pattern, err)
	}
	g := Glob{text: pattern}
	for _, text := range texts {
		text = path.Clean(strings.Trim(text, "/"))
		if text == "." {
			return Glob{}, fmt.Errorf("pattern %q matches everything or nothing", pattern)
		}
		names := strings.Split(text, "/")
		for _, n := range names {
			if _, err := path.Match(n, ""); err != nil {
				return Glob{}, fmt.Errorf("pattern %q: %w", pattern, err)
			}
		}
		if len(names) == 1 && !anchored {
			names = []string{"**", names[0]}
		}
		g.variants = append(g.variants, names)
	}
	return g, nil
}

// String returns the pattern as it was given.
func (g Glob) String() string { return g.text }

// Match tells whether the pattern matches the path rel, one of the folders above it, or rel without .gz and .zst.
func (g Glob) Match(rel string) bool {
	names := strings.Split(rel, "/")
	bare := append([]string(nil), names...)
	last := &bare[len(bare)-1]
	for {
		if cut, ok := cutPacking(*last); ok {
			*last = cut
			continue
		}
		break
	}
	for _, v := range g.variants {
		if matchAbove(v, names) || matchAbove(v, bare) {
			return true
		}
	}
	return false
}

// matchAbove tells whether pattern matches some beginning of names. reached[k] says that the pattern so far can match
// the first k names; that makes the work pattern × names whatever the number of ** is.
func matchAbove(pattern, names []string) bool {
	reached := make([]bool, len(names)+1)
	reached[0] = true
	for _, p := range pattern {
		next := make([]bool, len(names)+1)
		for k := range reached {
			if p == "**" {
				next[k] = reached[k] || k > 0 && next[k-1]
				continue
			}
			if k > 0 && reached[k-1] {
				ok, err := path.Match(p, names[k-1])
				next[k] = ok && err == nil // malformed patterns were refused before
			}
		}
		reached = next
	}
	// A pattern that ends in ** wants something below the folder, and gets it: rel is a file.
	for k := 1; k < len(reached); k++ {
		if reached[k] {
			return true
		}
	}
	return false
}

func cutPacking(name string) (string, bool) {
	for _, ending := range []string{".gz", ".zst"} {
		if cut, ok := strings.CutSuffix(name, ending); ok && cut != "" {
			return cut, true
		}
	}
	return name, false
}

// expandBraces returns the texts that a pattern with {a,b} stands for; braces may lie in braces.
func expandBraces(pattern string) ([]string, error) {
	open := strings.IndexByte(pattern, '{')
	if open < 0 {
		if strings.IndexByte(pattern, '}') >= 0 {
			return nil, fmt.Errorf("} without {")
		}
		return []string{pattern}, nil
	}
	var parts []string
	depth, from, end := 0, open+1, -1
scan:
	for i := open; i < len(pattern); i++ {
		switch pattern[i] {
		case '{':
			depth++
		case '}':
			depth--
			if depth == 0 {
				parts = append(parts, pattern[from:i])
				end = i
				break scan
			}
		case ',':
			if depth == 1 {
				parts = append(parts, pattern[from:i])
				from = i + 1
			}
		}
	}
	if end < 0 {
		return nil, fmt.Errorf("{ without }")
	}
	var out []string
	for _, part := range parts {
		more, err := expandBraces(pattern[:open] + part + pattern[end+1:])
		if err != nil {
			return nil, err
		}
		out = append(out, more...)
		if len(out) > maxVariants {
			return nil, fmt.Errorf("braces stand for more than %d patterns", maxVariants)
		}
	}
	return out, nil
}
