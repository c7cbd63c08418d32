package gpu

import (
	"encoding/binary"
	"math"
	"testing"

	"github.com/secencoder/secencoder/internal/bf16"
	"github.com/secencoder/secencoder/internal/cuda"
	"github.com/secencoder/secencoder/internal/cuda/kernels"
	"github.com/secencoder/secencoder/internal/kernel"
	"github.com/secencoder/secencoder/internal/rng"
)

// launch runs a kernel that the table does not call, by itself.
func (m *machine) launch(mem *memory, name string, g kernels.Geometry, pack func(*cuda.Launch)) {
	mem.t.Helper()
	function, err := m.table.module.Function(name)
	if err != nil {
		mem.t.Fatal(err)
	}
	l := function.NewLaunch()
	pack(l.Reset())
	grid, block := cuda.Grid{X: g.Grid[0], Y: g.Grid[1], Z: g.Grid[2]}, cuda.Grid{X: g.Block[0], Y: g.Block[1], Z: g.Block[2]}
	if err := l.Run(mem.stream, grid, block, 0); err != nil {
		mem.t.Fatal(err)
	}
	if err := mem.stream.Synchronize(); err != nil {
		mem.t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		mem.t.Fatal(err)
	}
}

// load returns an operand that holds the bytes, of elements of a type; bytes reads one back.
func (m *memory) load(dtype kernel.DType, bytes []byte) kernel.Buf {
	m.t.Helper()
	b := m.room(dtype, len(bytes)/dtype.Size())
	if err := m.stream.CopyToDevice(address(b), bytes); err != nil {
		m.t.Fatal(err)
	}
	return b
}

func (m *memory) bytes(b kernel.Buf) []byte {
	m.t.Helper()
	bytes := make([]byte, b.Bytes)
	if err := m.stream.CopyToHost(bytes, address(b)); err != nil {
		m.t.Fatal(err)
	}
	return bytes
}

// conversions: every BF16 widened, and every neighbourhood of a BF16 narrowed, has the bits of package bf16.
func (m *machine) conversions(t *testing.T) {
	mem := m.memory(t)
	var halves, singles []byte
	for h := range 1 << 16 {
		halves = binary.LittleEndian.AppendUint16(halves, uint16(h))
		for _, low := range []uint32{0, 1, 0x7fff, 0x8000, 0x8001, 0xffff} {
			singles = binary.LittleEndian.AppendUint32(singles, uint32(h)<<16|low)
		}
	}
	n := len(halves) / 2
	x, wide := mem.load(kernel.BF16, halves), mem.room(kernel.F32, n)
	m.launch(mem, "convert_bf16_f32", kernels.Elements(n, m.table.cores), func(l *cuda.Launch) { l.Ptr(address(x)).Ptr(address(wide)).I64(int64(n)) })
	for i, got := range mem.read(wide) {
		if want := bf16.BF16(i).Float32(); math.Float32bits(got) != math.Float32bits(want) {
			t.Fatalf("BF16 %04x is %08x as float32, want %08x", i, math.Float32bits(got), math.Float32bits(want))
		}
	}
	n = len(singles) / 4
	y, narrow := mem.load(kernel.F32, singles), mem.room(kernel.BF16, n)
	m.launch(mem, "convert_f32_bf16", kernels.Elements(n, m.table.cores), func(l *cuda.Launch) { l.Ptr(address(y)).Ptr(address(narrow)).I64(int64(n)) })
	for got := mem.bytes(narrow); n > 0; n-- {
		bits := binary.LittleEndian.Uint32(singles[4*n-4:])
		if g, want := binary.LittleEndian.Uint16(got[2*n-2:]), uint16(bf16.FromFloat32(math.Float32frombits(bits))); g != want {
			t.Fatalf("float32 %08x is %04x as BF16, want %04x", bits, g, want)
		}
	}
}

func TestStandinConversions(t *testing.T) { onStandin(t).conversions(t) }
func TestCUDAConversions(t *testing.T)    { onGPU(t).conversions(t) }

// masks: the mask of a dropout has the bits of kernel.Header.DropoutWord, for all kinds of rows.
func (m *machine) masks(t *testing.T) {
	mem := m.memory(t)
	random := rng.NewStream(3, rng.Probe, 4, 0, 0)
	const tokens = 60
	pack := kernel.Pack{Offsets: []int32{0, 7, 20, 21, 50}, Masked: []int32{3, 8, 20, 49}, Labels: make([]int32, 4), Step: 1 << 31, Seed: 0xfedcba9876543210, Ordinal: 1 << 28}
	words := make([]int32, kernel.HeaderWords(tokens))
	pack.Fill(words, tokens)
	var image []byte
	for _, w := range words {
		image = binary.LittleEndian.AppendUint32(image, uint32(w))
	}
	h, view := mem.load(kernel.I32, image), kernel.ViewHeader(words, tokens)
	for kind := kernel.RowsAll; kind <= kernel.RowsPieces; kind++ {
		for _, width := range []int{1, 5, 8, 100} {
			drop := kernel.Dropout{P: float32(random.Float64()), Site: uint32(random.Intn(1 << 24))}
			mask := mem.room(kernel.I16, tokens*width/2)
			m.launch(mem, "dropout_mask", kernels.Tiles(tokens, width, m.table.cores), func(l *cuda.Launch) {
				shape(l.Ptr(address(h)).Ptr(address(mask)), tokens, kind, tokens, width).U32(drop.Site).U32(drop.Threshold())
			})
			got := mem.bytes(mask)
			for row := range view.Count(kind, tokens) {
				for c := range width {
					keep := view.DropoutWord(drop.Site, view.DropoutElement(kind, row, width)+uint64(c)) >= drop.Threshold()
					if got[row*width+c] != byte(number(keep)) {
						t.Fatalf("rows of kind %d, width %d, P %v: the mask of row %d, column %d is %d, want %v", kind, width, drop.P, row, c, got[row*width+c], keep)
					}
				}
			}
		}
	}
}

func TestStandinMasks(t *testing.T) { onStandin(t).masks(t) }
func TestCUDAMasks(t *testing.T)    { onGPU(t).masks(t) }
