package bench

import (
	"fmt"

	"github.com/secencoder/secencoder/internal/cuda"
	"github.com/secencoder/secencoder/internal/cuda/kernels"
	"github.com/secencoder/secencoder/internal/device/gpu"
	"github.com/secencoder/secencoder/internal/kernel"
	"github.com/secencoder/secencoder/internal/rng"
)

// parts hands out pieces of one stretch of memory, which the kernels share because they take turns. Without memory it
// only counts.
type parts struct {
	base     cuda.Ptr
	at, most int
}

func (p *parts) take(dtype kernel.DType, n int) kernel.Buf {
	bytes := n * dtype.Size()
	buf := gpu.Operand(p.base+cuda.Ptr(p.at), bytes, dtype)
	p.at += (bytes + 255) &^ 255
	p.most = max(p.most, p.at)
	return buf
}

// openKernels makes a case of every kernel of the table. What kernels read is random and stays so: two random values of
// bf16 are one of float32. What they write is a stretch of its own.
func (b *gpuBench) openKernels() error {
	read, written := &parts{base: 256}, &parts{base: 256}
	if _, err := b.kernelCases(read, written, true); err != nil {
		return err
	}
	from, err := b.random(cuda.BF16, (read.most+1)/2)
	if err != nil {
		return err
	}
	to, err := b.alloc(written.most)
	if err != nil {
		return err
	}
	if err := b.stream.Fill(to, 0, written.most); err != nil {
		return err
	}
	list, err := b.kernelCases(&parts{base: from}, &parts{base: to}, false)
	b.cases = append(b.cases, list...)
	return err
}

// gpuStart is a kernel that is launched past the table.
type gpuStart struct {
	*cuda.Launch
	name string
}

// start returns the launch of a kernel.
func (b *gpuBench) start(name string) (*gpuStart, error) {
	if l := b.starts[name]; l != nil {
		return l, nil
	}
	f, err := b.module.Function(name)
	if err != nil {
		return nil, err
	}
	b.starts[name] = &gpuStart{f.NewLaunch(), name}
	return b.starts[name], nil
}

// run launches a kernel whose parameters were packed as the table launches it.
func (b *gpuBench) run(l *gpuStart, g kernels.Geometry) error {
	return gpu.Run(b.stream, l.Launch, l.name, g, b.dev.Info().Multiprocessors)
}

func ptr(b kernel.Buf) cuda.Ptr { return cuda.Ptr(uintptr(b.Ptr)) }

// kernelCases makes cases that move about as many bytes a call as was asked for.
type kernelCases struct {
	*gpuBench
	read, written *parts
	dry           bool // only count the memory
	list          []*gpuCase
	err           error
	mp            int
}

// memory adds a case that memory bounds.
func (k *kernelCases) memory(name string, bytes int, call func() error) {
	k.list = append(k.list, &gpuCase{name: name, unit: "mb_per_second", work: 1e-6 * float64(bytes), peak: PeakDeviceCopy, call: call})
	k.read.at, k.written.at = 0, 0
}

// in and out return an operand that is read, and one that is written.
func (k *kernelCases) in(dtype kernel.DType, n int) kernel.Buf { return k.read.take(dtype, n) }

func (k *kernelCases) out(dtype kernel.DType, n int) kernel.Buf { return k.written.take(dtype, n) }

// rows returns how many rows of so many bytes fill a call.
func (k *kernelCases) rows(bytes int) int { return max(8, int(k.o.Bytes)/bytes) }

// header uploads the header of a plan of T tokens whose every n-th token is masked.
func (k *kernelCases) header(T, every int) kernel.Buf {
	if k.dry || k.err != nil {
		return gpu.Operand(256, 4*kernel.HeaderWords(T), kernel.I32)
	}
	pack := kernel.Pack{Offsets: offsets(T, min(k.o.Context, T)), Scale: 1, Step: 1, Seed: k.o.Seed}
	for t := int32(0); t < pack.Offsets[len(pack.Offsets)-1]; t += int32(every) {
		pack.Masked, pack.Labels = append(pack.Masked, t), append(pack.Labels, 0)
	}
	words := make([]int32, kernel.HeaderWords(T))
	pack.Fill(words, T)
	buf, err := k.words(words)
	k.err = err
	return buf
}

