package emulator

import (
	"encoding/binary"
	"errors"
	"io"
	"math"
	"math/big"
	"math/rand/v2"
	"strings"
	"testing"
)

// page is memory from address 0x1000 on.
type page []byte

func (p page) ReadAt(b []byte, at int64) (int, error) {
	if at < 0x1000 || int(at)-0x1000+len(b) > len(p) {
		return 0, io.ErrUnexpectedEOF
	}
	return copy(b, p[at-0x1000:]), nil
}

func (p page) WriteAt(b []byte, at int64) (int, error) {
	if at < 0x1000 || int(at)-0x1000+len(b) > len(p) {
		return 0, io.ErrUnexpectedEOF
	}
	return copy(p[at-0x1000:], b), nil
}

// config is the operand of LDTILECFG for tiles of the given rows and bytes.
func config(rows, colsb [8]int) []byte {
	c := make([]byte, 64)
	c[0] = 1
	for t := range rows {
		binary.LittleEndian.PutUint16(c[16+2*t:], uint16(colsb[t]))
		c[48+t] = byte(rows[t])
	}
	return c
}

// run executes instructions one after the other, with RAX … at the values given, the stride in RDX.
func run(m *Machine, memory page, stride int64, code ...Inst) error {
	r := &Registers{}
	r.General[RAX], r.General[RDX] = 0x1000, uint64(stride)
	for _, i := range code {
		if err := m.Execute(i, r, memory); err != nil {
			return err
		}
	}
	return nil
}

func at(disp int) Address     { return Address{Base: RAX, Index: None, Disp: int32(disp)} }
func matrix(disp int) Address { return Address{Base: RAX, Index: RDX, Scale: 1, Disp: int32(disp)} }

func bfloat(x float32) uint16 { return uint16(math.Float32bits(x) >> 16) }

// Tiles of every shape: C[m, n] += A[m, 2k]·B[2k, n], small integers, against plain loops; whatever the strides.
func TestProduct(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		m, k, n := 1+random.IntN(16), 1+random.IntN(16), 1+random.IntN(16)
		stride := 64 + 4*random.IntN(9)
		memory := make(page, 8192)
		copy(memory, config([8]int{m, m, k}, [8]int{4 * n, 4 * k, 4 * n}))
		const c, a, b = 512, 2560, 4608
		var want [16][16]float32
		for i := range m {
			for j := range n {
				want[i][j] = float32(random.IntN(2000) - 1000)
				binary.LittleEndian.PutUint32(memory[c+i*stride+4*j:], math.Float32bits(want[i][j]))
			}
		}
		x, y := make([]float32, m*2*k), make([]float32, 2*k*n)
		for i := range x {
			x[i] = float32(random.IntN(255) - 127)
			binary.LittleEndian.PutUint16(memory[a+i/(2*k)*stride+i%(2*k)*2:], bfloat(x[i]))
		}
		for i := range y {
			y[i] = float32(random.IntN(255) - 127)
			p, j := i/n, i%n
			binary.LittleEndian.PutUint16(memory[b+p/2*stride+4*j+p%2*2:], bfloat(y[i]))
		}
		for i := range m {
			for j := range n {
				for p := range 2 * k {
					want[i][j] += x[i*2*k+p] * y[p*n+j]
				}
			}
		}
		var machine Machine
		if err := run(&machine, memory, int64(stride), Inst{Op: LDTILECFG, Address: at(0)},
			Inst{Op: TILELOADD, Tile: 0, Address: matrix(c)}, Inst{Op: TILELOADDT1, Tile: 1, Address: matrix(a)},
			Inst{Op: TILELOADD, Tile: 2, Address: matrix(b)}, Inst{Op: TDPBF16PS, Tile: 0, A: 1, B: 2},
			Inst{Op: TILESTORED, Tile: 0, Address: matrix(c)}); err != nil {
			t.Fatal(err)
		}
		for i := range m {
			for j := range n {
				if got := math.Float32frombits(binary.LittleEndian.Uint32(memory[c+i*stride+4*j:])); got != want[i][j] {
					t.Fatalf("%d×%d×%d: C[%d, %d] = %v, want %v", m, k, n, i, j, got, want[i][j])
				}
			}
		}
		if err := run(&machine, memory, 0, Inst{Op: TILERELEASE}); err != nil || machine.Configured() {
			t.Fatalf("after TILERELEASE: configured %v, %v", machine.Configured(), err)
		}
	}
}

