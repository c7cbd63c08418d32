package cuda

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"unsafe"

	"github.com/secencoder/secencoder/internal/bf16"
	"github.com/secencoder/secencoder/internal/cuda/standin"
)

// ltMachine is a device with the library and a stream.
type ltMachine struct {
	t  testing.TB
	d  *Device
	s  *Stream
	lt *Lt

	gpu     bool // a real one, whose library may have no algorithm with GELU, and which has tensor cores
	refused int  // products with a bias that Product says may have no algorithm
}

// ltOnStandin opens the stand-in's; all of it is closed, and what is left behind is an error, at the end of the test.
func ltOnStandin(t testing.TB) (*ltMachine, *standin.Library) {
	t.Helper()
	lib := standin.Build(t)
	return ltOn(t, Options{Library: lib.Path()}, lib.Path()), lib
}

func ltOn(t testing.TB, o Options, library string) *ltMachine {
	t.Helper()
	drv, err := Load(o)
	if err != nil {
		t.Fatal(err)
	}
	m := &ltMachine{t: t}
	if m.d, err = drv.Open(0, DeviceOptions{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.d.Close(); err != nil {
			t.Error(err)
		}
	})
	if m.s, err = m.d.NewStream(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.s.Close(); err != nil {
			t.Error(err)
		}
	})
	if m.lt, err = m.d.OpenLt(library); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.lt.Close(); err != nil {
			t.Error(err)
		}
	})
	return m
}

// matrix is a row-major matrix on the host and on the device, with values of a type and gaps after its rows.
type matrix struct {
	rows, columns, ld, shift int // shift: elements before it
	t                        Type
	values                   []float64
	at                       Ptr // of the allocation
}

func (x *matrix) ptr() Ptr { return x.at + Ptr(x.shift*x.t.bytes()) }

// fill makes a matrix of random numbers; gaps and what stands before it are NaN.
func (m *ltMachine) fill(r *rand.Rand, rows, columns, gap, shift int, t Type) *matrix {
	m.t.Helper()
	x := &matrix{rows: rows, columns: columns, ld: columns + gap, shift: shift, t: t}
	x.values = make([]float64, shift+(rows-1)*x.ld+columns)
	for i := range x.values {
		x.values[i] = math.NaN()
	}
	for i := range rows {
		for j := range columns {
			v := float32(r.NormFloat64())
			if t == BF16 {
				v = bf16.FromFloat32(v).Float32()
			}
			x.values[shift+i*x.ld+j] = float64(v)
		}
	}
	bytes := make([]byte, len(x.values)*t.bytes())
	for i, v := range x.values {
		putElement(bytes, t, i, float32(v))
	}
	x.at = m.alloc(len(bytes))
	if err := m.s.CopyToDevice(x.at, bytes); err != nil {
		m.t.Fatal(err)
	}
	return x
}

func (m *ltMachine) alloc(bytes int) Ptr {
	m.t.Helper()
	p, err := m.d.Alloc(m.s, bytes)
	if err != nil {
		m.t.Fatal(err)
	}
	return p
}

func (m *ltMachine) free(list ...*matrix) {
	m.t.Helper()
	for _, x := range list {
		if err := m.d.Free(m.s, x.at); err != nil {
			m.t.Error(err)
		}
	}
}

// bytes reads a matrix back, with its gaps.
func (m *ltMachine) bytes(x *matrix) []byte {
	m.t.Helper()
	b := make([]byte, len(x.values)*x.t.bytes())
	if err := m.s.CopyToHost(b, x.at); err != nil {
		m.t.Fatal(err)
	}
	if err := m.s.Synchronize(); err != nil {
		m.t.Fatal(err)
	}
	return b
}

func putElement(b []byte, t Type, i int, v float32) {
	if t == BF16 {
		*(*bf16.BF16)(unsafe.Pointer(&b[2*i])) = bf16.FromFloat32(v)
		return
	}
	*(*float32)(unsafe.Pointer(&b[4*i])) = v
}

func element(b []byte, t Type, i int) float64 {
	if t == BF16 {
		return float64((*(*bf16.BF16)(unsafe.Pointer(&b[2*i]))).Float32())
	}
	return float64(*(*float32)(unsafe.Pointer(&b[4*i])))
}

// op returns the element of op(x).
func (x *matrix) op(transposed bool, i, j int) float64 {
	if transposed {
		i, j = j, i
	}
	return x.values[x.shift+i*x.ld+j]
}

func geluTanh(x float64) float64 {
	return 0.5 * x * (1 + math.Tanh(math.Sqrt(2/math.Pi)*(x+0.044715*x*x*x)))
}