// ids uploads random rows of a table and tells how many different ones they are.
func (k *kernelCases) ids(T int) (_ kernel.Buf, rows int) {
	if k.dry || k.err != nil {
		return gpu.Operand(256, 4*T, kernel.I32), 0
	}
	stream := rng.NewStream(k.o.Seed, rng.Probe, 1, 0, 0)
	list, seen := make([]int32, T), make([]bool, k.V)
	for i := range list {
		list[i] = int32(stream.Float64() * float64(k.V))
		if !seen[list[i]] {
			seen[list[i]] = true
			rows++
		}
	}
	buf, err := k.words(list)
	k.err = err
	return buf, rows
}

// kernelCases makes the cases over two stretches of memory; dry only counts what they take.
func (b *gpuBench) kernelCases(read, written *parts, dry bool) ([]*gpuCase, error) {
	k := &kernelCases{gpuBench: b, read: read, written: written, dry: dry, mp: b.dev.Info().Multiprocessors}
	k.converts()
	for _, t := range [][2]kernel.DType{{kernel.F32, kernel.F32}, {kernel.F32, kernel.BF16}, {kernel.BF16, kernel.BF16}} {
		k.activations(t[0], t[1])
		k.drops(t[0], t[1])
	}
	k.masks()
	for _, of := range []kernel.DType{kernel.F32, kernel.BF16} {
		k.norms(of)
		k.embeds(of)
		k.gathers(of)
		k.pools(of)
		k.adds(of)
		k.layers(of)
	}
	k.optimizer()
	return k.list, k.err
}

// direct is a case of a kernel that the table does not call by itself.
func (k *kernelCases) direct(name, entry string, bytes int, g kernels.Geometry, pack func(*cuda.Launch)) {
	var l *gpuStart
	if !k.dry && k.err == nil {
		l, k.err = k.start(entry)
	}
	k.memory(name, bytes, func() error {
		pack(l.Reset())
		return k.run(l, g)
	})
}

// converts are conversions, and the scaling of a gradient that is added to.
func (k *kernelCases) converts() {
	n := k.rows(6) // elements here
	for _, types := range [][2]kernel.DType{{kernel.F32, kernel.BF16}, {kernel.BF16, kernel.F32}} {
		a := kernel.ConvertArgs{X: k.in(types[0], n), Out: k.out(types[1], n), N: n}
		k.memory(fmt.Sprintf("convert_%v_%v", types[0], types[1]), 6*n, func() error { k.table.Convert(k.on, &a); return nil })
	}
	n = k.rows(8)
	d := k.out(kernel.F32, n)
	const beta = -1 // the values stay as large as they are
	k.direct("scale f32", "scale_f32", 8*n, kernels.Elements(n, k.mp), func(l *cuda.Launch) { l.Ptr(ptr(d)).I64(int64(n)).F32(beta) })
}

