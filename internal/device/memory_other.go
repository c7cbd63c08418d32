//go:build !linux && !darwin && !windows

package device

import "errors"

func availableMemory() (int64, error) {
	return 0, errors.New("not known on this operating system")
}

func processorName() string { return "" }

// physicalCores returns 0: not known on this operating system.
func physicalCores() int { return 0 }
