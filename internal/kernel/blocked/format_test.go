package blocked_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/secencoder/secencoder/internal/bf16"
	"github.com/secencoder/secencoder/internal/kernel/blocked"
)

// formats returns both formats of a family by name.
func formats(p *blocked.Prims) map[string]*blocked.Format {
	return map[string]*blocked.Format{"Single": &p.Single, "Half": &p.Half}
}

// halves returns x rounded to BF16 between guard values, and x as it is then.
func halves(x []float32) ([]bf16.BF16, []float32) {
	all, wide := make([]bf16.BF16, len(x)+3), make([]float32, len(x))
	for i := range all {
		all[i] = 0x7fc0 // NaN
	}
	h := all[1 : 1+len(x) : 1+len(x)]
	for i, v := range x {
		h[i] = bf16.FromFloat32(v)
		wide[i] = h[i].Float32()
	}
	return h, wide
}

// TestPacking holds the packing loops that fill panels of float32 against the portable ones, exactly, from sources of
// both types, and all others against writing beyond the panel; TestTile has their order of elements.
func TestPacking(t *testing.T) {
	portable := blocked.Portable()
	for _, p := range vectors(t) {
		for kind, f := range formats(&p) {
			rnd := rand.New(rand.NewPCG(3, 4))
			want := formats(&portable)[kind]
			for _, width := range []int{f.MR, 16} {
				for rows := 1; rows <= width; rows++ {
					for _, k := range []int{0, 1, 2, 5, 7, 8, 9, 15, 16, 17, 33, 64} {
						ld := max(k, rows) + rnd.IntN(5)
						single, _ := guarded(rnd, ld*max(k, rows))
						half, _ := halves(single)
						for _, cols := range []bool{false, true} {
							pack, ref, n := f.PackRows, want.PackRows, rows
							if cols {
								pack, ref, n = f.PackCols, want.PackCols, k
							}
							for i, src := range []blocked.Values{{F32: single}, {BF16: half}, {F32: single}} {
								at, ld := 0, ld
								if i == 2 {
									at, ld = max(0, n-1)*ld, -ld
								}
								got, intact := guarded(rnd, f.Len(width, k))
								pack(got, width, src, at, ld, rows, k)
								if !intact() {
									t.Fatalf("%s: %s: packing (columns %v, width %d, rows %d, k %d) writes beyond the panel", p.Name, kind, cols, width, rows, k)
								}
								if f.Half {
									continue
								}
								plain := make([]float32, k*width)
								ref(plain, width, src, at, ld, rows, k)
								for i := range plain {
									if got[i] != plain[i] {
										t.Fatalf("%s: %s: packing (columns %v, width %d, rows %d, k %d, stride %d): element %d is %g, want %g", p.Name, kind, cols, width, rows, k, ld, i, got[i], plain[i])
									}
								}
							}
						}
					}
				}
			}
		}
	}
}

// TestTile holds packing and micro-kernels against plain sums, for every m, n, with and without bias and addition, with
// sources of both types and both orders. 21 terms of size about 1, at most 2^5 in sum, are off by at most 21·2^-24·2^5.
func TestTile(t *testing.T) {
	for _, p := range families() {
		for kind, f := range formats(&p) {
			rnd := rand.New(rand.NewPCG(5, 6))
			for m := 1; m <= f.MR; m++ {
				for n := 1; n <= f.NR; n++ {
					k := []int{0, 1, 3, 4, 5, 19, 64, 95}[rnd.IntN(8)]
					add, bias := rnd.IntN(2) == 0, rnd.IntN(2) == 0
					// operand makes a matrix of r rows by k terms, stored either way, in either type, and packs it.
					operand := func(width, r int) (value func(i, p int) float64, panels []float32, stride int) {
						trans, half := rnd.IntN(2) == 0, rnd.IntN(2) == 0
						x, _ := guarded(rnd, r*k)
						h, rounded := halves(x)
						src := blocked.Values{F32: x}
						if half {
							src = blocked.Values{BF16: h}
						}
						if half || kind == "Half" {
							x = rounded
						}
						value = func(i, p int) float64 {
							if trans {
								return float64(x[p*r+i])
							}
							return float64(x[i*k+p])
						}
						stride = f.Len(width, k) + rnd.IntN(20)
						panels, _ = guarded(rnd, max(0, (r+width-1)/width-1)*stride+f.Len(width, k))
						for i := 0; i < r; i += width {
							if trans {
								f.PackCols(panels[i/width*stride:], width, src, i, r, min(width, r-i), k)
							} else {
								f.PackRows(panels[i/width*stride:], width, src, i*k, k, min(width, r-i), k)
							}
						}
						return value, panels, stride
					}
					av, a, _ := operand(f.MR, m)
					bv, b, stride := operand(16, n)
					ldc := n + rnd.IntN(5)
					c, intact := guarded(rnd, (m-1)*ldc+n)
					var start []float32
					if bias {
						start, _ = guarded(rnd, n)
					}
					want := append([]float32(nil), c...)
					for i := range m {
						for j := range n {
							s := 0.0
							for q := range k {
								s += av(i, q) * bv(j, q)
							}
							if bias {
								s += float64(start[j])
							}
							if add {
								s += float64(c[i*ldc+j])
							}
							want[i*ldc+j] = float32(s)
						}
					}
					f.Tile(k, a, b, stride, c, ldc, start, m, n, add)
					for i := range c {
						if !near(float64(c[i]), float64(want[i]), 0x1p-15) {
							t.Fatalf("%s: %s: Tile(k %d, m %d, n %d, bias %v, add %v): element %d is %g, want %g", p.Name, kind, k, m, n, bias, add, i, c[i], want[i])
						}
					}
					if !intact() {
						t.Fatalf("%s: %s: Tile(m %d, n %d) writes beyond C", p.Name, kind, m, n)
					}
				}
			}
		}
	}
}