// ltCase is one product and what it should give.
type ltCase struct {
	m, n, k               int
	transA, transB        bool
	in, out               Type
	epilogue              Epilogue
	alpha, beta           float32
	gapA, gapB, gapC      int
	shiftA, shiftB, shift int
	shiftBias             int
}

// mayRefuse says whether a library may have no algorithm for the bias.
func (c ltCase) mayRefuse() bool {
	return c.epilogue.bias() && (c.m == 1 || c.n == 1 || c.shiftBias*c.out.bytes()%16 != 0)
}

func (c ltCase) String() string {
	return fmt.Sprintf("%d×%d×%d transposed %v %v, %v to %v, epilogue %d, %g and %g, gaps %d %d %d, shifts %d %d %d %d",
		c.m, c.n, c.k, c.transA, c.transB, c.in, c.out, c.epilogue, c.alpha, c.beta, c.gapA, c.gapB, c.gapC, c.shiftA, c.shiftB, c.shift, c.shiftBias)
}

// run multiplies twice and holds the result against sums in float64, and everything around the result against what was
// there.
func (m *ltMachine) run(r *rand.Rand, c ltCase) {
	t := m.t
	t.Helper()
	a := m.fill(r, pick(c.transA, c.k, c.m), pick(c.transA, c.m, c.k), c.gapA, c.shiftA, c.in)
	b := m.fill(r, pick(c.transB, c.n, c.k), pick(c.transB, c.k, c.n), c.gapB, c.shiftB, c.in)
	out := m.fill(r, c.m, c.n, c.gapC, c.shift, c.out)
	bias := m.fill(r, 1, c.n, 0, c.shiftBias, c.out)
	defer m.free(a, b, out, bias)
	if c.beta == 0 { // what was there does not count
		for i := range out.values {
			out.values[i] = math.NaN()
		}
	}
	before := make([]byte, len(out.values)*c.out.bytes())
	for i, v := range out.values {
		putElement(before, c.out, i, float32(v))
	}
	p := Product{
		M: c.m, N: c.n, K: c.k, TransA: c.transA, TransB: c.transB, A: a.ptr(), B: b.ptr(), C: out.ptr(), LDA: a.ld, LDB: b.ld, LDC: out.ld,
		In: c.in, Out: c.out, Alpha: c.alpha, Beta: c.beta, Epilogue: c.epilogue, Bias: bias.ptr(),
	}
	var results [2][]byte
	for i := range results {
		if err := m.s.CopyToDevice(out.at, before); err != nil {
			t.Fatal(err)
		}
		if err := m.lt.Multiply(m.s, &p); err != nil {
			var status *Error
			if c.mayRefuse() && errors.As(err, &status) && (status.Name == "CUBLAS_STATUS_NOT_SUPPORTED" || status.Name == "CUBLAS_STATUS_INVALID_VALUE") {
				m.refused++
				return
			}
			if gelu := c.epilogue == EpilogueGelu || c.epilogue == EpilogueGeluBias; m.gpu && gelu && errors.As(err, &status) && (status.Code == 15 || status.Code == 7) {
				t.Logf("%v: %v", c, err) // there is GELU where the library has an algorithm with it; 7 is what some say instead
				return
			}
			t.Errorf("%v: %v", c, err)
			return
		}
		results[i] = m.bytes(out)
	}
	if !slices.Equal(results[0], results[1]) {
		t.Errorf("%v: two runs differ", c)
	}
	inside := make([]bool, len(out.values))
	for i := range c.m {
		for j := range c.n {
			var sum, size float64
			for k := range c.k {
				x := a.op(c.transA, i, k) * b.op(c.transB, k, j)
				sum += x
				size += math.Abs(x)
			}
			// γ of K additions and the product's rounding in float32, on the sum of the absolute values, then one
			// rounding of the result; GELU's slope is at most 1.13. Tensor cores cut where others round: at most L
			// products at a time and the sum so far are each cut to 24 bits below the largest, and then their sum. That
			// is (L+1)·2^-23 of the absolute values for each of ⌈K/L⌉ steps; with L of 4 or more, and a rounding for
			// each of at most K/L parts of a sum that was split, less than (3K+2)·2^-24. (Package devicetest has the
			// same bound, and a sum that needs it.)
			terms := c.k
			if m.gpu && c.in == BF16 {
				terms = 3 * c.k
			}
			bound := float64(terms+2) * 0x1p-24 * size * math.Abs(float64(c.alpha))
			sum *= float64(c.alpha)
			at := c.shift + i*out.ld + j
			if c.beta != 0 {
				old := element(before, c.out, at) * float64(c.beta)
				sum += old
				bound += 0x1p-23 * math.Abs(old)
			}
			if c.epilogue.bias() {
				sum += bias.op(false, 0, j)
				bound += 0x1p-23 * (math.Abs(bias.op(false, 0, j)) + math.Abs(sum))
			}
			if c.epilogue == EpilogueGelu || c.epilogue == EpilogueGeluBias {
				tanh := 0x1p-20
				if m.gpu { // the library may take the GPU's instruction, whose relative error is 2^-11 (PTX ISA, tanh.approx)
					tanh = 0x1p-11
				}
				bound = 1.2*bound + tanh*(1+math.Abs(sum))
				sum = geluTanh(sum)
			}
			if c.out == BF16 {
				bound += 0x1p-8 * math.Abs(sum)
			}
			bound += 0x1p-23 * math.Abs(sum)
			inside[at] = true
			if got := element(results[0], c.out, at); !(math.Abs(got-sum) <= bound) {
				t.Errorf("%v: [%d,%d] is %g, want %g ± %g", c, i, j, got, sum, bound)
				return
			}
		}
	}
	for i := range inside {
		size := c.out.bytes()
		if !inside[i] && !slices.Equal(results[0][i*size:(i+1)*size], before[i*size:(i+1)*size]) {
			t.Errorf("%v: element %d outside of the result was written", c, i)
			return
		}
	}
}

