package blocked_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/secencoder/secencoder/internal/alloctest"
	"github.com/secencoder/secencoder/internal/bf16"
	"github.com/secencoder/secencoder/internal/kernel"
	"github.com/secencoder/secencoder/internal/kernel/blocked"
)

// vectors are the families in assembly.
func vectors(t *testing.T) []blocked.Prims {
	list := families()[1:]
	if len(list) == 0 {
		t.Skip("this machine runs the portable loops only")
	}
	return list
}

const guard = 1234.5

// guarded returns n random values at an odd place between guard values, and a check of those.
func guarded(rnd *rand.Rand, n int) (x []float32, intact func() bool) {
	all := make([]float32, n+40)
	for i := range all {
		all[i] = guard
	}
	at := 1 + rnd.IntN(17)
	x = all[at : at+n : at+n]
	for i := range x {
		x[i] = float32(rnd.NormFloat64())
	}
	return x, func() bool {
		for i, v := range all {
			if (i < at || i >= at+n) && v != guard {
				return false
			}
		}
		return true
	}
}

// near reports whether got is within tol·(1 + Σ|terms|) of want.
func near(got, want, tol float64) bool {
	return math.Abs(got-want) <= tol || math.IsNaN(got) && math.IsNaN(want)
}

// TestLoops holds every vector loop of rows against the portable one, for all lengths to 100 and some beyond, at odd
// addresses, in place and not. Bounds: a sum of n terms of size about 1 is off by at most n·2^-23.
func TestLoops(t *testing.T) {
	want := blocked.Portable()
	lengths := []int{127, 128, 129, 255, 256, 257, 300, 777}
	for n := range 101 {
		lengths = append(lengths, n)
	}
	for _, p := range vectors(t) {
		rnd := rand.New(rand.NewPCG(1, 2))
		for _, n := range lengths {
			tol := float64(n+8) * 0x1p-22
			loops := map[string]func(p blocked.Prims, x [][]float32) []float32{
				"Add":             func(p blocked.Prims, x [][]float32) []float32 { p.Add(x[0], x[1], x[2]); return nil },
				"Add in place":    func(p blocked.Prims, x [][]float32) []float32 { p.Add(x[0], x[0], x[2]); return nil },
				"Scale":           func(p blocked.Prims, x [][]float32) []float32 { p.Scale(x[0], x[1], -0.75); return nil },
				"Dot":             func(p blocked.Prims, x [][]float32) []float32 { return []float32{p.Dot(x[1], x[2])} },
				"Sum":             func(p blocked.Prims, x [][]float32) []float32 { return []float32{p.Sum(x[1])} },
				"Shift":           func(p blocked.Prims, x [][]float32) []float32 { p.Shift(x[0], x[1], 1.5); return nil },
				"Max":             func(p blocked.Prims, x [][]float32) []float32 { return []float32{p.Max(x[1])} },
				"SumSquares":      func(p blocked.Prims, x [][]float32) []float32 { return []float32{float32(p.SumSquares(x[1]))} },
				"ExpSum":          func(p blocked.Prims, x [][]float32) []float32 { return []float32{p.ExpSum(x[0], x[1], 0.3, 2)} },
				"ExpSum in place": func(p blocked.Prims, x [][]float32) []float32 { return []float32{p.ExpSum(x[0], x[0], 0.3, 2)} },
				"SoftmaxGrad":     func(p blocked.Prims, x [][]float32) []float32 { p.SoftmaxGrad(x[0], x[1], x[2], 0.5, 0.25); return nil },
				"Gelu":            func(p blocked.Prims, x [][]float32) []float32 { p.Act(kernel.Gelu, x[0], x[1]); return nil },
				"GeluGrad":        func(p blocked.Prims, x [][]float32) []float32 { p.ActGrad(kernel.Gelu, x[0], x[1], x[2]); return nil },
				"Mish":            func(p blocked.Prims, x [][]float32) []float32 { p.Act(kernel.Mish, x[0], x[1]); return nil },
				"MishGrad":        func(p blocked.Prims, x [][]float32) []float32 { p.ActGrad(kernel.Mish, x[0], x[1], x[2]); return nil },
				"NormRow": func(p blocked.Prims, x [][]float32) []float32 {
					if n == 0 {
						return nil
					}
					m, r := p.NormRow(x[0], x[1], x[2], x[3], 1e-1)
					return []float32{m, r}
				},
				"NormGradRow": func(p blocked.Prims, x [][]float32) []float32 {
					if n > 0 {
						p.NormGradRow(x[0], x[1], x[2], x[3], 0.1, 0.9, x[4], x[5])
					}
					return nil
				},
				"NormGradRow sums": func(p blocked.Prims, x [][]float32) []float32 {
					if n > 0 {
						p.NormGradRow(nil, x[1], x[2], x[3], 0.1, 0.9, x[4], x[5])
					}
					return nil
				},
				"AdamW": func(p blocked.Prims, x [][]float32) []float32 {
					for i := range x[3] {
						x[3][i] = x[3][i] * x[3][i]
					}
					p.AdamW(x[0], x[1], x[2], x[3], &blocked.AdamWScalars{Keep: 0.99, Clip: 0.5, OneB1: 0.1, Beta2: 0.98, OneB2: 0.02, Rate: 0.001, Root: 0.5, Eps: 1e-3})
					return nil
				},
			}
			for name, loop := range loops {
				var got, ref [][]float32
				var intact []func() bool
				for range 6 {
					x, ok := guarded(rnd, n)
					got, intact = append(got, x), append(intact, ok)
					ref = append(ref, append([]float32(nil), x...))
				}
				g, w := loop(p, got), loop(want, ref)
				for i := range w {
					if g[i] != w[i] && !near(float64(g[i]), float64(w[i]), tol*(1+math.Abs(float64(w[i])))) {
						t.Fatalf("%s: %s(%d) returns %g, want %g", p.Name, name, n, g[i], w[i])
					}
				}
				for i := range ref {
					for j := range ref[i] {
						if !near(float64(got[i][j]), float64(ref[i][j]), tol*(1+math.Abs(float64(ref[i][j])))) {
							t.Fatalf("%s: %s(%d): operand %d, element %d is %g, want %g", p.Name, name, n, i, j, got[i][j], ref[i][j])
						}
					}
					if !intact[i]() {
						t.Fatalf("%s: %s(%d) writes beyond operand %d", p.Name, name, n, i)
					}
				}
			}
		}
	}
}