func (k *kernelCases) norms(of kernel.DType) {
	W, s := k.E, of.Size()
	vector := func() kernel.Buf { return k.in(kernel.F32, W) }
	drop := kernel.Dropout{P: 0.1, Site: 1}

	N := k.rows(2*s*W + 8)
	ln := kernel.LayerNormArgs{Header: k.header(N, 7), X: k.in(of, N*W), Gamma: vector(), Beta: vector(), Out: k.out(of, N*W),
		Stats: k.out(kernel.F32, 2*N), Rows: kernel.RowsTokens, N: N, W: W, Eps: 1e-7}
	k.memory(fmt.Sprintf("layer_norm %v", of), N*(2*s*W+8), func() error { k.table.LayerNorm(k.on, &ln); return nil })

	N = k.rows(3*s*W + 8)
	lg := kernel.LayerNormGradArgs{Header: k.header(N, 7), X: k.in(of, N*W), Stats: k.in(kernel.F32, 2*N), Gamma: vector(), DOut: k.in(of, N*W),
		DX: k.out(of, N*W), DGamma: k.out(kernel.F32, W), DBeta: k.out(kernel.F32, W), Rows: kernel.RowsTokens, N: N, W: W}
	k.memory(fmt.Sprintf("layer_norm_grad %v", of), N*(3*s*W+8), func() error { k.table.LayerNormGrad(k.on, &lg); return nil })

	N = k.rows(3*s*W + 8)
	an := kernel.AddNormArgs{Header: k.header(N, 7), X: k.in(of, N*W), Res: k.in(of, N*W), Gamma: vector(), Beta: vector(), Out: k.out(of, N*W),
		Stats: k.out(kernel.F32, 2*N), Rows: kernel.RowsTokens, N: N, W: W, Eps: 1e-7, Drop: drop}
	k.memory(fmt.Sprintf("add_norm %v", of), N*(3*s*W+8), func() error { k.table.AddNorm(k.on, &an); return nil })

	N = k.rows(5*s*W + 8)
	ag := kernel.AddNormGradArgs{Header: k.header(N, 7), X: k.in(of, N*W), Res: k.in(of, N*W), Stats: k.in(kernel.F32, 2*N), Gamma: vector(),
		DOut: k.in(of, N*W), DX: k.out(of, N*W), DRes: k.out(of, N*W), DGamma: k.out(kernel.F32, W), DBeta: k.out(kernel.F32, W), Rows: kernel.RowsTokens, N: N, W: W, Drop: drop}
	k.memory(fmt.Sprintf("add_norm_grad %v", of), N*(5*s*W+8), func() error { k.table.AddNormGrad(k.on, &ag); return nil })
}

// between names a case by what comes in and what goes out.
func between(name string, from, to kernel.DType) string {
	if from == to {
		return fmt.Sprintf("%s %v", name, to)
	}
	return fmt.Sprintf("%s %v to %v", name, from, to)
}

// activations are bias and GELU behind a product, whose sums are float32 in layers, and the gradient with its column
// sums.
func (k *kernelCases) activations(from, to kernel.DType) {
	W, in, s := k.I, from.Size(), to.Size()
	N := k.rows((in + 2*s) * W)
	h, z, bias, out, pre := k.header(N, 7), k.in(from, N*W), k.in(kernel.F32, W), k.out(to, N*W), k.out(to, N*W)
	k.direct(between("bias_gelu", from, to), fmt.Sprintf("bias_act_%v_%v", from, to), N*(in+2*s)*W, kernels.Tiles(N, W, k.mp), func(l *cuda.Launch) {
		shapeOf(l.Ptr(ptr(h)).Ptr(ptr(z)).Ptr(ptr(bias)).Ptr(ptr(out)).Ptr(ptr(pre)), N, W).I32(int32(kernel.Gelu))
	})
	M := k.rows((2*in + s) * W)
	h, dY, preM, dZ := k.header(M, 7), k.in(from, M*W), k.in(from, M*W), k.out(to, M*W)
	partial := k.out(kernel.F32, W*max(1, kernels.Chunks(M, kernels.SumRows)))
	k.direct(between("gelu_grad", from, to), fmt.Sprintf("act_grad_%v_%v", from, to), M*(2*in+s)*W, kernels.TileChunks(M, W), func(l *cuda.Launch) {
		shapeOf(l.Ptr(ptr(h)).Ptr(ptr(dY)).Ptr(ptr(preM)).Ptr(ptr(dZ)).Ptr(ptr(partial)), M, W).I32(int32(kernel.Gelu))
	})
}

// shapeOf packs the rows of a value that has one row a token.
func shapeOf(l *cuda.Launch, N, W int) *cuda.Launch {
	return l.I32(int32(N)).I32(int32(kernel.RowsTokens)).I32(int32(N)).I32(int32(W))
}

