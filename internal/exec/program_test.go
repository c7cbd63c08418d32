package exec

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/secencoder/secencoder/internal/alloctest"
	"github.com/secencoder/secencoder/internal/bf16"
	"github.com/secencoder/secencoder/internal/kernel"
	G "gorgonia.org/gorgonia"
)

// The same graph on Gorgonia's TapeMachine. With the reference kernels on both sides every value is equal bit for bit,
// but for parameters whose gradient is a sum: the tape rounds each term before it adds, our kernels add the unrounded
// term, so that each of the n − 1 additions may differ by one rounding of each side, 2·2^-24 of the partial sums.
func TestTapeMachineAgrees(t *testing.T) {
	for _, policy := range Policies {
		t.Run(policy.String(), func(t *testing.T) {
			e := newEncoder(t, 0.2, true)
			p := e.compile(t, Options{Device: open(t, "ref", 1), Recompute: policy})
			run(t, p)
			got := value(t, p, e.loss.Loss)[0]
			loss, grads := e.tape(t)
			if got != loss {
				t.Errorf("loss %v, tape %v", got, loss)
			}
			for _, gr := range e.Gradients() {
				name := gr.Leaf.Name
				var largest float64
				for _, v := range grads[name] {
					largest = max(largest, math.Abs(float64(v)))
				}
				tolerance := float64(len(gr.Terms)-1) * 4 * 0x1p-24 * largest
				for i, want := range grads[name] {
					if d := math.Abs(float64(e.grads[name][i]) - float64(want)); !(d <= tolerance) {
						t.Fatalf("d %s[%d] = %v, tape %v, off by %.2g, allowed %.2g", name, i, e.grads[name][i], want, d, tolerance)
					}
				}
			}
		})
	}
}

func TestPoliciesGiveTheSameBits(t *testing.T) {
	for _, activations := range []kernel.DType{kernel.F32, kernel.BF16} {
		t.Run(activations.String(), func(t *testing.T) { policiesGiveTheSameBits(t, activations) })
	}
}

func policiesGiveTheSameBits(t *testing.T, activations kernel.DType) {
	var want map[string][]float32
	var bytes, steps []int
	for _, policy := range Policies {
		e := newEncoderOf(t, activations, 0.2, true)
		p := e.compile(t, Options{Device: open(t, "", 2), Recompute: policy})
		run(t, p)
		run(t, p) // the second run begins in the memory that the first one left
		got := e.snapshot()
		got["loss"] = slices.Clone(value(t, p, e.loss.Loss))
		if want == nil {
			want = got
		}
		for name := range want {
			if !sameBits(got[name], want[name]) {
				t.Errorf("%v: %s differs", policy, name)
			}
		}
		bytes, steps = append(bytes, int(p.Bytes())), append(steps, p.Steps())
	}
	if !(bytes[0] > bytes[1] && bytes[1] > bytes[2]) || !(steps[0] < steps[1] && steps[1] < steps[2]) {
		t.Errorf("none, cheap, layer take %v bytes and %v steps, want fewer and more", bytes, steps)
	}
}

func TestThreadsGiveTheSameBits(t *testing.T) {
	for _, activations := range []kernel.DType{kernel.F32, kernel.BF16} {
		var want map[string][]float32
		for _, threads := range []int{1, 2, 7} {
			e := newEncoderOf(t, activations, 0.2, true)
			p := e.compile(t, Options{Device: open(t, "", threads)})
			run(t, p)
			if want == nil {
				want = e.snapshot()
			}
			for name, g := range e.grads {
				if !sameBits(g, want[name]) {
					t.Errorf("%v, %d threads: %s differs", activations, threads, name)
				}
			}
		}
	}
}

// A sum of two float32 is the same whether a pass of its own makes it or the kernel of the later term. Of the gradients
// of a value with two readers none is left to such a pass.
func TestFusedSumsGiveTheSameBits(t *testing.T) {
	for _, kernels := range []string{"ref", ""} {
		var want map[string][]float32
		for _, apart := range []bool{true, false} {
			e := newEncoder(t, 0.2, true)
			p := e.compile(t, Options{Device: open(t, kernels, 2), sumsApart: apart})
			sums, fused := 0, 0
			for _, s := range p.steps {
				if s.unit.group == nil && s.unit.out[0].Shape()[0] == testT {
					sums++
				}
				if s.unit.addend != nil {
					fused++
				}
			}
			if n := 2 * testLayers; apart && (sums != n || fused != 0) || !apart && (sums != 0 || fused != n) {
				t.Errorf("sums apart %v: %d are passes of their own, %d are fused, of %d", apart, sums, fused, n)
			}
			run(t, p)
			if want == nil {
				want = e.snapshot()
			}
			for name, g := range e.grads {
				if !sameBits(g, want[name]) {
					t.Errorf("%q kernels: %s differs", kernels, name)
				}
			}
		}
	}
}