// TestAddTransposed holds transposed addition against the portable loop, exactly.
func TestAddTransposed(t *testing.T) {
	want := blocked.Portable()
	for _, p := range vectors(t) {
		rnd := rand.New(rand.NewPCG(3, 4))
		for rows := 1; rows < 40; rows += 3 {
			for cols := 1; cols < 40; cols++ {
				ldd, lds := cols+rnd.IntN(3), rows+rnd.IntN(3)
				src, _ := guarded(rnd, lds*cols)
				dst, intact := guarded(rnd, ldd*rows)
				ref := append([]float32(nil), dst...)
				p.AddTransposed(dst, ldd, src, lds, rows, cols)
				want.AddTransposed(ref, ldd, src, lds, rows, cols)
				for i := range ref {
					if dst[i] != ref[i] {
						t.Fatalf("%s: AddTransposed(%d, %d): element %d is %g, want %g", p.Name, rows, cols, i, dst[i], ref[i])
					}
				}
				if !intact() {
					t.Fatalf("%s: AddTransposed(%d, %d) writes beyond", p.Name, rows, cols)
				}
			}
		}
	}
}

// TestLooks holds the look-ups of tiles against an element at a time, with runs of slots of all lengths. A sum of 16 values
// of size about 1 from prefix sums is off by at most 16·2^-24·Σ|x|.
func TestLooks(t *testing.T) {
	for _, p := range vectors(t) {
		if p.Scores.Look == nil {
			continue
		}
		rnd := rand.New(rand.NewPCG(9, 10))
		for round := range 600 {
			rows, cols, base := 1+rnd.IntN([]int{5, 40}[round/4%2]), 1+rnd.IntN(100), rnd.IntN(500)
			odds := []int{1, 3, 9, 27}[round%4]
			index, slot := make([]int16, rows+cols-1), base
			for i := range index {
				if rnd.IntN(odds) == 0 && i > 0 {
					slot++
				}
				index[i] = int16(slot)
			}
			at, ldx, ldt := rows-1, cols+rnd.IntN(3), slot-base+1+rnd.IntN(3)
			element := func(i, j int) int { return i*ldt + int(index[at-i+j]) - base }
			wide, intact := guarded(rnd, rows*ldt+15)
			x, sound := guarded(rnd, rows*ldx)
			was, table := append([]float32(nil), x...), append([]float32(nil), wide...)
			check := func(name string, got []float32, want []float32) {
				t.Helper()
				for i := range want {
					if !near(float64(got[i]), float64(want[i]), 0x1p-15) {
						t.Fatalf("%s: %s of %d×%d, runs of %d: element %d is %g, want %g", p.Name, name, rows, cols, odds, i, got[i], want[i])
					}
				}
				if !intact() || !sound() {
					t.Fatalf("%s: %s of %d×%d writes beyond", p.Name, name, rows, cols)
				}
			}
			added, summed := append([]float32(nil), was...), append([]float32(nil), table...)
			for i := range rows {
				for j := range cols {
					added[i*ldx+j] += table[element(i, j)]
					summed[element(i, j)] += was[i*ldx+j]
				}
			}
			p.Scores.Look(x, ldx, wide[:rows*ldt], ldt, index, at, base, rows, cols)
			check("Look", x, added)
			copy(x, was)
			p.Scores.Sum(wide[:rows*ldt], ldt, x, ldx, index, at, base, rows, cols)
			check("Sum", wide, summed)

			ldx = rows + rnd.IntN(3)
			x, sound = guarded(rnd, cols*ldx)
			copy(wide, table)
			was = append(was[:0], x...)
			added, summed = append([]float32(nil), was...), append([]float32(nil), table...)
			for i := range rows {
				for j := range cols {
					added[j*ldx+i] += table[element(i, j)]
					summed[element(i, j)] += was[j*ldx+i]
				}
			}
			p.Scores.LookTurned(x, ldx, wide[:rows*ldt], ldt, index, at, base, rows, cols)
			check("LookTurned", x, added)
			copy(x, was)
			p.Scores.SumTurned(wide[:rows*ldt], ldt, x, ldx, index, at, base, rows, cols)
			check("SumTurned", wide, summed)
		}
	}
}

