package gpu

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"unsafe"

	"github.com/secencoder/secencoder/internal/bf16"
	"github.com/secencoder/secencoder/internal/kernel"
	"github.com/secencoder/secencoder/internal/rng"
)

// program is one forward and backward pass over most kernels of the table, with the results of one as operands of the
// next: what it leaves shows whether two runs do the same, bit for bit.
type program struct {
	random rng.Stream
	half   bool
	sizes
	made  []kernel.Buf // what kernels write
	calls []func()     // in the order of the program
	sum   float64      // of squares
}

// sizes are those of a program's operands: pieces of all lengths up to longest, or as many of that length as times says.
type sizes struct{ longest, times, width, inner, vocabulary int }

// small is a program that the stand-in runs, base one of the sizes of a model.
func small(longest int) sizes { return sizes{longest: longest, width: 96, inner: 264, vocabulary: 500} }

var base = sizes{longest: 509, times: 8, width: 768, inner: 3072, vocabulary: 29_952}

func newProgram(half bool, z sizes) *program {
	return &program{random: rng.NewStream(1, rng.Probe, 2, 0, 0), half: half, sizes: z}
}

// input returns a float32 operand of normal variates.
func (p *program) input(n int, scale float64) kernel.Buf {
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(p.random.Norm() * scale)
	}
	return kernel.FromF32(x)
}

// output returns a float32 operand of zeros.
func (p *program) output(n int) kernel.Buf {
	p.made = append(p.made, kernel.FromF32(make([]float32, n)))
	return p.made[len(p.made)-1]
}

// activation returns an operand of zeros that is BF16 in that arithmetic.
func (p *program) activation(n int) kernel.Buf {
	if !p.half {
		return p.output(n)
	}
	p.made = append(p.made, kernel.FromBF16(make([]bf16.BF16, n)))
	return p.made[len(p.made)-1]
}

// work returns a workspace.
func (p *program) work(k kernel.Kernels, args any) kernel.Buf {
	n := k.WorkBytes(args)
	b := make([]byte, n+64)
	off := int(-uintptr(unsafe.Pointer(unsafe.SliceData(b))) % 64)
	return kernel.Buf{Ptr: unsafe.Pointer(&b[off]), Bytes: n}
}

// do adds a call to the program.
func do[A any](p *program, call func(kernel.Stream, *A), args *A) {
	p.calls = append(p.calls, func() { call(0, args) })
}

// run runs the program and returns a hash of all that was written.
func (p *program) run(k kernel.Kernels) (string, error) {
	p.write(k)
	for _, call := range p.calls {
		call()
	}
	hash := sha256.New()
	binary.Write(hash, binary.LittleEndian, p.sum)
	for _, b := range p.made {
		hash.Write(unsafe.Slice((*byte)(b.Ptr), b.Bytes))
	}
	return hex.EncodeToString(hash.Sum(nil)), k.Sync(0)
}

