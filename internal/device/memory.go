package device

import "fmt"

// AvailableMemory returns the bytes that the process may still use: what the operating system calls available, limited
// by the control groups that it runs in. On macOS, which has no such figure, it is the physical memory.
func AvailableMemory() (int64, error) {
	n, err := availableMemory()
	if err != nil {
		return 0, fmt.Errorf("available memory: %w", err)
	}
	return n, nil
}