// ltTypes are the types that go together.
var ltTypes = [][2]Type{{F32, F32}, {BF16, BF16}, {BF16, F32}}

// every runs all transpositions, types and epilogues at awkward shapes, with a bias of any alignment or of the best.
func (m *ltMachine) every(anyBias bool) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, shape := range [][3]int{{1, 1, 1}, {3, 5, 7}, {7, 1, 65}, {1, 9, 130}, {17, 31, 64}, {33, 16, 100}} {
		for trans := range 4 {
			for _, types := range ltTypes {
				for e := EpilogueNone; e <= EpilogueGeluBias; e++ {
					m.run(r, ltCase{m: shape[0], n: shape[1], k: shape[2], transA: trans&1 != 0, transB: trans&2 != 0, in: types[0], out: types[1],
						epilogue: e, alpha: 1})
					if m.t.Failed() {
						return
					}
				}
			}
		}
	}
	for range 150 {
		types := ltTypes[r.IntN(len(ltTypes))]
		c := ltCase{m: 1 + r.IntN(40), n: 1 + r.IntN(40), k: 1 + r.IntN(90), transA: r.IntN(2) == 0, transB: r.IntN(2) == 0, in: types[0], out: types[1],
			epilogue: Epilogue(r.IntN(4)), alpha: []float32{1, -0.5, 2}[r.IntN(3)], beta: []float32{0, 1, -0.25}[r.IntN(3)],
			gapA: r.IntN(4), gapB: r.IntN(4), gapC: r.IntN(4), shiftA: r.IntN(4), shiftB: r.IntN(4), shift: r.IntN(4)}
		if shift := r.IntN(4); anyBias {
			c.shiftBias = shift
		}
		if m.run(r, c); m.t.Failed() {
			return
		}
	}
}

func TestLtProducts(t *testing.T) {
	m, lib := ltOnStandin(t)
	lib.Set(standin.AnyBias, 1)
	if m.every(true); m.refused > 0 {
		t.Errorf("%d products with a bias were refused", m.refused)
	}
}

// TestLtBiasRefused runs the same where the library has no algorithm for a bias that it does not promise: the status is
// clean, and what it has is right.
func TestLtBiasRefused(t *testing.T) {
	m, _ := ltOnStandin(t)
	if m.every(true); m.refused < 50 {
		t.Errorf("%d products with a bias were refused", m.refused)
	}
}

// TestLtProductsLate runs the same where work runs when somebody waits for it.
func TestLtProductsLate(t *testing.T) {
	m, lib := ltOnStandin(t)
	lib.Set(standin.Delay, standin.AtRandom)
	lib.Set(standin.AnyBias, 1)
	m.every(true)
}

// TestCUDALtProducts runs them on a GPU.
func TestCUDALtProducts(t *testing.T) {
	m := ltOnGPU(t)
	t.Logf("%s, cuBLAS %s, %s", m.d.Info().Name, LtVersionName(m.lt.Version()), m.lt.Path())
	m.every(false)
	t.Logf("%d products of one row or column with a bias were refused", m.refused)
	r := rand.New(rand.NewPCG(3, 4))
	for trans := range 4 {
		for _, types := range ltTypes {
			m.run(r, ltCase{m: 257, n: 384, k: 512, transA: trans&1 != 0, transB: trans&2 != 0, in: types[0], out: types[1], epilogue: EpilogueBias, alpha: 1})
		}
	}
}

// ltOnGPU opens the library of this machine, or skips where there is no GPU.
func ltOnGPU(t *testing.T) *ltMachine {
	t.Helper()
	loadGPU(t)
	m := ltOn(t, Options{}, "")
	m.gpu = true
	return m
}

