//go:build !invariants

package exec

// invariants switches the costly checks on.
const invariants = false