// write makes the operands and the calls.
func (p *program) write(k kernel.Kernels) {
	width, inner, vocabulary := p.width, p.inner, p.vocabulary
	pack := kernel.Pack{Offsets: []int32{0}, Step: 3, Seed: 5, Ordinal: 7, Scale: 0.5}
	lengths := slices.Repeat([]int{p.longest}, p.times)
	for n := 2; n <= p.longest && p.times == 0; n++ {
		lengths = append(lengths, n)
	}
	for _, n := range lengths {
		pack.Offsets = append(pack.Offsets, pack.Offsets[len(pack.Offsets)-1]+int32(n))
	}
	tokens := int(pack.Offsets[len(pack.Offsets)-1])
	ids := make([]int32, tokens)
	for t := range ids {
		ids[t] = int32(p.random.Intn(vocabulary))
		if t%7 == 3 {
			pack.Masked, pack.Labels = append(pack.Masked, int32(t)), append(pack.Labels, ids[t])
		}
	}
	words := make([]int32, kernel.HeaderWords(tokens))
	pack.Fill(words, tokens)
	h, rows := kernel.FromI32(words), kernel.RowsTokens
	drop := kernel.Dropout{P: 0.1, Site: 9}

	word := p.input(vocabulary*width, 1)
	gamma, beta := p.input(width, 1), p.input(width, 1)
	w1, b1, w2, b2 := p.input(inner*width, 0.1), p.input(inner, 1), p.input(width*inner, 0.1), p.input(width, 1)
	x0, x1, z, y := p.activation(tokens*width), p.activation(tokens*width), p.activation(tokens*width), p.activation(tokens*width)
	u, pre := p.activation(tokens*inner), p.activation(tokens*inner)
	stats0, stats1 := p.output(2*tokens), p.output(2*tokens)
	do(p, k.Embed, &kernel.EmbedArgs{Header: h, IDs: kernel.FromI32(ids), Word: word, Out: x0, E: width})
	do(p, k.LayerNorm, &kernel.LayerNormArgs{Header: h, X: x0, Gamma: gamma, Beta: beta, Out: x1, Stats: stats0, Rows: rows, N: tokens, W: width, Eps: 1e-7, Drop: drop})
	do(p, k.Linear, &kernel.LinearArgs{Header: h, X: x1, W: w1, B: b1, Y: u, Pre: pre, Rows: rows, N: tokens, In: width, Out: inner, Act: kernel.Gelu})
	do(p, k.Linear, &kernel.LinearArgs{Header: h, X: u, W: w2, B: b2, Y: z, Rows: rows, N: tokens, In: inner, Out: width})
	do(p, k.AddNorm, &kernel.AddNormArgs{Header: h, X: z, Res: x1, Gamma: gamma, Beta: beta, Out: y, Stats: stats1, Rows: rows, N: tokens, W: width, Eps: 1e-7, Drop: drop})
	masked, pooled := p.activation(tokens*width), p.output(tokens/2*width)
	do(p, k.Gather, &kernel.GatherArgs{Header: h, X: y, Out: masked, T: tokens, W: width})
	do(p, k.Pool, &kernel.PoolArgs{Header: h, X: y, Out: pooled, T: tokens, W: width})

	dMasked, dPooled, dY := p.activation(tokens*width), p.activation(tokens*width), p.activation(tokens*width)
	do(p, k.GatherGrad, &kernel.GatherGradArgs{Header: h, DOut: masked, DX: dMasked, T: tokens, W: width})
	do(p, k.PoolGrad, &kernel.PoolGradArgs{Header: h, DOut: pooled, DX: dPooled, T: tokens, W: width})
	do(p, k.Add, &kernel.AddArgs{A: dMasked, B: dPooled, Out: dY, N: tokens * width})
	dZ, dRes, dU, dX1, dX0 := p.activation(tokens*width), p.activation(tokens*width), p.activation(tokens*inner), p.activation(tokens*width), p.activation(tokens*width)
	dGamma, dBeta := p.output(width), p.output(width)
	do(p, k.AddNormGrad, &kernel.AddNormGradArgs{
		Header: h, X: z, Res: x1, Stats: stats1, Gamma: gamma, DOut: dY, DX: dZ, DRes: dRes, DGamma: dGamma, DBeta: dBeta, Rows: rows, N: tokens, W: width, Drop: drop,
	})
	g2 := &kernel.LinearGradArgs{
		Header: h, X: u, W: w2, DY: dZ, DX: dU, DW: p.output(width * inner), DB: p.output(width), Rows: rows, N: tokens, In: inner, Out: width,
	}
	g2.Work = p.work(k, g2)
	do(p, k.LinearGrad, g2)
	g1 := &kernel.LinearGradArgs{
		Header: h, X: x1, W: w1, Pre: pre, DY: dU, DX: dX1, DW: p.output(inner * width), DB: p.output(inner), DXAdd: dRes,
		Rows: rows, N: tokens, In: width, Out: inner, Act: kernel.Gelu,
	}
	g1.Work = p.work(k, g1)
	do(p, k.LinearGrad, g1)
	do(p, k.LayerNormGrad, &kernel.LayerNormGradArgs{
		Header: h, X: x0, Stats: stats0, Gamma: gamma, DOut: dX1, DX: dX0, DGamma: dGamma, DBeta: dBeta, Beta: [2]float32{1, 1}, Rows: rows, N: tokens, W: width, Drop: drop,
	})
	dWord := p.output(vocabulary * width)
	do(p, k.EmbedGrad, &kernel.EmbedGradArgs{Header: h, IDs: kernel.FromI32(ids), DOut: dX0, DWord: dWord, E: width, PadID: 0})
	squares := &kernel.SumSquaresArgs{G: dWord, N: vocabulary * width}
	p.calls = append(p.calls, func() { p.sum = k.SumSquares(0, squares) })
	do(p, k.AdamW, &kernel.AdamWArgs{
		W: word, G: dWord, M: p.output(vocabulary * width), V: p.output(vocabulary * width), N: vocabulary * width,
		LR: 1e-3, Beta1: 0.9, Beta2: 0.98, Eps: 1e-6, Decay: 0.01, Clip: 0.5, Step: 1,
	})
	p.made = append(p.made, word)
}