// loadGPU loads the driver of this machine. Without a driver or a device the test is skipped; any other error is one of
// a GPU that does not work.
func loadGPU(t *testing.T) *Driver {
	t.Helper()
	drv, err := Load(Options{})
	if err == nil {
		var n int
		if n, err = drv.count(); err == nil && n == 0 {
			err = ErrNoDevice
		}
	}
	if errors.Is(err, ErrNoDriver) || errors.Is(err, ErrNoDevice) {
		t.Skipf("no GPU here: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return drv
}

// TestCUDALtBias gives products a bias that lies anywhere, in a process of its own: where the library's loads fault on
// it the device is lost, for all that comes after. It must do these products right or refuse them; where it faults,
// Multiply has to refuse such a bias. Nothing here relies on it: linear layers only have aligned ones added by the
// library.
func TestCUDALtBias(t *testing.T) {
	const child = "SECENCODER_TEST_BIAS_ANYWHERE"
	if os.Getenv(child) != "" {
		m := ltOnGPU(t)
		m.every(true)
		t.Logf("%d products with a bias were refused", m.refused)
		return
	}
	loadGPU(t)
	cmd := exec.Command(os.Args[0], "-test.run=^TestCUDALtBias$", "-test.v", "-test.timeout=60s")
	cmd.Env = append(os.Environ(), child+"=1")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	t.Logf("%s", out)
}

// product returns a valid product of the machine, and what to free after it.
func (m *ltMachine) product(c ltCase) (*Product, func()) {
	r := rand.New(rand.NewPCG(5, 6))
	a, b := m.fill(r, c.m, c.k, 0, 0, c.in), m.fill(r, c.k, c.n, 0, 0, c.in)
	out, bias := m.fill(r, c.m, c.n, 0, 0, c.out), m.fill(r, 1, c.n, 0, 0, c.out)
	return &Product{M: c.m, N: c.n, K: c.k, A: a.ptr(), B: b.ptr(), C: out.ptr(), In: c.in, Out: c.out, Alpha: 1, Epilogue: c.epilogue, Bias: bias.ptr()},
		func() { m.free(a, b, out, bias) }
}

func TestLtSearchesOnce(t *testing.T) {
	m, lib := ltOnStandin(t)
	p, done := m.product(ltCase{m: 8, n: 16, k: 128, in: BF16, out: BF16, epilogue: EpilogueBias})
	defer done()
	multiply := func() {
		t.Helper()
		if err := m.lt.Multiply(m.s, p); err != nil {
			t.Fatal(err)
		}
	}
	multiply()
	before := lib.Calls()
	for i := range 10 {
		p.Alpha, p.Beta = float32(i), 1 // no part of the shape
		multiply()
	}
	after := lib.Calls()
	for name, n := range after {
		if strings.HasPrefix(name, "cublasLt") && name != "cublasLtMatmul" && n != before[name] {
			t.Errorf("%s was called %d times more", name, n-before[name])
		}
	}
	if after["cublasLtMatmul"] != 11 || after["cuMemAlloc_v2"] != before["cuMemAlloc_v2"] {
		t.Errorf("%d products, %d new allocations", after["cublasLtMatmul"], after["cuMemAlloc_v2"]-before["cuMemAlloc_v2"])
	}
	other := *p
	other.TransA, other.LDA, other.A = true, p.M, p.A
	if err := m.lt.Multiply(m.s, &other); err != nil {
		t.Fatal(err)
	}
	if got := m.lt.Stats(); got != (LtStats{Products: 12, Searches: 2}) {
		t.Errorf("%+v", got)
	}
}

// TestLtBiasOfEachCall: products of one shape share a descriptor, not a bias.
func TestLtBiasOfEachCall(t *testing.T) {
	m, lib := ltOnStandin(t)
	lib.Set(standin.Delay, standin.Late)
	p, done := m.product(ltCase{m: 2, n: 3, k: 4, in: F32, out: F32, epilogue: EpilogueBias})
	defer done()
	p.Alpha = 0
	r := rand.New(rand.NewPCG(9, 9))
	var outs, biases []*matrix
	for range 3 {
		outs, biases = append(outs, m.fill(r, 2, 3, 0, 0, F32)), append(biases, m.fill(r, 1, 3, 0, 0, F32))
	}
	defer m.free(append(outs, biases...)...)
	for i := range outs {
		p.C, p.Bias = outs[i].ptr(), biases[i].ptr()
		if err := m.lt.Multiply(m.s, p); err != nil {
			t.Fatal(err)
		}
	}
	for i := range outs {
		got := m.bytes(outs[i])
		for j := range 3 {
			if element(got, F32, j) != biases[i].values[j] || element(got, F32, 3+j) != biases[i].values[j] {
				t.Errorf("product %d has not its own bias", i)
			}
		}
	}
}

func TestLtRefuses(t *testing.T) {
	m, _ := ltOnStandin(t)
	p, done := m.product(ltCase{m: 4, n: 6, k: 8, in: BF16, out: F32, epilogue: EpilogueBias})
	defer done()
	for want, change := range map[string]func(*Product){
		"want M and N of 0 or more":      func(p *Product) { p.M = -1 },
		"K of 1 or more":                 func(p *Product) { p.K = 0 },
		"want f32 or bf16":               func(p *Product) { p.In = 7 },
		"factors of f32":                 func(p *Product) { p.In, p.Out = F32, BF16 },
		"no epilogue 9":                  func(p *Product) { p.Epilogue = 9 },
		"needs a bias":                   func(p *Product) { p.Bias = 0 },
		"leading dimension 7 of A":       func(p *Product) { p.LDA = 7 },
		"leading dimension 5 of B":       func(p *Product) { p.LDB = 5 },
		"leading dimension 5 of C":       func(p *Product) { p.LDC = 5 },
		"B is at address 0":              func(p *Product) { p.B = 0 },
		"not on a boundary of its":       func(p *Product) { p.A++ },
		"the bias at":                    func(p *Product) { p.Bias += 2 },
		"product 4×6×8 (M×N×K) of bf16 ": func(p *Product) { p.C += 2 },
	} {
		bad := *p
		change(&bad)
		if err := m.lt.Multiply(m.s, &bad); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q, got %v", want, err)
		}
	}
	for _, change := range []func(*Product){func(p *Product) { p.M = 0 }, func(p *Product) { p.N = 0 }} {
		nothing := *p
		change(&nothing)
		if err := m.lt.Multiply(m.s, &nothing); err != nil {
			t.Errorf("nothing to do: %v", err)
		}
	}
	if err := m.lt.Multiply(m.s, p); err != nil {
		t.Error(err)
	}
}

// TestLtFaults lets every call of the library fail once: the error names it, nothing is left behind, and the next
// product is right.
func TestLtFaults(t *testing.T) {
	for _, c := range []struct {
		call string
		nth  int
		code int
		want string
	}{
		{"cublasLtMatmulDescCreate", 1, 3, "cublasLtMatmulDescCreate: the resource allocation failed (CUBLAS_STATUS_ALLOC_FAILED, 3)"},
		{"cublasLtMatmulDescSetAttribute", 1, 7, "cublasLtMatmulDescSetAttribute: an unsupported value"},
		{"cublasLtMatmulDescSetAttribute", 2, 7, "CUBLAS_STATUS_INVALID_VALUE"},
		{"cublasLtMatmulDescSetAttribute", 3, 7, "CUBLAS_STATUS_INVALID_VALUE"},
		{"cublasLtMatmulDescSetAttribute", 4, 7, "CUBLAS_STATUS_INVALID_VALUE"},
		{"cublasLtMatrixLayoutCreate", 1, 3, "CUBLAS_STATUS_ALLOC_FAILED"},
		{"cublasLtMatrixLayoutCreate", 2, 3, "CUBLAS_STATUS_ALLOC_FAILED"},
		{"cublasLtMatrixLayoutCreate", 3, 3, "CUBLAS_STATUS_ALLOC_FAILED"},
		{"cublasLtMatmulPreferenceCreate", 1, 3, "CUBLAS_STATUS_ALLOC_FAILED"},
		{"cublasLtMatmulPreferenceSetAttribute", 1, 7, "CUBLAS_STATUS_INVALID_VALUE"},
		{"cublasLtMatmulPreferenceSetAttribute", 6, 7, "CUBLAS_STATUS_INVALID_VALUE"},
		{"cublasLtMatmulAlgoGetHeuristic", 1, 15, "(CUBLAS_STATUS_NOT_SUPPORTED, 15); this cuBLAS has no algorithm"},
		{"cublasLtMatmulPreferenceDestroy", 1, 14, "CUBLAS_STATUS_INTERNAL_ERROR"},
		{"cublasLtMatmul", 1, 13, "CUBLAS_STATUS_EXECUTION_FAILED"},
		{"cublasLtMatmul", 1, 99, "unknown error (CUBLAS_STATUS_UNKNOWN, 99)"},
		{"cuMemAlloc_v2", 1, 2, "workspace: cuMemAlloc_v2: 512 B of device memory are needed"},
	} {
		m, lib := ltOnStandin(t)
		p, done := m.product(ltCase{m: 4, n: 32, k: 64, in: BF16, out: BF16, epilogue: EpilogueBias})
		lib.Fail(c.call, c.nth, c.code)
		err := m.lt.Multiply(m.s, p)
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "product 4×32×64") {
			t.Errorf("%s, call %d: %v", c.call, c.nth, err)
		}
		if (c.code == 3 || c.code == 2) != errors.Is(err, ErrOutOfMemory) {
			t.Errorf("%s: out of memory or not: %v", c.call, err)
		}
		if err := m.lt.Multiply(m.s, p); err != nil {
			t.Errorf("%s, call %d: and then %v", c.call, c.nth, err)
		}
		done()
	}
}

