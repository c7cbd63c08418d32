//go:build unix && !linux

package mmap

// adviseHuge does nothing: only Linux has the advice.
func adviseHuge([]byte) {}
