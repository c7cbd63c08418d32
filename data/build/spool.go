package build

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"github.com/klauspost/compress/zstd"
)

// spool holds the texts of the distinct records, in the order of their numbers, as zstd frames of some megabytes each,
// which are packed and unpacked in parallel. It lives as long as one Run.
type spool struct {
	name   string
	file   *os.File
	pack   *zstd.Encoder
	unpack *zstd.Decoder
	write  *ordered[[]byte, packed]
	raw    []byte // of the chunk that is being filled
	first  uint32 // number of its first record
	next   uint32
	size   int64 // bytes written
	chunks []chunk
	free   sync.Pool // []byte for raw
}

// chunk is a zstd frame of the spool.
type chunk struct {
	offset int64
	packed int
	raw    int
	first  uint32 // number of its first record
	count  uint32
}

type packed struct {
	frame []byte
	chunk
}

// chunkBytes is the text in a frame: large enough to pack well, small enough to give every processor work.
const chunkBytes = 2 << 20

func newSpool(ctx context.Context, name string, threads int) (*spool, error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return nil, err
	}
	s := &spool{name: name, file: f}
	// Without checksums: the file is read back by the process that wrote it, and every shard has its own.
	s.pack, err = zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(threads), zstd.WithEncoderCRC(false))
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	s.unpack, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(threads))
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	s.write = newOrdered(ctx, threads, func(_ int, raw []byte) (packed, error) {
		p := packed{frame: s.pack.EncodeAll(raw[chunkHead:], make([]byte, 0, len(raw)/4))}
		p.raw = len(raw) - chunkHead
		p.first = binary.LittleEndian.Uint32(raw)
		p.count = binary.LittleEndian.Uint32(raw[4:])
		s.free.Put(&raw)
		return p, nil
	}, func(p packed) error {
		p.offset, p.packed = s.size, len(p.frame)
		s.size += int64(len(p.frame))
		s.chunks = append(s.chunks, p.chunk)
		_, err := s.file.Write(p.frame)
		return err
	})
	return s, nil
}

// chunkHead is room for the number of the first record and the count, in front of a chunk on its way to the packer.
const chunkHead = 8

// add appends the text of the next number.
func (s *spool) add(text []byte) error {
	if s.raw == nil {
		if p, ok := s.free.Get().(*[]byte); ok {
			s.raw = (*p)[:chunkHead]
		} else {
			s.raw = make([]byte, chunkHead, chunkBytes+chunkBytes/8)
		}
		s.first = s.next
	}
	s.raw = binary.AppendUvarint(s.raw, uint64(len(text)))
	s.raw = append(s.raw, text...)
	s.next++
	if len(s.raw) >= chunkBytes {
		return s.flush()
	}
	return nil
}

func (s *spool) flush() error {
	if s.raw == nil {
		return nil
	}
	raw := s.raw
	s.raw = nil
	binary.LittleEndian.PutUint32(raw, s.first)
	binary.LittleEndian.PutUint32(raw[4:], s.next-s.first)
	return s.write.Submit(raw)
}

// finish writes what is left. Afterwards the spool may be read.
func (s *spool) finish() error {
	err := s.flush()
	if waitErr := s.write.Wait(); err == nil {
		err = waitErr
	}
	s.write = nil
	return err
}

// load unpacks a chunk into dst[:0] and calls f with each number and text, which is valid during the call, until f
// returns false. It may be called concurrently with different dst.
func (s *spool) load(c chunk, dst []byte, f func(number uint32, text []byte) bool) ([]byte, error) {
	frame := make([]byte, c.packed)
	if _, err := s.file.ReadAt(frame, c.offset); err != nil {
		return dst, fmt.Errorf("spool: %w", err)
	}
	dst, err := s.unpack.DecodeAll(frame, dst[:0])
	if err != nil {
		return dst, fmt.Errorf("%s: byte %d: %w", s.name, c.offset, err)
	}
	rest := dst
	for i := range c.count {
		n, k := binary.Uvarint(rest)
		if k <= 0 || n > uint64(len(rest)-k) {
			return dst, fmt.Errorf("%s: byte %d: record %d of %d: %w", s.name, c.offset, i, c.count, io.ErrUnexpectedEOF)
		}
		if !f(c.first+i, rest[k:k+int(n)]) {
			break
		}
		rest = rest[k+int(n):]
	}
	return dst, nil
}

// each calls f with every number and text in order, until f returns false.
func (s *spool) each(ctx context.Context, f func(number uint32, text []byte) bool) error {
	var buf []byte
	var err error
	on := true
	for _, c := range s.chunks {
		if err := ctx.Err(); err != nil {
			return err
		}
		buf, err = s.load(c, buf, func(number uint32, text []byte) bool {
			on = f(number, text)
			return on
		})
		if err != nil || !on {
			return err
		}
	}
	return nil
}

// remove closes and deletes the spool, whatever state it is in.
func (s *spool) remove() error {
	if s.write != nil {
		s.write.Stop()
	}
	s.unpack.Close()
	return errors.Join(s.pack.Close(), s.file.Close(), os.Remove(s.name))
}
