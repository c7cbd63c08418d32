package emulator

import (
	"encoding/binary"
	"fmt"
	"io"
	"math"
)

// Machine is the tile state of one thread. The zero value is the processor's initial state.
type Machine struct {
	configured bool
	startRow   int
	rows       [8]int
	colsb      [8]int // bytes of a row
	tiles      [8]Tile
}

// Tile is the data of one tile register: 16 rows of 64 bytes.
type Tile [16][64]byte

// Registers are the general registers by number, and the address of the next instruction.
type Registers struct {
	General [16]uint64
	Next    uint64
}

// Memory is what instructions read and write, by address.
type Memory interface {
	io.ReaderAt
	io.WriterAt
}

// Fault is an exception that the processor would raise.
type Fault struct {
	Exception string // as the manual writes it: #UD, #GP(0), #PF
	Why       string
}

// Error returns exception and reason.
func (f *Fault) Error() string { return f.Exception + ": " + f.Why }

func fault(exception, format string, args ...any) error {
	return &Fault{exception, fmt.Sprintf(format, args...)}
}

// Configured reports whether tiles are configured: a thread that stays so pays at every context switch.
func (m *Machine) Configured() bool { return m.configured }

// Execute runs one instruction. An error is a *Fault; then nothing has changed but, where memory failed, the rows before.
func (m *Machine) Execute(i Inst, r *Registers, memory Memory) error {
	switch i.Op {
	case LDTILECFG:
		return m.load(i, r, memory)
	case STTILECFG:
		return m.store(i, r, memory)
	case TILERELEASE:
		*m = Machine{}
		return nil
	}
	if !m.configured {
		return fault("#UD", "%v: tiles are not configured", i)
	}
	for _, t := range []int{i.Tile, i.A, i.B} {
		if (t == i.Tile || i.Op == TDPBF16PS) && m.rows[t] == 0 {
			return fault("#UD", "%v: tmm%d is not configured", i, t)
		}
	}
	switch i.Op {
	case TILEZERO:
		m.tiles[i.Tile] = Tile{}
		m.startRow = 0
		return nil
	case TILELOADD, TILELOADDT1:
		return m.loadTile(i, r, memory)
	case TILESTORED:
		return m.storeTile(i, r, memory)
	case TDPBF16PS:
		return m.multiply(i)
	}
	return fault("#UD", "%v", i)
}

func (a Address) start(r *Registers) uint64 {
	at := uint64(int64(a.Disp))
	switch {
	case a.Base == IP:
		at += r.Next
	case a.Base >= 0:
		at += r.General[a.Base]
	}
	return at
}

func (a Address) stride(r *Registers) uint64 {
	if a.Index < 0 {
		return 0
	}
	return r.General[a.Index] * uint64(a.Scale)
}

// load is LDTILECFG.
func (m *Machine) load(i Inst, r *Registers, memory Memory) error {
	var c [64]byte
	at := i.Address.start(r) + i.Address.stride(r)
	if _, err := memory.ReadAt(c[:], int64(at)); err != nil {
		return fault("#PF", "%v at %#x: %v", i, at, err)
	}
	if c[0] == 0 {
		*m = Machine{}
		return nil
	}
	n := Machine{configured: true, startRow: int(c[1])}
	if c[0] != 1 {
		return fault("#GP(0)", "%v: palette %d", i, c[0])
	}
	for at, b := range c {
		if b != 0 && (at >= 2 && at < 16 || at >= 32 && at < 48 || at >= 56) {
			return fault("#GP(0)", "%v: reserved byte %d is %d", i, at, b)
		}
	}
	for t := range n.rows {
		n.colsb[t], n.rows[t] = int(binary.LittleEndian.Uint16(c[16+2*t:])), int(c[48+t])
		if n.colsb[t] > 64 || n.rows[t] > 16 || (n.colsb[t] == 0) != (n.rows[t] == 0) {
			return fault("#GP(0)", "%v: tmm%d of %d rows, %d bytes", i, t, n.rows[t], n.colsb[t])
		}
	}
	*m = n
	return nil
}

// store is STTILECFG.
func (m *Machine) store(i Inst, r *Registers, memory Memory) error {
	var c [64]byte
	if m.configured {
		c[0], c[1] = 1, byte(m.startRow)
		for t := range m.rows {
			binary.LittleEndian.PutUint16(c[16+2*t:], uint16(m.colsb[t]))
			c[48+t] = byte(m.rows[t])
		}
	}
	at := i.Address.start(r) + i.Address.stride(r)
	if _, err := memory.WriteAt(c[:], int64(at)); err != nil {
		return fault("#PF", "%v at %#x: %v", i, at, err)
	}
	return nil
}

func (m *Machine) loadTile(i Inst, r *Registers, memory Memory) error {
	var t Tile
	rows, colsb := m.rows[i.Tile], m.colsb[i.Tile]
	copy(t[:m.startRow], m.tiles[i.Tile][:])
	at, stride := i.Address.start(r), i.Address.stride(r)
	if stride == 64 && colsb == 64 && m.startRow == 0 { // the usual case: one stretch of memory
		var flat [1024]byte
		if _, err := memory.ReadAt(flat[:rows*64], int64(at)); err != nil {
			return fault("#PF", "%v at %#x: %v", i, at, err)
		}
		for row := range rows {
			t[row] = [64]byte(flat[64*row:])
		}
	} else {
		for row := m.startRow; row < rows; row++ {
			from := at + uint64(row)*stride
			if _, err := memory.ReadAt(t[row][:colsb], int64(from)); err != nil {
				return fault("#PF", "%v, row %d at %#x: %v", i, row, from, err)
			}
		}
	}
	m.tiles[i.Tile], m.startRow = t, 0
	return nil
}

