//go:build !noasm

package amx

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"unsafe"

	"github.com/secencoder/secencoder/internal/alloctest"
	"github.com/secencoder/secencoder/internal/bf16"
	"github.com/secencoder/secencoder/internal/kernel/blocked"
)

// halves returns packed words as elements.
func halves(words []float32) []bf16.BF16 {
	return unsafe.Slice((*bf16.BF16)(unsafe.Pointer(unsafe.SliceData(words))), 2*len(words))
}

// place returns where element (i, p) of a panel of the given width stands, by the layout's definition.
func place(width, i, p int) int {
	step, q := p/stepTerms, p%stepTerms
	if width == heightA {
		return step*1024 + i/16*512 + i%16*32 + q
	}
	return step*512 + q/2*32 + i*2 + q%2
}

// Every element in its place, zeros elsewhere, nothing written behind the panel, for both types, all tails, any stride.
func TestPack(t *testing.T) {
	vectors(t)
	random := rand.New(rand.NewPCG(5, 5))
	f := Prims().Half
	for _, width := range []int{heightA, widthB} {
		for _, rows := range []int{0, 1, 7, 15, 16, 17, 31, 32} {
			for _, k := range []int{0, 1, 2, 15, 31, 32, 33, 63, 64, 65, 96, 100} {
				if rows > width {
					continue
				}
				for mode := range 8 {
					half, cols, back := mode&1 > 0, mode&2 > 0, mode&4 > 0
					name := fmt.Sprintf("width %d, %d rows, %d terms, bf16 %v, cols %v, back %v", width, rows, k, half, cols, back)
					ld := max(k, rows) + random.IntN(3)
					source := make([]float32, max(k, rows, 1)*ld+max(k, rows))
					for i := range source {
						source[i] = float32(random.NormFloat64())
					}
					values, rounded := blocked.Values{F32: source}, make([]bf16.BF16, len(source))
					for i, x := range source {
						rounded[i] = bf16.FromFloat32(x)
					}
					if half {
						values = blocked.Values{BF16: rounded}
					}
					at, pack, lines := 0, f.PackRows, rows
					if cols {
						pack, lines = f.PackCols, k
					}
					if back {
						at, ld = max(0, lines-1)*ld, -ld
					}
					n := f.Len(width, k)
					dst := make([]float32, n+16)
					for i := range dst {
						dst[i] = float32(math.NaN())
					}
					want := make([]bf16.BF16, 2*n)
					for i := range rows {
						for p := range k {
							from := at + i*ld + p
							if cols {
								from = at + p*ld + i
							}
							want[place(width, i, p)] = rounded[from]
						}
					}
					pack(dst, width, values, at, ld, rows, k)
					for i, got := range halves(dst[:n]) {
						if got != want[i] {
							t.Fatalf("%s: element %d is %v, want %v", name, i, got.Float32(), want[i].Float32())
						}
					}
					for i, x := range dst[n:] {
						if x == x {
							t.Fatalf("%s: word %d behind the panel was written", name, i)
						}
					}
				}
			}
		}
	}
}

// What packing rounds differently: denormals are zero.
func TestPackSpecialValues(t *testing.T) {
	vectors(t)
	inf := float32(math.Inf(1))
	source := []float32{inf, -inf, float32(math.NaN()), 0x1p-130, -0x1p-126, 0x1.ffp127, 0x1.01p0, 0x1.03p0}
	want := []float32{inf, -inf, float32(math.NaN()), 0, -0x1p-126, inf, 1, 0x1.04p0}
	dst := make([]float32, tileWords)
	packRows(dst, widthB, blocked.Values{F32: source}, 0, 0, 1, len(source))
	for p, w := range want {
		if got := halves(dst)[place(widthB, 0, p)].Float32(); got != w && (got == got || w == w) {
			t.Errorf("%v became %v, want %v", source[p], got, w)
		}
	}
}

// Nothing is read behind the source or written behind the panel: there is no memory.
func TestPackStaysInside(t *testing.T) {
	vectors(t)
	f := Prims().Half
	for _, width := range []int{heightA, widthB} {
		for _, s := range [][2]int{{16, 32}, {width, 64}, {3, 5}, {15, 33}, {width - 1, 95}} {
			rows, k := s[0], s[1]
			single := guarded(t, rows*k)
			half := halves(guarded(t, (rows*k+1)/2))
			half = half[len(half)-rows*k:]
			dst := guarded(t, f.Len(width, k))
			for _, v := range []blocked.Values{{F32: single}, {BF16: half}} {
				packRows(dst, width, v, 0, k, rows, k)
				packCols(dst, width, v, 0, rows, rows, k)
			}
		}
	}
}

func TestPackRefusesShortOperands(t *testing.T) {
	vectors(t)
	for i, f := range []func(){
		func() {
			packRows(make([]float32, 511), heightA, blocked.Values{F32: make([]float32, 4096)}, 0, 32, 32, 32)
		},
		func() {
			packRows(make([]float32, 512), heightA, blocked.Values{F32: make([]float32, 1023)}, 0, 32, 32, 32)
		},
		func() {
			packRows(make([]float32, 512), heightA, blocked.Values{BF16: make([]bf16.BF16, 4096)}, 31, -32, 32, 32)
		},
		func() {
			packCols(make([]float32, 255), widthB, blocked.Values{F32: make([]float32, 4096)}, 0, 32, 16, 32)
		},
		func() {
			packCols(make([]float32, 256), widthB, blocked.Values{F32: make([]float32, 1000)}, 0, 32, 16, 32)
		},
		func() {
			packCols(make([]float32, 256), widthB, blocked.Values{BF16: make([]bf16.BF16, 4096)}, 15, -32, 16, 32)
		},
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("case %d went through", i)
				}
			}()
			f()
		}()
	}
}

// Tails pass buffers; those must not be allocated.
func TestPackAllocatesNothing(t *testing.T) {
	vectors(t)
	dst, source := make([]float32, 32*33), make([]float32, 40*40)
	half := make([]bf16.BF16, 40*40)
	if n := alloctest.Fewest(func() {
		for range 20 {
			for _, v := range []blocked.Values{{F32: source}, {BF16: half}} {
				packRows(dst, heightA, v, 0, 40, 30, 37)
				packCols(dst, heightA, v, 0, 40, 30, 37)
				packRows(dst, widthB, v, 0, 40, 13, 37)
				packCols(dst, widthB, v, 0, 40, 13, 37)
			}
		}
	}); n > 0 {
		t.Errorf("%v allocations in 160 calls", n)
	}
}
