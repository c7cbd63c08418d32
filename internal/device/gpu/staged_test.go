package gpu

import (
	"bytes"
	"fmt"
	"reflect"
	"testing"
	"unsafe"

	"github.com/secencoder/secencoder/internal/cuda"
	"github.com/secencoder/secencoder/internal/kernel"
)

// staged is the table as the suite can hold it. The suite's operands lie in host memory; each call of staged lays them
// out in device memory, as far off the alignment as they are on the host and with guards between them, runs the kernel
// there and copies everything back, inputs and what is unused among it. Writes outside of operands show in the guards.
// Guards are NaN for float types, so that reads outside of operands show in results.
//
// All that a call needs is kept: calls of the same sizes allocate nothing.
type staged struct {
	*Table  // Name, WorkBytes, PackedBytes, and the kernels that are not built
	t       testing.TB
	device  *cuda.Device
	stream  *cuda.Stream
	on      kernel.Stream
	repeats int   // of each call, from the same operands; all must give the same bits
	err     error // of the first call that failed since Sync

	memory       cuda.Ptr // on the device
	bytes        int      // of it
	image, after *cuda.Host
	first        []byte // memory after the first of the repeats

	structs map[reflect.Type]any     // a struct of each type, with device operands
	fields  map[reflect.Type][]field // its operands
	places  []place                  // operands of this call
	calls   []float64                // what the repeats of SumSquares return
}

// field is one operand of an argument struct.
type field struct {
	name   string
	offset uintptr
}

// place is where an operand lies, as offsets in the memory.
type place struct {
	name       string
	host       kernel.Buf
	start, end int
}

const (
	stagedAlign = 256  // what device allocations are aligned to
	stagedGuard = 256  // bytes around each operand, at least
	stagedWord  = 0xff // NaN in F32 and in BF16
)