// BF16 against float32 on the same parameters. Each hidden state has been rounded some ten times a layer on its way, to
// 2^-8 relative at the worst and 2^-10 on the root mean square, and LayerNorm keeps its size at 1: 2^-4 holds a wrong kernel
// apart from the roundings. Gradients are compared as vectors, by the cosine, for the same reason.
func TestHalfIsCloseToSingle(t *testing.T) {
	var values [2][][]float32
	var grads [2]map[string][]float32
	for i, activations := range []kernel.DType{kernel.F32, kernel.BF16} {
		e := newEncoderOf(t, activations, 0.2, true)
		p := e.compile(t, Options{Device: open(t, "", 2), Keep: e.hidden})
		run(t, p)
		for _, h := range append(e.hidden, e.loss.Loss) {
			values[i] = append(values[i], slices.Clone(value(t, p, h)))
		}
		grads[i] = e.snapshot()
	}
	for n, single := range values[0] {
		single = single[:min(len(single), 16*testH)] // the rows in use
		for i, want := range single {
			if got := values[1][n][i]; !(math.Abs(float64(got)-float64(want)) <= 0x1p-4*max(1, math.Abs(float64(want)))) {
				t.Fatalf("value %d[%d] is %v in bf16, %v in f32", n, i, got, want)
			}
		}
	}
	for name, single := range grads[0] {
		var xx, yy, xy float64
		for i, x := range single {
			y := float64(grads[1][name][i])
			xx, yy, xy = xx+float64(x)*float64(x), yy+y*y, xy+float64(x)*y
		}
		// The reference makes these gradients exactly 0 but for roundings (docs/numerics.md).
		if cosine := xy / math.Sqrt(xx*yy); xx > 1e-9 && !(cosine > 0.99) {
			t.Errorf("d %s: the cosine of bf16 and f32 is %v", name, cosine)
		}
	}
}

// The memory of activations halves: what is left of the difference are statistics, workspaces and inputs.
func TestHalfTakesHalfTheMemory(t *testing.T) {
	var bytes [2]int
	for i, activations := range []kernel.DType{kernel.F32, kernel.BF16} {
		p := newEncoderOf(t, activations, 0, true).compile(t, Options{Device: open(t, "ref", 1), sumsApart: true})
		for _, b := range p.blocks {
			if b.node != nil && len(b.node.Shape()) == 2 && b.node.Shape()[0] == testT && b.node.Shape()[1] >= testH {
				if want := activations; b.dtype != want {
					t.Errorf("%v is %v, want %v", b.node, b.dtype, want)
				}
				bytes[i] += b.bytes
			}
		}
	}
	if bytes[0] != 2*bytes[1] || bytes[1] == 0 {
		t.Errorf("activations take %d bytes in f32 and %d in bf16", bytes[0], bytes[1])
	}
}

// A forward graph of BF16 runs on Gorgonia's machine too, which takes the type as one of its own: equal bits.
func TestTapeMachineAgreesInHalf(t *testing.T) {
	e := newEncoderOf(t, kernel.BF16, 0, false)
	p := e.compile(t, Options{Device: open(t, "ref", 1), Keep: []*G.Node{e.loss.Loss, e.hidden[testLayers]}})
	run(t, p)
	e.let(t)
	var loss, hidden G.Value
	G.Read(e.loss.Loss, &loss)
	G.Read(e.hidden[testLayers], &hidden)
	m := G.NewTapeMachine(e.Expr())
	defer m.Close()
	if err := m.RunAll(); err != nil {
		t.Fatal(err)
	}
	if got, want := value(t, p, e.loss.Loss)[0], loss.Data().(float32); got != want {
		t.Errorf("loss %v, tape %v", got, want)
	}
	for i, got := range value(t, p, e.hidden[testLayers])[:16*testH] {
		if want := hidden.Data().([]bf16.BF16)[i].Float32(); got != want {
			t.Fatalf("hidden[%d] = %v, tape %v", i, got, want)
		}
	}
}

