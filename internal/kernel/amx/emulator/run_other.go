//go:build !linux || !amd64

package emulator

import "os/exec"

// supported says why this machine cannot emulate; "" when it can.
func supported() string { return "tiles are emulated on linux/amd64 only" }

// Run returns ErrNotPermitted: there is no emulation on this system.
func Run(*exec.Cmd) (instructions int, err error) { return 0, ErrNotPermitted }