// TestLtEachStatusFails lets the calls of a product fail with every status of the table and one that it does not have.
func TestLtEachStatusFails(t *testing.T) {
	m, lib := ltOnStandin(t)
	k := 64 // each product is new, so that an algorithm is looked for
	for _, call := range []string{
		"cublasLtMatmulDescCreate", "cublasLtMatmulDescSetAttribute", "cublasLtMatrixLayoutCreate", "cublasLtMatmulPreferenceCreate",
		"cublasLtMatmulPreferenceSetAttribute", "cublasLtMatmulAlgoGetHeuristic", "cublasLtMatmulPreferenceDestroy", "cublasLtMatmul",
	} {
		for code := range 20 {
			s, known := ltStatuses[code]
			if !known && code != 19 {
				continue
			}
			k++
			p, done := m.product(ltCase{m: 4, n: 8, k: k, in: BF16, out: F32, epilogue: EpilogueBias})
			lib.Fail(call, 1, code)
			err := m.lt.Multiply(m.s, p)
			var said *Error
			if !errors.As(err, &said) || said.Call != call || said.Code != code || known && said.Name != s.name || said.Text == "" || !errors.Is(err, cmp.Or(s.kind, error(said))) {
				t.Errorf("%s gives %d: %v", call, code, err)
			}
			if err := m.lt.Multiply(m.s, p); err != nil {
				t.Errorf("after %d of %s: %v", code, call, err)
			}
			done()
		}
	}
	if k < 64+8*10 {
		t.Errorf("only %d products failed", k-64)
	}
}