func (k *kernelCases) drops(from, to kernel.DType) {
	W, bytes := k.E, from.Size()+to.Size()
	drop := kernel.Dropout{P: 0.1, Site: 2}
	N := k.rows(bytes * W)
	h, x, out := k.header(N, 7), k.in(from, N*W), k.out(to, N*W)
	k.direct(between("dropout", from, to), fmt.Sprintf("dropout_%v_%v", from, to), N*bytes*W, kernels.Tiles(N, W, k.mp), func(l *cuda.Launch) {
		shapeOf(l.Ptr(ptr(h)).Ptr(ptr(x)).Ptr(0).Ptr(ptr(out)), N, W).U32(drop.Site).U32(drop.Threshold()).F32(drop.Scale())
	})
}

// masks is a dropout whose elements are single bytes: the cost of Philox, which no memory hides. It does not count as a
// kernel that memory bounds.
func (k *kernelCases) masks() {
	W, drop := k.E, kernel.Dropout{P: 0.1, Site: 2}
	N := k.rows(W)
	h, mask := k.header(N, 7), k.out(kernel.I16, (N*W+1)/2)
	k.direct("dropout_mask", "dropout_mask", N*W, kernels.Tiles(N, W, k.mp), func(l *cuda.Launch) {
		shapeOf(l.Ptr(ptr(h)).Ptr(ptr(mask)), N, W).U32(drop.Site).U32(drop.Threshold())
	})
	k.list[len(k.list)-1].apart = true
}

func (k *kernelCases) embeds(of kernel.DType) {
	E, s := k.E, of.Size()
	T := k.rows((4+s)*E + 4)
	ids, _ := k.ids(T)
	e := kernel.EmbedArgs{Header: k.header(T, 7), IDs: ids, Word: k.in(kernel.F32, k.V*E), Out: k.out(of, T*E), E: E}
	k.memory(fmt.Sprintf("embed %v", of), T*((4+s)*E+4), func() error { k.table.Embed(k.on, &e); return nil })

	T = k.rows(s*E + 4)
	ids, rows := k.ids(T)
	g := kernel.EmbedGradArgs{Header: k.header(T, 7), IDs: ids, DOut: k.in(of, T*E), DWord: k.out(kernel.F32, k.V*E), E: E, PadID: 0,
		Beta: [3]float32{1, 1, 1}}
	// Of the table the rows that are looked up are read and written.
	k.memory(fmt.Sprintf("embed_grad %v", of), T*(s*E+4)+8*E*rows, func() error { k.table.EmbedGrad(k.on, &g); return nil })
}

func (k *kernelCases) gathers(of kernel.DType) {
	W, s := k.E, of.Size()
	T := k.rows(2 * s * W)
	g := kernel.GatherArgs{Header: k.header(T, 1), X: k.in(of, T*W), Out: k.out(of, T*W), T: T, W: W}
	k.memory(fmt.Sprintf("gather %v", of), T*2*s*W, func() error { k.table.Gather(k.on, &g); return nil })

	const every = 7 // about 15 %
	T = k.rows(s * W)
	d := kernel.GatherGradArgs{Header: k.header(T, every), DOut: k.in(of, T*W), DX: k.out(of, T*W), T: T, W: W}
	k.memory(fmt.Sprintf("gather_grad %v", of), (T+T/every)*s*W, func() error { k.table.GatherGrad(k.on, &d); return nil })
}

func (k *kernelCases) pools(of kernel.DType) {
	W, s := k.E, of.Size()
	T := k.rows(s * W)
	pieces := (T + k.o.Context - 1) / k.o.Context
	g := kernel.PoolArgs{Header: k.header(T, 7), X: k.in(of, T*W), Out: k.out(kernel.F32, T/2*W), T: T, W: W}
	k.memory(fmt.Sprintf("pool %v", of), T*s*W+pieces*4*W, func() error { k.table.Pool(k.on, &g); return nil })
	d := kernel.PoolGradArgs{Header: k.header(T, 7), DOut: k.in(kernel.F32, T/2*W), DX: k.out(of, T*W), T: T, W: W}
	k.memory(fmt.Sprintf("pool_grad %v", of), T*s*W+pieces*4*W, func() error { k.table.PoolGrad(k.on, &d); return nil })
}