// Loops over tiles refuse memory that they would leave.
func TestTilesRefuse(t *testing.T) {
	for _, p := range vectors(t) {
		if !strings.HasPrefix(p.Name, "avx512") {
			continue
		}
		const n, ld = 16, 32
		index := make([]int16, 2*n)
		for name, f := range map[string]func(){
			"Half beside S": func() {
				s, v := make([]float32, ld/2+n*ld), make([]float32, n)
				tile := blocked.ScoreTile{Rows: n, Cols: n, LD: ld, S: s[ld/2:], M: v, L: v, Alpha: v, Sub: v, Half: make([]bf16.BF16, 2*len(s))}
				p.Scores.Softmax(&tile)
			},
			"LookTurned, x": func() {
				p.Scores.LookTurned(make([]float32, n*n-1), n, make([]float32, n*n+15), n, index, n, 0, n, n)
			},
			"LookTurned, table": func() {
				p.Scores.LookTurned(make([]float32, n*n), n, make([]float32, (n-1)*n+15), n, index, n, 0, n, n)
			},
			"SumTurned, index": func() {
				p.Scores.SumTurned(make([]float32, n*n), n, make([]float32, n*n), n, index, n-2, 0, n, n)
			},
		} {
			if !panics(f) {
				t.Errorf("%s: %s: no panic", p.Name, name)
			}
		}
	}
}

func panics(f func()) (does bool) {
	defer func() { does = recover() != nil }()
	f()
	return false
}