// A stride of 0 repeats one row; rows and bytes beyond the configuration read as zero once the tile grows again.
func TestStrideAndShape(t *testing.T) {
	memory := make(page, 8192)
	for i := range 64 {
		memory[1024+i] = byte(i + 1)
	}
	copy(memory, config([8]int{3}, [8]int{8}))
	copy(memory[64:], config([8]int{16}, [8]int{64}))
	var m Machine
	if err := run(&m, memory, 0, Inst{Op: LDTILECFG, Address: at(0)}, Inst{Op: TILELOADD, Address: matrix(1024)},
		Inst{Op: STTILECFG, Address: at(128)}); err != nil {
		t.Fatal(err)
	}
	if string(memory[128:192]) != string(memory[:64]) {
		t.Errorf("STTILECFG stored % x", memory[128:192])
	}
	if err := run(&m, memory, 64, Inst{Op: TILESTORED, Address: matrix(2048)}); err != nil {
		t.Fatal(err)
	}
	for row := range 5 {
		for i := range 12 {
			want := byte(i + 1)
			if row >= 3 || i >= 8 {
				want = 0
			}
			if got := memory[2048+64*row+i]; got != want {
				t.Fatalf("row %d, byte %d: %d, want %d", row, i, got, want)
			}
		}
	}
}

func TestFaults(t *testing.T) {
	all := [8]int{16, 16, 16, 16, 16, 16, 16, 16}
	full := [8]int{64, 64, 64, 64, 64, 64, 64, 64}
	good := config(all, full)
	load := Inst{Op: LDTILECFG, Address: at(0)}
	with := func(change func(c []byte)) []byte {
		c := append([]byte(nil), good...)
		change(c)
		return c
	}
	for _, c := range []struct {
		why, exception string
		config         []byte
		code           []Inst
	}{
		{"not configured", "#UD", good, []Inst{{Op: TILEZERO}}},
		{"load not configured", "#UD", good, []Inst{{Op: TILELOADD, Address: matrix(1024)}}},
		{"released", "#UD", good, []Inst{load, {Op: TILERELEASE}, {Op: TDPBF16PS, A: 1, B: 2}}},
		{"palette 0", "#UD", make([]byte, 64), []Inst{load, {Op: TILEZERO}}},
		{"palette 2", "#GP(0)", with(func(c []byte) { c[0] = 2 }), []Inst{load}},
		{"reserved byte", "#GP(0)", with(func(c []byte) { c[2] = 1 }), []Inst{load}},
		{"reserved columns", "#GP(0)", with(func(c []byte) { c[32] = 64 }), []Inst{load}},
		{"reserved rows", "#GP(0)", with(func(c []byte) { c[56] = 16 }), []Inst{load}},
		{"17 rows", "#GP(0)", with(func(c []byte) { c[50] = 17 }), []Inst{load}},
		{"68 bytes", "#GP(0)", with(func(c []byte) { c[18] = 68 }), []Inst{load}},
		{"rows without bytes", "#GP(0)", with(func(c []byte) { c[20] = 0 }), []Inst{load}},
		{"configuration out of memory", "#PF", good, []Inst{{Op: LDTILECFG, Address: at(8190)}}},
		{"tile without rows", "#UD", with(func(c []byte) { c[16+6], c[48+3] = 0, 0 }), []Inst{load, {Op: TILEZERO, Tile: 3}}},
		{"factor without rows", "#UD", with(func(c []byte) { c[16+6], c[48+3] = 0, 0 }), []Inst{load, {Op: TDPBF16PS, Tile: 0, A: 1, B: 3}}},
		{"rows of A", "#UD", with(func(c []byte) { c[48+1] = 8 }), []Inst{load, {Op: TDPBF16PS, A: 1, B: 2}}},
		{"columns of B", "#UD", with(func(c []byte) { c[16+4] = 32 }), []Inst{load, {Op: TDPBF16PS, A: 1, B: 2}}},
		{"terms", "#UD", with(func(c []byte) { c[16+2] = 32 }), []Inst{load, {Op: TDPBF16PS, A: 1, B: 2}}},
		{"half words", "#UD", with(func(c []byte) { c[16+2] = 62 }), []Inst{load, {Op: TDPBF16PS, A: 1, B: 2}}},
		{"load out of memory", "#PF", good, []Inst{load, {Op: TILELOADD, Address: matrix(7232)}}},
		{"store out of memory", "#PF", good, []Inst{load, {Op: TILESTORED, Address: matrix(-64)}}},
		{"strided load out of memory", "#PF", good, []Inst{load, {Op: TILELOADD, Address: Address{Base: RAX, Index: RDX, Scale: 8, Disp: 1024}}}},
		{"strided store out of memory", "#PF", good, []Inst{load, {Op: TILESTORED, Address: Address{Base: RAX, Index: RDX, Scale: 8, Disp: 1024}}}},
	} {
		memory := make(page, 8192)
		copy(memory, c.config)
		var m Machine
		err := run(&m, memory, 64, c.code...)
		var f *Fault
		if !errors.As(err, &f) || f.Exception != c.exception || !strings.Contains(err.Error(), c.exception) {
			t.Errorf("%s: %v, want %s", c.why, err, c.exception)
		}
	}
}

