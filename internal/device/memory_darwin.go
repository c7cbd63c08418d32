package device

import "golang.org/x/sys/unix"

// availableMemory returns the physical memory: macOS tells what is free through Mach calls only, and gives way by
// compressing.
func availableMemory() (int64, error) {
	n, err := unix.SysctlUint64("hw.memsize")
	return int64(n), err
}

// processorName returns the name that the kernel reports, or "".
func processorName() string {
	name, err := unix.Sysctl("machdep.cpu.brand_string")
	if err != nil {
		return ""
	}
	return name
}

// physicalCores returns 0: not known on this operating system.
func physicalCores() int { return 0 }