// TestLtFaultsOfClose: what fails to be given back is reported once, and counts as given back.
func TestLtFaultsOfClose(t *testing.T) {
	for _, call := range []string{"cublasLtDestroy", "cublasLtMatmulDescDestroy", "cublasLtMatrixLayoutDestroy"} {
		m, lib := ltOnStandin(t)
		p, done := m.product(ltCase{m: 4, n: 4, k: 4, in: F32, out: F32})
		if err := m.lt.Multiply(m.s, p); err != nil {
			t.Fatal(err)
		}
		done()
		lib.Fail(call, 1, 14)
		if err := m.lt.Close(); err == nil || !strings.Contains(err.Error(), call+": an internal operation failed") {
			t.Errorf("%s: %v", call, err)
		}
		if err := m.lt.Multiply(m.s, p); !errors.Is(err, ErrClosed) {
			t.Errorf("after Close: %v", err)
		}
	}
	lib := standin.Build(t)
	drv, err := Load(Options{Library: lib.Path()})
	if err != nil {
		t.Fatal(err)
	}
	d, err := drv.Open(0, DeviceOptions{})
	if err != nil {
		t.Fatal(err)
	}
	lib.Fail("cublasLtCreate", 1, 1)
	if _, err := d.OpenLt(lib.Path()); err == nil || !strings.Contains(err.Error(), "CUBLAS_STATUS_NOT_INITIALIZED") || !strings.Contains(err.Error(), "do not fit together") {
		t.Errorf("%v", err)
	}
	lt, err := d.OpenLt(lib.Path())
	if err != nil {
		t.Fatal(err)
	}
	if lt.Version() != 120405 || filepath.Base(lt.Path()) != "libcublasLt.so.12" {
		t.Errorf("%d of %s", lt.Version(), lt.Path())
	}
	if err := d.Close(); err == nil || !strings.Contains(err.Error(), "cublasLt handle") { // and it is closed with the device
		t.Errorf("%v", err)
	}
}