// TestInPlace holds products that read A where it lies against those of packed panels, bit for bit.
func TestInPlace(t *testing.T) {
	for _, p := range vectors(t) {
		for kind, f := range formats(&p) {
			if f.InPlace == nil {
				continue
			}
			rnd := rand.New(rand.NewPCG(7, 8))
			for range 1000 {
				m, n, k := 1+rnd.IntN(3*f.MR+1), 1+rnd.IntN(70), rnd.IntN(40)
				switch rnd.IntN(16) {
				case 0, 1:
					k = f.Depth
				case 2: // more panels than one call takes
					m = 1 + rnd.IntN(80*f.MR)
				}
				trans, add, bias := rnd.IntN(2) == 0, rnd.IntN(2) == 0, rnd.IntN(2) == 0
				if f.Half {
					k, trans = k&^1, false
				}
				rows, cols, pack := m, k, f.PackRows
				if trans {
					rows, cols, pack = k, m, f.PackCols
				}
				ld, at := cols+rnd.IntN(5), rnd.IntN(5)
				x, _ := guarded(rnd, at+rows*ld+cols)
				a := blocked.Values{F32: x}
				if f.Half {
					h, _ := halves(x)
					a = blocked.Values{BF16: h}
				}
				panel := f.Len(f.MR, k)
				panels := make([]float32, (m+f.MR-1)/f.MR*panel)
				for i := 0; i < m; i += f.MR {
					from := at + i*ld
					if trans {
						from = at + i
					}
					pack(panels[i/f.MR*panel:], f.MR, a, from, ld, min(f.MR, m-i), k)
				}
				stride := f.Len(16, k) + rnd.IntN(20)
				b, _ := guarded(rnd, (n+15)/16*stride+f.Len(16, k))
				if f.Half {
					for i := range b { // pairs of small numbers
						b[i] = math.Float32frombits(uint32(bf16.FromFloat32(b[i]))<<16 | uint32(bf16.FromFloat32(-b[i])))
					}
				}
				ldc := n + rnd.IntN(5)
				c, intact := guarded(rnd, (m-1)*ldc+n)
				want := append([]float32(nil), c...)
				var start []float32
				if bias {
					start, _ = guarded(rnd, n)
				}
				byTile := append([]float32(nil), c...)
				f.Sweep(m, n, k, panels, b, stride, want, ldc, start, add)
				for i := 0; i < m; i += f.MR {
					for j := 0; j < n; j += 32 {
						var from []float32
						if bias {
							from = start[j:min(j+32, n)]
						}
						f.Tile(k, panels[i/f.MR*panel:], b[j/16*stride:], stride, byTile[i*ldc+j:], ldc, from, min(f.MR, m-i), min(32, n-j), add)
					}
				}
				f.InPlace(m, n, k, a, at, ld, trans, panels[m/f.MR*panel:], b, stride, c, ldc, start, add)
				what := fmt.Sprintf("%s: %s: m %d, n %d, k %d, trans %v, bias %v, add %v", p.Name, kind, m, n, k, trans, bias, add)
				for i := range c {
					if math.Float32bits(c[i]) != math.Float32bits(want[i]) {
						t.Fatalf("%s: element %d is %g in place, %g packed", what, i, c[i], want[i])
					}
					if math.Float32bits(want[i]) != math.Float32bits(byTile[i]) {
						t.Fatalf("%s: element %d is %g in a sweep, %g by tiles", what, i, want[i], byTile[i])
					}
				}
				if !intact() {
					t.Fatalf("%s: writes beyond C", what)
				}
			}
		}
	}
}

// TestPackWide holds panels packed side by side against panels packed one by one, word for word.
func TestPackWide(t *testing.T) {
	for _, p := range vectors(t) {
		for kind, f := range formats(&p) {
			if f.PackWide == nil {
				continue
			}
			rnd := rand.New(rand.NewPCG(9, 10))
			for _, width := range []int{f.MR, 16} {
				for range 300 {
					panels, k := 1+rnd.IntN(5), rnd.IntN(70)
					ld, at := panels*width+rnd.IntN(5), rnd.IntN(5)
					x, _ := guarded(rnd, at+k*ld+panels*width)
					half, _ := halves(x)
					for _, src := range []blocked.Values{{F32: x}, {BF16: half}} {
						stride := f.Len(width, k) + rnd.IntN(20)
						got, intact := guarded(rnd, (panels-1)*stride+f.Len(width, k))
						want := append([]float32(nil), got...)
						f.PackWide(got, width, stride, src, at, ld, panels, k)
						for j := range panels {
							f.PackCols(want[j*stride:], width, src, at+j*width, ld, width, k)
						}
						what := fmt.Sprintf("%s: %s: width %d, %d panels, k %d, BF16 %v", p.Name, kind, width, panels, k, src.BF16 != nil)
						for i := range got {
							if math.Float32bits(got[i]) != math.Float32bits(want[i]) {
								t.Fatalf("%s: word %d is %x, want %x", what, i, math.Float32bits(got[i]), math.Float32bits(want[i]))
							}
						}
						if !intact() {
							t.Fatalf("%s: writes beyond the panels", what)
						}
					}
				}
			}
		}
	}
}
