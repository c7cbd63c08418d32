package devicetest

import (
	"bytes"
	"math"
	"slices"
	"testing"
	"unsafe"

	"github.com/secencoder/secencoder/internal/bf16"
	"github.com/secencoder/secencoder/internal/kernel"
)

const (
	alignment = 64 // bytes
	guard     = 64 // bytes before and after every operand
	guardWord = 0xa5
)

// memory is one stretch of bytes with all operands of a problem, guards between them.
type memory struct {
	data   []byte
	places map[*tensor][2]int // first and last byte of each operand, as offsets
	wide   bool               // outputs of BF16 are float32 here
	works  [][]byte           // workspaces, guards included
}

// aligned returns n bytes at an address that is a multiple of the alignment.
func aligned(n int) []byte {
	b := make([]byte, n+alignment)
	off := int(-uintptr(unsafe.Pointer(unsafe.SliceData(b))) % alignment)
	return b[off : off+n : off+n]
}

// newMemory lays out the operands, each shift elements behind a multiple of the alignment, and fills them. With wide,
// results of BF16 are float32, as they are before they are rounded.
func newMemory(p *problem, shift int, wide bool) *memory {
	m := &memory{places: map[*tensor][2]int{}, wide: wide}
	end := 0
	for _, t := range p.tensors {
		size := m.dtype(t).Size()
		start := (end+guard+alignment-1)/alignment*alignment + shift*size
		end = start + t.len()*size
		m.places[t] = [2]int{start, end}
	}
	m.data = aligned(end + guard)
	for i := range m.data {
		m.data[i] = guardWord
	}
	for _, t := range p.tensors {
		copy(m.bytes(t), t.bytes(m.dtype(t)))
	}
	return m
}

func (t *tensor) len() int { return len(t.f) + len(t.i) + len(t.s) }

// dtype returns the element type that an operand has here.
func (m *memory) dtype(t *tensor) kernel.DType {
	if m.wide && t.out && !t.keep && t.dtype == kernel.BF16 {
		return kernel.F32
	}
	return t.dtype
}

// bytes returns what the tensor holds before the call, as elements of a type.
func (t *tensor) bytes(dtype kernel.DType) []byte {
	if t.len() == 0 {
		return nil
	}
	var at unsafe.Pointer
	switch dtype {
	case kernel.BF16:
		halves := make([]bf16.BF16, len(t.f))
		for i, v := range t.f {
			halves[i] = bf16.FromFloat32(v)
		}
		at = unsafe.Pointer(unsafe.SliceData(halves))
	case kernel.I32:
		at = unsafe.Pointer(unsafe.SliceData(t.i))
	case kernel.I16:
		at = unsafe.Pointer(unsafe.SliceData(t.s))
	default:
		at = unsafe.Pointer(unsafe.SliceData(t.f))
	}
	return unsafe.Slice((*byte)(at), t.len()*dtype.Size())
}

func (m *memory) bytes(t *tensor) []byte {
	place := m.places[t]
	return m.data[place[0]:place[1]]
}

// buf describes an operand; nil is the absent one.
func (m *memory) buf(t *tensor) kernel.Buf {
	if t == nil {
		return kernel.Buf{}
	}
	place := m.places[t]
	return kernel.Buf{Ptr: unsafe.Pointer(&m.data[place[0]]), Bytes: place[1] - place[0], DType: m.dtype(t)}
}

// f32 returns what a float32 operand holds, the elements in use; of one of BF16 a copy.
func (m *memory) f32(t *tensor) []float32 {
	if m.dtype(t) != kernel.BF16 {
		return m.buf(t).F32()[:t.used]
	}
	wide := make([]float32, t.used)
	for i, v := range m.buf(t).BF16()[:t.used] {
		wide[i] = v.Float32()
	}
	return wide
}

// work returns a workspace of that many bytes between guards, filled with NaN; the absent operand for 0.
func (m *memory) work(n int) kernel.Buf {
	if n == 0 {
		return kernel.Buf{}
	}
	b := aligned(n + 2*guard)
	for i := range b {
		b[i] = guardWord
	}
	for i := guard; i < guard+n; i++ {
		b[i] = 0xff
	}
	m.works = append(m.works, b)
	return kernel.Buf{Ptr: unsafe.Pointer(&b[guard]), Bytes: n, DType: kernel.F32}
}

// verify reports what a call changed without being allowed to.
func (m *memory) verify(t *testing.T, p *problem, family string) {
	t.Helper()
	end := 0
	clean := func(b []byte) bool {
		return !slices.ContainsFunc(b, func(c byte) bool { return c != guardWord })
	}
	for _, o := range p.tensors {
		place := m.places[o]
		if !clean(m.data[end:place[0]]) {
			t.Errorf("%s: %s wrote before operand %s or after the one before it", p.name, family, o.name)
		}
		end = place[1]
		if !o.out && !bytes.Equal(m.bytes(o), o.bytes(m.dtype(o))) {
			t.Errorf("%s: %s changed its input %s", p.name, family, o.name)
		}
	}
	if !clean(m.data[end:]) {
		t.Errorf("%s: %s wrote after the last operand", p.name, family)
	}
	for _, b := range m.works {
		if !clean(b[:guard]) || !clean(b[len(b)-guard:]) {
			t.Errorf("%s: %s wrote outside its workspace", p.name, family)
		}
	}
}

// compare reports the first element of each output that is farther from the reference's than its bound.
func (m *memory) compare(t *testing.T, p *problem, want *memory) {
	t.Helper()
	for _, o := range p.tensors {
		if !o.out {
			continue
		}
		got, ref := m.f32(o), want.f32(o)
		for i := range got {
			if !o.allows(got[i], ref[i], i) {
				t.Errorf("%s: %s[%d] is %v, the reference has %v: off by %.3g, bound %.3g", p.name, o.name, i, got[i], ref[i],
					math.Abs(float64(got[i])-float64(ref[i])), o.boundOf(i))
				break
			}
		}
	}
}

// allows says whether element i may be got where the reference has want.
func (t *tensor) allows(got, want float32, i int) bool {
	switch bound := t.boundOf(i); {
	case t.dtype != kernel.BF16 || t.bound == nil:
		return within(got, want, bound)
	case t.keep:
		return between(got, want, spread(want, bound))
	default:
		return between(got, want, bound)
	}
}

func (t *tensor) boundOf(i int) float64 {
	if t.bound == nil {
		return 0
	}
	return t.bound[i]
}

// within says whether got is want to a bound; a NaN is only a NaN, an infinity only itself.
func within(got, want float32, bound float64) bool {
	if got != got || want != want {
		return got != got && want != want
	}
	return got == want || math.Abs(float64(got)-float64(want)) <= bound
}

// compareBits reports the first element of each output whose bits differ from those of one worker.
func (m *memory) compareBits(t *testing.T, p *problem, one *memory, workers int) {
	t.Helper()
	for _, o := range p.tensors {
		if !o.out {
			continue
		}
		got, want := m.f32(o), one.f32(o)
		for i := range got {
			if g, w := math.Float32bits(got[i]), math.Float32bits(want[i]); g != w && (got[i] == got[i] || want[i] == want[i]) {
				t.Errorf("%s: %s[%d] has bits %08x with %d workers, %08x with one", p.name, o.name, i, g, workers, w)
				break
			}
		}
	}
}