// Two micro-batches: the second one adds. One float32 addition a term separates that from the sum of two gradients.
func TestAccumulate(t *testing.T) {
	e := newEncoder(t, 0.2, true)
	p := e.compile(t, Options{Device: open(t, "ref", 1)})
	var parts []map[string][]float32
	for _, ordinal := range []uint32{5, 8} {
		e.fill(t, p, testPack(ordinal))
		run(t, p)
		parts = append(parts, e.snapshot())
	}
	e.fill(t, p, testPack(5))
	run(t, p)
	e.fill(t, p, testPack(8))
	p.SetAccumulate(true)
	run(t, p)
	for name, g := range e.grads {
		for i, v := range g {
			a, b := float64(parts[0][name][i]), float64(parts[1][name][i])
			// Up to four terms a parameter, each rounded on both sides.
			if d := math.Abs(float64(v) - (a + b)); d > 0x1p-20*(math.Abs(a)+math.Abs(b))+0x1p-26 {
				t.Fatalf("d %s[%d] = %v, want %v + %v", name, i, v, a, b)
			}
		}
	}
	if slices.Equal(parts[0]["word"], parts[1]["word"]) {
		t.Error("the ordinal does not reach the dropout")
	}
}

func TestParametersBeyondTheLossAreZeroed(t *testing.T) {
	e := newEncoder(t, 0, true)
	p := e.compile(t, Options{Device: open(t, "ref", 1)})
	for _, g := range e.grads {
		for i := range g {
			g[i] = float32(math.NaN())
		}
	}
	run(t, p)
	for name, g := range e.grads {
		for i, v := range g {
			if name == "unused" && v != 0 || v != v {
				t.Fatalf("d %s[%d] = %v", name, i, v)
			}
		}
	}
}

// The reference has no scratch that grows with the worker that happens to run a part, so that zero is exact.
func TestRunsAllocateNothing(t *testing.T) {
	for _, activations := range []kernel.DType{kernel.F32, kernel.BF16} {
		runsAllocateNothing(t, activations)
	}
}

func runsAllocateNothing(t *testing.T, activations kernel.DType) {
	t.Helper()
	e := newEncoderOf(t, activations, 0.1, true)
	p := e.compile(t, Options{Device: open(t, "ref", 2), Recompute: Cheap})
	run(t, p)
	if n := alloctest.Fewest(func() {
		for i := range 100 {
			p.SetAccumulate(i%2 == 1)
			if err := p.RunAll(); err != nil {
				t.Fatal(err)
			}
		}
	}); n != 0 {
		t.Errorf("%v: 100 runs allocate %v times", activations, n)
	}
}

// A cancelled run begins no further kernel, and the next one is as good as any.
func TestRunEndsWhenCancelled(t *testing.T) {
	e := newEncoder(t, 0.1, true)
	p := e.compile(t, Options{Device: open(t, "ref", 1)})
	run(t, p)
	want := value(t, p, e.loss.Loss)[0]
	for _, last := range []int{0, 1, 7, p.Steps() - 1} {
		ctx, cancel := context.WithCancel(t.Context())
		calls := 0
		p.SetTrace(func(string, time.Duration) {
			if calls++; calls == last {
				cancel()
			}
		})
		if last == 0 {
			cancel()
		}
		if err := p.Run(ctx); !errors.Is(err, context.Canceled) || calls != last {
			t.Errorf("%v after %d kernels, want a cancelled context after %d", err, calls, last)
		}
		cancel()
		p.SetTrace(nil)
		run(t, p)
		if got := value(t, p, e.loss.Loss)[0]; got != want {
			t.Errorf("loss %v after a cancelled run, want %v", got, want)
		}
	}
}

// Without Grad only what the kept values need is computed, and nothing else gets memory.
func TestForwardPrograms(t *testing.T) {
	e := newEncoder(t, 0, false)
	dev := open(t, "ref", 1)
	whole := e.compile(t, Options{Device: dev, Keep: []*G.Node{e.loss.Loss, e.loss.NLL, e.loss.Hit}})
	first := e.compile(t, Options{Device: dev, Keep: e.hidden[:2]})
	all := e.compile(t, Options{Device: dev, Keep: e.hidden})
	for _, p := range []*Program{whole, first, all} {
		run(t, p)
	}
	if !(first.Steps() < all.Steps() && all.Steps() < whole.Steps()) {
		t.Errorf("%d, %d and %d steps", first.Steps(), all.Steps(), whole.Steps())
	}
	if !slices.Equal(value(t, first, e.hidden[1])[:16*testH], value(t, all, e.hidden[1])[:16*testH]) {
		t.Error("hidden states differ between programs")
	}
	var sum float64
	for _, v := range value(t, whole, e.loss.NLL)[:4] {
		sum += float64(v)
	}
	if d := math.Abs(sum/8 - float64(value(t, whole, e.loss.Loss)[0])); d > 0x1p-20 {
		t.Errorf("loss is off the mean of nll by %v", d)
	}
	if _, err := whole.Value(e.hidden[0]); err == nil {
		t.Error("a value that is not kept was given")
	}
}

