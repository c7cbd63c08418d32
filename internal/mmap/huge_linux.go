package mmap

import "golang.org/x/sys/unix"

// hugePage is the size from which transparent large pages can help at all.
const hugePage = 2 << 20

// adviseHuge asks for large pages. It is advice: a kernel without them says EINVAL, and the memory is as good.
func adviseHuge(b []byte) {
	if len(b) >= hugePage {
		_ = unix.Madvise(b, unix.MADV_HUGEPAGE)
	}
}
