package device

import "os"

func availableMemory() (int64, error) { return linuxMemory(os.DirFS("/")) }

// processorName returns the name that the kernel reports.
func processorName() string { return linuxProcessor(os.DirFS("/")) }

// physicalCores returns the cores that the process may run on; 0 when not known.
func physicalCores() int { return linuxCores(os.DirFS("/")) }