// No two blocks that live at the same time share memory, and the slab is close to what lives at once.
func TestPlan(t *testing.T) {
	for _, policy := range Policies {
		e := newEncoder(t, 0.1, true)
		p := e.compile(t, Options{Device: open(t, "", 1), Recompute: policy})
		for i, a := range p.blocks {
			if a.offset%align != 0 || a.offset < 0 || a.offset+a.bytes > p.bytes {
				t.Errorf("block %d at %d with %d bytes of %d", i, a.offset, a.bytes, p.bytes)
			}
			for _, b := range p.blocks[:i] {
				if a.from <= b.to && b.from <= a.to && a.offset < b.offset+b.bytes && b.offset < a.offset+a.bytes {
					t.Errorf("%v: blocks of steps %d-%d and %d-%d overlap", policy, a.from, a.to, b.from, b.to)
				}
			}
		}
		if peak := p.peak(); p.bytes < peak || float64(p.bytes) > 1.25*float64(peak) {
			t.Errorf("%v: %d bytes planned, %d live at once", policy, p.bytes, peak)
		}
		var text [2]strings.Builder
		for i := range text {
			if err := p.Print(&text[i]); err != nil {
				t.Fatal(err)
			}
			e = newEncoder(t, 0.1, true)
			p = e.compile(t, Options{Device: open(t, "", 1), Recompute: policy})
		}
		if text[0].String() != text[1].String() {
			t.Errorf("%v: two compilations give two plans:\n%s\n%s", policy, text[0].String(), text[1].String())
		}
		if s := text[0].String(); strings.Contains(s, " again") == (policy == None) || !strings.Contains(s, "d word") {
			t.Errorf("%v: plan\n%s", policy, s)
		}
	}
}

func TestErrors(t *testing.T) {
	e := newEncoder(t, 0, true)
	dev := open(t, "ref", 1)
	if _, err := Compile(e.Graph, Options{}); err == nil {
		t.Error("no device passed")
	}
	if _, err := Compile(newEncoder(t, 0, false).Graph, Options{Device: dev}); err == nil {
		t.Error("a program without results passed")
	}
	p, err := Compile(e.Graph, Options{Device: dev})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.RunAll(); err == nil || !strings.Contains(err.Error(), "has no memory") {
		t.Errorf("run without parameters: %v", err)
	}
	word := e.Leaves()[2].Node
	if err := p.Bind(word, kernel.FromF32(make([]float32, 3))); err == nil || !strings.Contains(err.Error(), "word: got 3 elements of f32, want 88 of f32") {
		t.Errorf("a short parameter: %v", err)
	}
	if err := p.Bind(e.Header, kernel.FromF32(make([]float32, 3))); err == nil {
		t.Error("the header was bound as a parameter")
	}
	if _, err := p.Input(word); err == nil {
		t.Error("a parameter was given as an input")
	}
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	if err := p.RunAll(); !errors.Is(err, ErrClosed) {
		t.Errorf("run after close: %v", err)
	}
}

func TestChoose(t *testing.T) {
	bytes := map[Policy]int64{None: 100, Cheap: 60, Layer: 20}
	need := func(p Policy) (int64, error) { return bytes[p], nil }
	for limit, want := range map[int64]Policy{1000: None, 100: None, 99: Cheap, 60: Cheap, 59: Layer, 20: Layer} {
		if got, least, err := Choose(Policies, limit, need); got != want || least != 0 || err != nil {
			t.Errorf("limit %d: %v, %d, %v, want %v", limit, got, least, err, want)
		}
	}
	if _, least, err := Choose(Policies, 19, need); least != 20 || err != nil {
		t.Errorf("limit 19: at least %d, %v", least, err)
	}
	if got, least, err := Choose([]Policy{Cheap}, 59, need); least != 60 || err != nil {
		t.Errorf("cheap alone: %v, at least %d, %v", got, least, err)
	}
	broken := errors.New("broken")
	if _, _, err := Choose(Policies, 19, func(Policy) (int64, error) { return 0, broken }); !errors.Is(err, broken) {
		t.Errorf("broken: %v", err)
	}
	if s := fmt.Sprint(None, Cheap, Layer, Policy(9)); s != "none cheap layer policy 9" {
		t.Error(s)
	}
}