// TestLtLostDevice: the library has no status for it, the driver has.
func TestLtLostDevice(t *testing.T) {
	lib := standin.Build(t)
	drv, err := Load(Options{Library: lib.Path()})
	if err != nil {
		t.Fatal(err)
	}
	d, err := drv.Open(0, DeviceOptions{})
	if err != nil {
		t.Fatal(err)
	}
	s, err := d.NewStream()
	if err != nil {
		t.Fatal(err)
	}
	lt, err := d.OpenLt(lib.Path())
	if err != nil {
		t.Fatal(err)
	}
	m := &ltMachine{t: t, d: d, s: s, lt: lt}
	p, _ := m.product(ltCase{m: 4, n: 4, k: 4, in: F32, out: F32})
	if err := lt.Multiply(s, p); err != nil {
		t.Fatal(err)
	}
	lib.Lose(700)
	if err := lt.Multiply(s, p); !errors.Is(err, ErrDeviceLost) {
		t.Errorf("%v", err)
	}
	before := lib.Calls()
	if err := lt.Close(); !errors.Is(err, ErrDeviceLost) {
		t.Errorf("%v", err)
	}
	// The library's handle is of the dead context; descriptors are memory of the host.
	after := lib.Calls()
	if n := after["cublasLtDestroy"] - before["cublasLtDestroy"]; n != 0 {
		t.Errorf("cublasLtDestroy was called on a lost device")
	}
	if after["cublasLtMatmulDescDestroy"] == before["cublasLtMatmulDescDestroy"] {
		t.Errorf("the descriptors are left")
	}
	if err := lt.Multiply(s, p); err == nil {
		t.Errorf("a product after Close")
	}
	if err := d.Close(); !errors.Is(err, ErrDeviceLost) {
		t.Errorf("%v", err)
	}
	lib.Leaks() // the dead context holds what it held
}

// TestLtCapture: a product of a graph gives the same bits, and its workspace is not handed out while the graph lives.
func TestLtCapture(t *testing.T) {
	m, lib := ltOnStandin(t)
	p, done := m.product(ltCase{m: 8, n: 16, k: 128, in: BF16, out: F32, epilogue: EpilogueGeluBias})
	defer done()
	out := &matrix{values: make([]float64, 8*16), t: F32, at: p.C}
	cold := func() error { return m.lt.Multiply(m.s, p) }
	if _, err := m.s.Capture(cold); err == nil || !strings.Contains(err.Error(), "run the same work once on the same stream before capturing it") {
		t.Errorf("%v", err)
	}
	if err := cold(); err != nil {
		t.Fatal(err)
	}
	want := m.bytes(out)
	g, err := m.s.Capture(cold)
	if err != nil {
		t.Fatal(err)
	}
	if err := m.s.Fill(p.C, 0xff, 8*16*4); err != nil {
		t.Fatal(err)
	}
	mine := m.alloc(8 * 16 * 4) // as large as the workspace, which replays destroy
	if err := m.s.Fill(mine, 7, 8*16*4); err != nil {
		t.Fatal(err)
	}
	if err := g.Launch(m.s); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(m.bytes(out), want) {
		t.Error("the graph's product differs")
	}
	for _, b := range m.bytes(&matrix{values: make([]float64, 8*16), t: F32, at: mine}) {
		if b != 7 {
			t.Fatal("the graph writes to memory that was handed out")
		}
	}
	m.free(&matrix{at: mine})
	if err := g.Close(); err != nil {
		t.Error(err)
	}
	if v := lib.Violations(); len(v) != 0 {
		t.Error(v)
	}
}

// TestLtConcurrently multiplies from many goroutines on streams of their own.
func TestLtConcurrently(t *testing.T) {
	m, lib := ltOnStandin(t)
	lib.Set(standin.Delay, standin.AtRandom)
	r := rand.New(rand.NewPCG(11, 12))
	a, b, bias := m.fill(r, 8, 64, 0, 0, F32), m.fill(r, 64, 16, 0, 0, F32), m.fill(r, 1, 16, 0, 0, F32)
	defer m.free(a, b, bias)
	if err := m.s.Synchronize(); err != nil {
		t.Fatal(err)
	}
	p := Product{M: 8, N: 16, K: 64, A: a.ptr(), B: b.ptr(), In: F32, Out: F32, Alpha: 1, Epilogue: EpilogueBias, Bias: bias.ptr()}
	results := make([][]byte, 6)
	var wg sync.WaitGroup
	for i := range results {
		wg.Go(func() {
			s, err := m.d.NewStream()
			if err != nil {
				t.Error(err)
				return
			}
			own := &ltMachine{t: t, d: m.d, s: s, lt: m.lt}
			defer func() {
				if err := s.Close(); err != nil {
					t.Error(err)
				}
			}()
			for range 20 {
				p := p
				at, err := m.d.Alloc(s, 8*16*4)
				if err != nil {
					t.Error(err)
					return
				}
				p.C = at
				b := make([]byte, 8*16*4)
				err = errors.Join(own.lt.Multiply(s, &p), s.CopyToHost(b, at), s.Synchronize(), m.d.Free(s, at))
				if err != nil {
					t.Error(err)
					return
				}
				if results[i] != nil && !slices.Equal(results[i], b) {
					t.Error("products differ")
				}
				results[i] = b
			}
		})
	}
	wg.Wait()
	for i := range results {
		if !slices.Equal(results[i], results[0]) {
			t.Errorf("goroutine %d has another product", i)
		}
	}
}

