package bench

import (
	"regexp"
	"slices"
	"testing"

	"github.com/secencoder/secencoder/internal/cuda"
	"github.com/secencoder/secencoder/internal/cuda/kernels"
	"github.com/secencoder/secencoder/internal/cuda/standin"
	"github.com/secencoder/secencoder/internal/kernel"
)

// TestGPULaunches: what the bench launches itself has the grid and the block that the table launches it with for work of
// the same size. Of all other kernels it calls the table.
func TestGPULaunches(t *testing.T) {
	lib := standin.Build(t)             // without the kernels: launches are noted, and nothing runs
	lib.Set(standin.Multiprocessors, 4) // so that little work fills the GPU
	o := little()
	o.Library, o.Bytes = lib.Path(), 2<<20
	b := opened(t, lib, o)
	const W, I = 128, 512 // widths of tiny
	const mp = 4
	k := &kernelCases{gpuBench: b, mp: mp}
	room := func(of kernel.DType, n int) kernel.Buf {
		p, err := b.alloc(n * of.Size())
		if err != nil {
			t.Fatal(err)
		}
		return (&parts{base: p}).take(of, n)
	}
	// launches returns how a kernel was launched.
	launches := func(name string, call func() error) []standin.Geometry {
		t.Helper()
		lib.Geometries()
		if err := cuda.Join(call(), b.table.Sync(b.on)); err != nil {
			t.Fatal(err)
		}
		return slices.DeleteFunc(lib.Geometries(), func(l standin.Geometry) bool { return l.Name != name })
	}
	const F32, BF16 = kernel.F32, kernel.BF16
	act := func(N int, x, y kernel.DType) func() error {
		return func() error {
			b.table.Linear(b.on, &kernel.LinearArgs{Header: k.header(N, 7), X: room(x, N*8), W: room(F32, 8*I), Y: room(y, N*I), Rows: kernel.RowsTokens, N: N, In: 8, Out: I, Act: kernel.Gelu})
			return k.err
		}
	}
	grad := func(N int, dY, x kernel.DType) func() error {
		return func() error {
			g := kernel.LinearGradArgs{Header: k.header(N, 7), X: room(x, N*8), W: room(F32, 8*I), Pre: room(dY, N*I), DY: room(dY, N*I), DX: room(x, N*8), DB: room(F32, I),
				Rows: kernel.RowsTokens, N: N, In: 8, Out: I, Act: kernel.Gelu}
			g.Work = room(F32, b.table.WorkBytes(&g)/4)
			b.table.LinearGrad(b.on, &g)
			return k.err
		}
	}
	drop := func(N int, x, y kernel.DType) func() error {
		return func() error {
			b.table.Linear(b.on, &kernel.LinearArgs{Header: k.header(N, 7), X: room(x, N*W), W: room(F32, 8*W), Y: room(y, N*8), Rows: kernel.RowsTokens, N: N, In: W, Out: 8,
				Drop: kernel.Dropout{P: 0.1, Site: 2}})
			return k.err
		}
	}
	convert := func(n int) func() error {
		a := kernel.ConvertArgs{X: room(F32, n), Out: room(BF16, n), N: n}
		return func() error { b.table.Convert(b.on, &a); return nil }
	}
	scaled := kernel.LinearGradArgs{X: room(F32, 1), DY: room(F32, 1), W: room(F32, 1), DW: room(F32, k.rows(8)), Beta: [2]float32{2, 2}, In: k.rows(8), Out: 1}
	scaled.Work = room(F32, b.table.WorkBytes(&scaled)/4+1)
	squares := kernel.SumSquaresArgs{G: room(F32, k.rows(4)), N: k.rows(4)}
	sum := func() error { b.table.SumSquares(b.on, &squares); return nil }
	type pair struct {
		kernel string
		bench  func() error
		table  func() error // nil: no call of the table launches it
		g      kernels.Geometry
	}
	of := func(name string) func() error {
		i := slices.IndexFunc(b.cases, func(c *gpuCase) bool { return c.name == name })
		if i < 0 {
			t.Fatalf("no case %q", name)
		}
		return b.cases[i].call
	}
	seen := map[string]bool{}
	fewer := 0
	for _, p := range []pair{
		{kernel: "convert_f32_bf16", bench: of("convert_f32_bf16"), table: convert(k.rows(6))},
		{kernel: "convert_f32_bf16", bench: b.launch.direct, table: convert(1024)},
		{kernel: "convert_f32_bf16", bench: b.launch.kernel, table: convert(b.launch.elements)},
		{kernel: "scale_f32", bench: of("scale f32"), table: func() error { b.table.LinearGrad(b.on, &scaled); return nil }},
		{kernel: "bias_act_f32_f32", bench: of("bias_gelu f32"), table: act(k.rows(12*I), F32, F32)},
		{kernel: "bias_act_f32_bf16", bench: of("bias_gelu f32 to bf16"), table: act(k.rows(8*I), BF16, BF16)},
		{kernel: "bias_act_bf16_bf16", bench: of("bias_gelu bf16"), g: kernels.Tiles(k.rows(6*I), I, mp)},
		{kernel: "act_grad_f32_f32", bench: of("gelu_grad f32"), table: grad(k.rows(12*I), F32, F32)},
		{kernel: "act_grad_f32_bf16", bench: of("gelu_grad f32 to bf16"), table: grad(k.rows(10*I), F32, BF16)},
		{kernel: "act_grad_bf16_bf16", bench: of("gelu_grad bf16"), table: grad(k.rows(6*I), BF16, BF16)},
		{kernel: "dropout_f32_f32", bench: of("dropout f32"), table: drop(k.rows(8*W), F32, F32)},
		{kernel: "dropout_f32_bf16", bench: of("dropout f32 to bf16"), table: drop(k.rows(6*W), F32, BF16)},
		{kernel: "dropout_bf16_bf16", bench: of("dropout bf16"), table: drop(k.rows(4*W), BF16, BF16)},
		{kernel: "dropout_mask", bench: of("dropout_mask"), g: kernels.Tiles(k.rows(W), W, mp)},
		{kernel: "sum_squares", bench: of("sum_squares"), table: sum},
		{kernel: "sum_tree", bench: of("sum_squares"), table: sum},
	} {
		got := launches(p.kernel, p.bench)
		var want []standin.Geometry
		if p.table != nil {
			want = launches(p.kernel, p.table)
		} else {
			g := kernels.OneWave(p.kernel, p.g, mp)
			want = []standin.Geometry{{Name: p.kernel, Grid: g.Grid, Block: g.Block}}
			if g != p.g {
				fewer++
			}
		}
		if len(got) != 1 || !slices.Equal(got, want) {
			t.Errorf("%s: the bench launches %v, the table %v", p.kernel, got, want)
		}
		seen[p.kernel] = true
	}
	if fewer == 0 {
		t.Error("too little work: one wave has all blocks")
	}
	// The kernels of the graph go through memory.
	var from []string
	walk := b.converting(b.starts["convert_f32_bf16"], b.owned[0], 1024, 2)
	for range 3 {
		if err := walk(); err != nil {
			t.Fatal(err)
		}
		last, err := lib.LastLaunch()
		if err != nil {
			t.Fatal(err)
		}
		from = append(from, string(last.Args[0]))
	}
	if from[0] == from[1] || from[0] != from[2] {
		t.Errorf("kernels over two stretches begin at %x", from)
	}
	image, err := kernels.PTX(8, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range regexp.MustCompile(`\.entry (\w+)`).FindAllSubmatch(image, -1) {
		if name := string(e[1]); (b.starts[name] != nil) && !seen[name] {
			t.Errorf("%s is launched past the table and not compared with it", name)
		}
	}
}
