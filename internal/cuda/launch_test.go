package cuda

import (
	"bytes"
	"math"
	"slices"
	"strings"
	"testing"
	"unsafe"

	"github.com/secencoder/secencoder/internal/alloctest"
)

// The C compiler's layout of a parameter list is that of a struct of its types, which Go lays out in the same way.
func TestArgumentsAreLaidOutAsInC(t *testing.T) {
	type list struct {
		a int32
		b Ptr
		c float32
		d uint32
		e float64
		f int32
		g int64
		h uint64
		i float32
	}
	want := list{-1, 0x7f0012345678, 1.5, 0xfffffffe, math.Pi, -7, math.MinInt64, math.MaxUint64, float32(math.Inf(-1))}
	l := &Launch{}
	l.Reset().I32(1).Ptr(2).Reset() // what was before Reset must not show
	l.I32(want.a).Ptr(want.b).F32(want.c).U32(want.d).F64(want.e).I32(want.f).I64(want.g).U64(want.h).F32(want.i)
	offsets := []uint16{uint16(unsafe.Offsetof(want.a)), uint16(unsafe.Offsetof(want.b)), uint16(unsafe.Offsetof(want.c)),
		uint16(unsafe.Offsetof(want.d)), uint16(unsafe.Offsetof(want.e)), uint16(unsafe.Offsetof(want.f)),
		uint16(unsafe.Offsetof(want.g)), uint16(unsafe.Offsetof(want.h)), uint16(unsafe.Offsetof(want.i))}
	if !slices.Equal(l.starts[:l.n], offsets) {
		t.Errorf("arguments begin at %v, want %v", l.starts[:l.n], offsets)
	}
	if got := *(*list)(unsafe.Pointer(&l.values)); got != want {
		t.Errorf("arguments %+v, want %+v", got, want)
	}
	if sizes := []uint8{4, 8, 4, 4, 8, 4, 8, 8, 4}; !bytes.Equal(l.sizes[:l.n], sizes) {
		t.Errorf("sizes %v, want %v", l.sizes[:l.n], sizes)
	}
}

func TestArgumentsDoNotOverrun(t *testing.T) {
	l := &Launch{f: &Function{name: "k"}}
	for i := range maxParameters {
		l.U64(uint64(i))
	}
	if l.full || l.n != maxParameters || l.values[maxParameters-1] != maxParameters-1 {
		t.Fatalf("%d arguments: full %v, n %d", maxParameters, l.full, l.n)
	}
	l.I32(1)
	if err := l.fits(Grid{X: 1}, Grid{X: 1}, 0); err == nil || !strings.Contains(err.Error(), "more than 64 arguments") {
		t.Errorf("one argument too many: %v", err)
	}
	if l.Reset().full {
		t.Error("Reset does not forget that there were too many")
	}
}

func TestLaunchFits(t *testing.T) {
	f := &Function{name: "k", parameters: []uint8{8, 4}, maxThreads: 512}
	f.dynamic.Store(1000)
	for _, c := range []struct {
		grid, block Grid
		shared      int
		want        string
	}{
		{Grid{X: 1}, Grid{X: 512}, 1000, ""},
		{Grid{X: math.MaxInt32, Y: 65535, Z: 65535}, Grid{X: 1, Y: 1, Z: 64}, 0, ""},
		{Grid{}, Grid{X: 1}, 0, "grid of 0"},
		{Grid{X: 1, Y: -1}, Grid{X: 1}, 0, "grid of 1 × -1"},
		{Grid{X: 1, Y: 65536}, Grid{X: 1}, 0, "65536"},
		{Grid{X: math.MaxInt32 + 1}, Grid{X: 1}, 0, "grid"},
		{Grid{X: 1}, Grid{}, 0, "block of 0"},
		{Grid{X: 1}, Grid{X: 513}, 0, "at most 512 in all"},
		{Grid{X: 1}, Grid{X: 32, Y: 32}, 0, "at most 512 in all"},
		{Grid{X: 1}, Grid{X: 1, Y: 1, Z: 65}, 0, "64"},
		{Grid{X: 1}, Grid{X: 1}, 1001, "at most 1000"},
		{Grid{X: 1}, Grid{X: 1}, -1, "-1 bytes"},
	} {
		l := (&Launch{f: f}).Ptr(1).I32(2)
		err := l.fits(c.grid.ones(), c.block.ones(), c.shared)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("grid %v, block %v, %d bytes: error %v, want %q", c.grid, c.block, c.shared, err, c.want)
		}
	}
	for _, l := range []*Launch{{f: f}, (&Launch{f: f}).Ptr(1), (&Launch{f: f}).I32(1).Ptr(2), (&Launch{f: f}).Ptr(1).I32(2).I32(3)} {
		if err := l.fits(Grid{1, 1, 1}, Grid{1, 1, 1}, 0); err == nil || !strings.Contains(err.Error(), "the kernel's parameters [8 4]") {
			t.Errorf("arguments of %v bytes: error %v", l.sizes[:l.n], err)
		}
	}
}

func TestPackingAllocatesNothing(t *testing.T) {
	l := &Launch{}
	allocs := alloctest.Fewest(func() {
		for range 1000 {
			l.Reset().Ptr(1).I32(2).U32(3).I64(4).U64(5).F32(6).F64(7)
		}
	})
	if allocs != 0 {
		t.Errorf("1,000 packings allocated %v times", allocs)
	}
}