func TestLtFitsTheDriver(t *testing.T) {
	for _, c := range []struct {
		version, driver int
		want            string
	}{
		{120405, 12000, ""}, {120405, 13000, ""}, {130401, 13000, ""},
		{130401, 12080, "cuBLAS 13.4.1 needs a driver for CUDA 13, this one is for CUDA 12.8; install a newer NVIDIA driver, or cuBLAS 12"},
		{111103, 12080, "cuBLAS 11.11.3, want 12 or 13"},
	} {
		err := (&ltLibrary{Library: &Library{path: "lib"}, version: c.version}).fits(c.driver)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("cuBLAS %d, driver %d: %v", c.version, c.driver, err)
		}
		if c.version == 130401 && err != nil && !errors.Is(err, ErrDriverTooOld) {
			t.Errorf("%v", err)
		}
	}
}

// TestLtLibrary holds what we write of cublasLt.h against a real library where there is one, which needs no GPU: sizes of
// attributes, names of statuses, creation of descriptors.
func TestLtLibrary(t *testing.T) {
	l, err := openLtLibrary("", 13000)
	if err != nil {
		t.Skip(err)
	}
	t.Logf("%s, cuBLAS %s", l.Path(), LtVersionName(l.version))
	for code, s := range ltStatuses {
		if name := cString(l.statusName.Call(uintptr(code))); name != s.name {
			t.Errorf("status %d is %s, not %s", code, name, s.name)
		}
	}
	var objects [3]uintptr
	out := new(uintptr)
	for i, f := range []func() uintptr{
		func() uintptr { return l.descCreate.Call(uintptr(unsafe.Pointer(out)), compute32F, cudaR32F) },
		func() uintptr { return l.layoutCreate.Call(uintptr(unsafe.Pointer(out)), cudaR16BF, 5, 7, 6) },
		func() uintptr { return l.prefCreate.Call(uintptr(unsafe.Pointer(out))) },
	} {
		if r := f(); r != 0 {
			t.Fatalf("object %d: status %d", i, r)
		}
		objects[i] = *out
	}
	value := new(uint64)
	*value = 1
	for _, c := range []struct {
		f                        Symbol
		object, attribute, bytes uintptr
	}{
		{l.descSet, objects[0], descTransA, 4}, {l.descSet, objects[0], descTransB, 4}, {l.descSet, objects[0], descEpilogue, 4},
		{l.descSet, objects[0], descBiasPointer, 8}, {l.descSet, objects[0], descBiasType, 4},
		{l.prefSet, objects[2], prefWorkspace, 8}, {l.prefSet, objects[2], prefReduction, 4},
		{l.prefSet, objects[2], prefAlignment, 4}, {l.prefSet, objects[2], prefAlignment + 1, 4},
		{l.prefSet, objects[2], prefAlignment + 2, 4}, {l.prefSet, objects[2], prefAlignment + 3, 4},
	} {
		if r := c.f.Call(c.object, c.attribute, uintptr(unsafe.Pointer(value)), c.bytes); r != 0 {
			t.Errorf("%s %d of %d bytes: status %d", c.f.Name, c.attribute, c.bytes, r)
		}
		if r := c.f.Call(c.object, c.attribute, uintptr(unsafe.Pointer(value)), 12-c.bytes); r == 0 {
			t.Errorf("%s %d of %d bytes is taken", c.f.Name, c.attribute, 12-c.bytes)
		}
	}
	for i, f := range []Symbol{l.descDestroy, l.layoutDestroy, l.prefDestroy} {
		if r := f.Call(objects[i]); r != 0 {
			t.Errorf("%s: status %d", f.Name, r)
		}
	}
	if n := unsafe.Sizeof(ltFound{}); n != 96 {
		t.Errorf("a result has %d bytes, cublasLtMatmulHeuristicResult_t 96", n)
	}
}

// TestLtClosedUnderWay closes the library while goroutines multiply: each product is done or refused.
func TestLtClosedUnderWay(t *testing.T) {
	m, lib := ltOnStandin(t)
	p, done := m.product(ltCase{m: 4, n: 4, k: 4, in: F32, out: F32})
	defer done()
	for range 100 {
		lt, err := m.d.OpenLt(lib.Path())
		if err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		begun := make(chan struct{}, 4)
		for i := range 4 {
			wg.Go(func() {
				for k := 0; ; k++ {
					q := *p
					q.Alpha = float32(i)
					q.M = 1 + k%4 // searches too
					err := lt.Multiply(m.s, &q)
					if k == 0 {
						begun <- struct{}{}
					}
					if err != nil {
						if !errors.Is(err, ErrClosed) {
							t.Error(err)
						}
						return
					}
				}
			})
		}
		<-begun
		if err := lt.Close(); err != nil {
			t.Error(err)
		}
		wg.Wait()
	}
}
