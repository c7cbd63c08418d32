package nvrtc

import (
	"encoding/binary"
	"slices"
	"testing"
)

const report = `ptxas info    : 304 bytes gmem, 16 bytes cmem[3]
ptxas info    : Compiling entry function 'first' for 'sm_80'
ptxas info    : Function properties for first
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 10 registers, 1024 bytes smem, 380 bytes cmem[0]
ptxas info    : Function properties for _Z4callf
    8 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Compiling entry function 'second' for 'sm_80'
ptxas info    : Function properties for second
    16 bytes stack frame, 4 bytes spill stores, 12 bytes spill loads
ptxas info    : Used 255 registers, 352 bytes cmem[0]
`

func TestReportOfTheAssembler(t *testing.T) {
	got, err := parseReport(report)
	if err != nil {
		t.Fatal(err)
	}
	want := []Resources{
		{Function: "first", Entry: true, Registers: 10, Shared: 1024},
		{Function: "_Z4callf", Stack: 8},
		{Function: "second", Entry: true, Registers: 255, Stack: 16, Stores: 4, Loads: 12},
	}
	if !slices.Equal(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	for name, bad := range map[string]string{
		"no kernel":    "    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads\n",
		"no registers": "ptxas info    : Compiling entry function 'first' for 'sm_80'\n",
	} {
		if got, err := parseReport(bad); err == nil {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

// cubin makes the frame of a machine code with one kernel.
func cubin(name string, flags uint64) []byte {
	names := "\x00.text." + name + "\x00.shstrtab\x00"
	b := make([]byte, 64+3*64+len(names))
	copy(b, "\x7fELF\x02")
	little := binary.LittleEndian
	little.PutUint64(b[40:], 64)
	little.PutUint16(b[60:], 3)
	little.PutUint16(b[62:], 2)
	little.PutUint32(b[64+64:], 1)
	little.PutUint64(b[64+64+8:], flags)
	little.PutUint32(b[64+128:], uint32(len(names)-len(".shstrtab\x00")))
	little.PutUint64(b[64+128+24:], 64+3*64)
	little.PutUint64(b[64+128+32:], uint64(len(names)))
	copy(b[64+3*64:], names)
	return b
}

func TestBarriersOfMachineCode(t *testing.T) {
	b := cubin("first", 3<<20|6)
	got, err := barriersOf(b)
	if err != nil || len(got) != 1 || got["first"] != 3 {
		t.Errorf("got %v, %v", got, err)
	}
	for n := range b {
		// A name may be cut short: what is before the sections' end must be an error.
		if got, err := barriersOf(b[:n]); err == nil {
			t.Errorf("of %d bytes: %v", n, got)
		}
	}
}

func FuzzBarriersOf(f *testing.F) {
	f.Add(cubin("first", 3<<20))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		if m, err := barriersOf(b); err == nil && len(m) > len(b)/64 {
			t.Errorf("%d kernels in %d bytes", len(m), len(b))
		}
	})
}
