package bench

import (
	"errors"
	"fmt"

	"github.com/secencoder/secencoder/internal/bf16"
	"github.com/secencoder/secencoder/internal/device"
	"github.com/secencoder/secencoder/internal/exec"
	"github.com/secencoder/secencoder/internal/kernel"
	"github.com/secencoder/secencoder/internal/rng"
	"github.com/secencoder/secencoder/internal/units"
)

// maker makes operands of random values in [−0.5, 0.5), in memory such as a plan has: outside Go's heap, on large pages,
// one after the other. They are valid until close.
type maker struct {
	stream rng.Stream
	arenas []*device.Arena
	at     int // bytes taken of the last one
}

func newMaker(seed uint64) *maker { return &maker{stream: rng.NewStream(seed, rng.Probe, 0, 0, 0)} }

// empty returns n elements of a type, on a 64-byte boundary.
func (m *maker) empty(dtype kernel.DType, n int) (kernel.Buf, error) {
	const least = 64 << 20
	size := (max(n, 1)*dtype.Size() + device.Align - 1) / device.Align * device.Align
	if len(m.arenas) == 0 || m.at+size > m.arenas[len(m.arenas)-1].Bytes() {
		a, err := device.NewArena(max(size, least))
		if err != nil {
			return kernel.Buf{}, err
		}
		m.arenas, m.at = append(m.arenas, a), 0
	}
	b := m.arenas[len(m.arenas)-1].Buf(m.at, n, dtype)
	m.at += size
	return b, nil
}

// fill sets each operand to n random values of a type, float32 or BF16.
func (m *maker) fill(dtype kernel.DType, n int, operands ...*kernel.Buf) error {
	for _, b := range operands {
		var err error
		if *b, err = m.empty(dtype, n); err != nil {
			return err
		}
		for i := range n {
			x := float32(m.stream.Float64() - 0.5)
			if dtype == kernel.BF16 {
				b.BF16()[i] = bf16.FromFloat32(x)
			} else {
				b.F32()[i] = x
			}
		}
	}
	return nil
}

// fits returns an error when operands of so many bytes take more memory than there is, before any is taken.
func fits(bytes int64) error {
	available, err := device.AvailableMemory()
	if err == nil && bytes > available {
		err = fmt.Errorf("operands: %w: %s bytes are needed, %s are available", exec.ErrDoesNotFit, units.Count(bytes), units.Count(available))
	}
	return err
}

// work gives an operand its workspace; none where a kernel needs none.
func (m *maker) work(b *kernel.Buf, bytes int) (err error) {
	if bytes > 0 {
		*b, err = m.empty(kernel.F32, bytes/4)
	}
	return err
}

// close gives the memory back.
func (m *maker) close() error {
	var errs []error
	for _, a := range m.arenas {
		errs = append(errs, a.Close())
	}
	return errors.Join(errs...)
}

// header returns the header of a plan of T tokens in pieces of the given length, the last one shorter.
func header(T, piece int) kernel.Buf {
	words := make([]int32, kernel.HeaderWords(T))
	pack := kernel.Pack{Offsets: offsets(T, piece), Scale: 1}
	pack.Fill(words, T)
	return kernel.FromI32(words)
}

// offsets cuts T tokens into pieces of the given length, the last one shorter; a single token at the end is left out,
// because a plan has at most T/2 pieces.
func offsets(T, piece int) []int32 {
	list := []int32{0}
	for t := piece; t < T; t += piece {
		list = append(list, int32(t))
	}
	if last := list[len(list)-1]; T-int(last) > 1 || len(list) == 1 {
		list = append(list, int32(T))
	}
	return list
}
