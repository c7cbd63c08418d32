package source

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

const (
	bufferSize = 256 << 10
	// sampleSize is how much of a file decides what it is.
	sampleSize = 64 << 10
	// maxLayers bounds packing in packing: log.gz in a .zst is real, more is not.
	maxLayers = 4
	// maxWindow is the largest zstd window that is unpacked, the limit of the zstd program without --long=31 too.
	maxWindow = 128 << 20
)

// unpacked is a stream with its packing taken off.
type unpacked struct {
	r       *bufio.Reader
	layers  string // "gz>", "zst>gz>", …
	closers []func()
}

func (u *unpacked) close() {
	for _, c := range u.closers {
		c()
	}
	u.closers = nil
}

// Unpack returns the bytes of a file without its gzip or zstd packing, found out by its first bytes; what is packed in
// neither comes as it is. Errors name the stream, not the file. Close does not close in.
func Unpack(in io.Reader) (io.ReadCloser, error) {
	u, err := unpack(in)
	if err != nil {
		return nil, err
	}
	return unpackedCloser{u}, nil
}

type unpackedCloser struct{ u *unpacked }

func (c unpackedCloser) Read(p []byte) (int, error) { return c.u.r.Read(p) }

func (c unpackedCloser) Close() error {
	c.u.close()
	return nil
}

// unpack takes off gzip and zstd, in any order, by their magic bytes.
func unpack(in io.Reader) (*unpacked, error) {
	u := &unpacked{r: bufio.NewReaderSize(&sticky{r: in}, bufferSize)}
	for range maxLayers {
		head, err := u.r.Peek(4)
		switch {
		case isGzip(head):
			u.layers += "gz>"
			u.r = bufio.NewReaderSize(&sticky{r: &gzipReader{in: u.r}}, bufferSize)
		case isZstd(head):
			d, err := zstd.NewReader(u.r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(maxWindow))
			if err != nil {
				u.close()
				return nil, fmt.Errorf("corrupt zstd stream: %w", err)
			}
			u.closers = append(u.closers, d.Close)
			u.layers += "zst>"
			u.r = bufio.NewReaderSize(&sticky{r: &zstdReader{d}}, bufferSize)
		case err != nil && err != io.EOF && len(head) == 0:
			u.close()
			return nil, err
		default:
			return u, nil
		}
	}
	return u, nil
}

// sticky gives the first error of r for ever. bufio.Reader.Peek takes an error from its source and forgets it, so the
// source is asked again, and a stream that broke must not go on then, or end as if it were whole.
type sticky struct {
	r   io.Reader
	err error
}

func (s *sticky) Read(p []byte) (n int, err error) {
	if s.err == nil {
		n, s.err = s.r.Read(p)
	}
	return n, s.err
}

// peek returns up to sampleSize bytes without consuming them. An error, io.EOF included, says that there are no more.
func peek(r *bufio.Reader) ([]byte, error) { return r.Peek(sampleSize) }

func isGzip(b []byte) bool { return len(b) >= 3 && b[0] == 0x1f && b[1] == 0x8b && b[2] == 8 }

// isZstd knows frames and skippable frames, with which some writers begin.
func isZstd(b []byte) bool {
	return bytes.HasPrefix(b, []byte{0x28, 0xb5, 0x2f, 0xfd}) || len(b) >= 4 && b[0]&0xf0 == 0x50 && bytes.Equal(b[1:4], []byte{0x2a, 0x4d, 0x18})
}

// gzipReader reads gzip members one after the other and passes over zero bytes behind the last, which tapes and some
// loggers leave; the gzip program does the same.
type gzipReader struct {
	in   *bufio.Reader
	z    *gzip.Reader
	open bool // a member is being read
}

func (g *gzipReader) Read(p []byte) (int, error) {
	for {
		if !g.open {
			if err := g.begin(); err != nil {
				return 0, err
			}
			g.open = true
		}
		n, err := g.z.Read(p)
		if err == io.EOF {
			g.open = false
			err = nil
			if n == 0 {
				continue
			}
		}
		if err != nil {
			err = streamError("gzip", err)
		}
		return n, err
	}
}

func (g *gzipReader) begin() error {
	if g.z != nil {
		for {
			b, err := g.in.ReadByte()
			if err != nil {
				return err // io.EOF: the end of the stream
			}
			if b != 0 {
				if err := g.in.UnreadByte(); err != nil {
					return err
				}
				break
			}
		}
	}
	var err error
	if g.z == nil {
		g.z, err = gzip.NewReader(g.in)
	} else {
		err = g.z.Reset(g.in)
	}
	if err == io.EOF {
		err = io.ErrUnexpectedEOF // a header cut short is no end
	}
	if err != nil {
		return streamError("gzip", err)
	}
	g.z.Multistream(false)
	return nil
}

// zstdReader words the errors of a zstd.Decoder.
type zstdReader struct{ d *zstd.Decoder }

func (z *zstdReader) Read(p []byte) (int, error) {
	n, err := z.d.Read(p)
	if err != nil && err != io.EOF {
		err = streamError("zstd", err)
	}
	return n, err
}

func streamError(what string, err error) error {
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("unexpected end of %s stream (file cut short?): %w", what, err)
	case errors.Is(err, zstd.ErrWindowSizeExceeded):
		return fmt.Errorf("zstd window of more than %d MiB: %w", maxWindow>>20, err)
	}
	return fmt.Errorf("corrupt %s stream: %w", what, err)
}