// TestDropoutBits wants the masks of the portable loops, whatever the length, the first element and the carries.
func TestDropoutBits(t *testing.T) {
	want := blocked.Portable()
	starts := []uint64{0, 1, 2, 3, 1<<34 - 40, 1<<34 - 1, 1 << 40, math.MaxUint64 / 3}
	c := blocked.Counter{Step: 7, Site: 0x6000005, Key: [2]uint32{0x12345678, 0x9abcdef0}}
	for _, p := range vectors(t) {
		rnd := rand.New(rand.NewPCG(7, 8))
		for n := 0; n < 300; n += 1 + n/40 {
			for _, start := range starts {
				src, _ := guarded(rnd, n)
				got, intact := guarded(rnd, n)
				ref := make([]float32, n)
				for name, f := range map[string][2]func([]float32, []float32, uint64, blocked.Counter, uint32, float32){
					"Dropout": {p.Dropout, want.Dropout}, "DropoutHalf": {p.DropoutHalf, want.DropoutHalf},
				} {
					threshold := map[string]uint32{"Dropout": 0x60000000, "DropoutHalf": 0x6000}[name]
					f[0](got, src, start, c, threshold, 1.6)
					f[1](ref, src, start, c, threshold, 1.6)
					for i := range ref {
						if got[i] != ref[i] {
							t.Fatalf("%s: %s of %d elements from %#x: element %d is %g, want %g", p.Name, name, n, start, i, got[i], ref[i])
						}
					}
					if !intact() {
						t.Fatalf("%s: %s of %d elements writes beyond", p.Name, name, n)
					}
				}
			}
		}
	}
}

// TestAccuracy walks float32 bit patterns over the whole range, 4,099 apart (the rarer functions 32,771), and measures units in the last place
// against float64. Below 2^-118 the unit stays what it is there, 2^-142.
func TestAccuracy(t *testing.T) {
	patterns := func(step uint64) (x []float32) {
		for b := uint64(0); b < 1<<32; b += step {
			if v := math.Float32frombits(uint32(b)); v == v && !math.IsInf(float64(v), 0) {
				x = append(x, v)
			}
		}
		return x
	}
	fine, coarse := patterns(4099), patterns(32771)
	ones := make([]float32, len(fine))
	for i := range ones {
		ones[i] = 1
	}
	for _, p := range vectors(t) {
		type function struct {
			name string
			f    func(dst, x []float32)
			want func(float64) float64
			ulps float64
			size func(x float64) float64 // what an error is measured against: nil is the result
		}
		list := []function{{"exp", func(dst, x []float32) { p.ExpSum(dst, x, 1, 0) }, math.Exp, 1.1, nil}}
		for act := kernel.Gelu; act <= kernel.Sigmoid; act++ {
			ulps, value, slope := 5.0, act.Value, act.Slope
			terms := func(x float64) float64 { return math.Abs(slope(x)) }
			switch act {
			case kernel.Relu, kernel.Mish:
				ulps = 1 // the portable loops: float64, rounded once
			case kernel.Gelu: // both terms, where the sum passes through 0
				terms = func(x float64) float64 {
					return 0.5*math.Erfc(-x/math.Sqrt2) + math.Abs(x)*math.Exp(-x*x/2)/math.Sqrt(2*math.Pi)
				}
			case kernel.Tanh, kernel.Sigmoid: // 1 − tanh² and σ·(1 − σ) without the cancellation
				rate := 2.0
				if act == kernel.Sigmoid {
					rate = 1
				}
				slope = func(x float64) float64 {
					e := math.Exp(-rate * math.Abs(x))
					return rate * rate * e / (1 + e) / (1 + e)
				}
			case kernel.Silu, kernel.QuickGelu: // z and both terms
				ulps = 100 // z = 1.702·x is rounded: |z|/2 units of e^z, |z| ≤ 104, and the term x·σ adds as many
				terms = func(x float64) float64 { return math.Abs(slope(x)) + math.Abs(act.Value(x)) }
			case kernel.GeluNew:
				ulps = 160 // the same with the three roundings of z; σ(2u) for ½ + ½·tanh u, which cancels
				sigma := func(x float64) float64 { return 1 / (1 + math.Exp(-2*0.7978845608028654*x*(1+0.044715*x*x))) }
				value = func(x float64) float64 { return x * sigma(x) }
				slope = func(x float64) float64 {
					if s := sigma(x); s > 0 && s < 1 {
						return s + x*s*sigma(-x)*2*0.7978845608028654*(1+3*0.044715*x*x)
					} else {
						return s
					}
				}
				terms = func(x float64) float64 { return math.Abs(slope(x)) + math.Abs(value(x)) }
			}
			list = append(list,
				function{act.String(), func(dst, x []float32) { p.Act(act, dst, x) }, value, ulps, nil},
				function{act.String() + "'", func(dst, x []float32) { p.ActGrad(act, dst, ones[:len(x)], x) }, slope, ulps, terms})
		}
		for _, c := range list {
			x := coarse
			if c.name == "exp" || strings.HasPrefix(c.name, kernel.Gelu.String()) {
				x = fine
			}
			got := make([]float32, len(x))
			c.f(got, x)
			worst, at := 0.0, float32(0)
			for i, v := range x {
				want := c.want(float64(v))
				if math.Abs(want) > math.MaxFloat32 {
					if g := float64(got[i]); !math.IsInf(g, 0) && g < math.MaxFloat32 {
						t.Fatalf("%s: %s(%g) is %g, want Inf", p.Name, c.name, v, got[i])
					}
					continue
				}
				size := math.Abs(want)
				if c.size != nil {
					size = c.size(float64(v))
				}
				if math.IsNaN(want) { // 0·Inf in the formula of a far tail
					want, size = 0, 0
				}
				unit := math.Max(ulp(size), 0x1p-149*128)
				if e := math.Abs(float64(got[i])-want) / unit; e > worst || math.IsNaN(e) {
					worst, at = e, v
				}
			}
			if !(worst <= c.ulps) {
				t.Errorf("%s: %s is off by %.2f units in the last place at %g (%#08x), at most %g", p.Name, c.name, worst, at, math.Float32bits(at), c.ulps)
			}
			t.Logf("%s: %s: worst %.2f units in the last place, at %g", p.Name, c.name, worst, at)
		}
	}
}

