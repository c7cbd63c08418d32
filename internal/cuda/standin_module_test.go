package cuda_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"testing"

	"github.com/secencoder/secencoder/internal/cuda"
	"github.com/secencoder/secencoder/internal/cuda/standin"
)

// smallCubin makes an ELF file as the assembler for GPUs does, with one empty function: head, names, code, table of sections.
func smallCubin(arch uint32, function string) []byte {
	names := "\x00.shstrtab\x00.text." + function + "\x00"
	const head, section = 64, 64
	code := make([]byte, 128)
	table := head + len(names) + len(code)
	table += -table & 7
	b := new(bytes.Buffer)
	put := func(values ...any) {
		for _, v := range values {
			if err := binary.Write(b, binary.LittleEndian, v); err != nil {
				panic(err)
			}
		}
	}
	put([16]byte{0x7f, 'E', 'L', 'F', 2, 1, 1, 0x33, 7}, uint16(2), uint16(190), uint32(1), uint64(0), uint64(0), uint64(table),
		0x500500|arch, uint16(head), uint16(56), uint16(0), uint16(section), uint16(3), uint16(1))
	put([]byte(names), code)
	b.Write(make([]byte, table-b.Len()))
	put([section]byte{})
	put(uint32(1), uint32(3), uint64(0), uint64(0), uint64(head), uint64(len(names)), uint32(0), uint32(0), uint64(1), uint64(0))
	put(uint32(11), uint32(1), uint64(6), uint64(0), uint64(head+len(names)), uint64(len(code)), uint32(0), uint32(0), uint64(128), uint64(0))
	return b.Bytes()
}

// A cubin for the device is loaded and launched; one for another is refused.
func TestStandinCubin(t *testing.T) {
	lib, dev := openStandin(t)
	s := stream(t, dev)
	m, err := dev.LoadModule(smallCubin(80, "compiled"))
	succeed(t, err)
	f, err := m.Function("compiled")
	succeed(t, err)
	l := f.NewLaunch()
	succeed(t, l.Ptr(1).U32(2).Run(s, grid(3), grid(4), 0))
	if got, err := lib.LastLaunch(); err != nil || got.Name != "compiled" || got.Grid != [3]int{3, 1, 1} || got.Block != [3]int{4, 1, 1} {
		t.Errorf("launched %+v, %v", got, err)
	}
	for range 100 { // nothing is known of its parameters, but there is an end to what is sent
		l.U64(1)
	}
	if err := l.Run(s, grid(1), grid(1), 0); err == nil {
		t.Error("102 arguments: no error")
	}
	if _, err := m.Function("other"); !errors.Is(err, cuda.ErrBadModule) {
		t.Errorf("a kernel that is not there: %v", err)
	}
	succeed(t, l.Close())
	succeed(t, m.Close())
	for _, arch := range []uint32{90, 86, 75} {
		if _, err := dev.LoadModule(smallCubin(arch, "compiled")); !errors.Is(err, cuda.ErrBadModule) {
			t.Errorf("a cubin for sm_%d: %v", arch, err)
		}
	}
}

// Whatever happened to the bytes of a module, it is loaded or refused with a clear error: no crash, nothing left.
func TestStandinCorruptModules(t *testing.T) {
	_, dev := openStandin(t)
	random := rand.New(rand.NewPCG(3, 4))
	rounds := 3000
	if testing.Short() {
		rounds = 300
	}
	loaded, refused := 0, 0
	try := func(what string, image []byte) {
		t.Helper()
		m, err := dev.LoadModule(image)
		if err == nil {
			loaded++
			succeed(t, m.Close())
			return
		}
		refused++
		if !errors.Is(err, cuda.ErrBadModule) && !errors.Is(err, cuda.ErrDriverTooOld) {
			t.Fatalf("%s: %v", what, err)
		}
	}
	for _, whole := range [][]byte{[]byte(standin.PTX), smallCubin(80, "compiled")} {
		for range rounds / 2 {
			try("cut short", whole[:random.IntN(len(whole))])
		}
		if whole[0] == 0x7f {
			continue // the driver is not told how long a cubin is: what is wrong inside is its own affair
		}
		for range rounds {
			image := bytes.Clone(whole)
			for range 1 + random.IntN(3) {
				image[random.IntN(len(image))] ^= 1 << random.IntN(8)
			}
			try("bits flipped", image)
		}
	}
	t.Logf("%d were loaded, %d refused", loaded, refused)
	if refused < rounds {
		t.Errorf("only %d were refused", refused)
	}
}