// hashes runs the program in both arithmetics, each as often as asked, and returns what they leave.
func (m *machine) hashes(t testing.TB, times, longest int) string {
	t.Helper()
	s := stage(t, m.device, m.table, 1)
	var list []string
	for _, half := range []bool{false, true} {
		var first string
		for i := range times {
			got, err := newProgram(half, small(longest)).run(s)
			if err != nil {
				t.Fatal(err)
			}
			if i == 0 {
				first = got
			} else if got != first {
				t.Fatalf("run %d with half %v leaves %s, the first %s", i+1, half, got, first)
			}
		}
		list = append(list, first)
	}
	return strings.Join(list, " ")
}

// What together tells the processes that it starts: the test they belong to, and the stand-in's folder, "" on a GPU.
const (
	childOf     = "SECENCODER_GPU_CHILD"
	childFolder = "SECENCODER_GPU_FOLDER"
)

// together runs the program in this process and, at the same time, in two others: each of the three must leave the same
// bits every time. open opens the machine, in the other processes that of a folder.
func together(t *testing.T, open func(t testing.TB, folder string) *machine, times, longest int) {
	if os.Getenv(childOf) == t.Name() {
		fmt.Printf("left: %s\n", open(t, os.Getenv(childFolder)).hashes(t, times, longest))
		return
	}
	m, folder := open(t, ""), ""
	if m.standin != nil {
		folder = m.standin.Path()
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	var wait sync.WaitGroup
	var outputs [2][]byte
	var errs [2]error
	for i := range outputs {
		wait.Go(func() {
			cmd := exec.Command(self, "-test.run=^"+t.Name()+"$")
			cmd.Env = append(os.Environ(), childOf+"="+t.Name(), childFolder+"="+folder)
			outputs[i], errs[i] = cmd.CombinedOutput()
		})
	}
	want := m.hashes(t, times, longest)
	wait.Wait()
	for i, output := range outputs {
		_, after, found := strings.Cut(string(output), "left: ")
		got, _, _ := strings.Cut(after, "\n")
		if errs[i] != nil || !found || got != want {
			t.Errorf("process %d leaves %q (%v), this one %q:\n%s", i+1, got, errs[i], want, output)
		}
	}
}

func TestStandinProcesses(t *testing.T) {
	together(t, func(t testing.TB, folder string) *machine {
		if folder != "" {
			return besides(t, folder)
		}
		return onStandin(t)
	}, 2, 12)
}

func TestCUDAProcesses(t *testing.T) {
	together(t, func(t testing.TB, _ string) *machine { return onGPU(t) }, count(t, "SECENCODER_CUDA_ROUNDS", 10), 60)
}