// ulp is the distance of float32 values at x.
func ulp(x float64) float64 {
	_, e := math.Frexp(x)
	return math.Ldexp(1, e-24)
}

// TestNotNumbers wants NaN and infinities to pass as the formulas have it.
func TestNotNumbers(t *testing.T) {
	inf := float32(math.Inf(1))
	nan := float32(math.NaN())
	for _, p := range families() {
		x := []float32{nan, -inf, 0, nan}
		dst := make([]float32, 4)
		if s := p.ExpSum(dst, x, 1, 0); s == s || dst[0] == dst[0] || dst[1] != 0 || dst[2] != 1 {
			t.Errorf("%s: exp of NaN, −Inf, 0 is %v, sum %g", p.Name, dst, s)
		}
		p.ExpSum(dst[:1], []float32{inf}, 1, 0)
		if dst[0] != inf {
			t.Errorf("%s: exp of Inf is %g", p.Name, dst[0])
		}
		p.Act(kernel.Gelu, dst, []float32{nan, inf, 0, float32(math.Copysign(0, -1))})
		if dst[0] == dst[0] || dst[1] != inf || dst[2] != 0 || dst[3] != 0 {
			t.Errorf("%s: gelu of NaN, Inf, 0, −0 is %v", p.Name, dst)
		}
		if m := p.Max(nil); m != -inf {
			t.Errorf("%s: largest of nothing is %g", p.Name, m)
		}
	}
}

// TestNoAllocation wants 100 steps with all kernels of training to allocate nothing.
func TestNoAllocation(t *testing.T) {
	for _, p := range families() {
		if p.Name == "portable" && testing.Short() {
			continue
		}
		s := size{layers: 1, h: 32, heads: 2, i: 64, v: 300, tokens: 48, piece: 20}
		f := step(blocked.New(p, pool(1)), s, 0.1)
		f(nil)
		if n := alloctest.Fewest(func() {
			for range 100 {
				f(nil)
			}
		}); n > 0 {
			t.Errorf("%s: 100 steps allocate %d times", p.Name, n)
		}
	}
}

func ExamplePortable() {
	p := blocked.Portable()
	fmt.Println(p.Name, p.Dot([]float32{1, 2}, []float32{3, 4}))
	// Output: portable 11
}
