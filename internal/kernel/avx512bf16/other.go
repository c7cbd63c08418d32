//go:build !amd64 || noasm

// Package avx512bf16 holds inner loops for amd64 processors; in this build it has none.
package avx512bf16

import "github.com/secencoder/secencoder/internal/kernel/blocked"

// Available reports that the family is not in this build.
func Available() (bool, string) {
	return false, "not in this build (amd64 only, and not with the tag noasm)"
}

// Prims returns the portable loops.
func Prims() blocked.Prims { return blocked.Portable() }

// Fast reports false.
func Fast() bool { return false }
