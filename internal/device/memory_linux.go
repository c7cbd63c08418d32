package device

import "os"

func availableMemory() (int64, error) { return linuxMemory(os.DirFS("/")) }

// processorName returns the name that the kernel reports.
func processorName() string { return linuxProcessor(os.DirFS("/")) }
