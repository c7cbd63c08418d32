//go:build !windows

package atomicfile

import (
	"errors"
	"os"
	"syscall"
)

// canRenameLocked: a folder may be renamed and removed while a file in it is open.
const canRenameLocked = true

// syncDir makes the names in dir durable. File systems that cannot sync a folder say EINVAL or ENOTSUP; there is nothing
// more to do there.
func syncDir(dir string) error {
	if dir == "" {
		dir = "."
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	err = d.Sync()
	if errors.Is(err, syscall.EINVAL) || errors.Is(err, syscall.ENOTSUP) {
		err = nil
	}
	return errors.Join(err, d.Close())
}
