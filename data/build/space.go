package build

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/klauspost/compress/zstd"

	"github.com/secencoder/secencoder/data"
	"github.com/secencoder/secencoder/data/source"
	"github.com/secencoder/secencoder/internal/units"
)

// ErrSpace says that the disk of the output is too small, or became full.
var ErrSpace = errors.New("not enough disk space")

const (
	// packedRatio is how much larger a packed log is taken to be unpacked, where its header does not say. Public logs
	// pack 8 to 20 times, very repetitive ones more.
	packedRatio = 12
	// spareBytes are left free for others.
	spareBytes = 16 << 20
)

// freeSpace returns the bytes that a user may still write below dir; tests put their own disk here.
var freeSpace = diskFree

// checkSpace compares the disk of the output with what the build needs. That is about the size of the unpacked text: of
// each byte, shards take 0.6 to 0.8 (two bytes for a token of 2.5 to 3.5), their index and the numbers of records 0.1 to
// 0.2, and the spool 0.1. Equal records need less. Standard input is not counted.
func (b *build) checkSpace(ctx context.Context, files []data.File) error {
	free, err := freeSpace(b.dir.Path())
	if err != nil {
		return fmt.Errorf("free space of %s: %w", b.dir.Path(), err)
	}
	var need, ofSource int64
	for i, f := range files {
		if err := ctx.Err(); err != nil {
			return err
		}
		if i == 0 || files[i-1].Source != f.Source {
			ofSource = 0
		}
		n := unpackedSize(f)
		if limit := b.o.MaxSourceBytes; limit > 0 {
			n = min(n, limit-ofSource)
		}
		ofSource += n
		need += n
	}
	if need+spareBytes <= free {
		return nil
	}
	return fmt.Errorf("%s: %w: about %s are needed (the text of the input), %s are free", b.dir.Out(), ErrSpace,
		units.FormatSize(need+spareBytes), units.FormatSize(free))
}

// unpackedSize estimates the text in a file. One that cannot be opened counts nothing here; reading it will say why.
func unpackedSize(f data.File) int64 {
	if f.Path == source.Stdin || f.Size == 0 {
		return 0
	}
	file, err := os.Open(f.Path)
	if err != nil {
		return 0
	}
	defer file.Close() // only read
	head, err := bufio.NewReaderSize(file, 64).Peek(32)
	if err != nil && err != io.EOF {
		return 0
	}
	switch {
	case len(head) > 2 && head[0] == 0x1f && head[1] == 0x8b:
		return f.Size * packedRatio
	case len(head) > 4 && head[0] == 0x28 && head[1] == 0xb5 && head[2] == 0x2f && head[3] == 0xfd:
		var h zstd.Header
		if err := h.Decode(head); err == nil && h.HasFCS && h.FrameContentSize < 1<<50 {
			return int64(h.FrameContentSize)
		}
		return f.Size * packedRatio
	}
	return f.Size
}

// wordFull says what a full disk means in an error that has one in it.
func wordFull(out string, err error) error {
	if !isFull(err) {
		return err
	}
	return fmt.Errorf("%s: %w: %w", out, ErrSpace, err)
}
