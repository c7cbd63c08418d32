//go:build !linux || !amd64 || noasm

// Package amx holds inner loops for processors with AMX under Linux; in this build it has none.
package amx

import "github.com/secencoder/secencoder/internal/kernel/blocked"

// Available reports that the family is not in this build.
func Available() (bool, string) {
	return false, "not in this build (linux/amd64 only, and not with the tag noasm)"
}

// Prims returns the portable loops.
func Prims() blocked.Prims { return blocked.Portable() }

// Peak does nothing in this build.
func Peak(rounds int) {}