// stage returns the table of a device over host operands, on a stream of its own. Its memory is given back at the end of
// the test.
func stage(t testing.TB, device *cuda.Device, table *Table, repeats int) *staged {
	t.Helper()
	stream, err := device.NewStream()
	if err != nil {
		t.Fatal(err)
	}
	s := &staged{
		Table: table, t: t, device: device, stream: stream, on: table.Stream(stream), repeats: repeats,
		structs: map[reflect.Type]any{}, fields: map[reflect.Type][]field{},
	}
	s.grow(1 << 20)
	t.Cleanup(func() {
		if err := s.Sync(0); err != nil {
			t.Errorf("after the last call: %v", err)
		}
		s.release()
		table.Release(s.on)
		if err := stream.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// grow makes room for that many bytes.
func (s *staged) grow(bytes int) {
	s.release()
	var errs [3]error
	s.bytes = bytes
	s.memory, errs[0] = s.device.Alloc(s.stream, bytes)
	s.image, errs[1] = s.device.NewHost(bytes)
	s.after, errs[2] = s.device.NewHost(bytes)
	s.first = make([]byte, bytes)
	for _, err := range errs {
		if err != nil {
			s.t.Fatal(err)
		}
	}
}

func (s *staged) release() {
	if s.bytes == 0 {
		return
	}
	for _, err := range []error{s.device.Free(s.stream, s.memory), s.stream.Synchronize(), s.image.Close(), s.after.Close()} {
		if err != nil {
			s.t.Error(err)
		}
	}
	s.bytes = 0
}

// Sync returns the first error since the last one. Calls have waited already.
func (s *staged) Sync(kernel.Stream) error {
	err := s.err
	s.err = nil
	return err
}

func (s *staged) fail(err error) {
	if s.err == nil {
		s.err = err
	}
}

// staging returns the struct that stands for *args on the device, operands laid out and copied to the host's image.
func staging[A any](s *staged, args *A) *A {
	of := reflect.TypeFor[A]()
	if s.structs[of] == nil {
		s.structs[of] = new(A)
		for i := range of.NumField() {
			if f := of.Field(i); f.Type == reflect.TypeFor[kernel.Buf]() {
				s.fields[of] = append(s.fields[of], field{f.Name, f.Offset})
			}
		}
	}
	device := s.structs[of].(*A)
	*device = *args
	s.places = s.places[:0]
	end := 0
	for _, f := range s.fields[of] {
		b := (*kernel.Buf)(unsafe.Add(unsafe.Pointer(device), f.offset))
		if b.Absent() {
			continue
		}
		at := s.place(f.name, *b, &end)
		*b = Operand(s.memory+cuda.Ptr(at), b.Bytes, b.DType)
	}
	return device
}

// place returns where an operand lies. One that is given twice lies in one place.
func (s *staged) place(name string, b kernel.Buf, end *int) int {
	for _, p := range s.places {
		if p.host.Ptr == b.Ptr {
			return p.start
		}
	}
	start := (*end+stagedGuard+stagedAlign-1)/stagedAlign*stagedAlign + int(uintptr(b.Ptr)%64)
	*end = start + b.Bytes
	s.places = append(s.places, place{name, b, start, *end})
	return start
}

// stagedCall runs a kernel with device operands.
func stagedCall[A any](s *staged, args *A, run func(kernel.Stream, *A)) {
	device := staging(s, args)
	total := s.places[len(s.places)-1].end + stagedGuard
	if total > s.bytes {
		s.grow(2 * total)
		device = staging(s, args)
	}
	image, after := s.image.Bytes()[:total], s.after.Bytes()[:total]
	for i := range image {
		image[i] = stagedWord
	}
	for _, p := range s.places {
		copy(image[p.start:p.end], p.bytes())
	}
	for n := range s.repeats {
		if err := s.stream.CopyToDevice(s.memory, image); err != nil {
			s.fail(err)
			return
		}
		run(s.on, device)
		if err := s.stream.CopyToHost(after, s.memory); err != nil {
			s.fail(err)
		}
		if err := s.Table.Sync(s.on); err != nil {
			s.fail(err)
			return
		}
		if n == 0 {
			copy(s.first, after)
		} else if !bytes.Equal(s.first[:total], after) {
			s.fail(fmt.Errorf("call %d of the same operands leaves other bits, in %s", n+1, s.at(after)))
		}
	}
	s.guards(after)
	for _, p := range s.places {
		copy(p.bytes(), after[p.start:p.end])
	}
}

// bytes returns what an operand holds on the host.
func (p *place) bytes() []byte { return unsafe.Slice((*byte)(p.host.Ptr), p.host.Bytes) }

// guards reports the first guard that a call wrote to.
func (s *staged) guards(after []byte) {
	end := 0
	for i := 0; i <= len(s.places); i++ {
		next, before := len(after), "the end"
		if i < len(s.places) {
			next, before = s.places[i].start, s.places[i].name
		}
		for at := end; at < next; at++ {
			if after[at] != stagedWord {
				behind := "the start"
				if i > 0 {
					behind = s.places[i-1].name
				}
				s.fail(fmt.Errorf("wrote outside of its operands: %d bytes behind %s, %d before %s", at-end, behind, next-at, before))
				return
			}
		}
		if i < len(s.places) {
			end = s.places[i].end
		}
	}
}

// at names the operand in which memory differs from the first call's.
func (s *staged) at(after []byte) string {
	for _, p := range s.places {
		for i := p.start; i < p.end; i++ {
			if after[i] != s.first[i] {
				return fmt.Sprintf("%s, byte %d", p.name, i-p.start)
			}
		}
	}
	return "a guard"
}

func (s *staged) Embed(_ kernel.Stream, a *kernel.EmbedArgs) { stagedCall(s, a, s.Table.Embed) }
func (s *staged) EmbedGrad(_ kernel.Stream, a *kernel.EmbedGradArgs) {
	stagedCall(s, a, s.Table.EmbedGrad)
}
func (s *staged) LayerNorm(_ kernel.Stream, a *kernel.LayerNormArgs) {
	stagedCall(s, a, s.Table.LayerNorm)
}
func (s *staged) LayerNormGrad(_ kernel.Stream, a *kernel.LayerNormGradArgs) {
	stagedCall(s, a, s.Table.LayerNormGrad)
}
func (s *staged) AddNorm(_ kernel.Stream, a *kernel.AddNormArgs) { stagedCall(s, a, s.Table.AddNorm) }
func (s *staged) AddNormGrad(_ kernel.Stream, a *kernel.AddNormGradArgs) {
	stagedCall(s, a, s.Table.AddNormGrad)
}
func (s *staged) Linear(_ kernel.Stream, a *kernel.LinearArgs) { stagedCall(s, a, s.Table.Linear) }
func (s *staged) LinearGrad(_ kernel.Stream, a *kernel.LinearGradArgs) {
	stagedCall(s, a, s.Table.LinearGrad)
}
func (s *staged) PackWeight(_ kernel.Stream, a *kernel.PackWeightArgs) {
	stagedCall(s, a, s.Table.PackWeight)
}
func (s *staged) Gather(_ kernel.Stream, a *kernel.GatherArgs) { stagedCall(s, a, s.Table.Gather) }
func (s *staged) GatherGrad(_ kernel.Stream, a *kernel.GatherGradArgs) {
	stagedCall(s, a, s.Table.GatherGrad)
}
func (s *staged) Pool(_ kernel.Stream, a *kernel.PoolArgs) { stagedCall(s, a, s.Table.Pool) }
func (s *staged) PoolGrad(_ kernel.Stream, a *kernel.PoolGradArgs) {
	stagedCall(s, a, s.Table.PoolGrad)
}
func (s *staged) Convert(_ kernel.Stream, a *kernel.ConvertArgs) {
	stagedCall(s, a, s.Table.Convert)
}
func (s *staged) Add(_ kernel.Stream, a *kernel.AddArgs)     { stagedCall(s, a, s.Table.Add) }
func (s *staged) AdamW(_ kernel.Stream, a *kernel.AdamWArgs) { stagedCall(s, a, s.Table.AdamW) }

// SumSquares keeps the sum of the last of the repeats; the others must give the same.
func (s *staged) SumSquares(_ kernel.Stream, a *kernel.SumSquaresArgs) float64 {
	s.calls = s.calls[:0]
	stagedCall(s, a, s.sumSquares)
	for _, sum := range s.calls[1:] {
		if sum != s.calls[0] && sum == sum {
			s.fail(fmt.Errorf("two sums of the same squares: %v and %v", s.calls[0], sum))
		}
	}
	return s.calls[0]
}

func (s *staged) sumSquares(on kernel.Stream, a *kernel.SumSquaresArgs) {
	s.calls = append(s.calls, s.Table.SumSquares(on, a))
}