func (m *Machine) storeTile(i Inst, r *Registers, memory Memory) error {
	t, rows, colsb := &m.tiles[i.Tile], m.rows[i.Tile], m.colsb[i.Tile]
	at, stride := i.Address.start(r), i.Address.stride(r)
	if stride == 64 && colsb == 64 && m.startRow == 0 {
		var flat [1024]byte
		for row := range rows {
			copy(flat[64*row:], t[row][:])
		}
		if _, err := memory.WriteAt(flat[:rows*64], int64(at)); err != nil {
			return fault("#PF", "%v at %#x: %v", i, at, err)
		}
		return nil
	}
	for row := m.startRow; row < rows; row++ {
		to := at + uint64(row)*stride
		if _, err := memory.WriteAt(t[row][:colsb], int64(to)); err != nil {
			return fault("#PF", "%v, row %d at %#x: %v", i, row, to, err)
		}
	}
	m.startRow = 0
	return nil
}

// multiply is TDPBF16PS: even and odd products of a row and a column accumulate apart, from zero, by fused multiply-adds,
// then their sum is added to the destination. Each step rounds to nearest even; denormals are zero, in and out.
func (m *Machine) multiply(i Inst) error {
	rows, colsb := &m.rows, &m.colsb
	switch {
	case colsb[i.Tile]%4 != 0 || colsb[i.A]%4 != 0 || colsb[i.B]%4 != 0:
		return fault("#UD", "%v: rows of %d, %d, %d bytes, want multiples of 4", i, colsb[i.Tile], colsb[i.A], colsb[i.B])
	case rows[i.Tile] != rows[i.A] || colsb[i.Tile] != colsb[i.B] || colsb[i.A]/4 != rows[i.B]:
		return fault("#UD", "%v: %d×%d += %d×%d · %d×%d rows × bytes do not fit", i, rows[i.Tile], colsb[i.Tile],
			rows[i.A], colsb[i.A], rows[i.B], colsb[i.B])
	}
	c, a, b := &m.tiles[i.Tile], &m.tiles[i.A], &m.tiles[i.B]
	var even, odd [16][16]float64 // of B
	pairs, cols := colsb[i.A]/4, colsb[i.Tile]/4
	for k := range pairs {
		for n := range cols {
			even[k][n], odd[k][n] = pairAt(&b[k], n)
		}
	}
	for r := range rows[i.Tile] {
		var sums [2][16]float32
		for k := range pairs {
			x, y := pairAt(&a[r], k)
			for n := range cols {
				sums[0][n] = round(float64(x*even[k][n]), float64(sums[0][n]))
				sums[1][n] = round(float64(y*odd[k][n]), float64(sums[1][n]))
			}
		}
		var row [64]byte
		for n := range cols {
			sum := round(float64(sums[0][n]), float64(sums[1][n]))
			old := flush(math.Float32frombits(binary.LittleEndian.Uint32(c[r][4*n:])))
			binary.LittleEndian.PutUint32(row[4*n:], math.Float32bits(round(float64(old), float64(sum))))
		}
		c[r] = row
	}
	for r := rows[i.Tile]; r < 16; r++ {
		c[r] = [64]byte{}
	}
	m.startRow = 0
	return nil
}

// pairAt returns the two bfloat16 of word n, denormals as zero.
func pairAt(row *[64]byte, n int) (float64, float64) {
	w := binary.LittleEndian.Uint32(row[4*n:])
	return float64(flush(math.Float32frombits(w << 16))), float64(flush(math.Float32frombits(w &^ 0xffff)))
}

// flush returns a denormal as zero of its sign.
func flush(x float32) float32 {
	if b := math.Float32bits(x); b&0x7f800000 == 0 {
		return math.Float32frombits(b & 0x80000000)
	}
	return x
}

// round returns p + c, rounded once to float32, results below the normal range as zero. p is a product of two bfloat16 or
// a float32, c a float32: both exact in float64.
func round(p, c float64) float32 {
	s := p + c
	b := math.Float64bits(s)
	// The second rounding of float32(s) is wrong only where s is a tie that the first one made.
	if e := b >> 52 & 0x7ff; e > 1023-126 && e < 1023+127 && b&(1<<29-1) != 1<<28 {
		return float32(s)
	}
	if s == 0 || s != s || math.IsInf(s, 0) {
		return float32(s)
	}
	// What the first rounding left over, exactly; then s rounded to odd, which a second rounding cannot spoil.
	t := s - p
	rest := (p - (s - t)) + (c - t)
	if rest != 0 && b&1 == 0 {
		if (rest > 0) == (s > 0) {
			s = math.Float64frombits(b + 1)
		} else {
			s = math.Float64frombits(b - 1)
		}
	}
	const least = 1.0 / (1 << 63) / (1 << 63) // 2^-126
	if abs := math.Abs(s); abs < least {
		if abs < least-least/(1<<25) {
			return float32(math.Copysign(0, s))
		}
		return float32(math.Copysign(least, s)) // rounding with an exponent of any size reaches the normal range
	}
	return float32(s)
}