// exactly rounds p + c to float32 by exact arithmetic, with results below the normal range as zero.
func exactly(p, c float64) float32 {
	sum := new(big.Float).SetPrec(2000)
	sum.Add(new(big.Float).SetPrec(2000).SetFloat64(p), new(big.Float).SetPrec(2000).SetFloat64(c))
	unbounded := new(big.Float).SetPrec(24).Set(sum)
	if sum.Sign() == 0 {
		return float32(p + c)
	}
	if unbounded.MantExp(nil) < -125 { // |x| < 2^-126
		if sum.Signbit() {
			return float32(math.Copysign(0, -1))
		}
		return 0
	}
	x, _ := unbounded.Float32()
	return x
}

// Every kind of sum, ties above all, rounds as exact arithmetic does.
func TestRound(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	float := func(low, high int) float64 {
		x := math.Ldexp(float64(1<<23+random.IntN(1<<23)), low+random.IntN(high-low)-23)
		if random.IntN(2) == 0 {
			x = -x
		}
		return x
	}
	bf := func(low, high int) float64 {
		return float64(math.Float32frombits(math.Float32bits(float32(float(low, high))) &^ 0xffff))
	}
	check := func(p, c float64) {
		t.Helper()
		got, want := round(p, c), exactly(p, c)
		if math.Float32bits(got) != math.Float32bits(want) {
			t.Fatalf("round(%x, %x) = %x, want %x", p, c, got, want)
		}
	}
	for range 200_000 {
		check(bf(-8, 8)*bf(-8, 8), float(-20, 20))
		check(bf(-63, -60)*bf(-66, -63), float(-126, -120)) // around the least normal number
		check(bf(60, 64)*bf(60, 64), float(120, 128))       // around the largest
		check(bf(-60, 60)*bf(-60, 60), float(-100, 100))
		// A tie of float32, disturbed by something far below what float64 keeps.
		c := float(0, 1)
		half := math.Ldexp(1, -24)
		check(math.Copysign(half, c), c)
		check(math.Copysign(half, c)+math.Ldexp(1, -24-7), c)
		check(math.Ldexp(float64(1+random.IntN(255)), -90), c)
		check(c+math.Copysign(half, c), math.Ldexp(1, -80))  // p here has 25 bits
		check(c+math.Copysign(half, c), -math.Ldexp(1, -80)) // and the sum is no tie
	}
	inf := math.Inf(1)
	for _, p := range [][2]float64{{0, 0}, {math.Copysign(0, -1), 0}, {inf, 1}, {1, -inf}, {1, -1}} {
		if got, want := round(p[0], p[1]), float32(p[0]+p[1]); math.Float32bits(got) != math.Float32bits(want) {
			t.Errorf("round(%v, %v) = %v", p[0], p[1], got)
		}
	}
	if x := round(inf, -inf); x == x {
		t.Errorf("Inf − Inf = %v", x)
	}
}

// Denormals count as zero, in factors, in the accumulator, in results; infinities and NaN spread.
func TestSpecialValues(t *testing.T) {
	tiny := math.Float32frombits(0x00400000) // a denormal of bfloat16
	inf, nan := float32(math.Inf(1)), float32(math.NaN())
	for _, c := range []struct{ a, b, c, want float32 }{
		{tiny, 1, 0, 0}, {1, -tiny, 2, 2}, {tiny, 0x1p20, 0, 0}, {0x1p20, tiny, 1, 1}, {0, 1, tiny, 0}, {0, 1, -tiny, 0},
		{0x1p-70, 0x1p-70, 0, 0}, {0x1p-63, 0x1p-63, 0, 0x1p-126}, {0x1p-64, 0x1p-63, 0, 0},
		{inf, 1, 3, inf}, {inf, -2, 3, -inf}, {inf, 0, 3, nan}, {inf, 1, -inf, nan}, {nan, 1, 1, nan}, {0x1p100, 0x1p100, 0, inf},
	} {
		for odd := range 2 {
			memory := make(page, 8192)
			copy(memory, config([8]int{1, 1, 1}, [8]int{4, 4, 4}))
			binary.LittleEndian.PutUint32(memory[64:], math.Float32bits(c.c))
			binary.LittleEndian.PutUint16(memory[128+2*odd:], bfloat(c.a))
			binary.LittleEndian.PutUint16(memory[192+2*odd:], bfloat(c.b))
			var m Machine
			if err := run(&m, memory, 64, Inst{Op: LDTILECFG, Address: at(0)},
				Inst{Op: TILELOADD, Tile: 0, Address: matrix(64)}, Inst{Op: TILELOADD, Tile: 1, Address: matrix(128)},
				Inst{Op: TILELOADD, Tile: 2, Address: matrix(192)}, Inst{Op: TDPBF16PS, Tile: 0, A: 1, B: 2},
				Inst{Op: TILESTORED, Tile: 0, Address: matrix(64)}); err != nil {
				t.Fatal(err)
			}
			got := math.Float32frombits(binary.LittleEndian.Uint32(memory[64:]))
			if got != c.want && (got == got || c.want == c.want) {
				t.Errorf("%v += %v·%v: %v, want %v", c.c, c.a, c.b, got, c.want)
			}
		}
	}
}