func (k *kernelCases) adds(of kernel.DType) {
	n := k.rows(3 * of.Size())
	a := kernel.AddArgs{A: k.in(of, n), B: k.in(of, n), Out: k.out(of, n), N: n}
	k.memory(fmt.Sprintf("add %v", of), n*3*of.Size(), func() error { k.table.Add(k.on, &a); return nil })
}

// layers are whole linear layers with GELU: products with what stands around them.
func (k *kernelCases) layers(of kernel.DType) {
	s := shape{k.T, k.E, k.I}
	peak := PeakFloatProduct
	if of == kernel.BF16 {
		peak = PeakHalfProduct
	}
	h := k.header(s.T, 7)
	x, dY, preRead, w, bias := k.in(of, s.T*s.in), k.in(of, s.T*s.out), k.in(of, s.T*s.out), k.in(kernel.F32, s.in*s.out), k.in(kernel.F32, s.out)
	y, pre := k.out(of, s.T*s.out), k.out(of, s.T*s.out)
	packed := kernel.Buf{}
	if n := k.table.PackedBytes(s.out, s.in, of, false); n > 0 {
		packed = k.in(kernel.F32, n/4)
	}
	l := kernel.LinearArgs{Header: h, X: x, W: w, B: bias, Y: y, Pre: pre, Rows: kernel.RowsTokens, N: s.T, In: s.in, Out: s.out, Act: kernel.Gelu, Packed: packed}
	g := kernel.LinearGradArgs{Header: h, X: x, W: w, Pre: preRead, DY: dY, DX: k.out(of, s.T*s.in), DW: k.out(kernel.F32, s.in*s.out),
		DB: k.out(kernel.F32, s.out), Rows: kernel.RowsTokens, N: s.T, In: s.in, Out: s.out, Act: kernel.Gelu, Packed: packed}
	g.Work = k.out(kernel.F32, (k.table.WorkBytes(&g)+3)/4)
	k.read.at, k.written.at = 0, 0
	add := func(name string, flop float64, call func() error) {
		k.list = append(k.list, &gpuCase{name: fmt.Sprintf("%s %dx%dx%d %v", name, s.T, s.in, s.out, of), unit: "gflops", work: flop, peak: peak, call: call})
	}
	add("linear with gelu", s.flop(), func() error { k.table.Linear(k.on, &l); return nil })
	add("linear_grad with gelu", 2*s.flop(), func() error { k.table.LinearGrad(k.on, &g); return nil })
}

func (k *kernelCases) optimizer() {
	n := k.rows(28)
	// Moments are the kernel's own: what others leave in memory might be no squares.
	var own [3]cuda.Ptr
	for i := range own {
		if !k.dry && k.err == nil {
			if own[i], k.err = k.alloc(4 * n); k.err == nil {
				k.err = k.stream.Fill(own[i], 0, 4*n)
			}
		}
	}
	state := func(i int) kernel.Buf { return gpu.Operand(own[i], 4*n, kernel.F32) }
	a := kernel.AdamWArgs{W: state(0), G: k.in(kernel.F32, n), M: state(1), V: state(2), N: n,
		LR: 1e-4, Beta1: 0.9, Beta2: 0.98, Eps: 1e-6, Decay: 0.01, Clip: 1, Step: 1}
	k.memory("adamw", 28*n, func() error { k.table.AdamW(k.on, &a); return nil })

	n = k.rows(4)
	count := kernels.SumPartials(n)
	g, partial := k.in(kernel.F32, n), k.out(kernel.F32, 2*(count+1))
	var squares, tree *gpuStart
	if !k.dry && k.err == nil {
		if squares, k.err = k.start("sum_squares"); k.err == nil {
			tree, k.err = k.start("sum_tree")
		}
	}
	// The table's call waits for the result.
	k.memory("sum_squares", 4*n, func() error {
		squares.Reset().Ptr(ptr(g)).Ptr(ptr(partial)).I64(int64(n))
		if err := k.run(squares, kernels.SumBlocks(n, k.mp)); err != nil {
			return err
		}
		tree.Reset().Ptr(ptr(partial)).Ptr(ptr(partial) + cuda.Ptr(8*count)).I64(int64(count))
		return k.run(tree, kernels.SumTree())
	})
}
