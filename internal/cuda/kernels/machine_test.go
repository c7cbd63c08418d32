//go:build (linux || darwin) && !nocuda

package kernels_test

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"reflect"
	"runtime"
	"slices"
	"sync"
	"testing"
	"unsafe"

	"github.com/ebitengine/purego"
	"golang.org/x/sys/unix"

	"github.com/secencoder/secencoder/internal/bf16"
	"github.com/secencoder/secencoder/internal/cuda/kernels"
	"github.com/secencoder/secencoder/internal/cuda/kernels/shim"
	"github.com/secencoder/secencoder/internal/kernel"
	"github.com/secencoder/secencoder/internal/kernel/ref"
)

// The tests run the kernels' sources on the CPU (package shim) and hold them against the reference. Every problem is run
// several times: with operands on and off 16 bytes, on grids for few and for many multiprocessors, with blocks and threads
// in other orders. All of these have to give the same bits. Each operand ends where its memory ends or a few bytes before, and
// the page behind faults.

// machine is the library of the shim.
type machine struct {
	launch, order, problem, names, parameters uintptr
}

var opened struct {
	sync.Once
	m   *machine
	err error
	dir string
}

func TestMain(m *testing.M) {
	code := m.Run()
	if opened.dir != "" {
		if err := os.RemoveAll(opened.dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
	}
	os.Exit(code)
}

// theMachine builds and opens the library once.
func theMachine(t *testing.T) *machine {
	t.Helper()
	opened.Do(func() {
		if opened.dir, opened.err = os.MkdirTemp("", "kernels"); opened.err == nil {
			opened.m, opened.err = open(shim.Build(t, opened.dir))
		}
	})
	if opened.err != nil {
		t.Fatal(opened.err)
	}
	if opened.m == nil {
		t.Skip("kernels cannot run on the CPU here")
	}
	return opened.m
}

func open(path string) (*machine, error) {
	lib, err := purego.Dlopen(path, purego.RTLD_NOW|purego.RTLD_LOCAL)
	if err != nil {
		return nil, err
	}
	m := &machine{}
	for name, at := range map[string]*uintptr{"shim_launch": &m.launch, "shim_order": &m.order, "shim_error": &m.problem,
		"shim_names": &m.names, "shim_parameters": &m.parameters} {
		if *at, err = purego.Dlsym(lib, name); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// goString copies a C string.
func goString(p uintptr) string {
	var b []byte
	for q := *(*unsafe.Pointer)(unsafe.Pointer(&p)); *(*byte)(q) != 0; q = unsafe.Add(q, 1) {
		b = append(b, *(*byte)(q))
	}
	return string(b)
}

// run launches a kernel. Parameters are *operand (nil: absent), int32, uint32, int64, float32.
func (m *machine) run(t *testing.T, name string, g kernels.Geometry, params ...any) {
	t.Helper()
	if err := m.try(name, g, params...); err != nil {
		t.Fatal(err)
	}
}

func (m *machine) try(name string, g kernels.Geometry, params ...any) error {
	values, at := make([]uint64, len(params)), make([]unsafe.Pointer, len(params))
	for i, p := range params {
		var v uint64
		switch p := p.(type) {
		case *operand:
			if p != nil {
				v = uint64(uintptr(unsafe.Pointer(unsafe.SliceData(p.bytes))))
			}
		case int32:
			v = uint64(uint32(p))
		case uint32:
			v = uint64(p)
		case int64:
			v = uint64(p)
		case float32:
			v = uint64(math.Float32bits(p))
		default:
			return fmt.Errorf("%s: parameter %d is a %v", name, i, reflect.TypeOf(p))
		}
		values[i], at[i] = v, unsafe.Pointer(&values[i])
	}
	c := append([]byte(name), 0)
	if n, _, _ := purego.SyscallN(m.parameters, uintptr(unsafe.Pointer(&c[0]))); int(int32(n)) != len(params) {
		return fmt.Errorf("%s has %d parameters, not %d", name, int(int32(n)), len(params))
	}
	rc, _, _ := purego.SyscallN(m.launch, uintptr(unsafe.Pointer(&c[0])),
		uintptr(g.Grid[0]), uintptr(g.Grid[1]), uintptr(g.Grid[2]), uintptr(g.Block[0]), uintptr(g.Block[1]), uintptr(g.Block[2]),
		0, uintptr(unsafe.Pointer(unsafe.SliceData(at))))
	runtime.KeepAlive(values)
	runtime.KeepAlive(at)
	runtime.KeepAlive(c)
	if rc != 0 {
		text, _, _ := purego.SyscallN(m.problem)
		return fmt.Errorf("%s: code %d: %s", name, rc, goString(text))
	}
	return nil
}

// operand is the memory of one operand of one run, in a slot of its own.
type operand struct {
	dtype kernel.DType
	bytes []byte
	slot  []byte // with what lies before, and a few bytes behind
}

const canary = 0xA5

// memory hands out operands.
type memory struct {
	slots [][]byte // each ends at a page that faults
	next  int
	exact bool // operands end with their slot; else they start on 16 bytes
}

const (
	slotBytes = 8 << 20
	slotCount = 20
)

var theMemory = sync.OnceValues(func() (*memory, error) {
	m, page := &memory{}, os.Getpagesize()
	for range slotCount {
		b, err := unix.Mmap(-1, 0, slotBytes+page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
		if err != nil {
			return nil, err
		}
		if err := unix.Mprotect(b[slotBytes:], unix.PROT_NONE); err != nil {
			return nil, err
		}
		m.slots = append(m.slots, b[:slotBytes:slotBytes])
	}
	return m, nil
})

// margin is what is watched before an operand.
const margin = 64

// add takes a slot for what a Buf holds.
func (m *memory) add(b kernel.Buf) *operand {
	if b.Absent() {
		return nil
	}
	o := m.sized(b.Bytes, b.DType)
	copy(o.bytes, unsafe.Slice((*byte)(b.Ptr), b.Bytes))
	return o
}

// sized takes a slot for so many bytes, filled with 0xff: NaN.
func (m *memory) sized(n int, d kernel.DType) *operand {
	slot := m.slots[m.next]
	m.next++
	end := slotBytes
	if !m.exact {
		end = (slotBytes-n)&^15 + n
	}
	begin := end - n
	if begin < margin {
		panic("a test needs larger slots")
	}
	o := &operand{dtype: d, bytes: slot[begin:end:end], slot: slot[begin-margin:]}
	for i := range o.slot {
		o.slot[i] = canary
	}
	for i := range o.bytes {
		o.bytes[i] = 0xff
	}
	return o
}

// work takes a slot for a workspace, which always starts on 16 bytes.
func (m *memory) work(n int) *operand {
	exact := m.exact
	m.exact = false
	defer func() { m.exact = exact }()
	return m.sized(n, kernel.F32)
}

// intact says whether nothing was written around an operand.
func (o *operand) intact() bool {
	behind := o.slot[margin+len(o.bytes):]
	return !slices.ContainsFunc(o.slot[:margin], func(b byte) bool { return b != canary }) &&
		!slices.ContainsFunc(behind, func(b byte) bool { return b != canary })
}

// floats are the values of an operand.
func (o *operand) floats() []float32 {
	if o.dtype == kernel.BF16 {
		var f []float32
		for _, v := range unsafe.Slice((*bf16.BF16)(unsafe.Pointer(unsafe.SliceData(o.bytes))), len(o.bytes)/2) {
			f = append(f, v.Float32())
		}
		return f
	}
	return slices.Clone(unsafe.Slice((*float32)(unsafe.Pointer(unsafe.SliceData(o.bytes))), len(o.bytes)/4))
}

// variant is one way to run a problem.
type variant struct {
	mp      int
	exact   bool
	blocks  uint32
	threads uint32
}

var variants = []variant{{132, false, 0, 0}, {1, true, 1, 1}, {3, false, 2, 2}, {132, true, 2, 1}}

// result is a destination of a problem, with what it has to hold.
type result struct {
	name  string
	used  int       // elements that count
	want  []float32 // before it is rounded to BF16, where it is
	bound []float64 // nil: the same bits
}

// problem is one call: bind makes operands and launches, and returns the destinations in the order of results.
type problem struct {
	t       *testing.T
	name    string
	rnd     *rand.Rand
	bind    func(r *runner) []*operand
	results []result
}

// runner is one run of a problem.
type runner struct {
	*testing.T
	m    *machine
	mem  *memory
	mp   int
	all  []*operand
	kept [][]byte // of operands that may not change
}

// in is an operand that is only read.
func (r *runner) in(b kernel.Buf) *operand {
	o := r.mem.add(b)
	if o != nil {
		r.all, r.kept = append(r.all, o), append(r.kept, bytes.Clone(o.bytes))
	}
	return o
}

// out is a destination that holds what b does; absent stays absent.
func (r *runner) out(b kernel.Buf) *operand {
	o := r.mem.add(b)
	if o != nil {
		r.all, r.kept = append(r.all, o), append(r.kept, nil)
	}
	return o
}

// work is a workspace of n bytes, absent for 0.
func (r *runner) work(n int) *operand {
	if n == 0 {
		return nil
	}
	o := r.mem.work(n)
	r.all, r.kept = append(r.all, o), append(r.kept, nil)
	return o
}

func (r *runner) run(name string, g kernels.Geometry, params ...any) {
	r.Helper()
	r.m.run(r.T, name, kernels.OneWave(name, g, r.mp), params...)
}

// check runs a problem in all variants.
func (p *problem) check() {
	t := p.t
	t.Helper()
	m := theMachine(t)
	mem, err := theMemory()
	if err != nil {
		t.Fatal(err)
	}
	var first [][]byte
	for i, v := range variants {
		purego.SyscallN(m.order, uintptr(v.blocks), uintptr(v.threads), uintptr(p.rnd.Uint32()))
		mem.next, mem.exact = 0, v.exact
		r := &runner{T: t, m: m, mem: mem, mp: v.mp}
		outs := p.bind(r)
		if len(outs) != len(p.results) {
			t.Fatalf("%s: %d destinations, %d results", p.name, len(outs), len(p.results))
		}
		for j, o := range r.all {
			if !o.intact() {
				t.Fatalf("%s, variant %d: operand %d: something was written beside it", p.name, i, j)
			}
			if r.kept[j] != nil && !bytes.Equal(r.kept[j], o.bytes) {
				t.Fatalf("%s, variant %d: operand %d, which is only read, changed", p.name, i, j)
			}
		}
		for j, o := range outs {
			if i == 0 {
				if o != nil {
					p.results[j].compare(t, p.name, o)
				}
				first = append(first, nil)
				if o != nil {
					first[j] = bytes.Clone(o.bytes)
				}
				continue
			}
			if o != nil && !bytes.Equal(first[j], o.bytes) {
				t.Fatalf("%s: %s has other bits in variant %+v than in %+v", p.name, p.results[j].name, v, variants[0])
			}
		}
	}
	purego.SyscallN(m.order, 0, 0, 0)
}

// compare holds a destination against what is wanted. What lies behind the elements in use must be as it was, 0xff.
func (r *result) compare(t *testing.T, name string, o *operand) {
	t.Helper()
	got := o.floats()
	for i := range r.used {
		bound := 0.0
		if r.bound != nil {
			bound = r.bound[i]
		}
		g, w := got[i], r.want[i]
		ok := g == w || g != g && w != w
		switch {
		case o.dtype == kernel.BF16 && g == g && w == w:
			// What is off by at most the bound before it is rounded lies between the roundings of both ends.
			ok = ok || g >= rounded(float32(float64(w)-bound)) && g <= rounded(float32(float64(w)+bound))
			if r.bound == nil {
				ok = math.Float32bits(g) == math.Float32bits(rounded(w))
			}
		case r.bound == nil:
			ok = math.Float32bits(g) == math.Float32bits(w) || g != g && w != w
		case g == g && w == w:
			ok = ok || math.Abs(float64(g)-float64(w)) <= bound
		}
		if !ok {
			t.Fatalf("%s: %s[%d] is %v (%08x), want %v (%08x), off by %.3g, bound %.3g", name, r.name, i, g, math.Float32bits(g), w, math.Float32bits(w),
				math.Abs(float64(g)-float64(w)), bound)
		}
	}
	for i, b := range o.bytes[r.used*o.dtype.Size():] {
		if b != 0xff {
			t.Fatalf("%s: %s: byte %d behind the %d elements in use was written", name, r.name, i, r.used)
		}
	}
}

func rounded(x float32) float32 { return bf16.FromFloat32(x).Float32() }

var reference = ref.New()

// nans are n elements of NaN with all bits set: a destination, or rows that are not in use.
func nans(n int, d kernel.DType) kernel.Buf {
	if d == kernel.BF16 {
		return kernel.FromBF16(slices.Repeat([]bf16.BF16{0xffff}, n))
	}
	return kernel.FromF32(slices.Repeat([]float32{math.Float32frombits(0xffffffff)}, n))
}

// values are n elements, the first `used` normal, NaN behind.
func values(rnd *rand.Rand, n, used int, d kernel.DType, scale float64) kernel.Buf {
	b := nans(n, d)
	for i := range used {
		set(b, i, float32(rnd.NormFloat64()*scale))
	}
	return b
}

func set(b kernel.Buf, i int, x float32) {
	if b.DType == kernel.BF16 {
		b.BF16()[i] = bf16.FromFloat32(x)
		return
	}
	b.F32()[i] = x
}

func get(b kernel.Buf, i int) float64 {
	if b.DType == kernel.BF16 {
		return float64(b.BF16()[i].Float32())
	}
	return float64(b.F32()[i])
}

// clone copies what a Buf holds.
func clone(b kernel.Buf) kernel.Buf {
	switch {
	case b.Absent():
		return b
	case b.DType == kernel.BF16:
		return kernel.FromBF16(slices.Clone(b.BF16()))
	}
	return kernel.FromF32(slices.Clone(b.F32()))
}

// pack is the header of a micro-batch with random pieces.
type pack struct {
	T      int
	header kernel.Buf
	view   kernel.Header
}

// newPack makes a header of T tokens of which up to `tokens` are in use, in pieces of up to most tokens.
func newPack(rnd *rand.Rand, T, tokens, most int) *pack {
	p := kernel.Pack{Offsets: []int32{0}, Step: rnd.Uint32(), Seed: rnd.Uint64(), Ordinal: rnd.Uint32(), Scale: 0.25}
	if rnd.IntN(2) == 0 {
		p.Ordinal = uint32(rnd.IntN(100))
	}
	at := 0
	for tokens-at >= 2 && len(p.Offsets)-1 < T/2 {
		n := min(2+rnd.IntN(max(1, most-1)), tokens-at)
		at += n
		p.Offsets = append(p.Offsets, int32(at))
	}
	for t := range at {
		if rnd.IntN(4) == 0 {
			p.Masked, p.Labels = append(p.Masked, int32(t)), append(p.Labels, 1)
		}
	}
	words := make([]int32, kernel.HeaderWords(T))
	p.Fill(words, T)
	h := kernel.ViewHeader(words, T)
	for _, s := range [][]int32{h.Piece[at:], h.Place[at:], h.Masked[len(p.Masked):]} { // what is not in use would fault
		for i := range s {
			s[i] = math.MinInt32
		}
	}
	return &pack{T: T, header: kernel.FromI32(words), view: h}
}

// rowsOf makes a pack and returns a shape of rows in it: the kind, rows in the shape, rows in use.
func rowsOf(rnd *rand.Rand, rows int) (p *pack, kind kernel.RowKind, shape, used int) {
	kind = kernel.RowKind(rnd.IntN(4))
	T := rows + rnd.IntN(4)
	p = newPack(rnd, max(2, T), rows, 1+rnd.IntN(40))
	shape = p.T
	switch kind {
	case kernel.RowsAll:
		shape = rows
	case kernel.RowsPieces:
		shape = p.T / 2
	}
	return p, kind, shape, p.view.Count(kind, shape)
}

const unit = 0x1p-24

// gamma is the error of a sum of n terms, each step rounded, relative to the sum of their absolute values.
func gamma(n int) float64 { return float64(n) * unit / (1 - float64(n)*unit) }

// random returns the generator of a named case.
func random(name string) *rand.Rand {
	var seed uint64 = 14695981039346656037
	for _, c := range []byte(name) {
		seed = (seed ^ uint64(c)) * 1099511628211
	}
	return rand.New(rand.NewPCG(seed, 1))
}

// small is how many random problems a family gets.
func small(n int) int {
	if testing.Short() {
		return n / 10
	}
	return n
}

func typed(name string, d kernel.DType) string { return name + "_" + d.String() }

var dtypes = []kernel.DType{kernel.F32, kernel.BF16}

func pointer(o *operand) unsafe.Pointer { return unsafe.Pointer(unsafe.SliceData(o.bytes)) }
