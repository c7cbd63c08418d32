package main

import (
	"reflect"
	"strings"

	"github.com/alecthomas/kong"
)

// expandWords rewrites flags that take several words: --in a b --out c becomes --in=a --in=b --out=c. A flag of slice
// type takes all words up to the next flag and may be repeated; every other word is left where it stands.
func expandWords(root *kong.Node, args []string) []string {
	node := root
	many := manyWordFlags(root)
	var out []string
	open := "" // the flag that takes words now
	count := 0 // words it took
	finish := func() {
		if open != "" && count == 0 {
			out = append(out, open) // let the parser say that a value is missing
		}
		open, count = "", 0
	}
	value := false // the word before was a flag with one value
	for i, arg := range args {
		switch {
		case arg == "--":
			finish()
			return append(out, args[i:]...)
		case arg != "-" && strings.HasPrefix(arg, "-"):
			finish()
			if many[arg] {
				open = arg
				continue
			}
			name, _, whole := strings.Cut(arg, "=")
			value = !whole && takesValue(node, name)
			out = append(out, arg)
		case open != "":
			out = append(out, open+"="+arg)
			count++
		default:
			if !value {
				if child := childNamed(node, arg); child != nil {
					node = child
					for flag := range manyWordFlags(child) {
						many[flag] = true
					}
				}
			}
			value = false
			out = append(out, arg)
		}
	}
	finish()
	return out
}

func manyWordFlags(n *kong.Node) map[string]bool {
	many := map[string]bool{}
	for _, f := range n.Flags {
		if f.Target.Kind() == reflect.Slice {
			many["--"+f.Name] = true
		}
	}
	return many
}

func takesValue(n *kong.Node, name string) bool {
	for ; n != nil; n = n.Parent {
		for _, f := range n.Flags {
			if "--"+f.Name == name {
				return !f.IsBool()
			}
		}
	}
	return false
}

func childNamed(n *kong.Node, name string) *kong.Node {
	for _, c := range n.Children {
		if c.Name == name {
			return c
		}
	}
	return nil
}
